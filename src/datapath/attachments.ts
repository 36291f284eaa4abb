import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { SekishoError } from '../core/errors.ts'
import type { Fd, NativeError } from '../native/binding.ts'
import { removePin } from './pins.ts'
import type { DatapathNative } from './ports.ts'

/** enum bpf_attach_type of <linux/bpf.h>. */
const BPF_TCX_INGRESS = 46
const BPF_TCX_EGRESS = 47

/** Of the clsact filter, where the kernel has no tcx (before 6.6). */
const FILTER_HANDLE = 1
const FILTER_PRIORITY = 0x5e5

export interface Programs {
  readonly from_pod: Fd
  readonly to_pod: Fd
}

export type Direction = 'ingress' | 'egress'
const DIRECTIONS: readonly Direction[] = ['ingress', 'egress']

/** The programs on the interfaces. The pins are the record: `<ifindex>-<direction>` a tcx link, with `-tc` a filter. */
export interface Attachments {
  /**
   * Puts the programs on the interface, or in place of older ones without a packet in between that meets none.
   * Throws SEKISHO_DATAPATH_ATTACH.
   */
  attach(ifindex: number, programs: Programs): void
  /** Takes them off; also when the interface is gone. Idempotent. */
  detach(ifindex: number): void
  /** Interfaces with a record, whether or not they are still there. */
  list(): number[]
}

const gone = (error: unknown, ...names: string[]): boolean => names.includes((error as NativeError).errnoName ?? '')

export function openAttachments(native: DatapathNative, directory: string): Attachments {
  const linkPin = (ifindex: number, direction: Direction): string => join(directory, `${ifindex}-${direction}`)
  const filterMark = (ifindex: number, direction: Direction): string => `${linkPin(ifindex, direction)}-tc`

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
  const createLink = (pin: string, ifindex: number, direction: Direction, program: Fd): boolean => {
    let link: Fd
    try {
      link = native.bpfLinkCreateTcx(program, ifindex, direction === 'ingress' ? BPF_TCX_INGRESS : BPF_TCX_EGRESS)
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

  const attachOne = (ifindex: number, direction: Direction, program: Fd): void => {
    const pin = linkPin(ifindex, direction)
    const mark = filterMark(ifindex, direction)
    if (updateLink(pin, program)) return
    if (!existsSync(mark) && createLink(pin, ifindex, direction, program)) return
    mkdirSync(mark, { recursive: true })
    native.bpfTcAttach(ifindex, direction === 'egress', program, FILTER_HANDLE, FILTER_PRIORITY)
  }

  return {
    attach(ifindex, programs) {
      try {
        // Inbound connections must be known before what answers them is judged.
        attachOne(ifindex, 'egress', programs.to_pod)
        attachOne(ifindex, 'ingress', programs.from_pod)
      } catch (error) {
        throw new SekishoError('SEKISHO_DATAPATH_ATTACH', `interface ${ifindex}: ${(error as Error).message}`, {
          cause: error,
        })
      }
    },
    detach(ifindex) {
      for (const direction of DIRECTIONS) {
        // The pin holds the last reference to the link.
        removePin(linkPin(ifindex, direction))
        const mark = filterMark(ifindex, direction)
        if (!existsSync(mark)) continue
        try {
          native.bpfTcDetach(ifindex, direction === 'egress', FILTER_HANDLE, FILTER_PRIORITY)
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
