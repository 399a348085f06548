import { useState } from 'react'
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'
import { Dropzone, UppyContextProvider, useUppyEvent } from '@uppy/react'
import '@uppy/react/css/style.css'

const tusTo = (server, publicKey) =>
  new Uppy({ autoProceed: true }).use(Tus, { endpoint: `${server}/tus`, headers: { 'X-Public-Key': publicKey } })

export default function Upload({ server, publicKey }) {
  const [uppy] = useState(() => tusTo(server, publicKey))
  const [kept, setKept] = useState([])
  useUppyEvent(uppy, 'upload-success', (file) => setKept((before) => [...before, file.name]))
  return (
    <UppyContextProvider uppy={uppy}>
      <Dropzone />
      <ul>{kept.map((name) => <li key={name}>{name}</li>)}</ul>
    </UppyContextProvider>
  )
}
