import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import { batchLines, detourLines, parseDevice, parseReply, request } from '../../../src/wg/drivers/uapi-text.ts'
import { encodeKey } from '../../../src/wg/keys.ts'

const key = (octet: number): string => encodeKey(new Uint8Array(32).fill(octet))
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const bytes = (...lines: string[]): Uint8Array => new TextEncoder().encode([...lines, '', ''].join('\n'))

describe('requests', () => {
  it('end with an empty line', () => {
    expect(text(request('get', []))).toBe('get=1\n\n')
    expect(text(request('set', ['fwmark=0']))).toBe('set=1\nfwmark=0\n\n')
  })

  it('add everything before anything is taken, and never replace', () => {
    const lines = batchLines(
      {
        set: [
          { publicKey: key(1), removeAllowedIps: [parseCidr('10.1.0.0/24')] },
          {
            publicKey: key(2),
            endpoint: { ip: parseIp('fd00::2'), port: 51871 },
            keepalive: 25,
            addAllowedIps: [parseCidr('10.1.0.0/24'), parseCidr('fd10::/64')],
          },
        ],
        remove: [key(3)],
      },
      true,
    )
    expect(lines).toEqual([
      `public_key=${'01'.repeat(32)}`,
      `public_key=${'02'.repeat(32)}`,
      'endpoint=[fd00::2]:51871',
      'persistent_keepalive_interval=25',
      'allowed_ip=10.1.0.0/24',
      'allowed_ip=fd10::/64',
      `public_key=${'01'.repeat(32)}`,
      'update_only=true',
      'allowed_ip=-10.1.0.0/24',
      `public_key=${'03'.repeat(32)}`,
      'remove=true',
    ])
    expect(lines.join()).not.toContain('replace')
  })

  it('take allowed IPs by way of a peer that goes at once', () => {
    expect(detourLines([parseCidr('10.1.0.0/24')])).toEqual([
      `public_key=${'00'.repeat(32)}`,
      'allowed_ip=10.1.0.0/24',
      `public_key=${'00'.repeat(32)}`,
      'remove=true',
    ])
    expect(detourLines([])).toEqual([])
  })

  it('hold no line that a caller has not checked', () => {
    expect(() => batchLines({ remove: ['x\nprivate_key=00'] }, false)).toThrow(
      expect.objectContaining({ code: 'SEKISHO_WG_DEVICE' }),
    )
  })
})

describe('replies', () => {
  it('are read into a device', () => {
    const reply = parseReply(
      bytes(
        `public_self=${'0a'.repeat(32)}`,
        'listen_port=51871',
        'fwmark=7680',
        `public_key=${'0b'.repeat(32)}`,
        `preshared_key=${'00'.repeat(32)}`,
        'protocol_version=1',
        'endpoint=[2001:db8::1%eth0]:51872',
        'last_handshake_time_sec=1700000000',
        'last_handshake_time_nsec=5',
        'tx_bytes=148',
        'rx_bytes=92',
        'persistent_keepalive_interval=25',
        'allowed_ip=10.1.0.0/24',
        'allowed_ip=fd10::/64',
        `public_key=${'0c'.repeat(32)}`,
        'endpoint=192.0.2.1:1',
        'errno=0',
      ),
    )
    expect(reply?.errno).toBe(0)
    expect(parseDevice('wg0', reply?.lines ?? [])).toEqual({
      name: 'wg0',
      publicKey: key(10),
      listenPort: 51871,
      fwmark: 7680,
      peers: [
        {
          publicKey: key(11),
          endpoint: { ip: parseIp('2001:db8::1'), port: 51872 },
          keepalive: 25,
          lastHandshakeNs: 1_700_000_000_000_000_005n,
          rxBytes: 92,
          txBytes: 148,
          allowedIps: [parseCidr('10.1.0.0/24'), parseCidr('fd10::/64')],
        },
        expect.objectContaining({
          publicKey: key(12),
          endpoint: { ip: parseIp('192.0.2.1'), port: 1 },
          allowedIps: [],
        }),
      ],
    })
  })

  it('tell their error as a positive number', () => {
    expect(parseReply(bytes('errno=-22'))?.errno).toBe(22)
    expect(parseReply(bytes('errno=98'))?.errno).toBe(98)
  })

  it('that are no replies are refused', () => {
    for (const lines of [[], ['listen_port=1'], ['errno='], ['errno=x'], ['=1', 'errno=0'], ['junk', 'errno=0']])
      expect(parseReply(bytes(...lines)), lines.join()).toBeUndefined()
  })

  it('with values that cannot be read are RangeErrors, never anything else', () => {
    const field = fc.constantFrom(
      'public_key',
      'rx_bytes',
      'allowed_ip',
      'endpoint',
      'fwmark',
      'last_handshake_time_sec',
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(field, fc.oneof(fc.string(), fc.constant('0b'.repeat(32))))), (lines) => {
        try {
          parseDevice('wg0', lines)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }),
    )
  })
})
