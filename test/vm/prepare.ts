/** `node test/vm/prepare.ts [kernel...]`: fetches what guests boot, so that the tests themselves wait for no mirror. */
import { META_PACKAGES, prepareBase, prepareKernel } from './image.ts'

const lines = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(META_PACKAGES)
for (const line of lines) prepareKernel(line)
prepareBase()
