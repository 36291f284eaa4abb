/** Routing of the seal in a namespace. */
import { systemClock } from '../../../src/core/clock.ts'
import { formatCidr, parseCidr, parseIp } from '../../../src/core/ip.ts'
import { type Log, silentLog } from '../../../src/core/log.ts'
import { loadNative } from '../../../src/native/load.ts'
import type { Mode } from '../../../src/wg/activation.ts'
import type { RoutingOptions } from '../../../src/wg/routing/options.ts'
import { createRouting } from '../../../src/wg/routing/routing.ts'
import type { PeerRoutes, Routing } from '../../../src/wg/seams.ts'
import type { Slot } from '../../../src/wg/slots.ts'
import { serve } from '../datapath/in-namespace.ts'

export interface PlainPeer {
  readonly uid: string
  readonly prefixes: readonly string[]
  readonly egress: Slot
  readonly mode: Mode
}

export const OPTIONS: RoutingOptions = {
  devices: ['kwg0', 'kwg1'],
  table: 20000,
  slotTables: [20100, 20101],
  rulePriority: 90,
  slotRulePriority: 80,
  fwmark: 0x1e00,
  fwmarkMask: 0x1f00,
  protocol: 155,
  nexthopBase: 5000,
  slotAddresses: [parseIp('169.254.77.1'), parseIp('169.254.77.2')],
  probeAddresses: [parseIp('10.1.1.1'), parseIp('fd10:1::1')],
  mtu: 0,
  bypass: [{ cidr: parseCidr('192.0.2.1/32'), protocol: 'tcp', port: 6443 }, { cidr: parseCidr('2001:db8:f::/48') }],
}

let routing: Routing | undefined
let changes = 0
const warned: string[] = []
const log: Log = { ...silentLog, warn: (_fields, message) => warned.push(message) }
const here = (): Routing => (routing ??= createRouting(OPTIONS, { native: loadNative(), log, clock: systemClock }))
const routesOf = ({ prefixes, ...rest }: PlainPeer): PeerRoutes => ({
  ...rest,
  prefixes: prefixes.map((text) => parseCidr(text)),
})
const nth = (i: number): string[] => [
  `10.${64 + (i >> 8)}.${i & 255}.0/24`,
  formatCidr(parseCidr(`fd00:${(i + 1).toString(16)}::/64`)),
]
/** Milliseconds on the clock and of the processor. */
const took = async (act: () => Promise<unknown>): Promise<{ wall: number; cpu: number }> => {
  const [start, before] = [performance.now(), process.cpuUsage()]
  await act()
  const { user, system } = process.cpuUsage(before)
  return { wall: Math.round(performance.now() - start), cpu: Math.round((user + system) / 1000) }
}

serve({
  mtu: () => here().mtu,
  start: async () => [...(await here().start()).egress].sort(),
  setPeer: (peer: PlainPeer) => here().setPeer(routesOf(peer)),
  /** Without waiting in between. */
  setPeers: async (peers: readonly PlainPeer[]) => {
    await Promise.all(peers.map((peer) => here().setPeer(routesOf(peer))))
  },
  removePeer: (uid: string) => here().removePeer(uid),
  prune: () => here().prune(),
  slotReplaced: (slot: Slot) => here().slotReplaced(slot),
  check: () => here().check(),
  cleanup: () => here().cleanup(),
  warnings: () => here().warnings(),
  watch: () => {
    here().watch(() => changes++)
  },
  changes: () => {
    const count = changes
    changes = 0
    return count
  },
  /** Switches a peer to and fro. */
  async flip(peer: PlainPeer, times: number) {
    for (let i = 0; i < times; i++) await here().setPeer(routesOf({ ...peer, egress: i % 2 === 0 ? 1 : 0 }))
  },
  stop: () => here().stop(),
  /** Milliseconds of each step with many peers. */
  async scale(count: number) {
    const peer = (i: number, egress: Slot): PeerRoutes =>
      routesOf({ uid: `n${i}`, prefixes: nth(i), egress, mode: 'active' })
    const each = async (egress: Slot): Promise<void> => {
      for (let i = 0; i < count; i++) await here().setPeer(peer(i, egress))
    }
    const together = async (egress: Slot): Promise<void> => {
      await Promise.all(Array.from({ length: count }, (_, i) => here().setPeer(peer(i, egress))))
    }
    const figures: Record<string, { wall: number; cpu: number }> = {}
    figures['program'] = await took(() => together(0))
    figures['switch together'] = await took(() => together(1))
    figures['switch one by one'] = await took(() => each(0))
    figures['switch one'] = await took(() => here().setPeer(peer(7, 1)))
    figures['idle check'] = await took(() => here().check())
    figures['idle check again'] = await took(() => here().check())
    return figures
  },
  async timedCheck() {
    let repairs = 0
    const times = await took(async () => (repairs = (await here().check()).length))
    return { ...times, repairs }
  },
})
