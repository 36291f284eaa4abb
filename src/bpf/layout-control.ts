import { LITTLE_ENDIAN, viewOf } from './layout-bytes.ts'

/** Interface index -> endpoint; `struct interface_value` of native/bpf/maps.h. */
export const INTERFACE_KEY_BYTES = 4
export const INTERFACE_VALUE_BYTES = 8
export const INTERFACE_ENFORCED = 1

export interface InterfaceValue {
  readonly endpointId: number
  readonly enforced: boolean
}

export function encodeU32(value: number, out: Uint8Array = new Uint8Array(4), offset = 0): Uint8Array {
  viewOf(out).setUint32(offset, value, LITTLE_ENDIAN)
  return out
}

export const decodeU32 = (bytes: Uint8Array, offset = 0): number => viewOf(bytes).getUint32(offset, LITTLE_ENDIAN)

export function encodeInterfaceValue(value: InterfaceValue, out: Uint8Array, offset = 0): void {
  encodeU32(value.endpointId, out, offset)
  encodeU32(value.enforced ? INTERFACE_ENFORCED : 0, out, offset + 4)
}

export const decodeInterfaceValue = (bytes: Uint8Array, offset = 0): InterfaceValue => ({
  endpointId: decodeU32(bytes, offset),
  enforced: (decodeU32(bytes, offset + 4) & INTERFACE_ENFORCED) !== 0,
})

/** Settings of the programs; `struct config_value` of native/bpf/maps.h, entry 0. */
export const CONFIG_VALUE_BYTES = 32

export interface ProgramSettings {
  readonly tcpSeconds: number
  readonly otherSeconds: number
  readonly synSeconds: number
  readonly closeSeconds: number
  /** Of each CPU; also the size of a burst. */
  readonly eventsPerSecond: number
  /** Identities of an address the ipcache does not know: 9 and 10 as both families are on. */
  readonly world4: number
  readonly world6: number
}

export function encodeSettings(settings: ProgramSettings, out: Uint8Array, offset = 0): void {
  const words = [
    settings.tcpSeconds,
    settings.otherSeconds,
    settings.synSeconds,
    settings.closeSeconds,
    settings.eventsPerSecond,
    settings.world4,
    settings.world6,
    0,
  ]
  words.forEach((word, i) => encodeU32(word, out, offset + 4 * i))
}
