import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeIpcacheKey } from '../../src/bpf/layouts.ts'
import { mapSpecs, openIpcacheMap } from '../../src/bpf/maps.ts'
import { policyInnerSpec } from '../../src/bpf/map-specs.ts'
import { formatCidr, parseIp, writeAddr16 } from '../../src/core/ip.ts'
import { createLearner, type SharedLearner } from '../../src/fqdn/shared/learner.ts'
import { createLearningMemory, type LearningMemory } from '../../src/fqdn/shared/learning-memory.ts'
import { Doorbell } from '../../src/fqdn/shared/doorbell.ts'
import { STATS_LENGTH } from '../../src/identity/counters.ts'
import type { LedgerInit, LedgerMessage, LedgerRequest } from '../../src/identity/ledger-protocol.ts'
import { loadNative } from '../../src/native/load.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { parseCilium } from '../../src/policy/dialects/cilium.ts'
import { wire } from '../support/fake-view.ts'

const native = loadNative()
const SIZES = { ipcacheEntries: 32_768, policyEntries: 1024, conntrackEntries: 1024 }
const MAPS = ['ipcache', 'policy', 'ct4', 'ct_any4', 'ct6', 'ct_any6'] as const

const policyText = (...patterns: string[]): string => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  endpointSelector: { matchLabels: { app: web } }
  egress:
    - toFQDNs: [${patterns.map((pattern) => `{ matchPattern: "${pattern}" }`).join(', ')}]
      toPorts: [{ ports: [{ port: "443", protocol: TCP }] }]
    - toCIDRSet: [{ cidr: 198.51.100.0/24, except: [198.51.100.128/25] }]
`

function compile(generation: number, text: string): SharedArrayBuffer {
  const { policies, problems } = parseCilium(text, 'web.yaml')
  expect(problems).toEqual([])
  const endpoint = { id: 7, name: 'web-0', namespace: 'shop', labels: { app: 'web' }, addresses: [parseIp('10.0.0.7')] }
  const compiled = compilePolicy({ generation, policies, endpoints: [endpoint] })
  if (compiled.buffer === undefined) throw new Error(JSON.stringify(compiled.problems))
  return compiled.buffer
}

/** The ledger as main runs it: a thread of its own, real maps, one client with an eventfd. */
class Bed {
  readonly directory = mkdtempSync(join(tmpdir(), 'sekisho-ledger-'))
  readonly maps = Object.fromEntries(MAPS.map((name) => [name, this.#make(name)])) as unknown as LedgerInit['maps']
  readonly kick = native.openEvent()
  readonly messages: LedgerMessage[] = []
  readonly ipcache = openIpcacheMap(native, this.maps.ipcache)
  learning: LearningMemory = this.#memory()
  learner: SharedLearner = createLearner(this.learning, 0)
  #worker: Worker | undefined
  #exited: Promise<void> = Promise.resolve()
  #ticket = 0

  #make(name: (typeof MAPS)[number]): number {
    const spec = mapSpecs(SIZES)[name]
    if (name !== 'policy') return native.bpfMapCreate(spec)
    const inner = native.bpfMapCreate(policyInnerSpec(SIZES.policyEntries))
    const fd = native.bpfMapCreate({ ...spec, inner })
    native.close(inner)
    return fd
  }

  #memory(): LearningMemory {
    const seed = [1, 2] as const
    return createLearningMemory({
      clients: 1,
      slotsPerClient: 64,
      maxEntries: 50_000,
      minTtlSeconds: 0,
      graceSeconds: 0,
      seed,
    })
  }

  start(restarted = false): void {
    const init: LedgerInit = {
      kind: 'sekisho-ledger',
      learning: this.learning,
      wakes: [{ kind: 'event', fd: this.kick }],
      stats: new SharedArrayBuffer(8 * STATS_LENGTH),
      maps: this.maps,
      proxyPort: 10_053,
      policyEntries: SIZES.policyEntries,
      ipcacheEntries: SIZES.ipcacheEntries,
      limits: {
        maxAddressesPerName: 1000,
        maxNamesPerEndpoint: 50_000,
        maxEntriesPerEndpoint: 50_000,
        maxEntries: 50_000,
      },
      conntrackIntervalMs: 200,
      nodeAddresses: ['10.0.0.1'],
      stateDir: this.directory,
      snapshotIntervalMs: 5000,
      bootId: new Uint8Array(16),
      restarted,
    }
    new Doorbell(this.learning.bell).rearm()
    const worker = new Worker(new URL('../../src/ledger.ts', import.meta.url), { workerData: init, execArgv: [] })
    worker.on('message', (message: LedgerMessage) => this.messages.push(message))
    this.#exited = new Promise((resolve) => worker.once('exit', () => resolve()))
    this.#worker = worker
  }

  /** As kill -9: nothing is flushed, shared memory is gone. */
  async kill(): Promise<void> {
    const ended = this.#worker?.terminate()
    new Doorbell(this.learning.bell).ring()
    await ended
    this.learning = this.#memory()
    this.learner = createLearner(this.learning, 0)
  }

  async stop(): Promise<void> {
    new Doorbell(this.learning.bell).stop()
    await this.#exited
  }

  post(message: LedgerRequest): void {
    this.#worker?.postMessage(message)
    new Doorbell(this.learning.bell).ring()
  }

  async until(what: string, done: () => boolean): Promise<void> {
    for (const end = performance.now() + 15_000; !done();) {
      if (performance.now() > end) throw new Error(`not in time: ${what}; ${JSON.stringify(this.messages.slice(-3))}`)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }

  async apply(generation: number, text: string): Promise<void> {
    this.post({ type: 'snapshot', generation, buffer: compile(generation, text) })
    await this.until('ack', () =>
      this.messages.some((message) => message.type === 'ack' && message.generation === generation),
    )
    this.post({ type: 'settled', generation })
  }

  submit(name: string, address: string, ttl: number): number {
    const octets = wire(name)
    const packed = new Uint8Array(16)
    writeAddr16(parseIp(address), packed, 0)
    const ticket = ++this.#ticket
    return this.learner.submit(ticket, 7, octets, 0, octets.length, packed, 1, ttl) ? ticket : -1
  }

  async learn(name: string, address: string, ttl = 300): Promise<number> {
    const ticket = this.submit(name, address, ttl)
    const tickets = new Uint32Array(1)
    const statuses = new Uint8Array(1)
    await this.until('completion', () => this.learner.completed(tickets, statuses) === 1)
    expect(tickets[0]).toBe(ticket)
    return statuses[0] as number
  }

  /** The identity a packet to this address meets. */
  identityOf(address: string): number {
    const ip = parseIp(address)
    const key = new Uint8Array(24)
    encodeIpcacheKey({ ip, bits: ip.bytes.length * 8 }, key, 0)
    const value = new Uint8Array(24)
    return native.bpfMapLookup(this.maps.ipcache, key, value) ? new DataView(value.buffer).getUint32(0, true) : 0
  }

  /** Id of the inner map that the kernel has for the endpoint. */
  get innerId(): number | undefined {
    const value = new Uint8Array(4)
    const key = new Uint8Array(new Uint32Array([7]).buffer)
    return native.bpfMapLookup(this.maps.policy, key, value) ? new DataView(value.buffer).getUint32(0, true) : undefined
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
    for (const name of MAPS) native.close(this.maps[name])
    native.close(this.kick)
    rmSync(this.directory, { recursive: true, force: true })
  }
}

let bed: Bed
beforeEach(() => {
  bed = new Bed()
  bed.start()
})
afterEach(async () => {
  new Doorbell(bed.learning.bell).stop()
  await bed.close()
})

const entries = (): [string, number][] =>
  [...bed.ipcache.dump()].map(({ cidr, identity }): [string, number] => [formatCidr(cidr), identity]).sort()

describe('the ledger thread on real maps', () => {
  it('has the address in the kernel when the completion is seen', async () => {
    await bed.apply(1, policyText('*.example.com'))
    expect([bed.identityOf('192.0.2.1'), bed.identityOf('2001:db8::1')]).toEqual([9, 10])
    expect(await bed.learn('www.example.com', '192.0.2.1')).toBe(0)
    expect(bed.identityOf('192.0.2.1')).toBeGreaterThan(0x0100_0000)
    expect(await bed.learn('www.example.com', '2001:db8::1')).toBe(0)
    expect(bed.identityOf('2001:db8::1')).toBeGreaterThan(0x0100_0000)
    expect(bed.innerId).toBeGreaterThan(0)
    expect(bed.identityOf('198.51.100.1')).not.toBe(bed.identityOf('198.51.100.200'))
    expect(bed.identityOf('10.0.0.1')).toBe(1)
    expect(bed.identityOf('10.0.0.7')).toBeGreaterThanOrEqual(256)
  })

  it('keeps ten thousand never-seen addresses in order', async () => {
    await bed.apply(1, policyText('*.example.com'))
    const count = 10_000
    const tickets = new Uint32Array(64)
    const statuses = new Uint8Array(64)
    const address = (n: number): string => `172.${16 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`
    let wrong = 0
    let done = 0
    let sent = 0
    const byTicket = new Map<number, number>()
    const end = performance.now() + 40_000
    while (done < count && performance.now() < end) {
      while (sent < count) {
        const ticket = bed.submit(`n${sent}.example.com`, address(sent), 300)
        if (ticket < 0) break
        byTicket.set(ticket, sent++)
      }
      const n = bed.learner.completed(tickets, statuses)
      for (let i = 0; i < n; i++) {
        const which = byTicket.get(tickets[i] as number) ?? -1
        if (statuses[i] !== 0 || bed.identityOf(address(which)) < 0x0100_0000) wrong++
        done++
      }
      if (n === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    expect([done, wrong]).toEqual([count, 0])
  })

  it('takes an expired address out, and keeps one that a connection uses', async () => {
    await bed.apply(1, policyText('*.example.com'))
    await bed.learn('a.example.com', '192.0.2.1', 1)
    await bed.learn('b.example.com', '192.0.2.2', 1)
    const key = new Uint8Array(14)
    key.set([10, 0, 0, 7], 0)
    key.set([192, 0, 2, 2], 4)
    key.set([1, 187, 156, 64, 6, 0], 8)
    const value = new Uint8Array(56)
    new DataView(value.buffer).setUint32(32, Math.floor(native.monotonicMs() / 1000) + 60, true)
    native.bpfMapUpdate(bed.maps.ct4, key, value)
    await bed.until('expiry', () => bed.identityOf('192.0.2.1') === 9)
    await new Promise((resolve) => setTimeout(resolve, 800))
    expect(bed.identityOf('192.0.2.2')).toBeGreaterThan(0x0100_0000)
    native.bpfMapDelete(bed.maps.ct4, key)
    await bed.until('the end of the connection', () => bed.identityOf('192.0.2.2') === 9)
  })

  it('after kill -9 finds everything again under the same numbers, and nothing is rewritten meanwhile', async () => {
    await bed.apply(1, policyText('*.example.com'))
    for (let i = 1; i <= 50; i++) await bed.learn(`n${i}.example.com`, `192.0.2.${i}`)
    const before = entries()
    const inner = bed.innerId
    await bed.kill()
    expect(entries()).toEqual(before)
    expect(bed.innerId).toBe(inner)
    bed.start()
    await bed.apply(2, policyText('*.example.com'))
    expect(entries()).toEqual(before)
    expect(await bed.learn('n1.example.com', '192.0.2.1')).toBe(0)
    expect(readFileSync(join(bed.directory, 'names.journal')).length).toBeGreaterThan(1000)
  })

  it('with the state lost removes what it cannot know, and learns anew under other numbers', async () => {
    await bed.apply(1, policyText('*.example.com'))
    await bed.learn('www.example.com', '192.0.2.1')
    const old = bed.identityOf('192.0.2.1')
    await bed.kill()
    writeFileSync(join(bed.directory, 'names.journal'), '')
    bed.start()
    await bed.apply(2, policyText('*.example.com'))
    expect(bed.identityOf('192.0.2.1')).toBe(9)
    await bed.learn('www.example.com', '192.0.2.1')
    expect(bed.identityOf('192.0.2.1')).not.toBe(old)
  })

  it('swaps the rows of a changed policy and drops names it does not know', async () => {
    await bed.apply(1, policyText('*.example.com', '*.org'))
    await bed.learn('www.example.com', '192.0.2.1')
    await bed.learn('www.org', '192.0.2.2')
    const inner = bed.innerId
    await bed.apply(2, policyText('*.org'))
    expect(bed.innerId).not.toBe(inner)
    expect(bed.identityOf('192.0.2.2')).toBeGreaterThan(0x0100_0000)
    await bed.until('clean-up', () => bed.identityOf('192.0.2.1') === 9)
  })

  it('stops with the state handed over', async () => {
    await bed.apply(1, policyText('*.example.com'))
    await bed.learn('www.example.com', '192.0.2.1')
    await bed.stop()
    expect(bed.messages.at(-1)).toEqual({ type: 'stopped' })
    expect(bed.messages.filter(({ type }) => type === 'state').at(-1)).toMatchObject({ last: true })
  })
})
