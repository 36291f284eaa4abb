/**
 * The worker with the order of map and answer swapped: the mapping is submitted and the answer goes out at once. The
 * test that runs it shows that the order is what lets first packets pass.
 */
import { GATE_RELEASE } from '../../src/dns/gate.ts'
import type { AnswerGate } from '../../src/dns/gate.ts'
import { runWorker } from '../../src/worker.ts'

/** Stands for no slot: nobody waits for the completion. */
const NOBODY = 0xffff_ffff

const answerBeforeMap: AnswerGate = (learner, endpointId, name, nameLength, addresses, count, ttl, nowMs) => {
  if (!learner.standing(endpointId, name, 0, nameLength, addresses, count, ttl, nowMs)) {
    learner.submit(NOBODY, endpointId, name, 0, nameLength, addresses, count, ttl)
  }
  return GATE_RELEASE
}

runWorker({ gate: answerBeforeMap })
