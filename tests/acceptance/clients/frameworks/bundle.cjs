// Prints what a page becomes with all that it imports, Vue's single-file components too; packages are on NODE_PATH.
const { readFileSync } = require('node:fs')
const { build } = require('esbuild')

const isCustomElement = (tag) => tag.startsWith('uc-')

const compiled = ({ path }) => {
  const { compileScript, parse } = require('vue/compiler-sfc')
  const { descriptor } = parse(readFileSync(path, 'utf8'), { filename: path })
  const templateOptions = { compilerOptions: { isCustomElement } }
  return { contents: compileScript(descriptor, { id: path, inlineTemplate: true, templateOptions }).content }
}

const vue = { name: 'vue', setup: (building) => building.onLoad({ filter: /\.vue$/ }, compiled) }

build({
  entryPoints: [process.argv[2]],
  bundle: true,
  format: 'iife',
  jsx: 'automatic',
  loader: { '.css': 'empty' },
  logLevel: 'error',
  nodePaths: [process.env.NODE_PATH],
  plugins: [vue],
  write: false,
}).then(({ outputFiles: [page] }) => process.stdout.write(page.text), () => process.exit(1))
