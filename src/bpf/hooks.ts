import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { BpfCalls, Fd, NativeError } from '../native/binding.ts'

/** enum bpf_attach_type of <linux/bpf.h>. */
const BPF_TCX_INGRESS = 46
const BPF_TCX_EGRESS = 47

export type HookDirection = 'ingress' | 'egress'
export const HOOK_DIRECTIONS: readonly HookDirection[] = ['ingress', 'egress']

export interface HookOptions {
  /** Folder of the pins, in a bpffs. They are the record: `<ifindex>-<direction>` a tcx link, with `-tc` a filter. */
  readonly directory: string
  /** Of the clsact filter, where the kernel has no tcx (before 6.6). */
  readonly handle: number
  readonly priority: number
  /** Before the tcx programs that are there already, which may end the walk. */
  readonly first?: boolean
}

/** Programs on interfaces, by tcx link or clsact filter; both go on without us. */
export interface Hooks {
  /**
   * Puts the program on the interface, or in place of an older one of ours without a packet in between that meets none.
   * True when there was none. Throws the error of the native door.
   */
  attach(ifindex: number, direction: HookDirection, program: Fd): boolean
  /** Takes both directions off; also when the interface is gone. Idempotent. */
  detach(ifindex: number): void
  /** Interfaces with a record, whether or not they are still there. */
  list(): number[]
}

export type HookDoor = Pick<
  BpfCalls,
  | 'bpfObjGet'
  | 'bpfObjPin'
  | 'bpfLinkCreateTcx'
  | 'bpfLinkUpdate'
  | 'bpfLinkDetach'
  | 'bpfTcAttach'
  | 'bpfTcQuery'
  | 'bpfTcDetach'
> & { close(fd: Fd): void }

export const removePin = (path: string): void => {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

const gone = (error: unknown, ...names: string[]): boolean => names.includes((error as NativeError).errnoName ?? '')

export function openHooks(native: HookDoor, { directory, handle, priority, first = false }: HookOptions): Hooks {
  const linkPin = (ifindex: number, direction: HookDirection): string => join(directory, `${ifindex}-${direction}`)
  const filterMark = (ifindex: number, direction: HookDirection): string => `${linkPin(ifindex, direction)}-tc`
  /** By mark: what runs in our filter, and the program it was made from. */
  const filters = new Map<string, { readonly id: number; readonly program: Fd }>()

  /** True when an older link now runs `program`. A link whose interface is gone says ENOLINK. */
  const updateLink = (pin: string, program: Fd): boolean => {
    if (!existsSync(pin)) return false
    const link = native.bpfObjGet(pin)
    try {
      native.bpfLinkUpdate(link, program)
      return true
    } catch (error) {
      if (!gone(error, 'ENOLINK')) throw error
      removePin(pin)
      return false
    } finally {
      native.close(link)
    }
  }

  /** False when the kernel has no tcx. */
  const createLink = (pin: string, ifindex: number, direction: HookDirection, program: Fd): boolean => {
    let link: Fd
    try {
      link = native.bpfLinkCreateTcx(
        program,
        ifindex,
        direction === 'ingress' ? BPF_TCX_INGRESS : BPF_TCX_EGRESS,
        first,
      )
    } catch (error) {
      if (gone(error, 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP')) return false
      throw error
    }
    try {
      native.bpfObjPin(link, pin)
      return true
    } finally {
      native.close(link)
    }
  }

  /** Without it the program would stay until the kernel gets round to the link, and attaching it again would fail with EEXIST. */
  const detachLink = (pin: string): void => {
    if (!existsSync(pin)) return
    const link = native.bpfObjGet(pin)
    try {
      native.bpfLinkDetach(link)
    } catch (error) {
      if (!gone(error, 'ENOLINK')) throw error
    } finally {
      native.close(link)
    }
    removePin(pin)
  }

  return {
    attach(ifindex, direction, program) {
      const pin = linkPin(ifindex, direction)
      const mark = filterMark(ifindex, direction)
      if (updateLink(pin, program)) return false
      if (!existsSync(mark) && createLink(pin, ifindex, direction, program)) return true
      const egress = direction === 'egress'
      const running = native.bpfTcQuery(ifindex, egress, handle, priority)
      const known = filters.get(mark)
      // A filter is replaced under a lock that all of the host wait for, so not for nothing.
      if (running !== 0 && known?.id === running && known.program === program) return false
      mkdirSync(mark, { recursive: true })
      native.bpfTcAttach(ifindex, egress, program, handle, priority)
      filters.set(mark, { id: native.bpfTcQuery(ifindex, egress, handle, priority), program })
      return running === 0
    },
    detach(ifindex) {
      for (const direction of HOOK_DIRECTIONS) {
        detachLink(linkPin(ifindex, direction))
        const mark = filterMark(ifindex, direction)
        filters.delete(mark)
        if (!existsSync(mark)) continue
        try {
          native.bpfTcDetach(ifindex, direction === 'egress', handle, priority)
        } catch (error) {
          if (!gone(error, 'ENODEV', 'ENOENT', 'EINVAL', 'ENXIO')) throw error
        }
        rmdirSync(mark)
      }
    },
    list() {
      if (!existsSync(directory)) return []
      const found = readdirSync(directory).map((name) => /^([1-9][0-9]*)-(?:ingress|egress)(?:-tc)?$/.exec(name)?.[1])
      return [...new Set(found.filter((index) => index !== undefined).map(Number))]
    },
  }
}
