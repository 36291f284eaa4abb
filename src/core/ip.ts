import { SekishoError } from './errors.ts'

/**
 * An IP address. `bytes` is 4 or 16 octets in network order and must not be changed.
 * An IPv4-mapped IPv6 address (::ffff:a.b.c.d) is never made: `parseIp` refuses it, because two spellings
 * of one address are a way round a policy.
 */
export interface Ip {
  readonly family: 4 | 6
  readonly bytes: Uint8Array
}

/** An IP prefix; host bits beyond `bits` are zero. */
export interface Cidr {
  readonly ip: Ip
  readonly bits: number
}

/**
 * "addr16": the 16-octet form of an address in shared tables and on the data path: IPv6 as it is, IPv4 as
 * ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). Unambiguous, because real mapped addresses are refused at every door.
 */
export const ADDR16_BYTES = 16

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(4)
  for (let i = 0; i < 4; i++) {
    const part = parts[i] ?? ''
    // No leading zeros: some readers take 010 as octal 8.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined
    const value = Number(part)
    if (value > 255) return undefined
    bytes[i] = value
  }
  return bytes
}

function parseIpv6(text: string): Uint8Array | undefined {
  let head = text
  let tail4: Uint8Array | undefined
  const lastColon = text.lastIndexOf(':')
  if (lastColon >= 0 && text.includes('.', lastColon)) {
    tail4 = parseIpv4(text.slice(lastColon + 1))
    if (tail4 === undefined) return undefined
    head = text.slice(0, lastColon + 1) + '0:0'
  }
  const halves = head.split('::')
  if (halves.length > 2) return undefined
  const groups = (half: string): number[] | undefined => {
    if (half === '') return []
    const out: number[] = []
    for (const group of half.split(':')) {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined
      out.push(parseInt(group, 16))
    }
    return out
  }
  const left = groups(halves[0] ?? '')
  const right = halves.length === 2 ? groups(halves[1] ?? '') : []
  if (left === undefined || right === undefined) return undefined
  const missing = 8 - left.length - right.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const all = [...left, ...new Array<number>(Math.max(0, missing)).fill(0), ...right]
  const bytes = new Uint8Array(16)
  all.forEach((group, i) => {
    bytes[2 * i] = group >> 8
    bytes[2 * i + 1] = group & 0xff
  })
  if (tail4 !== undefined) bytes.set(tail4, 12)
  return bytes
}

/** True for ::ffff:0:0/96. */
export function isMapped(bytes: Uint8Array, offset = 0): boolean {
  for (let i = 0; i < 10; i++) if (bytes[offset + i] !== 0) return false
  return bytes[offset + 10] === 0xff && bytes[offset + 11] === 0xff
}

/** Strict: no leading zeros, no zone, no mapped form. Undefined when the text is not an address. */
export function tryParseIp(text: string): Ip | undefined {
  if (text.includes(':')) {
    const bytes = parseIpv6(text)
    return bytes === undefined || isMapped(bytes) ? undefined : { family: 6, bytes }
  }
  const bytes = parseIpv4(text)
  return bytes === undefined ? undefined : { family: 4, bytes }
}

/** As `tryParseIp`; throws SEKISHO_CORE_ADDRESS. */
export function parseIp(text: string): Ip {
  const ip = tryParseIp(text)
  if (ip === undefined) throw new SekishoError('SEKISHO_CORE_ADDRESS', JSON.stringify(text))
  return ip
}

/** RFC 5952 text. */
export function formatIp(ip: Ip): string {
  if (ip.family === 4) return ip.bytes.join('.')
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((ip.bytes[i] ?? 0) << 8) | (ip.bytes[i + 1] ?? 0))
  let best = -1
  let bestLength = 1
  for (let i = 0; i < 8;) {
    let j = i
    while (j < 8 && groups[j] === 0) j++
    if (j - i > bestLength) {
      best = i
      bestLength = j - i
    }
    i = j === i ? i + 1 : j
  }
  const hex = (list: number[]): string => list.map((group) => group.toString(16)).join(':')
  if (best < 0) return hex(groups)
  return `${hex(groups.slice(0, best))}::${hex(groups.slice(best + bestLength))}`
}

/** Writes the addr16 form of `ip` at `offset`. */
export function writeAddr16(ip: Ip, out: Uint8Array, offset: number): void {
  if (ip.family === 6) {
    out.set(ip.bytes, offset)
    return
  }
  out.fill(0, offset, offset + 10)
  out[offset + 10] = 0xff
  out[offset + 11] = 0xff
  out.set(ip.bytes, offset + 12)
}

/** Reads an addr16; the bytes are copied. */
export function readAddr16(bytes: Uint8Array, offset: number): Ip {
  return isMapped(bytes, offset)
    ? { family: 4, bytes: bytes.slice(offset + 12, offset + 16) }
    : { family: 6, bytes: bytes.slice(offset, offset + 16) }
}

export const maxBits = (family: 4 | 6): 32 | 128 => (family === 4 ? 32 : 128)

/** Zeroes the host bits. */
export function maskIp(ip: Ip, bits: number): Ip {
  const bytes = ip.bytes.slice()
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, bits - 8 * i))
    bytes[i] = (bytes[i] ?? 0) & (0xff00 >> keep) & 0xff
  }
  return { family: ip.family, bytes }
}

/** `a.b.c.d/n` or `x::y/n`; a bare address is a host prefix. Host bits must be zero unless `mask` is set. */
export function tryParseCidr(text: string, options: { mask?: boolean } = {}): Cidr | undefined {
  const slash = text.indexOf('/')
  const ip = tryParseIp(slash < 0 ? text : text.slice(0, slash))
  if (ip === undefined) return undefined
  const max = maxBits(ip.family)
  const bitsText = slash < 0 ? String(max) : text.slice(slash + 1)
  if (!/^(0|[1-9][0-9]{0,2})$/.test(bitsText)) return undefined
  const bits = Number(bitsText)
  if (bits > max) return undefined
  const masked = maskIp(ip, bits)
  if (options.mask !== true && !equalBytes(masked.bytes, ip.bytes)) return undefined
  return { ip: masked, bits }
}

export function parseCidr(text: string, options: { mask?: boolean } = {}): Cidr {
  const cidr = tryParseCidr(text, options)
  if (cidr === undefined) throw new SekishoError('SEKISHO_CORE_CIDR', JSON.stringify(text))
  return cidr
}

export const formatCidr = (cidr: Cidr): string => `${formatIp(cidr.ip)}/${cidr.bits}`

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export const equalIp = (a: Ip, b: Ip): boolean => equalBytes(a.bytes, b.bytes)

/** True when `ip` lies in `cidr`; families never mix. */
export function cidrContains(cidr: Cidr, ip: Ip): boolean {
  return cidr.ip.family === ip.family && equalBytes(maskIp(ip, cidr.bits).bytes, cidr.ip.bytes)
}

/** True when `inner` is `outer` or lies inside it. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.bits <= inner.bits && cidrContains(outer, inner.ip)
}
