import { useState } from 'react'
import { Image, upload } from '@imagekit/react'

const requestTo = (address) => {
  const xhr = new XMLHttpRequest()
  const open = xhr.open.bind(xhr)
  xhr.open = (method, url) => open(method, url.replace('https://upload.imagekit.io', address))
  return xhr
}

export default function Upload({ server, project, publicKey }) {
  const [kept, setKept] = useState([])
  const send = async ({ target }) => {
    const [file] = target.files
    const signed = await (await fetch(`${server}/imagekit/auth/${project}`)).json()
    const xhr = requestTo(`${server}/imagekit`)
    const made = await upload({ ...signed, publicKey, file, fileName: file.name, useUniqueFileName: false, xhr })
    setKept((before) => [...before, made])
  }
  return (
    <>
      <input type="file" onChange={send} />
      <ul>
        {kept.map(({ fileId, name, filePath }) => (
          <li key={fileId}>
            {name}
            <Image urlEndpoint={`${server}/imagekit/ik/${project}`} src={filePath} width={100} alt="" />
          </li>
        ))}
      </ul>
    </>
  )
}
