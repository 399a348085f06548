// The page of the Uploadcare tests: the browser build of upload-client, its results as plain data.
import * as client from '@uploadcare/upload-client'

const picked = () => document.querySelector('input').files[0]

window.uc = async (name, ...given) => {
  const seen = []
  const args = given.map((value) => {
    if (value === '$file') return picked()
    if (value && value.onProgress) return { ...value, onProgress: ({ value }) => seen.push(value) }
    return value
  })
  try {
    const made = await client[name](...args)
    return { made: JSON.parse(JSON.stringify(made)), seen }
  } catch (error) {
    return { error: { name: error.name, message: error.message, code: error.code }, seen }
  }
}
