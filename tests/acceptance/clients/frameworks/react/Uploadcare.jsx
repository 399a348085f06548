import { useState } from 'react'
import { FileUploaderMinimal } from '@uploadcare/react-uploader'
import '@uploadcare/react-uploader/core.css'

export default function Upload({ server, publicKey }) {
  const [kept, setKept] = useState([])
  return (
    <>
      <FileUploaderMinimal
        pubkey={publicKey}
        baseUrl={server}
        cdnCname={server}
        cdnCnamePrefixed={server}
        qualityInsights={false}
        sourceList="local"
        onFileUploadSuccess={({ name }) => setKept((before) => [...before, name])}
      />
      <ul>{kept.map((name) => <li key={name}>{name}</li>)}</ul>
    </>
  )
}
