import { InOrder } from '../drivers/in-order.ts'
import type { WgEvent, WgState } from '../machine-types.ts'
import type { WgDeviceOptions, WgDriver } from '../ports.ts'
import type { Recreations } from '../report.ts'
import type { Prober, Routing, SlotCounter } from '../seams.ts'
import type { Slot } from '../slots.ts'
import { sleep } from './clock.ts'
import type { Executor } from './executor.ts'
import type { Faults } from './faults.ts'
import type { EngineClock } from './types.ts'

const LOOK_MS = 50
/** Packets that still leave by the slot are waited for: long before a planned change, shortly before another. */
const LEAVE_MS = { Rotate: 10_000, Repair: 3_000, Compromise: 3_000 } as const
const MAX_BACKOFF = 32

export interface SlotJobsParts {
  readonly driver: WgDriver
  readonly devices: readonly [string, string]
  readonly options: (slot: Slot) => WgDeviceOptions
  readonly routing: Routing
  readonly lane: InOrder
  readonly prober: Prober
  readonly counter: SlotCounter
  readonly executor: Executor
  readonly state: () => WgState
  readonly feed: (event: WgEvent) => void
  readonly clock: EngineClock
  readonly faults: Faults
  readonly retryMs: number
}

type Counts = { -readonly [reason in keyof Recreations]: number }

/** What the attempts of one job have come to. */
interface Attempts {
  /** The new device stands. */
  made: boolean
  /** There was one to be deleted. */
  stood: boolean
}

/**
 * What takes long with a device: a new key, a new device, the end of its sessions. One at a time for each slot, beside
 * everything else; a job that fails begins again until the machine wants it no more.
 */
export class SlotJobs {
  readonly recreated: readonly [Counts, Counts] = [
    { missing: 0, broken: 0 },
    { missing: 0, broken: 0 },
  ]
  readonly #p: SlotJobsParts
  readonly #lanes = [new InOrder(), new InOrder()] as const
  readonly #busy: [number, number] = [0, 0]
  /** Counts jobs: what was read of the device before one says nothing after it. */
  readonly #changes: [number, number] = [0, 0]
  readonly #keys: [boolean, boolean] = [false, false]
  #pending = 0
  #stopped = false
  #done: () => void = () => undefined

  constructor(parts: SlotJobsParts) {
    this.#p = parts
  }

  busy(slot: Slot): boolean {
    return this.#busy[slot] > 0
  }

  /** From the order to change the key until that is told, also between two attempts. */
  changesKey(slot: Slot): boolean {
    return this.#keys[slot]
  }

  changes(slot: Slot): number {
    return this.#changes[slot]
  }

  /** `whole`: the device too. Asked for again while it runs, it is not done twice. */
  changeKey(slot: Slot, whole: boolean): void {
    if (this.#keys[slot]) return
    this.#keys[slot] = true
    const again = (): boolean => {
      const { rotation } = this.#p.state()
      return rotation.phase === 'rekeying' && rotation.slot === slot
    }
    const device: Attempts = { made: false, stood: false }
    const job = async (): Promise<void> => {
      await this.#left(slot)
      if (whole || device.made) await this.#recreate(slot, device)
      else await this.#newKey(slot, device)
    }
    this.#run(slot, whole ? 'making a device again' : 'changing a key', job, again, () => {
      this.#keys[slot] = false
    })
  }

  cutSessions(slot: Slot): void {
    const name = this.#p.devices[slot]
    const job = async (): Promise<void> => {
      // The sessions of a device that is gone are gone with it; and what makes it again waits behind this job.
      if ((await this.#p.driver.read(name)) === undefined) return
      await this.#p.driver.restart(name)
      await this.#p.lane.run(() => this.#p.routing.slotReplaced(slot))
    }
    this.#run(slot, 'ending the sessions of a key', job, () => true)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    if (this.#pending === 0) return
    await new Promise<void>((resolve) => {
      this.#done = resolve
    })
  }

  #run(slot: Slot, what: string, job: () => Promise<void>, again: () => boolean, end: () => void = () => undefined) {
    this.#pending++
    void this.#lanes[slot]
      .run(async () => {
        for (let backoff = 1; !this.#stopped; backoff = Math.min(backoff * 2, MAX_BACKOFF)) {
          this.#busy[slot]++
          this.#changes[slot]++
          try {
            await job()
            return
          } catch (error) {
            this.#p.faults.tell(what, error, { slot })
          } finally {
            this.#busy[slot]--
            this.#changes[slot]++
          }
          await sleep(this.#p.clock, this.#p.retryMs * backoff)
          if (!again()) return
        }
      })
      .finally(() => {
        this.#pending--
        end()
        if (this.#pending === 0) this.#done()
      })
  }

  async #left(slot: Slot): Promise<void> {
    const { rotation } = this.#p.state()
    const waitMs = LEAVE_MS[rotation.phase === 'idle' ? 'Repair' : rotation.reason]
    for (let waited = 0; this.#p.executor.leaving(slot) && waited < waitMs && !this.#stopped; waited += LOOK_MS) {
      await sleep(this.#p.clock, LOOK_MS)
    }
  }

  async #newKey(slot: Slot, made: Attempts): Promise<void> {
    const name = this.#p.devices[slot]
    const device = await this.#p.driver.read(name)
    if (device === undefined) return this.#recreate(slot, made)
    const old = this.#p.state().slots[slot].publicKey
    // An attempt before this one may have come further than it could tell.
    const changed = device.publicKey !== undefined && device.publicKey !== old
    const publicKey = changed ? device.publicKey : await this.#p.driver.rotateKey(name)
    this.#p.feed({ kind: 'keyMade', slot, publicKey, wallMs: this.#p.clock.wallMs() })
  }

  async #recreate(slot: Slot, device: Attempts): Promise<void> {
    const name = this.#p.devices[slot]
    this.#p.executor.pause(slot, true)
    try {
      if (!device.made) device.stood = (await this.#p.driver.delete(name)) || device.stood
      const { publicKey, created } = await this.#p.driver.create(name, this.#p.options(slot))
      if (created) this.recreated[slot][device.stood ? 'broken' : 'missing']++
      device.made = true
      await this.#p.lane.run(() => this.#p.routing.slotReplaced(slot))
      await this.#p.prober.slotReplaced(slot)
      await this.#p.counter.slotReplaced(slot)
      await this.#p.executor.programAll(slot)
      this.#p.feed({ kind: 'keyMade', slot, publicKey, wallMs: this.#p.clock.wallMs() })
    } finally {
      this.#p.executor.pause(slot, false)
    }
  }
}
