/** The worker as it is, but the answer to a name whose first label is `die` ends its thread, as a bug would. */
import { mapBeforeAnswer } from '../../src/dns/gate.ts'
import { runWorker } from '../../src/worker.ts'

const DIE = [3, 0x64, 0x69, 0x65]

runWorker({
  gate: (learner, endpointId, name, ...rest) => {
    if (DIE.every((byte, i) => name[i] === byte)) process.exit(70)
    return mapBeforeAnswer(learner, endpointId, name, ...rest)
  },
})
