// The steps of UploadKit's reference page with fetch: base, key and file in, every answer out as JSON.
import { createReadStream, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { Readable } from 'node:stream'

const [base, key, path] = process.argv.slice(2)
const headers = { 'x-api-key': key, 'Content-Type': 'application/json' }
const bytes = readFileSync(path)
const told = {}

const ask = async (name, method, at, body) => {
  const response = await fetch(`${base}/api/v1${at}`, { method, headers, body: body && JSON.stringify(body) })
  told[name] = { status: response.status, body: await response.json() }
  return told[name].body
}

const type = 'image/jpeg'
const wish = { fileName: basename(path), fileSize: bytes.length, contentType: type, routeSlug: 'default' }

const { fileId, uploadUrl } = await ask('request', 'POST', '/upload/request', wish)
const wrong = await fetch(uploadUrl, { method: 'PUT', headers: { 'Content-Type': 'image/png' }, body: bytes })
told.wrong = { status: wrong.status, body: await wrong.text() }
const put = await fetch(uploadUrl, { method: 'PUT', headers: { 'Content-Type': type }, body: bytes })
told.put = { status: put.status, etag: put.headers.get('ETag') }
const file = await ask('complete', 'POST', '/upload/complete', { fileId })
await ask('again', 'POST', '/upload/complete', { fileId })
told.fetched = Buffer.from(await (await fetch(file.url)).arrayBuffer()).equals(bytes)

if (uploadUrl.startsWith(base)) { // a bucket takes no body of unknown length
  const second = await ask('request2', 'POST', '/upload/request', wish)
  const stream = Readable.toWeb(createReadStream(path))
  const streamed = await fetch(second.uploadUrl, {
    method: 'PUT', headers: { 'Content-Type': type }, body: stream, duplex: 'half',
  })
  told.streamed = { status: streamed.status }
  await ask('complete2', 'POST', '/upload/complete', { fileId: second.fileId })
}

const { files } = await ask('list', 'GET', '/files?limit=20')
for (const { key } of files) await ask('delete', 'DELETE', `/files/${encodeURIComponent(key)}`)
await ask('deleted', 'DELETE', `/files/${encodeURIComponent(files[0].key)}`)
told.gone = (await fetch(file.url)).status
console.log(JSON.stringify(told))
