import { type Hooks, openHooks } from '../bpf/hooks.ts'
import { SekishoError } from '../core/errors.ts'
import type { Fd } from '../native/binding.ts'
import type { DatapathNative } from './ports.ts'

/** Of the clsact filter, where the kernel has no tcx (before 6.6). */
const FILTER_HANDLE = 1
const FILTER_PRIORITY = 0x5e5

export interface Programs {
  readonly from_pod: Fd
  readonly to_pod: Fd
}

/** The programs on the interfaces of pods. */
export interface Attachments extends Pick<Hooks, 'detach' | 'list'> {
  /**
   * Puts the programs on the interface, or in place of older ones without a packet in between that meets none.
   * Throws SEKISHO_DATAPATH_ATTACH.
   */
  attach(ifindex: number, programs: Programs): void
}

export function openAttachments(native: DatapathNative, directory: string): Attachments {
  const hooks = openHooks(native, { directory, handle: FILTER_HANDLE, priority: FILTER_PRIORITY })
  return {
    ...hooks,
    attach(ifindex, programs) {
      try {
        // Inbound connections must be known before what answers them is judged.
        hooks.attach(ifindex, 'egress', programs.to_pod)
        hooks.attach(ifindex, 'ingress', programs.from_pod)
      } catch (error) {
        throw new SekishoError('SEKISHO_DATAPATH_ATTACH', `interface ${ifindex}: ${(error as Error).message}`, {
          cause: error,
        })
      }
    },
  }
}
