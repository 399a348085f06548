// The page of the tests of React components: shows the one that is asked for.
import { createElement } from 'react'
import { createRoot } from 'react-dom/client'
import ImageKit from './ImageKit.jsx'
import Uploadcare from './Uploadcare.jsx'
import Uppy from './Uppy.jsx'

const components = { ImageKit, Uploadcare, Uppy }
window.show = ({ name, ...given }) =>
  createRoot(document.querySelector('main')).render(createElement(components[name], given))
