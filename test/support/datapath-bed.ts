import { fileURLToPath } from 'node:url'
import {
  type CtKey,
  ctKeyBytes,
  CT_VALUE_BYTES,
  type CtValue,
  decodeCtValue,
  decodeEvent,
  type DropEvent,
  encodeCtKey,
  encodeCtValue,
  encodePolicyKey,
  encodePolicyValue,
  encodeSettings,
  POLICY_KEY_BYTES,
  POLICY_VALUE_BYTES,
  type ProgramSettings,
} from '../../src/bpf/layouts.ts'
import {
  type KernelRow,
  type MapName,
  openCounterMaps,
  openInterfaceMap,
  openIpcacheMap,
  openLxcMap,
  openPolicyMaps,
  type PolicyMap,
} from '../../src/bpf/maps.ts'
import { parseCidr, parseIp } from '../../src/core/ip.ts'
import { type DropReason, dropReason } from '../../src/datapath/reasons.ts'
import type { Fd } from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'

const OBJECT = fileURLToPath(new URL('../../build/datapath.o', import.meta.url))

/** struct __sk_buff of <linux/bpf.h>. */
const SKB_BYTES = 192
const SKB_MARK = 8
const SKB_GSO_SEGS = 164
const SKB_GSO_SIZE = 176

/** Test runs happen on the loopback interface of the namespace. */
export const IFINDEX = 1
export const ENDPOINT = 300
export const PROXY_PORT = 10053

export interface Run {
  /** `next`: on to the next program and the stack; `stack`: accepted with a mark; `drop`. */
  readonly verdict: 'next' | 'stack' | 'drop'
  readonly reason: DropReason | undefined
  readonly event: DropEvent | undefined
  readonly mark: number
}

export const DEFAULTS: ProgramSettings = {
  tcpSeconds: 8000,
  otherSeconds: 61,
  synSeconds: 62,
  closeSeconds: 10,
  eventsPerSecond: 1_000_000,
  world4: 9,
  world6: 10,
}

/** The programs loaded with maps of their own, attached nowhere; packets go in by BPF_PROG_TEST_RUN. */
export class DatapathBed {
  readonly native = loadNative()
  readonly maps: Readonly<Record<MapName, Fd>>
  readonly ipcache
  readonly lxc
  readonly interfaces
  readonly policies
  readonly counters
  readonly #programs: Readonly<Record<string, Fd>>
  readonly #ring
  readonly #ringBytes = new Uint8Array(512 * 1024)
  #policy: PolicyMap | undefined

  constructor() {
    const loaded = this.native.bpfObjectLoad(OBJECT, {})
    this.maps = loaded.maps
    this.#programs = loaded.programs
    this.#ring = this.native.bpfRingOpen(this.maps.events)
    this.ipcache = openIpcacheMap(this.native, this.maps.ipcache)
    this.lxc = openLxcMap(this.native, this.maps.lxc)
    this.interfaces = openInterfaceMap(this.native, this.maps.interfaces)
    this.policies = openPolicyMaps(this.native, this.maps.policy, { proxyPort: PROXY_PORT, entries: 1024 })
    this.counters = openCounterMaps(this.native, this.maps)
    this.settings(DEFAULTS)
  }

  settings(settings: ProgramSettings): void {
    const bytes = new Uint8Array(32)
    encodeSettings(settings, bytes)
    this.native.bpfMapUpdate(this.maps.config, new Uint8Array(4), bytes)
  }

  /** An endpoint on IFINDEX with these addresses. */
  endpoint(addresses: readonly string[], enforced = true): void {
    for (const text of addresses) {
      this.lxc.set(parseIp(text), { ifindex: IFINDEX, endpointId: ENDPOINT, flags: 0, identity: 4000 })
    }
    this.interfaces.set(IFINDEX, { endpointId: ENDPOINT, enforced })
  }

  identity(cidr: string, identity: number): void {
    this.ipcache.update([{ cidr: parseCidr(cidr), identity }])
  }

  /** Replaces the rows of ENDPOINT. */
  rows(...rows: readonly KernelRow[]): void {
    const map = this.policies.create(rows)
    this.policies.attach(ENDPOINT, map)
    this.#policy?.close()
    this.#policy = map
  }

  /** Rows with a precedence of their own, as no row of this agent has. */
  rankedRows(...rows: readonly { row: KernelRow; precedence: number }[]): void {
    this.rows()
    for (const { row, precedence } of rows) {
      const key = new Uint8Array(POLICY_KEY_BYTES)
      const value = new Uint8Array(POLICY_VALUE_BYTES)
      encodePolicyKey(row, key)
      encodePolicyValue(row, PROXY_PORT, value)
      new DataView(value.buffer).setUint32(4, precedence, true)
      this.native.bpfMapUpdate(this.#policy?.fd ?? -1, key, value)
    }
  }

  run(program: 'from_pod' | 'to_pod', frame: Uint8Array, options: { mark?: number; gsoSize?: number } = {}): Run {
    const context = new Uint8Array(SKB_BYTES)
    const view = new DataView(context.buffer)
    view.setUint32(SKB_MARK, options.mark ?? 0, true)
    if (options.gsoSize !== undefined) {
      view.setUint32(SKB_GSO_SIZE, options.gsoSize, true)
      view.setUint32(SKB_GSO_SEGS, 2, true)
    }
    this.events()
    const result = this.native.bpfProgTestRun(this.#programs[program] ?? -1, frame, context, 1)
    const event = this.events()[0]
    const out = new DataView(result.context.buffer, result.context.byteOffset)
    const verdict = { '-1': 'next', '0': 'stack', '2': 'drop' }[String(result.returnValue | 0)]
    if (verdict === undefined) throw new Error(`return value ${result.returnValue}`)
    return {
      verdict: verdict as Run['verdict'],
      reason: event === undefined ? undefined : dropReason(event.reason),
      event,
      mark: out.getUint32(SKB_MARK, true),
    }
  }

  fromPod(frame: Uint8Array, options?: { mark?: number; gsoSize?: number }): Run {
    return this.run('from_pod', frame, options)
  }

  toPod(frame: Uint8Array): Run {
    return this.run('to_pod', frame)
  }

  events(): DropEvent[] {
    const length = this.native.bpfRingRead(this.#ring, this.#ringBytes)
    const found: DropEvent[] = []
    for (let at = 0; at < length; at += (4 + 64 + 7) & ~7) {
      const event = decodeEvent(this.#ringBytes.subarray(0, length), at + 4)
      if (event !== undefined) found.push(event)
    }
    return found
  }

  #ctMap(key: CtKey): Fd {
    const four = key.source.family === 4
    if (key.protocol === 6) return four ? this.maps.ct4 : this.maps.ct6
    return four ? this.maps.ct_any4 : this.maps.ct_any6
  }

  connection(key: CtKey): CtValue | undefined {
    const bytes = new Uint8Array(ctKeyBytes(key.source.family))
    const value = new Uint8Array(CT_VALUE_BYTES)
    encodeCtKey(key, bytes)
    return this.native.bpfMapLookup(this.#ctMap(key), bytes, value) ? decodeCtValue(value) : undefined
  }

  setConnection(key: CtKey, value: CtValue): void {
    const bytes = new Uint8Array(ctKeyBytes(key.source.family))
    const out = new Uint8Array(CT_VALUE_BYTES)
    encodeCtKey(key, bytes)
    encodeCtValue(value, out)
    this.native.bpfMapUpdate(this.#ctMap(key), bytes, out)
  }

  /** Empties what packets leave behind, and takes endpoint, identities and policy away. */
  reset(): void {
    const keyed: [MapName, number][] = [
      ['ct4', 14],
      ['ct_any4', 14],
      ['ct6', 38],
      ['ct_any6', 38],
      ['frag4', 12],
      ['frag6', 40],
      ['metrics', 8],
      ['drops', 4],
      ['lxc', 20],
      ['interfaces', 4],
      ['policy', 4],
    ]
    for (const [name, size] of keyed) {
      const next = new Uint8Array(size)
      while (this.native.bpfMapNextKey(this.maps[name], null, next)) this.native.bpfMapDelete(this.maps[name], next)
    }
    this.ipcache.delete([...this.ipcache.dump()].map((entry) => entry.cidr))
    this.#policy?.close()
    this.#policy = undefined
    this.settings(DEFAULTS)
    this.events()
  }

  close(): void {
    this.#policy?.close()
    this.native.bpfRingClose(this.#ring)
    for (const fd of [...Object.values(this.#programs), ...Object.values(this.maps)]) this.native.close(fd)
  }
}

export const nowSeconds = (): number => Math.floor(Number(process.hrtime.bigint() / 1_000_000_000n))
