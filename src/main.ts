import { run } from './cli/main.ts'
import { processIo } from './cli/process-io.ts'

const status = await run(process.argv.slice(2), processIo(), {
  root: process.geteuid?.() === 0,
  load: () => import('./agent.ts'),
})
// Pipes and terminals are written synchronously on Linux: nothing is lost, and nothing left over keeps the process.
process.exit(status)
