import { describe, expect, it } from 'vitest'
import { parseIp, writeAddr16 } from '../../../src/core/ip.ts'
import { isUnicast4, isUnicast6 } from '../../../src/dns/message/unicast.ts'
import { isUnicast } from '../../../src/identity/unicast.ts'

const GOOD = ['192.0.2.1', '10.0.0.1', '169.253.1.1', '223.255.255.255', '2001:db8::1', 'fd00::1', '64:ff9b::c000:201']
const GOOD_ALSO = ['64:ff9b::a00:1', '64:ff9b:1::7f00:1', '2002:c000:201::1', '::1:0:0:1', '64:ff9c::7f00:1']
const BAD = ['0.0.0.0', '0.1.2.3', '127.0.0.1', '169.254.169.254', '224.0.0.1', '240.0.0.1', '255.255.255.255']
const BAD_ALSO = ['::', '::1', '::192.0.2.1', 'fe80::1', 'febf::1', 'ff02::1']
/** What a translator or a relay would turn into one of those. */
const HIDDEN = [
  '64:ff9b::7f00:1',
  '64:ff9b::a9fe:a9fe',
  '64:ff9b::',
  '64:ff9b::e000:1',
  '2002:7f00:1::',
  '2002:a9fe:a9fe::1',
]

/** The reader of answers and the ledger must not differ: what one takes and the other not is asked of the ledger for ever. */
function both(text: string): [boolean, boolean] {
  const ip = parseIp(text)
  const addr16 = new Uint8Array(16)
  writeAddr16(ip, addr16, 0)
  return [(ip.family === 4 ? isUnicast4 : isUnicast6)(ip.bytes, 0), isUnicast(addr16, 0)]
}

describe('an address in an answer', () => {
  it.each([...GOOD, ...GOOD_ALSO])('%s is learned', (text) => {
    expect(both(text)).toEqual([true, true])
  })
  it.each([...BAD, ...BAD_ALSO, ...HIDDEN])('%s is not learned', (text) => {
    expect(both(text)[0]).toBe(false)
    expect(both(text)[1]).toBe(false)
  })
})
