/** The compiler's thread, which a file with the word POISON kills as a bug would. */
import { parentPort } from 'node:worker_threads'
import { Compiler } from '../../src/compiler.ts'
import type { CompileRequest } from '../../src/policy/compiler-protocol.ts'

const compiler = new Compiler()
parentPort?.on('message', (request: CompileRequest) => {
  if (request.files.some((file) => 'text' in file && file.text.includes('POISON'))) process.exit(70)
  parentPort?.postMessage(compiler.compile(request))
})
