import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseFlow, type Flow } from '../config/flow.ts'
import type { Config } from '../config/schema.ts'
import { systemClock } from '../core/clock.ts'
import { SekishoError } from '../core/errors.ts'
import { formatIp, parseCidr, parseIp, type Ip } from '../core/ip.ts'
import type { Log } from '../core/log.ts'
import type { Native } from '../native/binding.ts'
import type { NetlinkConnection } from '../netlink/netlink.ts'
import type { NodeDirectory } from '../wg/directory/directory.ts'
import { FolderDirectory } from '../wg/directory/folder.ts'
import { NAME_PATTERN } from '../wg/directory/record.ts'
import { createEngine, engineClock, probeAddresses, type EngineOptions, type SelfAddresses } from '../wg/engine.ts'
import { createGuard } from '../wg/guard/guard.ts'
import { DEFAULT_MACHINE } from '../wg/machine-types.ts'
import { createProber } from '../wg/probe/prober.ts'
import { createSlotCounter } from '../wg/probe/slot-counter.ts'
import { createRouting } from '../wg/routing/routing.ts'
import type { Sysctl } from '../wg/routing/sysctl.ts'
import type { Guard, Routing, SlotCounter } from '../wg/seams.ts'
import { bootId, deviceNames, endpointsOf, nodeUid, ownPrefixes, readText, underlayDevices } from './node-facts.ts'
import { pickDriver } from './seal-driver.ts'
import type { SealWork } from './seal.ts'

const GUARD_OBJECT = new URL('../../build/guard.o', import.meta.url).pathname

/** Bits of the mark that are the seal's; `fwmark` lies within. */
const FWMARK_MASK = 0x1f00
/** Of our rules, routes and nexthops; none of /etc/iproute2/rt_protos. */
const ROUTE_PROTOCOL = 155
/** Of the devices, never on a wire: loose rp_filter drops everything on a device without an IPv4 address. */
const SLOT_ADDRESSES = [parseIp('169.254.77.1'), parseIp('169.254.77.2')] as const
const MAX_NODE_IPS = 32

export interface SealPartsDeps {
  readonly config: Config
  readonly node: string
  readonly native: Native
  readonly part: (name: string) => Log
  /** For auditors: written whatever else is. */
  readonly keyLog: Log
  readonly route: NetlinkConnection
}

/** What `manage` needs of the node besides the engine. */
export interface SealParts {
  readonly devices: readonly [string, string]
  readonly directory: NodeDirectory
  readonly routing: Routing
  readonly guard: Guard
  self(): SelfAddresses
}

/** The parts by the configuration; nothing is opened or started. */
export function sealParts({ config, node, native, part, route }: SealPartsDeps): SealParts {
  const { wireguard } = config
  const devices = deviceNames(wireguard.devicePrefix)
  const prefixes = ownPrefixes(config)
  const bypass = wireguard.bypass.map((text) => parseFlow(text)).filter((flow): flow is Flow => flow !== undefined)
  const endpoints = (): readonly Ip[] => endpointsOf(config, route)
  const routing = createRouting(
    {
      devices,
      table: wireguard.table,
      slotTables: [wireguard.slotTables, wireguard.slotTables + 1],
      rulePriority: wireguard.rulePriority,
      slotRulePriority: wireguard.slotRulePriority,
      fwmark: wireguard.fwmark,
      fwmarkMask: FWMARK_MASK,
      protocol: ROUTE_PROTOCOL,
      nexthopBase: wireguard.nexthopBase,
      slotAddresses: SLOT_ADDRESSES,
      probeAddresses: probeAddresses(prefixes, []),
      mtu: wireguard.mtu,
      ...(wireguard.underlay.length > 0 ? { underlay: wireguard.underlay } : {}),
      // Asked for anew each time: a node may get another address.
      get nodeAddresses() {
        return endpoints()
      },
      bypass,
      podPrefixes: prefixes,
    },
    {
      native,
      log: part('wg-routing'),
      clock: systemClock,
      ...(config.node.procfs === '/proc' ? {} : { sysctl: sysctlBelow(config.node.procfs) }),
    },
  )
  const guard = createGuard(
    {
      allowFwmark: wireguard.fwmark,
      mask: FWMARK_MASK,
      ports: [wireguard.port, wireguard.port + 1],
      bypass,
      bpffs: config.datapath.bpffs,
      directory: config.datapath.directory,
      devices: () => underlayDevices(config, endpoints(), route),
    },
    { native, log: part('wg-guard'), object: GUARD_OBJECT },
  )
  return {
    devices,
    directory: new FolderDirectory({ path: wireguard.directory.path, node, log: part('wg-directory') }),
    routing,
    guard,
    self() {
      const found = endpoints()
      const nodeIPs = new Map(
        [...config.node.addresses.map((text) => parseIp(text)), ...found].map((ip) => [formatIp(ip), ip]),
      )
      return { endpoints: found, prefixes, nodeIPs: [...nodeIPs.values()].slice(0, MAX_NODE_IPS) }
    },
  }
}

/** Makes and starts everything of `manage`. @throws SekishoError, and then nothing of it runs */
export async function openManager(deps: SealPartsDeps): Promise<SealWork> {
  const { config, node, native, part, route, keyLog } = deps
  const { wireguard } = config
  if (!new RegExp(NAME_PATTERN).test(node)) {
    throw new SekishoError('SEKISHO_WG_DIRECTORY', `${JSON.stringify(node)} cannot name a record`, {
      hint: 'set node.name to a lower-case DNS name',
    })
  }
  if (endpointsOf(config, route).length === 0) {
    throw new SekishoError('SEKISHO_WG_DIRECTORY', 'the node has no address that peers could send to', {
      hint: 'set wireguard.endpoints, or wait for the default route',
    })
  }
  const log = part('wg')
  const driver = await pickDriver(config, deviceNames(wireguard.devicePrefix), { native, route, log })
  const parts = sealParts(deps)
  const { devices } = parts
  const self = parts.self()
  const options: EngineOptions = {
    ...self,
    node,
    uid: nodeUid(config, node, readText),
    bootId: bootId(readText),
    domain: wireguard.domain,
    devices,
    ports: [wireguard.port, wireguard.port + 1],
    fwmark: wireguard.fwmark,
    keepalive: wireguard.keepalive / 1000,
    accept: wireguard.accept.map((text) => parseCidr(text)),
    encryptNodes: wireguard.encryptNodes,
    target: wireguard.target,
    machine: {
      ...DEFAULT_MACHINE,
      keyLifeMs: wireguard.keyLife,
      maxKeyAgeMs: wireguard.maxKeyAge,
      quietMs: wireguard.quiet,
      compromiseCapMs: wireguard.compromiseCap,
    },
    excuseAfterMs: wireguard.excuseAfter,
  }
  const engine = createEngine(options, {
    ...parts,
    driver,
    prober: createProber(
      {
        devices,
        port: wireguard.probePort,
        addresses: probeAddresses(self.prefixes, []),
        mtu: () => parts.routing.mtu,
      },
      { native, clock: systemClock, random: (words) => void crypto.getRandomValues(words), log: part('wg-probe') },
    ),
    counter: lateCounter(() =>
      createSlotCounter({ devices, probePort: wireguard.probePort }, { native, log: part('wg-probe') }),
    ),
    clock: engineClock,
    log,
    // The logger's own `time` is that of the line.
    keyLog: ({ time, ...event }) => keyLog.info({ at: time, ...event }, 'key'),
  })
  const stop = async (): Promise<void> => {
    await engine.stop()
    await driver.close()
  }
  try {
    await engine.start()
  } catch (error) {
    await stop().catch((cause: unknown) => log.warn({ err: cause }, 'what had started did not stop cleanly'))
    throw error
  }
  return {
    view: engine,
    waitsFor() {
      if (engine.ready()) return undefined
      const { peers } = engine.report()
      return `${peers.unproven} of ${peers.expected} peers are not proven yet`
    },
    addressesChanged() {
      const now = parts.self()
      // A node that has lost its addresses for a moment keeps its record.
      if (now.endpoints.length > 0) engine.changed(now)
    },
    stop,
  }
}

/** Counters are made when the devices stand, which the engine makes. */
function lateCounter(make: () => SlotCounter): SlotCounter {
  let counter: SlotCounter | undefined
  return {
    async slotReplaced(slot) {
      if (counter === undefined) counter = make()
      else await counter.slotReplaced(slot)
    },
    packets: (slot) => counter?.packets(slot) ?? 0,
    stop: async () => counter?.stop(),
  }
}

/** As `routing/sysctl.ts`, where proc is mounted elsewhere: /proc/sys of a container is read-only. */
function sysctlBelow(procfs: string): Sysctl {
  const at = (path: string): string => join(procfs, 'sys/net', path)
  return {
    read(path) {
      try {
        return readFileSync(at(path), 'utf8').trim()
      } catch {
        return undefined
      }
    },
    write(path, value) {
      try {
        writeFileSync(at(path), value)
        return true
      } catch {
        return false
      }
    },
  }
}
