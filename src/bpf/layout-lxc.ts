import type { Ip } from '../core/ip.ts'
import { KEY_IPV4, KEY_IPV6, LITTLE_ENDIAN, readUnion, viewOf, writeUnion } from './layout-bytes.ts'

/** Address of a local endpoint -> endpoint; Cilium `cilium_lxc` (bpf/lib/eps.h): hash, key 20, value 48. */
export const LXC_KEY_BYTES = 20
export const LXC_VALUE_BYTES = 48

export interface LxcValue {
  /** Of the host side of the endpoint's interface. */
  readonly ifindex: number
  readonly endpointId: number
  /** 1 host, 2 in the host's namespace. */
  readonly flags: number
  readonly identity: number
}

export function encodeLxcKey(ip: Ip, out: Uint8Array, offset = 0): void {
  writeUnion(ip, out, offset)
  out[offset + 16] = ip.family === 4 ? KEY_IPV4 : KEY_IPV6
  out.fill(0, offset + 17, offset + LXC_KEY_BYTES)
}

export const decodeLxcKey = (bytes: Uint8Array, offset = 0): Ip | undefined =>
  readUnion(bytes[offset + 16] ?? 0, bytes, offset)

/** MAC addresses and routing fields stay zero: this datapath does not rewrite frames. */
export function encodeLxcValue(value: LxcValue, out: Uint8Array, offset = 0): void {
  const view = viewOf(out)
  out.fill(0, offset, offset + LXC_VALUE_BYTES)
  view.setUint32(offset, value.ifindex, LITTLE_ENDIAN)
  view.setUint16(offset + 6, value.endpointId, LITTLE_ENDIAN)
  view.setUint32(offset + 8, value.flags, LITTLE_ENDIAN)
  view.setUint32(offset + 32, value.identity, LITTLE_ENDIAN)
}

export function decodeLxcValue(bytes: Uint8Array, offset = 0): LxcValue {
  const view = viewOf(bytes)
  return {
    ifindex: view.getUint32(offset, LITTLE_ENDIAN),
    endpointId: view.getUint16(offset + 6, LITTLE_ENDIAN),
    flags: view.getUint32(offset + 8, LITTLE_ENDIAN),
    identity: view.getUint32(offset + 32, LITTLE_ENDIAN),
  }
}
