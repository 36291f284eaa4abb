import { existsSync, mkdirSync } from 'node:fs'
import { ensureBpffs, isBpffs, unmountBpffs } from '../bpf/bpffs.ts'
import { CONFIG_VALUE_BYTES, encodeSettings } from '../bpf/layouts.ts'
import { type MapName, openCounterMaps, openInterfaceMap, openLxcMap } from '../bpf/maps.ts'
import { SekishoError } from '../core/errors.ts'
import { IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6 } from '../core/identity.ts'
import type { Fd } from '../native/binding.ts'
import { whenReadable } from '../native/readable.ts'
import { linkByName, NETLINK_ROUTE, openConnection, openMonitor } from '../netlink/netlink.ts'
import { openAttachments, type Programs } from './attachments.ts'
import { openDropRing } from './drop-ring.ts'
import { openEndpointTable } from './endpoint-table.ts'
import { makeDirectories, mountMark, openMaps, pinsUnder, removePins } from './pins.ts'
import type { Datapath, DatapathConfig, DatapathDeps } from './ports.ts'
import { openRoutingChanges } from './routing-changes.ts'
import { ensureRouting, removeRouting } from './routing.ts'

/** Rest between two looks at interfaces that come and go: an interface that comes within it is not enforced for so long. */
const MONITOR_REST_MS = 50
/** Rest between two looks at drops; the ring buffer holds those of the meantime. */
const EVENTS_REST_MS = 250
/** Rest after a look at rules and routes that went: who takes them out again and again (network managers flush what they do not know) fills no log. */
const CHANGES_REST_MS = 1000
/** How often they are looked at without an event: some of what the kernel takes out it does not tell. */
const ROUTING_MS = 15_000

function loadPrograms(deps: DatapathDeps, maps: Readonly<Record<MapName, Fd>>): Programs {
  const { native, object } = deps
  if (!existsSync(object)) {
    throw new SekishoError('SEKISHO_DATAPATH_OBJECT', `${object} is not there`, { hint: 'make -C native/bpf' })
  }
  let loaded
  try {
    loaded = native.bpfObjectLoad(object, maps)
  } catch (error) {
    throw new SekishoError('SEKISHO_DATAPATH_OBJECT', (error as Error).message, {
      cause: error,
      hint: 'The kernel must be 6.1 or later, and the agent needs CAP_BPF and CAP_NET_ADMIN.',
    })
  }
  for (const fd of Object.values(loaded.maps)) native.close(fd)
  const { from_pod, to_pod } = loaded.programs
  if (from_pod === undefined || to_pod === undefined) {
    throw new SekishoError('SEKISHO_DATAPATH_OBJECT', `${object} has not the programs from_pod and to_pod`)
  }
  return { from_pod, to_pod }
}

/** Everything that lives between `start` and `stop`. */
function open(deps: DatapathDeps, config: DatapathConfig) {
  const { native, log } = deps
  const pins = pinsUnder(config.bpffs, config.directory)
  const mounted = ensureBpffs(config.bpffs)
  makeDirectories(pins)
  if (mounted) mkdirSync(mountMark(pins), { recursive: true })
  const closers: (() => void)[] = []
  const close = (): void => {
    for (const closer of closers.splice(0).reverse()) closer()
  }
  try {
    const maps = openMaps(native, pins, config.maps, log)
    closers.push(() => {
      for (const fd of Object.values(maps)) native.close(fd)
    })
    const settings = new Uint8Array(CONFIG_VALUE_BYTES)
    const { conntrack, eventsPerSecond } = config
    const worlds = { world4: IDENTITY_WORLD_IPV4, world6: IDENTITY_WORLD_IPV6 }
    encodeSettings({ ...conntrack, eventsPerSecond, ...worlds }, settings)
    native.bpfMapUpdate(maps.config, new Uint8Array(4), settings)
    const programs = loadPrograms(deps, maps)
    closers.push(() => {
      native.close(programs.from_pod)
      native.close(programs.to_pod)
    })
    const connection = openConnection(native, NETLINK_ROUTE)
    closers.push(() => {
      connection.close()
    })
    ensureRouting(connection, config, log)
    const monitor = openMonitor(native)
    closers.push(() => {
      monitor.close()
    })
    const changes = openRoutingChanges(native)
    closers.push(() => {
      changes.close()
    })
    const ring = openDropRing(native, maps.events)
    closers.push(() => {
      ring.close()
    })
    const counters = openCounterMaps(native, maps)
    const interfaces = openInterfaceMap(native, maps.interfaces)
    const adoptedIds = new Set(interfaces.dump().map(({ value }) => value.endpointId))
    const table = openEndpointTable({
      interfaces,
      lxc: openLxcMap(native, maps.lxc),
      attachments: openAttachments(native, pins.links),
      programs,
      linkByName: (name) => linkByName(connection, name),
      forget: (id) => {
        counters.forget(id)
      },
      log,
    })
    return { maps, adoptedIds, connection, monitor, changes, ring, counters, table, close }
  } catch (error) {
    close()
    throw error
  }
}

export function createDatapath(deps: DatapathDeps, config: DatapathConfig): Datapath {
  const { log } = deps
  let running: ReturnType<typeof open> | undefined
  let endings: (() => void)[] = []
  const here = (): ReturnType<typeof open> => {
    if (running === undefined) throw new Error('the datapath is not started')
    return running
  }
  const guarded = (what: string, act: () => void) => (): void => {
    try {
      act()
    } catch (error) {
      log.error({ err: error }, what)
    }
  }

  return {
    async start() {
      const opened = open(deps, config)
      running = opened
      const look = guarded('endpoints could not be put right', () => {
        if (opened.monitor.poll().length === 0) return
        void opened.table.refresh().catch((error: unknown) => {
          log.error({ err: error }, 'endpoints could not be put right')
        })
      })
      const route = guarded('the routing of the redirect could not be put right', () => {
        const set = ensureRouting(opened.connection, config, log)
        if (set > 0) log.warn({ set }, 'somebody had removed routing rules of the redirect; they stand again')
      })
      const timer = setInterval(route, ROUTING_MS)
      const changed = guarded('changes of the routing could not be read', () => {
        if (opened.changes.read()) route()
      })
      endings = [
        whenReadable(deps.native, opened.monitor.fd, MONITOR_REST_MS, look),
        whenReadable(deps.native, opened.changes.fd, CHANGES_REST_MS, changed),
        () => {
          clearInterval(timer)
        },
      ]
    },
    applyEndpoints: (endpoints) => here().table.apply(endpoints),
    get maps() {
      return here().maps
    },
    get adoptedIds() {
      return here().adoptedIds
    },
    counters() {
      const { counters } = here()
      return {
        reasons: counters.reasons(),
        drops: counters.drops(),
        suppressedEvents: counters.suppressedEvents(),
      }
    },
    states: () => here().table.states(),
    events: () => here().ring.read(),
    whenEvents(act) {
      const end = whenReadable(deps.native, here().maps.events, EVENTS_REST_MS, guarded('drops could not be read', act))
      endings.push(end)
      return end
    },
    async stop() {
      for (const end of endings) end()
      endings = []
      running?.close()
      running = undefined
    },
  }
}

/**
 * Removes every object of the datapath: programs, pins and with them the maps, rule and routes; the bpffs mount when
 * the agent made it. Needs no agent, must not run beside one. Idempotent.
 */
export function cleanupDatapath(
  deps: Pick<DatapathDeps, 'native'>,
  config: Pick<DatapathConfig, 'bpffs' | 'directory' | 'routeTable' | 'rulePriority'>,
): void {
  const { native } = deps
  const pins = pinsUnder(config.bpffs, config.directory)
  if (isBpffs(config.bpffs) && existsSync(pins.root)) {
    const attachments = openAttachments(native, pins.links)
    for (const ifindex of attachments.list()) attachments.detach(ifindex)
    const mounted = existsSync(mountMark(pins))
    removePins(pins)
    if (mounted && !existsSync(pins.root)) unmountBpffs(config.bpffs)
  }
  const connection = openConnection(native, NETLINK_ROUTE)
  try {
    removeRouting(connection, config)
  } finally {
    connection.close()
  }
}
