import { workerData } from 'node:worker_threads'
import type { LedgerInit } from '../../../src/identity/ledger-protocol.ts'
import { runLedger } from '../../../src/ledger.ts'
import { LedgerCore } from '../../../src/ledger/core.ts'
import { dieIfAsked } from './death.ts'

// In the middle of its work: requests are taken and nothing of them is written.
const found: { value?: unknown } | undefined = Object.getOwnPropertyDescriptor(LedgerCore.prototype, 'drain')
const drain = found?.value as (this: LedgerCore) => number
LedgerCore.prototype.drain = function (this: LedgerCore): number {
  dieIfAsked('ledger')
  return drain.call(this)
}
runLedger(workerData as LedgerInit)
