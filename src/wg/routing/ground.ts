import { equalIp, type Ip, maxBits, parseIp } from '../../core/ip.ts'
import {
  type AsyncNetlinkConnection,
  asyncAddresses,
  asyncLinks,
  asyncRules,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFF_LOWER_UP,
  type InterfaceAddress,
  type Link,
  type MarkRule,
  RT_SCOPE_LINK,
  type Rule,
} from '../../netlink/netlink.ts'
import type { RouteRepair } from '../seams.ts'
import { type Slot, SLOTS } from '../slots.ts'
import type { RoutingOptions } from './options.ts'
import { rulesBefore, sameRule, wantedRules } from './rules.ts'
import type { Sysctl } from './sysctl.ts'
import type { Indexes } from './tables.ts'

/** rp_filter: the source must be reachable through some interface, not through the one the packet came in by. */
const LOOSE = '2'
/** On a device of ours for a moment; link-local, so no packet ever goes to or from it. */
export const PASSING = parseIp('fe80::5e15:ba')

export interface SlotLink {
  readonly index: number
  /** The device speaks it. */
  readonly ipv6: boolean
}

/** What routes stand on: the slots' devices with address, rp_filter and MTU, and the rules. */
export class Ground {
  readonly #connection: AsyncNetlinkConnection
  readonly #options: RoutingOptions
  readonly #sysctl: Sysctl
  readonly #rules: readonly MarkRule[]
  /** There is none where the kernel was started without IPv6. */
  readonly families: readonly (4 | 6)[]
  slots: readonly [SlotLink | undefined, SlotLink | undefined] = [undefined, undefined]
  /** Of others, asked before ours. */
  rulesBefore: readonly Rule[] = []

  constructor(connection: AsyncNetlinkConnection, options: RoutingOptions, sysctl: Sysctl) {
    this.#connection = connection
    this.#options = options
    this.#sysctl = sysctl
    this.families = sysctl.read('ipv6/conf/all/disable_ipv6') === undefined ? [4] : [4, 6]
    this.#rules = wantedRules(options).filter(({ family }) => this.families.includes(family))
  }

  get indexes(): Indexes {
    return [this.slots[0]?.index, this.slots[1]?.index]
  }

  /** The device is there, up and has a carrier, and speaks the family. */
  readonly usable = (slot: Slot, family: 4 | 6): boolean => {
    const link = this.slots[slot]
    return link !== undefined && (family === 4 || link.ipv6)
  }

  /** Finds the devices again, without changing them. */
  async look(): Promise<void> {
    const links = await this.#links()
    this.slots = [this.#slotOf(links[0]), this.#slotOf(links[1])]
  }

  /** Puts right what differs, and tells what that was. */
  async mend(mtu: number): Promise<RouteRepair[]> {
    const repairs: RouteRepair[] = []
    const links = await this.#links()
    const addresses = await asyncAddresses(this.#connection).list()
    for (const slot of SLOTS) {
      const link = links[slot]
      if (link === undefined) continue
      repairs.push(...this.#mendFilter(slot), ...(await this.#mendLink(link, mtu)))
      for (const address of this.#addressesOf(slot, link)) {
        if (addresses.some((one) => sameAddress(one, address))) continue
        await asyncAddresses(this.#connection).replace(address)
        repairs.push('address')
      }
    }
    if (repairs.length > 0) await this.look()
    else this.slots = [this.#slotOf(links[0]), this.#slotOf(links[1])]
    repairs.push(...(await this.#mendRules()))
    return repairs
  }

  /**
   * Makes sockets of the node ask for their way again. A connected IPv6 socket keeps the route it found until the table of that
   * route changes, so one that stands since before our routes would send in clear text for ever; IPv4 forgets with every route.
   * A change of any address makes all ask again (rt_genid_bump_ipv6, net/ipv6/addrconf.c): this one comes and goes.
   */
  async renewSockets(): Promise<void> {
    const link = this.slots.find((one) => one?.ipv6 === true)
    if (link === undefined) return
    const flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE
    const address = { index: link.index, ip: PASSING, prefix: 128, scope: RT_SCOPE_LINK, flags }
    const addresses = asyncAddresses(this.#connection)
    await addresses.replace(address)
    await addresses.delete(address)
  }

  /** Takes rules, addresses and settings away, rules of tunnels first: from then on all goes as if we were not there. */
  async remove(): Promise<void> {
    const rules = asyncRules(this.#connection)
    const found = await this.#listRules()
    for (const wanted of [...this.#rules].reverse()) {
      if (found.some((one) => one.protocol === wanted.protocol && sameRule(one, wanted))) await rules.delete(wanted)
    }
    const links = await this.#links()
    for (const slot of SLOTS) {
      const link = links[slot]
      if (link === undefined) continue
      for (const address of this.#addressesOf(slot, link)) await asyncAddresses(this.#connection).delete(address)
      const path = `ipv4/conf/${this.#options.devices[slot]}/rp_filter`
      this.#sysctl.write(path, this.#sysctl.read('ipv4/conf/default/rp_filter') ?? '0')
    }
  }

  async #links(): Promise<readonly [Link | undefined, Link | undefined]> {
    const links = asyncLinks(this.#connection)
    const [first, second] = this.#options.devices
    return [await links.find(first), await links.find(second)]
  }

  #slotOf(link: Link | undefined): SlotLink | undefined {
    // Without a carrier the kernel refuses nexthops to it (ENETDOWN).
    if (link?.up !== true || (link.flags & IFF_LOWER_UP) === 0) return undefined
    return { index: link.index, ipv6: this.#speaksIpv6(link.name) }
  }

  #speaksIpv6(device: string): boolean {
    return this.families.includes(6) && this.#sysctl.read(`ipv6/conf/${device}/disable_ipv6`) === '0'
  }

  #mendFilter(slot: Slot): RouteRepair[] {
    const path = `ipv4/conf/${this.#options.devices[slot]}/rp_filter`
    if (this.#sysctl.read(path) === LOOSE) return []
    // Where /proc/sys is read-only nothing is mended; the warnings say so.
    return this.#sysctl.write(path, LOOSE) && this.#sysctl.read(path) === LOOSE ? ['rp_filter'] : []
  }

  async #mendLink({ index, up, mtu }: Link, wanted: number): Promise<RouteRepair[]> {
    const links = asyncLinks(this.#connection)
    const repairs: RouteRepair[] = []
    if (mtu !== wanted) {
      await links.setMtu(index, wanted)
      repairs.push('mtu')
    }
    if (!up) {
      await links.setUp(index, true)
      repairs.push('link')
    }
    return repairs
  }

  #addressesOf(slot: Slot, { index, name }: Link): InterfaceAddress[] {
    const { slotAddresses, probeAddresses } = this.#options
    const host = (ip: Ip, scope: number): InterfaceAddress => ({
      index,
      ip,
      prefix: maxBits(ip.family),
      scope,
      // Both devices have them, so no route of the kernel's own making may point to one; and they are ours, not contested.
      flags: IFA_F_NOPREFIXROUTE | (ip.family === 6 ? IFA_F_NODAD : 0),
    })
    const own = probeAddresses.filter(({ family }) => family === 4 || this.#speaksIpv6(name))
    return [host(slotAddresses[slot], RT_SCOPE_LINK), ...own.map((ip) => host(ip, 0))]
  }

  async #listRules(): Promise<Rule[]> {
    const found: Rule[] = []
    for (const family of this.families) found.push(...(await asyncRules(this.#connection).list(family)))
    return found
  }

  async #mendRules(): Promise<RouteRepair[]> {
    const found = await this.#listRules()
    this.rulesBefore = rulesBefore(found, this.#rules, this.#options.rulePriority)
    const repairs: RouteRepair[] = []
    for (const wanted of this.#rules) {
      if (found.some((one) => sameRule(one, wanted))) continue
      if (await asyncRules(this.#connection).add(wanted)) repairs.push('rule')
    }
    return repairs
  }
}

const sameAddress = (a: InterfaceAddress, b: InterfaceAddress): boolean =>
  a.index === b.index && a.prefix === b.prefix && equalIp(a.ip, b.ip)
