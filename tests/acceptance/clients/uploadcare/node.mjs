// Node builds of Uploadcare's packages behind lines of JSON: {"from", "name", "args"} in, {"made"} or {"error"} out.
// {"$path"} stands for the bytes of a file, {"$auth"} for a scheme of the REST API.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import * as rest from '@uploadcare/rest-client'
import * as signed from '@uploadcare/signed-uploads'
import * as upload from '@uploadcare/upload-client'

const packages = { rest, signed, upload }

const scheme = ({ simple, publicKey, secretKey }) =>
  new (simple ? rest.UploadcareSimpleAuthSchema : rest.UploadcareAuthSchema)({ publicKey, secretKey })

const real = (value) => {
  if (value && typeof value === 'object') {
    if (value.$path) return readFileSync(value.$path)
    if (value.$auth) return scheme(value.$auth)
    if (Array.isArray(value)) return value.map(real)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, real(inner)]))
  }
  return value
}

const collected = async (pages) => {
  const made = []
  for await (const page of pages) made.push(page)
  return made
}

const answer = async ({ from, name, args, paged }) => {
  try {
    const act = packages[from][name]
    if (paged) return { made: await collected(rest.paginate(act)(...args.map(real))) }
    return { made: await act(...args.map(real)) }
  } catch (error) {
    const { name, message, code, status } = error
    return { error: { name, message, code, status } }
  }
}

createInterface({ input: process.stdin }).on('line', async (line) => {
  const asked = JSON.parse(line)
  console.log(JSON.stringify({ id: asked.id, ...(await answer(asked)) }))
})
