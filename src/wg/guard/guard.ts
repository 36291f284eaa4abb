import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { ensureBpffs, isBpffs } from '../../bpf/bpffs.ts'
import { HOOK_DIRECTIONS, openHooks, removePin, type HookDirection, type Hooks } from '../../bpf/hooks.ts'
import { layoutMismatch } from '../../bpf/map-specs.ts'
import { scanMap } from '../../bpf/scan.ts'
import { SekishoError } from '../../core/errors.ts'
import { formatCidr, type Cidr } from '../../core/ip.ts'
import type { Log } from '../../core/log.ts'
import type { BpfCalls, Fd, NativeError, NetlinkAsyncCalls, NetlinkCalls } from '../../native/binding.ts'
import { NETLINK_ROUTE, asyncLinks, openAsyncConnection, type AsyncLinks, type Link } from '../../netlink/netlink.ts'
import type { Guard } from '../seams.ts'
import {
  COUNTERS,
  GUARD_MAPS,
  GUARD_SPECS,
  KEY_BYTES,
  VALUE_BYTES,
  decodeKey,
  encodeGuardSettings,
  encodeKey,
  encodeValue,
  sumPackets,
  type GuardMap,
  type GuardSettings,
} from './layout.ts'

export interface GuardOptions extends GuardSettings {
  readonly bpffs: string
  /** Folder in it; the pins are `guard_*` there. */
  readonly directory: string
  /** Names of the devices of the underlay now. One that is missing is waited for; one that is no longer named is let go, while others are. */
  readonly devices: () => readonly string[]
}

export interface GuardDeps {
  readonly native: BpfCalls & NetlinkCalls & NetlinkAsyncCalls & { close(fd: Fd): void }
  readonly log: Log
  /** The compiled programs, `build/guard.o`. */
  readonly object: string
}

/** Of the clsact filter, where the kernel has no tcx; not that of the programs of pods. */
const FILTER_HANDLE = 1
const FILTER_PRIORITY = 0x5e6

/** ARPHRD_* of <linux/if_arp.h>: what begins with 14 octets of Ethernet, and what begins with the IP header. */
const FRAMES = [1, 772]
const PACKETS = [512, 519, 768, 769, 776, 778, 823, 65534]

const failed = (what: string, error: unknown, hint?: string): SekishoError =>
  new SekishoError('SEKISHO_WG_GUARD', `${what}: ${(error as Error).message}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  })

function programSuffix(link: Link): 'frame' | 'packet' {
  if (FRAMES.includes(link.hardware)) return 'frame'
  if (PACKETS.includes(link.hardware)) return 'packet'
  throw new SekishoError('SEKISHO_WG_GUARD', `${link.name} is of hardware type ${link.hardware}`, {
    hint: 'Name Ethernet or IP devices as the underlay.',
  })
}

interface Opened {
  readonly maps: Readonly<Record<GuardMap, Fd>>
  readonly programs: Readonly<Record<string, Fd>>
  readonly links: AsyncLinks
  readonly hooks: Hooks
  close(): Promise<void>
}

export function createGuard(options: GuardOptions, deps: GuardDeps): Guard {
  const { native, log } = deps
  const root = join(options.bpffs, options.directory)
  const linkFolder = join(root, 'guard_links')
  const pinOf = (map: GuardMap): string => join(root, map)
  const hooksOf = (): Hooks =>
    openHooks(native, { directory: linkFolder, handle: FILTER_HANDLE, priority: FILTER_PRIORITY, first: true })
  let running: Opened | undefined
  /** Interfaces that this process has put its programs on. */
  const attached = new Set<number>()

  const here = (): Opened => {
    if (running === undefined) throw new Error('the guard is not started')
    return running
  }

  const openMap = (name: GuardMap): Fd => {
    let fd: Fd
    try {
      fd = native.bpfObjGet(pinOf(name))
    } catch (error) {
      if ((error as NativeError).errnoName !== 'ENOENT') throw failed(pinOf(name), error)
      fd = native.bpfMapCreate(GUARD_SPECS[name])
      try {
        native.bpfObjPin(fd, pinOf(name))
      } catch (cause) {
        native.close(fd)
        throw failed(pinOf(name), cause)
      }
      return fd
    }
    const wrong = layoutMismatch(GUARD_SPECS[name], native.bpfMapInfo(fd))
    if (wrong === undefined) return fd
    native.close(fd)
    throw new SekishoError('SEKISHO_WG_GUARD', `${pinOf(name)}: ${wrong}`, {
      hint: 'Run `sekisho cleanup` (clear text is not dropped until the agent runs again) and start the agent.',
    })
  }

  const open = (): Opened => {
    let settings
    try {
      settings = encodeGuardSettings(options)
    } catch (error) {
      throw failed('settings', error)
    }
    ensureBpffs(options.bpffs)
    mkdirSync(linkFolder, { mode: 0o700, recursive: true })
    const held: Fd[] = []
    const close = (): void => {
      for (const fd of held.splice(0)) native.close(fd)
    }
    try {
      const entries = GUARD_MAPS.map((name) => {
        const fd = openMap(name)
        held.push(fd)
        return [name, fd] as const
      })
      const maps = Object.fromEntries(entries) as Record<GuardMap, Fd>
      native.bpfMapUpdate(maps.guard_settings, new Uint8Array(4), settings)
      let loaded
      try {
        loaded = native.bpfObjectLoad(deps.object, maps)
      } catch (error) {
        throw failed(
          deps.object,
          error,
          'The kernel must be 6.1 or later, and the agent needs CAP_BPF and CAP_NET_ADMIN.',
        )
      }
      for (const fd of Object.values(loaded.maps)) native.close(fd)
      held.push(...Object.values(loaded.programs))
      const connection = openAsyncConnection(native, NETLINK_ROUTE)
      return {
        maps,
        programs: loaded.programs,
        links: asyncLinks(connection),
        hooks: hooksOf(),
        async close() {
          await connection.close()
          close()
        },
      }
    } catch (error) {
      close()
      throw error
    }
  }

  const program = (link: Link, direction: HookDirection): Fd => {
    const name = `${direction}_${programSuffix(link)}`
    const fd = here().programs[name]
    if (fd === undefined) throw new SekishoError('SEKISHO_WG_GUARD', `${deps.object} has no program ${name}`)
    return fd
  }

  /** True when the interface had not our programs. A tcx link is ours alone while its pin stands; a filter is asked for. */
  const attach = (link: Link): boolean => {
    const { hooks } = here()
    const pinned = HOOK_DIRECTIONS.every((direction) => existsSync(join(linkFolder, `${link.index}-${direction}`)))
    if (attached.has(link.index) && pinned) return false
    let made = false
    try {
      for (const direction of HOOK_DIRECTIONS) {
        if (hooks.attach(link.index, direction, program(link, direction))) made = true
      }
    } catch (error) {
      if (error instanceof SekishoError) throw error
      throw failed(`interface ${link.name}`, error)
    }
    attached.add(link.index)
    return made
  }

  const attachAll = async (): Promise<number> => {
    const { links, hooks } = here()
    const standing = new Set<number>()
    const problems: unknown[] = []
    let mended = 0
    const named = options.devices()
    for (const name of named) {
      const link = await links.find(name)
      if (link === undefined) continue
      standing.add(link.index)
      try {
        if (attach(link)) mended++
      } catch (error) {
        problems.push(error)
      }
    }
    for (const ifindex of hooks.list()) {
      if (standing.has(ifindex)) continue
      // A node that has lost its addresses for a moment names no device: what comes in meanwhile is judged as before.
      if (named.length === 0 && (await links.byIndex(ifindex)) !== undefined) continue
      hooks.detach(ifindex)
      attached.delete(ifindex)
    }
    if (problems.length > 0) throw problems[0]
    return mended
  }

  const found = (): Set<string> => {
    const { maps } = here()
    const prefixes = new Set<string>()
    for (const family of [4, 6] as const) {
      const size = KEY_BYTES[family]
      scanMap(native, maps[`guard_v${family}`], size, VALUE_BYTES, (keys, _values, count) => {
        for (let i = 0; i < count; i++) {
          const prefix = decodeKey(family, keys, i * size)
          if (prefix !== undefined) prefixes.add(formatCidr(prefix))
        }
      })
    }
    return prefixes
  }

  const end = async (): Promise<void> => {
    const last = running
    running = undefined
    attached.clear()
    await last?.close()
  }

  return {
    async start() {
      running = open()
      try {
        await attachAll()
        return found()
      } catch (error) {
        await end()
        throw error
      }
    },
    async protect(prefix: Cidr, on: boolean) {
      const map = here().maps[`guard_v${prefix.ip.family}`]
      const key = encodeKey(prefix)
      try {
        if (on) native.bpfMapUpdate(map, key, encodeValue(prefix))
        else native.bpfMapDelete(map, key)
      } catch (error) {
        throw failed(formatCidr(prefix), error)
      }
    },
    async check() {
      const mended = await attachAll()
      if (mended > 0)
        log.warn({ interfaces: mended }, 'the guard against clear text is on interfaces that were without')
      return mended
    },
    counts() {
      const { guard_counts: map } = here().maps
      const values = new Uint8Array(native.bpfMapInfo(map).valueOctets)
      const key = new Uint8Array(4)
      return COUNTERS.map((counter, i) => {
        key[0] = i
        native.bpfMapLookup(map, key, values)
        return { ...counter, packets: sumPackets(values) }
      })
    },
    stop: end,
    async cleanup() {
      await end()
      if (!isBpffs(options.bpffs)) return
      const hooks = hooksOf()
      for (const ifindex of hooks.list()) hooks.detach(ifindex)
      for (const name of GUARD_MAPS) removePin(pinOf(name))
      for (const folder of [linkFolder, root]) {
        if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder)
      }
    },
  }
}
