import { SekishoError } from './errors.ts'

/**
 * A domain name in wire form: length-prefixed labels and the root octet, ASCII upper case folded to lower
 * (RFC 1035 section 3.1, RFC 4343). Names are compared in this form and never as joined strings: a label may
 * hold a dot, and `a\.b.example` is not `a.b.example`.
 */
export type Fqdn = Uint8Array & { readonly __fqdn: true }

/** RFC 1035 section 2.3.4: 255 octets with the root, 63 octets a label. */
export const MAX_NAME_BYTES = 255
export const MAX_LABEL_BYTES = 63

/** ASCII only: a Unicode fold would make KELVIN SIGN a `k`. */
export const foldByte = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)

const encoder = new TextEncoder()

/** Presentation form (RFC 1035 section 5.1 escapes, final dot optional) to wire form. Undefined when it is no name. */
export function tryParseFqdn(text: string): Fqdn | undefined {
  if (text === '.') return new Uint8Array([0]) as Fqdn
  const source = encoder.encode(text)
  const out = new Uint8Array(MAX_NAME_BYTES + 1)
  let lengthAt = 0
  let at = 1
  let i = 0
  const closeLabel = (): boolean => {
    const length = at - lengthAt - 1
    if (length < 1 || length > MAX_LABEL_BYTES) return false
    out[lengthAt] = length
    lengthAt = at++
    return true
  }
  while (i < source.length) {
    let byte = source[i++] ?? 0
    if (byte === 0x2e) {
      if (!closeLabel()) return undefined
      if (i === source.length) return seal(out, lengthAt)
      continue
    }
    if (byte === 0x5c) {
      const digits = text3(source, i)
      if (digits !== undefined) {
        if (digits > 255) return undefined
        byte = digits
        i += 3
      } else {
        if (i >= source.length) return undefined
        byte = source[i++] ?? 0
      }
    }
    if (at > MAX_NAME_BYTES) return undefined
    out[at++] = foldByte(byte)
  }
  return closeLabel() ? seal(out, lengthAt) : undefined
}

function seal(out: Uint8Array, rootAt: number): Fqdn | undefined {
  if (rootAt + 1 > MAX_NAME_BYTES) return undefined
  out[rootAt] = 0
  return out.slice(0, rootAt + 1) as Fqdn
}

function text3(source: Uint8Array, i: number): number | undefined {
  let value = 0
  for (let k = 0; k < 3; k++) {
    const byte = source[i + k]
    if (byte === undefined || byte < 0x30 || byte > 0x39) return undefined
    value = value * 10 + byte - 0x30
  }
  return value
}

/** As `tryParseFqdn`; throws SEKISHO_CORE_NAME. */
export function parseFqdn(text: string): Fqdn {
  const name = tryParseFqdn(text)
  if (name === undefined) throw new SekishoError('SEKISHO_CORE_NAME', JSON.stringify(text))
  return name
}

/**
 * Wire form to presentation form with the final dot. `name` must be well formed from `offset` on
 * (uncompressed, checked by the reader before). Every octet outside `[-a-zA-Z0-9_]` is escaped, as miekg/dns
 * and so Cilium print it, `*` excepted.
 */
export function formatFqdn(name: Uint8Array, offset = 0): string {
  let text = ''
  let at = offset
  for (;;) {
    const length = name[at++] ?? 0
    if (length === 0) return text === '' ? '.' : text
    for (let i = 0; i < length; i++) text += escapeByte(name[at + i] ?? 0)
    text += '.'
    at += length
  }
}

function escapeByte(byte: number): string {
  const char = String.fromCharCode(byte)
  if (/[-a-zA-Z0-9_*/+!#$%&':<=>?@^`{|}~,[\]]/.test(char)) return char
  if (byte > 0x20 && byte < 0x7f) return `\\${char}`
  if (byte === 0x20) return '\\ '
  return `\\${String(byte).padStart(3, '0')}`
}
