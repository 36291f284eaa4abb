import fc from 'fast-check'
import { BlockList } from 'node:net'
import { describe, expect, it } from 'vitest'
import {
  cidrContains,
  cidrCovers,
  equalIp,
  formatCidr,
  formatIp,
  parseCidr,
  parseIp,
  readAddr16,
  tryParseCidr,
  tryParseIp,
  writeAddr16,
} from '../../src/core/ip.ts'

const bytesArb = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
)

describe('addresses', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['2001:DB8::0:1', '2001:db8::1'],
    ['1:0:0:2::3', '1:0:0:2::3'],
    ['::', '::'],
    ['::1', '::1'],
    ['fe80::', 'fe80::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['1:0:3:4:5:6:7:8', '1:0:3:4:5:6:7:8'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s prints as %s', (text, printed) => {
    expect(formatIp(parseIp(text))).toBe(printed)
  })

  it.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '010.1.1.1',
    '1.2.3.256',
    '0x7f.1',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1::2::3',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    '12345::',
    '::ffff:1.2.3.4',
    '::ffff:102:304',
    '1:2:3:4:5:6:7:8::',
    'g::',
    '::1.2.3',
    '1.2.3.4::',
  ])('%j is refused', (text) => {
    expect(tryParseIp(text)).toBeUndefined()
  })

  it('text and addr16 round trip for every address that is not mapped', () => {
    fc.assert(
      fc.property(bytesArb, (bytes) => {
        const ip = { family: bytes.length === 4 ? (4 as const) : (6 as const), bytes }
        const again = tryParseIp(formatIp(ip))
        if (again === undefined) return formatIp(ip).startsWith('::ffff:')
        const buffer = new Uint8Array(20)
        writeAddr16(ip, buffer, 3)
        return equalIp(again, ip) && equalIp(readAddr16(buffer, 3), ip)
      }),
      { seed: 1, numRuns: 2000 },
    )
  })
})

describe('prefixes', () => {
  it('refuses host bits unless told to mask them', () => {
    expect(tryParseCidr('10.0.0.1/8')).toBeUndefined()
    expect(formatCidr(parseCidr('10.0.0.1/8', { mask: true }))).toBe('10.0.0.0/8')
    expect(formatCidr(parseCidr('2001:db8::1'))).toBe('2001:db8::1/128')
    expect(tryParseCidr('10.0.0.0/33')).toBeUndefined()
    expect(tryParseCidr('10.0.0.0/08')).toBeUndefined()
  })

  it('contains what the platform says it contains', () => {
    fc.assert(
      fc.property(bytesArb, bytesArb, fc.nat(128), (a, b, bits) => {
        if (a.length !== b.length) return true
        const family = a.length === 4 ? 4 : 6
        const width = Math.min(bits, a.length * 8)
        const outer = { family, bytes: a } as const
        const inner = { family, bytes: b } as const
        const text = formatIp(outer)
        if (text.startsWith('::ffff:') || formatIp(inner).startsWith('::ffff:')) return true
        const list = new BlockList()
        list.addSubnet(text, width, family === 4 ? 'ipv4' : 'ipv6')
        const cidr = parseCidr(`${text}/${width}`, { mask: true })
        return cidrContains(cidr, inner) === list.check(formatIp(inner), family === 4 ? 'ipv4' : 'ipv6')
      }),
      { seed: 2, numRuns: 2000 },
    )
  })

  it('never mixes families', () => {
    expect(cidrContains(parseCidr('0.0.0.0/0'), parseIp('::1'))).toBe(false)
    expect(cidrCovers(parseCidr('::/0'), parseCidr('10.0.0.0/8'))).toBe(false)
    expect(cidrCovers(parseCidr('10.0.0.0/8'), parseCidr('10.1.0.0/16'))).toBe(true)
    expect(cidrCovers(parseCidr('10.1.0.0/16'), parseCidr('10.0.0.0/8'))).toBe(false)
  })
})
