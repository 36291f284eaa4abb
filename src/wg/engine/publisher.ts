import { formatCidr, formatIp } from '../../core/ip.ts'
import type { NodeDirectory } from '../directory/directory.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from '../directory/record.ts'
import type { WgEffect } from '../machine-types.ts'
import { SLOTS } from '../slots.ts'
import { endsWithin } from './clock.ts'
import type { Faults } from './faults.ts'
import type { EngineClock, EngineOptions, SelfAddresses } from './types.ts'

type Publish = Extract<WgEffect, { kind: 'publish' }>

export interface PublisherParts {
  readonly directory: NodeDirectory
  readonly options: Pick<EngineOptions, 'domain' | 'node' | 'uid' | 'bootId' | 'ports'>
  readonly self: () => SelfAddresses
  readonly clock: EngineClock
  readonly faults: Faults
  readonly timeoutMs: number
  readonly published: (effect: Publish) => void
}

/** Writes our record: one write at a time, and always the newest. The machine asks again for one that failed. */
export class Publisher {
  writes = 0
  /** When this UID first published. */
  created: number | undefined
  readonly #p: PublisherParts
  #wanted: Publish | undefined
  #running: Promise<void> | undefined
  #open = false

  constructor(parts: PublisherParts) {
    this.#p = parts
  }

  /** Closed until we know what the directory has of us: a lower revision than that one would be believed by nobody. */
  get open(): boolean {
    return this.#open
  }

  setOpen(): void {
    this.#open = true
    this.#start()
  }

  publish(effect: Publish): void {
    this.#wanted = effect
    this.#start()
  }

  async stop(waitMs: number): Promise<void> {
    this.#open = false
    if (this.#running !== undefined) await endsWithin(this.#p.clock, waitMs, this.#running)
  }

  #start(): void {
    if (!this.#open || this.#running !== undefined || this.#wanted === undefined) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      this.#start()
    })
  }

  async #run(): Promise<void> {
    while (this.#open && this.#wanted !== undefined) {
      const effect = this.#wanted
      this.#wanted = undefined
      try {
        const write = this.#p.directory.publish(this.#record(effect))
        if (!(await endsWithin(this.#p.clock, this.#p.timeoutMs, write))) throw new Error('no answer in time')
        await write
        this.writes++
      } catch (error) {
        this.#p.faults.tell('publishing the record of this node', error)
        continue
      }
      this.#p.published(effect)
    }
  }

  /** As a record spells them. */
  addresses(): Pick<NodeRecord, 'endpoints' | 'prefixes' | 'nodeIPs'> {
    const self = this.#p.self()
    return {
      endpoints: self.endpoints.map((ip) => ({ ip: formatIp(ip) })),
      prefixes: self.prefixes.map(formatCidr),
      nodeIPs: self.nodeIPs.map(formatIp),
    }
  }

  #record({ revision, slots, drain }: Publish): NodeRecord {
    const { domain, node, uid, bootId, ports } = this.#p.options
    this.created ??= this.#p.clock.wallMs()
    return {
      domain,
      node,
      nodeUID: uid,
      bootID: bootId,
      created: this.created,
      revision,
      ...this.addresses(),
      slots: SLOTS.map((id) => ({
        id,
        port: ports[id],
        publicKey: slots[id].publicKey,
        gen: slots[id].generation,
        // A record takes whole milliseconds.
        since: Math.floor(slots[id].since),
      })),
      drain: drain === null ? null : { ...drain, since: Math.floor(drain.since) },
      caps: [CAP_TWO_SLOTS, CAP_PROBES],
    }
  }
}
