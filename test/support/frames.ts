import { parseIp } from '../../src/core/ip.ts'

/** Frames as octets, built from the inside out. Checksums are zero: nothing under test looks at them. */
export const ETH_IPV4 = 0x0800
export const ETH_ARP = 0x0806
export const ETH_IPV6 = 0x86dd

const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts))
const u16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff]

export function ethernet(type: number, payload: Uint8Array): Uint8Array {
  return join(Uint8Array.of(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, ...u16(type)), payload)
}

/** An 802.1Q tag in the frame itself. */
export const tagged = (type: number, payload: Uint8Array): Uint8Array =>
  ethernet(0x8100, join(Uint8Array.of(0, 5, ...u16(type)), payload))

export interface Ipv4Fields {
  readonly from: string
  readonly to: string
  readonly protocol: number
  readonly payload: Uint8Array
  readonly options?: Uint8Array
  readonly id?: number
  /** In octets; a multiple of 8. */
  readonly fragmentOffset?: number
  readonly moreFragments?: boolean
  readonly ttl?: number
  readonly totalLength?: number
}

export function ipv4(fields: Ipv4Fields): Uint8Array {
  const options = fields.options ?? new Uint8Array()
  const header = 20 + options.length
  const total = fields.totalLength ?? header + fields.payload.length
  const fragment = (fields.fragmentOffset ?? 0) / 8 + (fields.moreFragments === true ? 0x2000 : 0)
  const head = [0x40 | (header / 4), 0, ...u16(total), ...u16(fields.id ?? 0), ...u16(fragment), fields.ttl ?? 64]
  const addresses = [...parseIp(fields.from).bytes, ...parseIp(fields.to).bytes]
  return join(Uint8Array.of(...head, fields.protocol, 0, 0, ...addresses), options, fields.payload)
}

export interface Ipv6Fields {
  readonly from: string
  readonly to: string
  /** Of the last extension header, or of the IPv6 header itself. */
  readonly protocol: number
  readonly payload: Uint8Array
  /** In order. `body` is what follows the next-header octet. */
  readonly extensions?: readonly { readonly type: number; readonly body: Uint8Array }[]
  readonly hopLimit?: number
  readonly payloadLength?: number
}

export function ipv6(fields: Ipv6Fields): Uint8Array {
  const extensions = fields.extensions ?? []
  const types = [...extensions.map((one) => one.type), fields.protocol]
  const parts = extensions.map((one, i) => join(Uint8Array.of(types[i + 1] ?? 0), one.body))
  const body = join(...parts, fields.payload)
  const head = [0x60, 0, 0, 0, ...u16(fields.payloadLength ?? body.length), types[0] ?? 59, fields.hopLimit ?? 64]
  return join(Uint8Array.of(...head, ...parseIp(fields.from).bytes, ...parseIp(fields.to).bytes), body)
}

/** Extension headers for `ipv6`: 8 octets a unit. */
export const hopByHop = { type: 0, body: Uint8Array.of(0, 1, 4, 0, 0, 0, 0) }
export const destinationOptions = { type: 60, body: Uint8Array.of(0, 1, 4, 0, 0, 0, 0) }
export const routingHeader = (segmentsLeft: number): { type: number; body: Uint8Array } => ({
  type: 43,
  body: Uint8Array.of(0, 4, segmentsLeft, 0, 0, 0, 0),
})
export const authHeader = { type: 51, body: Uint8Array.of(1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1) }
export function fragmentHeader(id: number, offset: number, more: boolean): { type: number; body: Uint8Array } {
  return {
    type: 44,
    body: Uint8Array.of(0, ...u16((offset & 0xfff8) | (more ? 1 : 0)), ...u16(id >>> 16), ...u16(id & 0xffff)),
  }
}

export const FIN = 0x01
export const SYN = 0x02
export const RST = 0x04
export const ACK = 0x10

export const tcp = (from: number, to: number, flags: number, data = new Uint8Array()): Uint8Array =>
  join(Uint8Array.of(...u16(from), ...u16(to), 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0), data)

export const udp = (from: number, to: number, data: Uint8Array = new Uint8Array(8)): Uint8Array =>
  join(Uint8Array.of(...u16(from), ...u16(to), ...u16(8 + data.length), 0, 0), data)

export const sctp = (from: number, to: number): Uint8Array =>
  Uint8Array.of(...u16(from), ...u16(to), 0, 0, 0, 0, 0, 0, 0, 0)

/** `rest`: octets 4 to 7 of the ICMP header. */
export const icmp = (type: number, code: number, rest: readonly number[], data = new Uint8Array(8)): Uint8Array =>
  join(Uint8Array.of(type, code, 0, 0, ...rest), data)

export const echo = (type: number, id: number): Uint8Array => icmp(type, 0, [...u16(id), 0, 1])

/** A packet of either family by the look of its addresses. */
export function packet(from: string, to: string, protocol: number, payload: Uint8Array): Uint8Array {
  return from.includes(':')
    ? ethernet(ETH_IPV6, ipv6({ from, to, protocol, payload }))
    : ethernet(ETH_IPV4, ipv4({ from, to, protocol, payload }))
}
