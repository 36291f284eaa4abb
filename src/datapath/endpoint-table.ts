import { type InterfaceMap, type LxcMap } from '../bpf/maps.ts'
import { formatIp, type Ip } from '../core/ip.ts'
import type { Log } from '../core/log.ts'
import type { Link } from '../netlink/netlink.ts'
import type { Attachments, Programs } from './attachments.ts'
import type { DatapathEndpoint, EndpointState } from './ports.ts'

export interface TableDeps {
  readonly interfaces: InterfaceMap
  readonly lxc: LxcMap
  readonly attachments: Attachments
  readonly programs: Programs
  readonly linkByName: (name: string) => Link | undefined
  /** An endpoint is gone for good. */
  readonly forget: (endpointId: number) => void
  readonly log: Log
}

/** Brings interfaces, addresses and programs to what the list of endpoints says. */
export interface EndpointTable {
  apply(endpoints: readonly DatapathEndpoint[]): Promise<void>
  /** Looks again where the interfaces are; for when some came, went or were renamed. */
  refresh(): Promise<void>
  states(): readonly EndpointState[]
}

interface Known {
  endpoint: DatapathEndpoint
  ifindex: number | undefined
  attached: boolean
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const sameAddresses = (a: readonly Ip[], b: readonly Ip[]): boolean =>
  a.length === b.length && a.every((ip, i) => formatIp(ip) === formatIp(b[i] ?? ip))

export function openEndpointTable(deps: TableDeps): EndpointTable {
  const known = new Map<number, Known>()
  let adopted = false

  /**
   * Order matters: addresses and the interface's entry stand before the program runs, so that its first packet is
   * judged; an enforced endpoint without policy rows is dropped by the program itself.
   */
  const settle = (one: Known, ifindex: number): void => {
    const { id, addresses, enforced, identity } = one.endpoint
    for (const ip of addresses) deps.lxc.set(ip, { ifindex, endpointId: id, flags: 0, identity: identity ?? 0 })
    deps.interfaces.set(ifindex, { endpointId: id, enforced })
    one.ifindex = ifindex
    one.attached = false
    deps.attachments.attach(ifindex, deps.programs)
    one.attached = true
  }

  /** The program comes off last but for its own entry: until then what it meets is dropped as a foreign source. */
  const release = (one: Known): void => {
    for (const ip of one.endpoint.addresses) if (ownerOf(ip) === one.endpoint.id) deps.lxc.delete(ip)
    releaseInterface(one)
  }

  const releaseInterface = (one: Known): void => {
    const ifindex = one.ifindex
    one.ifindex = undefined
    one.attached = false
    // Another endpoint may have been settled on the same interface already.
    if (ifindex === undefined || [...known.values()].some((other) => other !== one && other.ifindex === ifindex)) return
    deps.attachments.detach(ifindex)
    deps.interfaces.delete(ifindex)
  }

  const ownerOf = (ip: Ip): number | undefined =>
    deps.lxc.dump().find((entry) => formatIp(entry.ip) === formatIp(ip))?.value.endpointId

  /** What an earlier agent left and the list does not name. */
  const removeStrangers = (): void => {
    const interfaces = new Set([...known.values()].map((one) => one.ifindex))
    const addresses = new Set([...known.values()].flatMap((one) => one.endpoint.addresses.map(formatIp)))
    for (const { ip } of deps.lxc.dump()) if (!addresses.has(formatIp(ip))) deps.lxc.delete(ip)
    for (const ifindex of deps.attachments.list()) if (!interfaces.has(ifindex)) deps.attachments.detach(ifindex)
    for (const { ifindex } of deps.interfaces.dump()) if (!interfaces.has(ifindex)) deps.interfaces.delete(ifindex)
  }

  /** True when programs were put on an interface. */
  const locate = (one: Known): boolean => {
    // It may have left the list while others had their turn.
    if (known.get(one.endpoint.id) !== one) return false
    const link = deps.linkByName(one.endpoint.interface)
    if (link?.index === one.ifindex && (link === undefined || one.attached)) return false
    if (one.ifindex !== undefined && link?.index !== one.ifindex) {
      deps.log.info({ endpoint: one.endpoint.name, ifindex: one.ifindex }, 'the interface of an endpoint is gone')
      releaseInterface(one)
    }
    if (link === undefined) return false
    settle(one, link.index)
    deps.log.info({ endpoint: one.endpoint.name, ifindex: link.index }, 'programs attached')
    return true
  }

  /**
   * Runs all of them and then throws the first error. Attaching waits for an RCU grace period, so the event loop gets
   * its turn after each.
   */
  const each = async (list: readonly Known[]): Promise<void> => {
    const errors: unknown[] = []
    for (const one of list) {
      try {
        if (locate(one)) await turn()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }

  /** One list at a time: what waits for its turn sees what the one before left. */
  let last: Promise<unknown> = Promise.resolve()
  const inOrder = (act: () => Promise<void>): Promise<void> => {
    const done = last.then(act, act)
    last = done.catch(() => undefined)
    return done
  }

  const apply = async (endpoints: readonly DatapathEndpoint[]): Promise<void> => {
    const wanted = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]))
    const leaving = [...known].filter(([id]) => !wanted.has(id))
    for (const [id] of leaving) known.delete(id)
    const changed: Known[] = []
    for (const endpoint of endpoints) {
      const one = known.get(endpoint.id)
      if (one === undefined) {
        const fresh: Known = { endpoint, ifindex: undefined, attached: false }
        known.set(endpoint.id, fresh)
        changed.push(fresh)
        continue
      }
      const before = one.endpoint
      one.endpoint = endpoint
      const stays = new Set(endpoint.addresses.map(formatIp))
      for (const ip of before.addresses) {
        if (!stays.has(formatIp(ip)) && ownerOf(ip) === endpoint.id) deps.lxc.delete(ip)
      }
      const same =
        before.interface === endpoint.interface &&
        before.enforced === endpoint.enforced &&
        before.identity === endpoint.identity &&
        sameAddresses(before.addresses, endpoint.addresses)
      if (same && one.attached) continue
      if (before.interface === endpoint.interface) one.attached = false
      changed.push(one)
    }
    try {
      await each(changed)
    } finally {
      // After the new ones, so that an interface that changes hands is never without a program.
      for (const [id, one] of leaving) {
        release(one)
        deps.forget(id)
      }
      if (!adopted) removeStrangers()
      adopted = true
    }
  }

  return {
    apply: (endpoints) => inOrder(() => apply(endpoints)),
    refresh: () => inOrder(() => each([...known.values()])),
    states: () =>
      [...known.values()].map((one) => ({
        id: one.endpoint.id,
        ifindex: one.ifindex,
        attached: one.attached,
        enforced: one.endpoint.enforced,
      })),
  }
}
