import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatFqdn, parseFqdn, tryParseFqdn } from '../../src/core/fqdn.ts'

const hex = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? 'none' : Buffer.from(bytes).toString('hex')

describe('names', () => {
  it.each([
    ['.', '00'],
    ['a.io.', '01610269' + '6f00'],
    ['A.IO', '016102696f00'],
    ['a\\.b.io.', '03612e6202696f00'],
    ['\\195\\169.io.', '02c3a902696f00'],
    ['\\000.io', '010002696f00'],
    ['a\\ b.io', '0361206202696f00'],
  ])('%s has the wire form %s', (text, wire) => {
    expect(hex(tryParseFqdn(text))).toBe(wire)
  })

  it.each([
    '',
    '..',
    'a..b',
    '.a',
    'a\\',
    'a\\300',
    `${'a'.repeat(64)}.io`,
    `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)}`,
  ])('%j is refused', (text) => {
    expect(tryParseFqdn(text)).toBeUndefined()
  })

  it('takes the longest name there is', () => {
    const text = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}.`
    expect(parseFqdn(text)).toHaveLength(255)
    expect(formatFqdn(parseFqdn(text))).toBe(text)
  })

  it('does not fold beyond ASCII', () => {
    expect(hex(tryParseFqdn('\u212a.io'))).toBe('03e284aa02696f00')
  })

  it('prints and reads back every label content', () => {
    const label = fc.uint8Array({ minLength: 1, maxLength: 63 })
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 3 }), (labels) => {
        const wire = Buffer.concat([
          ...labels.map((bytes) => Buffer.concat([Buffer.from([bytes.length]), bytes])),
          Buffer.from([0]),
        ])
        const folded = Buffer.from(wire)
        let at = 0
        for (const bytes of labels) {
          for (let i = 1; i <= bytes.length; i++) {
            const byte = folded[at + i] ?? 0
            if (byte >= 0x41 && byte <= 0x5a) folded[at + i] = byte | 0x20
          }
          at += bytes.length + 1
        }
        return hex(tryParseFqdn(formatFqdn(wire))) === folded.toString('hex')
      }),
      { seed: 3, numRuns: 2000 },
    )
  })
})
