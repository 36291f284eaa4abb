import { LITTLE_ENDIAN, viewOf } from './layout-bytes.ts'

/** Rows of one endpoint; Cilium 1.20 `cilium_policy_v3_*` (bpf/lib/policy.h): LPM, key 12, value 12. */
export const POLICY_KEY_BYTES = 12
export const POLICY_VALUE_BYTES = 12

export interface KernelRow {
  /** Remote identity; 0 any. */
  readonly label: number
  /** IP protocol; 0 any. */
  readonly protocol: number
  /** Destination port, or the ICMP type. */
  readonly port: number
  /** Leading bits of the port that count: 0 any port, 16 exactly this one. */
  readonly portBits: number
  readonly verdict: 'allow' | 'deny' | 'redirect'
}

/** remote identity (32) and direction (8) always have to match. */
const STATIC_BITS = 40
const FLAG_DENY = 0x01

/** (0xFFFFFF - priority) << 8 | class: 255 deny, 1 allow, between them redirects (0x86: Cilium's DNS listener). */
export const PRECEDENCE_ALLOW = 0xffffff01
export const PRECEDENCE_REDIRECT = 0xffffff86
export const PRECEDENCE_DENY = 0xffffffff

const rowBits = (row: KernelRow): number => (row.protocol === 0 ? 0 : 8 + row.portBits)

const maskPort = (port: number, bits: number): number => port & (0xffff << (16 - bits)) & 0xffff

/** An egress key. Port bits beyond `portBits` are cleared; without a protocol there is no port. */
export function encodePolicyKey(row: KernelRow, out: Uint8Array, offset = 0): void {
  const view = viewOf(out)
  view.setUint32(offset, STATIC_BITS + rowBits(row), LITTLE_ENDIAN)
  view.setUint32(offset + 4, row.label, LITTLE_ENDIAN)
  out[offset + 8] = 1
  out[offset + 9] = row.protocol
  view.setUint16(offset + 10, row.protocol === 0 ? 0 : maskPort(row.port, row.portBits))
}

/** `proxyPort`: where the row redirects to, host order. */
export function encodePolicyValue(row: KernelRow, proxyPort: number, out: Uint8Array, offset = 0): void {
  const view = viewOf(out)
  const precedence = { allow: PRECEDENCE_ALLOW, redirect: PRECEDENCE_REDIRECT, deny: PRECEDENCE_DENY }[row.verdict]
  view.setUint16(offset, row.verdict === 'redirect' ? proxyPort : 0)
  out[offset + 2] = (rowBits(row) << 3) | (row.verdict === 'deny' ? FLAG_DENY : 0)
  out[offset + 3] = 0
  view.setUint32(offset + 4, precedence, LITTLE_ENDIAN)
  view.setUint32(offset + 8, 0, LITTLE_ENDIAN)
}

/** Undefined for an ingress row and for a length no row has. */
export function decodePolicyRow(
  key: Uint8Array,
  value: Uint8Array,
  keyOffset = 0,
  valueOffset = 0,
): { row: KernelRow; proxyPort: number } | undefined {
  const view = viewOf(key)
  const bits = view.getUint32(keyOffset, LITTLE_ENDIAN) - STATIC_BITS
  if ((key[keyOffset + 8] ?? 0) !== 1 || (bits !== 0 && (bits < 8 || bits > 24))) return undefined
  const values = viewOf(value)
  const proxyPort = values.getUint16(valueOffset)
  const deny = ((value[valueOffset + 2] ?? 0) & FLAG_DENY) !== 0
  const row: KernelRow = {
    label: view.getUint32(keyOffset + 4, LITTLE_ENDIAN),
    protocol: key[keyOffset + 9] ?? 0,
    port: view.getUint16(keyOffset + 10),
    portBits: bits === 0 ? 0 : bits - 8,
    verdict: deny ? 'deny' : proxyPort === 0 ? 'allow' : 'redirect',
  }
  return { row, proxyPort }
}
