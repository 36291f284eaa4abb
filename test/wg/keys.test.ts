import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkPublishedKey, decodeKey, encodeKey, type KeyOwners } from '../../src/wg/keys.ts'

const NOBODYS: KeyOwners = { own: new Set(), takenByOther: () => false }
const check = (hex: string): unknown => {
  const result = checkPublishedKey(Buffer.from(hex, 'hex').toString('base64'), NOBODYS)
  return result.ok ? 'ok' : result.error
}
const f = 'ff'.repeat(30)

describe('text of keys', () => {
  it('is read back as it was written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
        expect(decodeKey(encodeKey(key))).toEqual(key)
      }),
    )
  })

  it('is refused in any other spelling', () => {
    const key = encodeKey(new Uint8Array(32).fill(7))
    for (const text of [
      '',
      key.slice(0, -1),
      `${key}=`,
      ` ${key.slice(1)}`,
      `${key.slice(0, -2)}d=`,
      key.replace('=', 'A'),
      key.replaceAll('B', '-'),
      Buffer.alloc(31).toString('base64'),
      Buffer.alloc(33).toString('base64'),
    ])
      expect(decodeKey(text), text).toBeUndefined()
  })

  it('of any kind never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String({ minLength: 44, maxLength: 44 })), (text) => {
        const result = checkPublishedKey(text, NOBODYS)
        expect(result.ok || result.error).toBeTruthy()
      }),
    )
  })
})

describe('published keys', () => {
  it('that a device made are taken', () => {
    for (let i = 0; i < 50; i++) {
      const { x } = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })
      const text = Buffer.from(x ?? '', 'base64url').toString('base64')
      expect(checkPublishedKey(text, NOBODYS).ok).toBe(true)
    }
  })

  const LOW = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    `ec${f}7f`,
  ]

  it.each(LOW)('of low order are refused: %s', (hex) => {
    expect(check(hex)).toBe('low-order')
    // The reason, by another implementation: every secret shared with it is zero, which it refuses to give.
    const privateKey = createPrivateKey({
      key: Buffer.from(`302e020100300506032b656e04220420${'42'.repeat(32)}`, 'hex'),
      format: 'der',
      type: 'pkcs8',
    })
    const x = Buffer.from(hex, 'hex').toString('base64url')
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' })
    expect(() => diffieHellman({ privateKey, publicKey })).toThrow()
  })

  it('in another spelling of a point are refused', () => {
    expect(check(`ed${f}7f`)).toBe('not-canonical')
    expect(check(`ff${f}7f`)).toBe('not-canonical')
    expect(check(`${'22'.repeat(31)}a2`)).toBe('not-canonical')
    expect(check(`00${'00'.repeat(30)}80`)).toBe('not-canonical')
    expect(check(`eb${f}7f`)).toBe('ok')
    expect(check(`ff${'ff'.repeat(29)}fe7f`)).toBe('ok')
  })

  it('of this node and of another node are refused', () => {
    const own = encodeKey(new Uint8Array(32).fill(9))
    const others = encodeKey(new Uint8Array(32).fill(8))
    const owners: KeyOwners = { own: new Set([own]), takenByOther: (key) => key === others }
    expect(checkPublishedKey(own, owners)).toEqual({ ok: false, error: 'own' })
    expect(checkPublishedKey(others, owners)).toEqual({ ok: false, error: 'taken' })
    expect(checkPublishedKey(encodeKey(new Uint8Array(32).fill(7)), owners).ok).toBe(true)
  })
})
