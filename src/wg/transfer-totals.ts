import type { MetricSample } from '../core/metric.ts'
import type { WgPeerReport } from './report.ts'
import { SLOTS, type Slot } from './slots.ts'

interface Counted {
  readonly rx: number
  readonly tx: number
}

/**
 * Octets of each slot over all peers. A peer whose key changes, or that goes, takes its counters with it: what it had stays in
 * the sum, so that the sum never falls.
 */
export class TransferTotals {
  readonly #totals: [received: number, sent: number][] = SLOTS.map(() => [0, 0])
  #last = new Map<string, Counted>()

  observe(peers: readonly WgPeerReport[]): void {
    const seen = new Map<string, Counted>()
    for (const { tunnels } of peers) {
      for (const { slot, publicKey, rxBytes: rx, txBytes: tx } of tunnels) {
        if (publicKey === undefined) continue
        const key = `${slot} ${publicKey}`
        const before = this.#last.get(key)
        this.#add(slot, since(before?.rx, rx), since(before?.tx, tx))
        seen.set(key, { rx, tx })
      }
    }
    this.#last = seen
  }

  *samples(): Iterable<MetricSample> {
    for (const [slot, [received, sent]] of this.#totals.entries()) {
      const name = 'sekisho_wg_transfer_bytes_total'
      yield { name, labels: { slot: String(slot), direction: 'received' }, value: received }
      yield { name, labels: { slot: String(slot), direction: 'sent' }, value: sent }
    }
  }

  #add(slot: Slot, received: number, sent: number): void {
    const total = this.#totals[slot]
    if (total === undefined) return
    total[0] += received
    total[1] += sent
  }
}

/** A device that was made again counts from 0. */
const since = (before: number | undefined, now: number): number =>
  before === undefined || now < before ? now : now - before
