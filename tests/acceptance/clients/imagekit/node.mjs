// @imagekit/nodejs as its users write it: asked by one argument of JSON, told by one line of it.
import { createReadStream, readFileSync } from 'node:fs'
import ImageKit, { toFile } from '@imagekit/nodejs'

const { address, key, photo } = JSON.parse(process.argv[2])
const client = new ImageKit({ privateKey: key, baseURL: `${address}/imagekit` })
const urlEndpoint = `${address}/imagekit/ik/demo`
const told = {}

told.upload = await client.files.upload({
  file: createReadStream(photo),
  fileName: 'Grüße aus 東京.jpg',
  useUniqueFileName: false,
  folder: '/node/ünder',
  tags: ['one', 'two'],
  isPrivateFile: true,
  responseFields: ['tags', 'metadata'],
  transformation: { pre: 'w-200,h-100' },
})
const id = told.upload.fileId
told.again = await client.files.upload({
  file: await toFile(readFileSync(photo), 'x.jpg'),
  fileName: 'Grüße aus 東京.jpg',
  useUniqueFileName: false,
  folder: '/node/ünder',
  isPrivateFile: true,
  overwriteTags: false,
})
told.base64 = await client.files.upload({
  file: readFileSync(photo).toString('base64'),
  fileName: 'letters.jpg',
  folder: '/node',
})
told.url = await client.files.upload({ file: `${told.base64.url}?tr=orig-true`, fileName: 'fetched.jpg', folder: '/node' })
told.listed = await client.assets.list({ path: '/node/ünder', searchQuery: 'tags IN ["one"]' })
told.details = await client.files.get(id)
told.updated = await client.files.update(id, { tags: ['three'], customCoordinates: '0,0,50,50' })
told.versions = await client.files.versions.list(id)
told.metadata = await client.files.metadata.get(id)

const src = told.upload.filePath
const transformation = [{ width: 120, height: 90, crop: 'force' }, { rotation: 90, format: 'png' }]
const fetched = async (options) => {
  const answer = await fetch(client.helper.buildSrc({ urlEndpoint, src, ...options }))
  return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()).toString('base64') }
}
told.pictures = {
  bare: await fetched({ transformation }),
  signed: await fetched({ transformation, signed: true }),
  expiring: await fetched({ transformation, transformationPosition: 'path', expiresIn: 300 }),
  original: await fetched({ signed: true, queryParameters: { 'orig-true': 'x' } }),
}

await client.files.copy({ sourceFilePath: told.base64.filePath, destinationPath: '/node/copies' })
const began = Date.now()
try {
  await client.files.rename({ filePath: told.base64.filePath, newFileName: told.url.name })
} catch (error) {
  told.clash = { name: error.constructor.name, status: error.status, ms: Date.now() - began }
}
try {
  await client.files.upload({ file: 'x'.repeat(20), fileName: 'a.txt', folder: '../up' })
} catch (error) {
  told.refused = { name: error.constructor.name, status: error.status, message: error.message }
}
await client.files.delete(id)
try {
  await client.files.get(id)
} catch (error) {
  told.gone = { name: error.constructor.name, status: error.status, message: error.error?.message }
}
told.parameters = client.helper.getAuthenticationParameters('your_token', 1582269249)
console.log(JSON.stringify(told))
