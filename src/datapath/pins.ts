import { chmodSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { layoutMismatch, MAP_NAMES, type MapName, mapSpecs, type MapSizes, policyInnerSpec } from '../bpf/map-specs.ts'
import { SekishoError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Fd, NativeError } from '../native/binding.ts'
import type { DatapathNative } from './ports.ts'

/** Where the datapath's pins are. bpffs takes no dots in names. */
export interface Pins {
  readonly root: string
  map(name: MapName): string
  readonly links: string
}

export function pinsUnder(bpffs: string, directory: string): Pins {
  const root = join(bpffs, directory)
  return { root, map: (name) => join(root, name), links: join(root, 'links') }
}

/** A folder whose being there says that this agent mounted the bpffs. */
export const mountMark = (pins: Pins): string => join(pins.root, 'mounted')

export function makeDirectories(pins: Pins): void {
  mkdirSync(pins.root, { mode: 0o700, recursive: true })
  chmodSync(pins.root, 0o700)
  mkdirSync(pins.links, { mode: 0o700, recursive: true })
}

function openPinned(native: DatapathNative, path: string): Fd | undefined {
  try {
    return native.bpfObjGet(path)
  } catch (error) {
    if ((error as NativeError).errnoName === 'ENOENT') return undefined
    throw error
  }
}

function createMap(native: DatapathNative, name: MapName, sizes: MapSizes): Fd {
  const spec = mapSpecs(sizes)[name]
  if (name !== 'policy') return native.bpfMapCreate(spec)
  const inner = native.bpfMapCreate(policyInnerSpec(sizes.policyEntries))
  try {
    return native.bpfMapCreate({ ...spec, inner })
  } finally {
    native.close(inner)
  }
}

/**
 * Every map, by its pin where there is one, else made and pinned. Throws SEKISHO_DATAPATH_LAYOUT, with nothing
 * changed, when a pinned map has another layout.
 */
export function openMaps(native: DatapathNative, pins: Pins, sizes: MapSizes, log: Log): Record<MapName, Fd> {
  const specs = mapSpecs(sizes)
  const opened = new Map<MapName, Fd>()
  try {
    for (const name of MAP_NAMES) {
      const fd = openPinned(native, pins.map(name))
      if (fd === undefined) continue
      opened.set(name, fd)
      const info = native.bpfMapInfo(fd)
      const wrong = layoutMismatch(specs[name], info)
      if (wrong !== undefined) {
        throw new SekishoError('SEKISHO_DATAPATH_LAYOUT', `${pins.map(name)}: ${wrong}`, {
          hint: 'Run `sekisho cleanup` (pods are not enforced until the agent runs again) and start the agent.',
        })
      }
      if (info.maxEntries !== specs[name].maxEntries) {
        const sizesOf = { map: name, configured: specs[name].maxEntries, pinned: info.maxEntries }
        log.warn(sizesOf, 'a pinned map keeps its size until `sekisho cleanup`')
      }
    }
    for (const name of MAP_NAMES) {
      if (opened.has(name)) continue
      const fd = createMap(native, name, sizes)
      opened.set(name, fd)
      native.bpfObjPin(fd, pins.map(name))
    }
  } catch (error) {
    for (const fd of opened.values()) native.close(fd)
    throw error
  }
  return Object.fromEntries(opened) as Record<MapName, Fd>
}

/** Removes every pin of ours and the folders. Idempotent; leaves alone what it does not know. */
export function removePins(pins: Pins): void {
  for (const name of MAP_NAMES) rmSync(pins.map(name), { force: true })
  for (const folder of [pins.links, mountMark(pins), pins.root]) {
    if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder)
  }
}
