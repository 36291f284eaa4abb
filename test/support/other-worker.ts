/** The agent with another dns worker than its own: `other-worker.ts WORKER CONFIG`. For tests that need a wrong one. */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { runAgent } from '../../src/agent.ts'
import { loadConfig } from '../../src/config/load.ts'

const [worker, file] = process.argv.slice(2)
if (worker === undefined || file === undefined) throw new Error('usage: other-worker.ts WORKER CONFIG')
const config = loadConfig(readFileSync(file, 'utf8'), process.env)
if (!config.ok) throw new Error(JSON.stringify(config.error))
process.exit(await runAgent(config.value, { workerEntry: pathToFileURL(worker) }))
