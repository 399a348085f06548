// The page of the tests of files sent in one request: Uppy's forms, bodies and presigned PUTs.
import AwsS3 from '@uppy/aws-s3'
import Uppy from '@uppy/core'
import XHRUpload from '@uppy/xhr-upload'

const told = (uppy) => async () => {
  const { successful, failed } = await uppy.upload()
  return {
    files: successful.map((one) => one.response.body),
    urls: successful.map((one) => one.uploadURL),
    percentages: successful.map((one) => one.progress.percentage),
    failed: failed.map((one) => [one.response?.status ?? null, one.error]),
    progress: window.progress,
  }
}

const filled = (uppy, meta) => {
  window.progress = []
  uppy.on('upload-progress', (_, { bytesUploaded }) => window.progress.push(bytesUploaded))
  for (const file of document.querySelector('input').files) {
    uppy.addFile({ name: file.name, type: file.type, data: file, meta })
  }
  window.uppy = uppy
  return told(uppy)
}

window.formUpload = ({ meta = {}, ...options }) => filled(new Uppy({ meta }).use(XHRUpload, options), meta)()

// The whole file by one presigned PUT: this Uppy asks only where it goes.
window.putUpload = async ({ server, headers }) => {
  const sent = {}
  const ask = async (path, body) => {
    const options = { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
    return (await fetch(`${server}/v1/uploads${path}`, options)).json()
  }
  const file = document.querySelector('input').files[0]
  const uppy = new Uppy().use(AwsS3, {
    shouldUseMultipart: false,
    async signRequest({ key, contentType }) {
      const upload = await ask('', { name: file.name, size: file.size, type: contentType, way: 'put' })
      sent[key] = upload.id
      return { url: upload.put.url, headers: upload.put.headers }
    },
  })
  const done = await filled(uppy, {})()
  const ids = done.files.map(({ key }) => sent[key])
  return { ...done, files: await Promise.all(ids.map((id) => ask(`/${id}/finish`, {}))) }
}
