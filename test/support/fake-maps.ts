import { cidrContains, formatCidr, type Cidr, type Ip, writeAddr16 } from '../../src/core/ip.ts'
import type {
  ConntrackMap,
  FoundRow,
  IpcacheEntry,
  IpcacheMap,
  KernelRow,
  PolicyMap,
  PolicyMaps,
} from '../../src/identity/ports.ts'

/** One thing that happened to the kernel, in order. */
export type KernelEvent =
  | { readonly what: 'ipcache-update' | 'ipcache-delete'; readonly key: string; readonly identity: number }
  | { readonly what: 'row-update' | 'row-delete'; readonly map: number; readonly label: number }
  | { readonly what: 'create' | 'close'; readonly map: number }
  | { readonly what: 'attach' | 'detach'; readonly endpoint: number; readonly map: number }
  | { readonly what: 'complete' }

/** Decides about each single write; true fails it. */
export type Failure = (what: KernelEvent['what'], key: string) => boolean

export const rowKey = (row: KernelRow): string => `${row.label}/${row.protocol}/${row.port}/${row.portBits}`

export class FakeIpcache implements IpcacheMap {
  readonly entries = new Map<string, IpcacheEntry>()
  readonly log: KernelEvent[]
  fail: Failure = () => false

  constructor(log: KernelEvent[]) {
    this.log = log
  }

  /** As the kernel: what comes before the failing entry of a batch is written. */
  update(entries: readonly IpcacheEntry[]): void {
    for (const entry of entries) {
      const key = formatCidr(entry.cidr)
      if (this.fail('ipcache-update', key)) throw new Error(`ENOSPC ${key}`)
      this.log.push({ what: 'ipcache-update', key, identity: entry.identity })
      this.entries.set(key, entry)
    }
  }

  delete(cidrs: readonly Cidr[]): void {
    for (const cidr of cidrs) {
      const key = formatCidr(cidr)
      if (this.fail('ipcache-delete', key)) throw new Error(`EIO ${key}`)
      this.log.push({ what: 'ipcache-delete', key, identity: this.entries.get(key)?.identity ?? 0 })
      this.entries.delete(key)
    }
  }

  dump(): IpcacheEntry[] {
    return [...this.entries.values()]
  }

  /** Longest prefix, as the program looks an address up; 0 when nothing covers it. */
  lookup(ip: Ip): number {
    let best: IpcacheEntry | undefined
    for (const entry of this.entries.values()) {
      if (cidrContains(entry.cidr, ip) && (best === undefined || entry.cidr.bits > best.cidr.bits)) best = entry
    }
    return best?.identity ?? 0
  }
}

export class FakePolicyMap implements PolicyMap {
  readonly id: number
  readonly rows = new Map<string, FoundRow>()
  /** How often it was read row by row. */
  dumps = 0
  open = true
  readonly #owner: FakePolicyMaps

  constructor(id: number, owner: FakePolicyMaps) {
    this.id = id
    this.#owner = owner
  }

  update(rows: readonly KernelRow[]): void {
    for (const row of rows) {
      if (this.#owner.fail('row-update', rowKey(row))) throw new Error('ENOSPC')
      this.#owner.log.push({ what: 'row-update', map: this.id, label: row.label })
      this.rows.set(rowKey(row), row)
    }
  }

  delete(rows: readonly KernelRow[]): void {
    for (const row of rows) {
      if (this.#owner.fail('row-delete', rowKey(row))) throw new Error('ENOMEM')
      this.#owner.log.push({ what: 'row-delete', map: this.id, label: row.label })
      this.rows.delete(rowKey(row))
    }
  }

  dump(): KernelRow[] {
    this.dumps++
    return [...this.rows.values()]
  }

  /** FNV-1a of all rows. */
  digest(): number {
    let hash = 0x811c9dc5
    for (const char of JSON.stringify([...this.rows])) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193)
    return hash >>> 0
  }

  close(): void {
    this.open = false
    this.#owner.log.push({ what: 'close', map: this.id })
  }

  /** The verdict of the rows of one label: longest prefix; undefined when none covers. */
  verdict(label: number, protocol: number, port: number): KernelRow['verdict'] | undefined {
    let best: KernelRow | undefined
    const length = (row: KernelRow): number => (row.protocol === 0 ? 0 : 8 + row.portBits)
    for (const row of this.rows.values()) {
      if (row.label !== label || (row.protocol !== 0 && row.protocol !== protocol)) continue
      if (row.portBits > 0 && row.port >> (16 - row.portBits) !== port >> (16 - row.portBits)) continue
      if (best === undefined || length(row) > length(best)) best = row
    }
    return best?.verdict
  }
}

export class FakePolicyMaps implements PolicyMaps<FakePolicyMap> {
  readonly maps: FakePolicyMap[] = []
  readonly byEndpoint = new Map<number, FakePolicyMap>()
  readonly log: KernelEvent[]
  fail: Failure = () => false

  constructor(log: KernelEvent[]) {
    this.log = log
  }

  create(rows: readonly KernelRow[]): FakePolicyMap {
    const map = new FakePolicyMap(this.maps.length, this)
    if (this.fail('create', String(map.id))) throw new Error('ENOMEM')
    for (const row of rows) map.rows.set(rowKey(row), row)
    this.maps.push(map)
    this.log.push({ what: 'create', map: map.id })
    return map
  }

  attachAll(entries: readonly { readonly endpointId: number; readonly map: FakePolicyMap }[]): number {
    for (const [done, { endpointId: endpoint, map }] of entries.entries()) {
      if (this.fail('attach', String(endpoint))) return done
      if (!map.open) throw new Error('EBADF')
      this.log.push({ what: 'attach', endpoint, map: map.id })
      this.byEndpoint.set(endpoint, map)
    }
    return entries.length
  }

  detachAll(endpoints: readonly number[]): void {
    for (const endpoint of endpoints) {
      this.log.push({ what: 'detach', endpoint, map: this.byEndpoint.get(endpoint)?.id ?? -1 })
      this.byEndpoint.delete(endpoint)
    }
  }

  attached(): Iterable<number> {
    return [...this.byEndpoint.keys()]
  }
}

export class FakeConntrack implements ConntrackMap {
  readonly live: { readonly endpoint: Ip; readonly remote: Ip }[] = []
  fail = false
  passes = 0
  #at = 0

  scan(max: number, _nowSeconds: number, live: (endpoint: Uint8Array, remote: Uint8Array) => void): boolean {
    if (this.fail) throw new Error('EIO')
    const endpoint = new Uint8Array(16)
    const remote = new Uint8Array(16)
    for (const entry of this.live.slice(this.#at, this.#at + max)) {
      writeAddr16(entry.endpoint, endpoint, 0)
      writeAddr16(entry.remote, remote, 0)
      live(endpoint, remote)
    }
    this.#at += max
    if (this.#at < this.live.length) return true
    this.#at = 0
    this.passes++
    return false
  }
}
