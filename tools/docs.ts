/** Writes the generated pages: `make docs`. test/repo proves that they are equal to the code. */
import { writeFileSync } from 'node:fs'
import { configurationPage } from './configuration-page.ts'
import { crdManifest } from './crd.ts'
import { metricsPage } from './metrics-page.ts'

writeFileSync('docs/configuration.md', configurationPage())
writeFileSync('deploy/kustomize/crd.yaml', crdManifest())
writeFileSync('docs/metrics.md', await metricsPage())
// The process metrics keep an observer of the garbage collector.
process.exit(0)
