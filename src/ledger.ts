import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { openConntrackMap, openIpcacheMap, openPolicyMaps } from './bpf/maps.ts'
import { Doorbell } from './fqdn/shared/doorbell.ts'
import { type ClientWake, COMPLETIONS_READY, type LedgerInit, type LedgerRequest } from './identity/ledger-protocol.ts'
import { LedgerCore } from './ledger/core.ts'
import { loadNative } from './native/load.ts'
import { openSnapshot } from './policy/snapshot.ts'

/**
 * Composition root of the ledger thread: a synchronous loop on its doorbell. Requests first, then at most one slice of
 * everything else, again. It never returns to its event loop before it ends: nothing here may await, log to the
 * console or use a timer.
 */
export function runLedger(init: LedgerInit): void {
  const port = parentPort
  if (port === null) throw new Error('ledger.ts runs as a worker thread')
  const native = loadNative()
  const bell = new Doorbell(init.learning.bell)
  const { maps } = init
  const core = new LedgerCore({
    ...init,
    stats: new Float64Array(init.stats),
    ipcache: openIpcacheMap(native, maps.ipcache),
    policyMaps: openPolicyMaps(native, maps.policy, { proxyPort: init.proxyPort, entries: init.policyEntries }),
    conntrack: openConntrackMap(native, maps),
    openView: openSnapshot,
    makeWake(wake: ClientWake | null) {
      if (wake === null) return () => undefined
      if (wake.kind === 'event') return () => native.kick(wake.fd)
      return () => wake.port.postMessage(COMPLETIONS_READY)
    },
    post: (message, transfer) => port.postMessage(message, transfer === undefined ? [] : [...transfer]),
    nowMs: () => native.monotonicMs(),
  })
  while (!bell.stopping) {
    const seen = bell.seen()
    for (let envelope; (envelope = receiveMessageOnPort(port)) !== undefined;) {
      core.request(envelope.message as LedgerRequest)
    }
    const drained = core.drain()
    const pause = core.slice()
    // At most a slice lies between two batches; with requests waiting there is no sleep at all.
    if (drained === 0 && pause > 0) bell.sleep(seen, pause)
  }
  core.stop()
}

if (import.meta.main) runLedger(workerData as LedgerInit)
