import type { Ip } from '../core/ip.ts'
import type { BpfCalls, Fd } from '../native/binding.ts'
import {
  decodeInterfaceValue,
  decodeU32,
  encodeInterfaceValue,
  encodeU32,
  INTERFACE_KEY_BYTES,
  INTERFACE_VALUE_BYTES,
  type InterfaceValue,
} from './layout-control.ts'
import {
  decodeLxcKey,
  decodeLxcValue,
  encodeLxcKey,
  encodeLxcValue,
  LXC_KEY_BYTES,
  LXC_VALUE_BYTES,
} from './layout-lxc.ts'
import type { LxcValue } from './layout-lxc.ts'

/** Address -> endpoint. */
export interface LxcMap {
  set(ip: Ip, value: LxcValue): void
  delete(ip: Ip): void
  dump(): { ip: Ip; value: LxcValue }[]
}

/** Interface -> endpoint and whether its policy is enforced. */
export interface InterfaceMap {
  set(ifindex: number, value: InterfaceValue): void
  delete(ifindex: number): void
  dump(): { ifindex: number; value: InterfaceValue }[]
}

function entriesOf(native: BpfCalls, fd: Fd, keyBytes: number, valueBytes: number): [Uint8Array, Uint8Array][] {
  const found: [Uint8Array, Uint8Array][] = []
  const next = new Uint8Array(keyBytes)
  let key: Uint8Array | null = null
  while (native.bpfMapNextKey(fd, key, next)) {
    key = next.slice()
    const value = new Uint8Array(valueBytes)
    if (native.bpfMapLookup(fd, key, value)) found.push([key, value])
  }
  return found
}

export function openLxcMap(native: BpfCalls, fd: Fd): LxcMap {
  const keyOf = (ip: Ip): Uint8Array => {
    const key = new Uint8Array(LXC_KEY_BYTES)
    encodeLxcKey(ip, key)
    return key
  }
  return {
    set(ip, value) {
      const bytes = new Uint8Array(LXC_VALUE_BYTES)
      encodeLxcValue(value, bytes)
      native.bpfMapUpdate(fd, keyOf(ip), bytes)
    },
    delete(ip) {
      native.bpfMapDelete(fd, keyOf(ip))
    },
    dump: () =>
      entriesOf(native, fd, LXC_KEY_BYTES, LXC_VALUE_BYTES).flatMap(([key, value]) => {
        const ip = decodeLxcKey(key)
        return ip === undefined ? [] : [{ ip, value: decodeLxcValue(value) }]
      }),
  }
}

export function openInterfaceMap(native: BpfCalls, fd: Fd): InterfaceMap {
  return {
    set(ifindex, value) {
      const bytes = new Uint8Array(INTERFACE_VALUE_BYTES)
      encodeInterfaceValue(value, bytes)
      native.bpfMapUpdate(fd, encodeU32(ifindex), bytes)
    },
    delete(ifindex) {
      native.bpfMapDelete(fd, encodeU32(ifindex))
    },
    dump: () =>
      entriesOf(native, fd, INTERFACE_KEY_BYTES, INTERFACE_VALUE_BYTES).map(([key, value]) => ({
        ifindex: decodeU32(key),
        value: decodeInterfaceValue(value),
      })),
  }
}
