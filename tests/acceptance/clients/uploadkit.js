// What a page does that talks to UploadKit's handler, and one whose server handed out addresses of parts.
const asked = async (url, body) => {
  const options = body && { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(url, options)
  return { status: response.status, body: await response.json() }
}

const sent = (url, blob, type) => new Promise((resolve, reject) => {
  const xhr = new XMLHttpRequest()
  let loaded = 0
  xhr.upload.onprogress = (event) => { loaded = event.loaded }
  xhr.onload = () => resolve({ status: xhr.status, etag: xhr.getResponseHeader('ETag'), loaded })
  xhr.onerror = () => reject(new Error('the request did not get through'))
  xhr.open('PUT', url)
  xhr.setRequestHeader('Content-Type', type)
  xhr.send(blob)
})

window.uploadByHandler = async ({ endpoint, route }) => {
  const file = document.querySelector('input').files[0]
  const limits = await asked(`${endpoint}/${route}`)
  const request = await asked(`${endpoint}/${route}`, {
    action: 'request-upload', fileName: file.name, contentType: file.type, contentLength: file.size,
    metadata: { width: 3, from: 'page' },
  })
  if (request.status !== 200) return { limits, request }
  const { uploadUrl, key, fileId } = request.body
  const put = await sent(uploadUrl, file, file.type)
  const complete = await asked(`${endpoint}/${route}`, { action: 'upload-complete', key, fileId })
  return { limits, request, put, complete }
}

window.putParts = async ({ parts, size, type }) => {
  const file = document.querySelector('input').files[0]
  const done = []
  for (let first = 0; first < parts.length; first += 3) {
    done.push(...await Promise.all(parts.slice(first, first + 3).map(async ({ partNumber, uploadUrl }) => {
      const { etag } = await sent(uploadUrl, file.slice((partNumber - 1) * size, partNumber * size), type)
      return { partNumber, etag }
    })))
  }
  return done
}
