import { parentPort } from 'node:worker_threads'
import { Compiler } from '../../../src/compiler.ts'
import type { CompileRequest } from '../../../src/policy/compiler-protocol.ts'
import { dieIfAsked } from './death.ts'

// Before the answer: whoever waits for it must not wait for ever.
const compiler = new Compiler()
parentPort?.on('message', (request: CompileRequest) => {
  dieIfAsked('compiler')
  parentPort?.postMessage(compiler.compile(request))
})
