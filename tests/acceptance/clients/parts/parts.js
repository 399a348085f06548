// The page of the tests of uploads in parts: Uppy's aws-s3, each of its acts one request of our own API.
import AwsS3 from '@uppy/aws-s3'
import Uppy from '@uppy/core'

const picked = () => document.querySelector('input').files[0]

// What an application writes to have Uppy send parts to Safelight.
const safelight = ({ server, headers, limit = 6, begin = {} }) => {
  const ask = async (method, path, body) => {
    const json = body && { 'Content-Type': 'application/json' }
    const options = { method, headers: { ...headers, ...json }, body: body && JSON.stringify(body) }
    const answer = await fetch(`${server}/v1/uploads${path}`, options)
    if (!answer.ok) throw new Error((await answer.json()).code)
    return answer.status === 204 ? null : answer.json()
  }
  const addresses = {}
  return {
    limit,
    shouldUseMultipart: true,
    async createMultipartUpload(file) {
      const { id, parts } = await ask('POST', '', { name: file.name, size: file.size, type: file.type, way: 'parts', ...begin })
      addresses[id] = parts
      return (window.begun = { uploadId: id, key: file.name })
    },
    async signPart(_, { uploadId, partNumber }) {
      return { url: addresses[uploadId][partNumber - 1].url }
    },
    async listParts(_, { uploadId }) {
      const { items } = await ask('GET', `/${uploadId}/parts`)
      addresses[uploadId] = items
      return items.filter((part) => part.received).map((part) => ({ PartNumber: part.number, Size: part.size }))
    },
    async completeMultipartUpload(_, { uploadId, parts }) {
      const sent = parts.filter((part) => part.ETag).map((part) => ({ number: part.PartNumber, etag: part.ETag }))
      const file = await ask('POST', `/${uploadId}/finish`, { parts: sent })
      return { ...file, location: file.url }
    },
    async abortMultipartUpload(_, { uploadId }) {
      await ask('DELETE', `/${uploadId}`)
      window.aborted = uploadId
    },
  }
}

window.parts = []
window.progress = 0
window.begun = null

const opened = (options) => {
  const uppy = new Uppy().use(AwsS3, safelight(options))
  uppy.on('upload-progress', (_, { bytesUploaded }) => (window.progress = bytesUploaded))
  uppy.on('s3-multipart:part-uploaded', (_, part) => window.parts.push(part.PartNumber))
  const file = picked()
  const id = uppy.addFile({ name: file.name, type: file.type, data: file })
  // What Golden Retriever keeps over a reload of the page.
  if (options.previous) uppy.setFileState(id, { s3Multipart: options.previous })
  window.uppy = uppy
  return uppy
}

window.partsUpload = async (options) => {
  const { successful, failed } = await opened(options).upload()
  return {
    files: successful.map((one) => one.response.body),
    percentages: successful.map((one) => one.progress.percentage),
    failed: failed.map((one) => String(one.error)),
    parts: window.parts.toSorted(),
    progress: window.progress,
  }
}
