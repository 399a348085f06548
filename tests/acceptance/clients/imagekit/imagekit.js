// The page of the ImageKit tests: the browser build, which is told of another host by an XHR of the caller's.
import * as client from '@imagekit/javascript'

const elsewhere = (base) => {
  const xhr = new XMLHttpRequest()
  const open = xhr.open.bind(xhr)
  xhr.open = (method, url) => open(method, url.replace('https://upload.imagekit.io', base))
  return xhr
}

const picked = () => document.querySelector('input').files[0]

window.ik = {
  upload: async (base, options) => {
    const seen = []
    const { abort, ...given } = options
    if (given.file === '$file') given.file = picked()
    const control = new AbortController()
    const onProgress = ({ loaded, total }) => seen.push([loaded, total])
    if (abort) control.abort('changed my mind')
    try {
      const made = await client.upload({ ...given, onProgress, abortSignal: control.signal, xhr: elsewhere(base) })
      return { made, seen, request: made.$ResponseMetadata }
    } catch (error) {
      return { error: { name: error.name, message: error.message, request: error.$ResponseMetadata } }
    }
  },
  size: (options) =>
    new Promise((take, fail) => {
      const image = new Image()
      image.onload = () => take([image.naturalWidth, image.naturalHeight])
      image.onerror = () => fail(new Error(image.src))
      image.src = client.buildSrc(options)
    }),
}
