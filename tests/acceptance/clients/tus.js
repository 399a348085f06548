// The page of the tus tests: tus-js-client and Uppy as any application has them, each upload a promise.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'
import * as tus from 'tus-js-client'

const picked = () => document.querySelector('input').files[0]
window.sent = []
const counted = {
  onBeforeRequest: (request) => window.sent.push([request.getMethod(), request.getURL()]),
}

window.tusUpload = (options) =>
  new Promise((resolve, reject) => {
    const file = picked()
    const upload = new tus.Upload(file, {
      retryDelays: [0, 100, 200, 400, 400, 400, 400, 400],
      metadata: { filename: file.name, filetype: file.type },
      ...counted,
      onError: (error) => reject(String(error)),
      onSuccess: ({ lastResponse }) =>
        resolve({ url: upload.url, file: lastResponse.getHeader('Safelight-File'), sent: window.sent }),
      ...options,
    })
    upload.start()
  })

window.tusResume = async (options) => {
  const file = picked()
  const previous = await new tus.Upload(file, options).findPreviousUploads()
  return new Promise((resolve, reject) => {
    const upload = new tus.Upload(file, {
      ...options,
      ...counted,
      onError: (error) => reject(String(error)),
      onSuccess: () => resolve({ url: upload.url, found: previous.length, sent: window.sent }),
    })
    upload.resumeFromPreviousUpload(previous[0])
    upload.start()
  })
}

window.uppyUpload = async (options) => {
  const uppy = new Uppy().use(Tus, { ...options, ...counted })
  window.progress = 0
  uppy.on('upload-progress', (_, { bytesUploaded }) => (window.progress = bytesUploaded))
  const file = picked()
  uppy.addFile({ name: file.name, type: file.type, data: file, meta: { album: 'May' } })
  const { successful, failed } = await uppy.upload()
  return { urls: successful.map((one) => one.uploadURL), failed: failed.map((one) => String(one.error)), sent: window.sent }
}
