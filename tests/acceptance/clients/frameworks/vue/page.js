// The page of the tests of Vue components: shows the one that is asked for.
import { createApp } from 'vue'
import ImageKit from './ImageKit.vue'
import Uploadcare from './Uploadcare.vue'
import Uppy from './Uppy.vue'

const components = { ImageKit, Uploadcare, Uppy }
window.show = ({ name, ...given }) => createApp(components[name], given).mount('main')
