/**
 * The agent with threads that end, as a bug would end them, when a file of their name appears: `mortal-threads.ts FOLDER
 * CONFIG`. The file is taken away, so that the thread that follows lives.
 */
import { readFileSync } from 'node:fs'
import { runAgent } from '../../src/agent.ts'
import { loadConfig } from '../../src/config/load.ts'

const [folder, file] = process.argv.slice(2)
if (folder === undefined || file === undefined) throw new Error('usage: mortal-threads.ts FOLDER CONFIG')
const config = loadConfig(readFileSync(file, 'utf8'), process.env)
if (!config.ok) throw new Error(JSON.stringify(config.error))
process.env['SEKISHO_TEST_DEATHS'] = folder
const mortal = (thread: string): URL => new URL(`./mortal/${thread}.ts`, import.meta.url)
const overrides = {
  ledgerEntry: mortal('ledger'),
  tcpEntry: mortal('tcp'),
  compilerEntry: mortal('compiler'),
}
process.exit(await runAgent(config.value, overrides))
