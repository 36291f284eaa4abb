import { SekishoError } from '../../core/errors.ts'
import type { Log } from '../../core/log.ts'
import type { Fd, WgSocketCalls } from '../../native/binding.ts'
import type { SlotCounter } from '../seams.ts'
import { SLOTS, type Slot } from '../slots.ts'

export interface SlotCounterOptions {
  readonly devices: readonly [string, string]
  readonly probePort: number
}

export interface SlotCounterDeps {
  readonly native: Pick<WgSocketCalls, 'openPacketCounter' | 'packetCount'> & { close(fd: Fd): void }
  readonly log: Log
}

const FAMILIES = [4, 6] as const

/**
 * Counts by sockets that nobody reads. Call when both devices stand. Probes are what goes from the probe port to the probe
 * port; anything else, handshakes and keepalives excepted, which are no inner packets, counts.
 *
 * @throws SekishoError SEKISHO_WG_PROBE
 */
export function createSlotCounter(options: SlotCounterOptions, { native, log }: SlotCounterDeps): SlotCounter {
  const open: [Fd[], Fd[]] = [[], []]
  const totals: [number, number] = [0, 0]

  /** The kernel forgets what it has told. */
  const collect = (slot: Slot): void => {
    for (const fd of open[slot]) {
      try {
        totals[slot] += native.packetCount(fd)
      } catch (error) {
        log.warn({ err: error, device: options.devices[slot] }, 'packets of a slot could not be counted')
      }
    }
  }

  const close = (slot: Slot): void => {
    collect(slot)
    for (const fd of open[slot].splice(0)) native.close(fd)
  }

  const openSlot = (slot: Slot): void => {
    close(slot)
    const device = options.devices[slot]
    try {
      for (const family of FAMILIES) open[slot].push(native.openPacketCounter(device, family, options.probePort))
    } catch (error) {
      close(slot)
      throw new SekishoError('SEKISHO_WG_PROBE', `${device}: ${(error as Error).message}`, { cause: error })
    }
  }

  try {
    for (const slot of SLOTS) openSlot(slot)
  } catch (error) {
    for (const slot of SLOTS) close(slot)
    throw error
  }

  return {
    async slotReplaced(slot) {
      openSlot(slot)
    },
    packets(slot) {
      collect(slot)
      return totals[slot]
    },
    async stop() {
      for (const slot of SLOTS) close(slot)
    },
  }
}
