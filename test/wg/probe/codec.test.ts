import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MODES } from '../../../src/wg/activation.ts'
import type { Announcement } from '../../../src/wg/pair.ts'
import { decodeProbe, encodeAnswer, encodeAsk, MALFORMED, PROBE_BYTES } from '../../../src/wg/probe/codec.ts'
import { randomFrom } from '../../support/wg/event-queue.ts'

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const slot = fc.constantFrom(0 as const, 1 as const)
const time = fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }).map((value) => value + 0)
const drain = fc.record({
  slot,
  seq: fc.maxSafeNat(),
  since: time,
  reason: fc.constantFrom('Rotate' as const, 'Repair' as const, 'Compromise' as const),
})
const announcement: fc.Arbitrary<Announcement> = fc.record({
  sequence: time,
  mode: fc.constantFrom(...MODES),
  leaving: fc.boolean(),
  ack: fc.oneof(fc.constant(-1), time),
  egress: slot,
  drain: fc.option(drain),
})
const ask = fc.record({ slot, high: u32, low: u32 })
const answer = fc.record({ slot, high: u32, low: u32, heldUs: u32, announcement })

const buffer = (): DataView => new DataView(new ArrayBuffer(PROBE_BYTES))
const encoded = (one: { announcement?: Announcement } & Record<string, unknown>): DataView => {
  const view = buffer()
  if (one.announcement === undefined) encodeAsk(one as never, view)
  else encodeAnswer(one as never, view)
  return view
}
const octets = (view: DataView): string => Buffer.from(view.buffer).toString('hex')

describe('probes', () => {
  it('come back as they went, at any place and with anything behind them', () => {
    fc.assert(
      fc.property(fc.oneof(ask, answer), fc.nat(70), fc.nat(2000), (one, at, more) => {
        const view = new DataView(new ArrayBuffer(at + PROBE_BYTES))
        const kind = 'announcement' in one ? 'answer' : 'ask'
        if ('announcement' in one) encodeAnswer(one, view, at)
        else encodeAsk(one, view, at)
        expect(decodeProbe(view, at, PROBE_BYTES + more)).toEqual({ ok: true, value: { kind, ...one } })
      }),
    )
  })

  it('have one spelling: what is read is written the same again', () => {
    const next = randomFrom(20261126)
    let read = 0
    for (const one of fc.sample(fc.oneof(ask, answer), { numRuns: 500, seed: 20261126 })) {
      for (let i = 0; i < 40; i++) {
        const view = encoded(one)
        for (let n = Math.floor(next() * 3); n >= 0; n--) {
          view.setUint8(Math.floor(next() * PROBE_BYTES), Math.floor(next() * 256))
        }
        const decoded = decodeProbe(view, 0, PROBE_BYTES)
        if (!decoded.ok) {
          expect(MALFORMED).toContain(decoded.error)
          continue
        }
        read++
        expect(octets(encoded({ ...decoded.value }))).toBe(octets(view))
      }
    }
    expect(read).toBeGreaterThan(1000)
  })

  it('are not anything else: no octets of any length are read or throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(250), fc.nat(70), (bytes, length, at) => {
        const decoded = decodeProbe(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), at, length)
        expect(decoded.ok).toBe(false)
      }),
    )
  })

  it('are refused for each octet that is wrong, and for being cut', () => {
    const one = { slot: 1, high: 1, low: 2 } as const
    const drained = { slot: 0, seq: 3, since: 4, reason: 'Repair' } as const
    const said: Announcement = { sequence: 5, mode: 'strict', leaving: true, ack: 4, egress: 1, drain: drained }
    const asked = encoded(one)
    const said1 = { ...one, heldUs: 9, announcement: said }
    const wrong = (view: DataView, change: (view: DataView) => void): string => {
      const copy = new DataView(view.buffer.slice(0))
      change(copy)
      const decoded = decodeProbe(copy, 0, PROBE_BYTES)
      return decoded.ok ? 'read' : decoded.error
    }
    const octet = (at: number, value: number) => (view: DataView) => {
      view.setUint8(at, value)
    }
    const double = (at: number, value: number) => (view: DataView) => {
      view.setFloat64(at, value)
    }
    expect([0, 1, 2, 3].map((at) => wrong(asked, octet(at, 0)))).toEqual(Array(4).fill('magic'))
    expect(wrong(asked, octet(4, 2))).toBe('version')
    expect([0, 3].map((kind) => wrong(asked, octet(5, kind)))).toEqual(['kind', 'kind'])
    expect(wrong(asked, octet(6, 2))).toBe('field')
    expect(wrong(asked, octet(7, 1))).toBe('field')
    // A question has nothing to say.
    for (let at = 16; at < PROBE_BYTES; at++) expect(wrong(asked, octet(at, 1))).toBe('field')
    const answered = encoded(said1)
    expect(wrong(answered, octet(6, 1))).toBe('read')
    for (const [at, value] of [
      [6, 2],
      [7, 4],
      [20, 4],
      [21, 2],
      [22, 2],
      [23, 3],
      [56, 1],
      [63, 1],
    ] as const)
      expect(`${at}: ${wrong(answered, octet(at, value))}`).toBe(`${at}: field`)
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const at of [24, 32, 40, 48]) expect(wrong(answered, double(at, value))).toBe('field')
    }
    expect(
      [double(24, -1), double(40, -1), double(40, 0.5), double(40, 2 ** 53)].map((one) => wrong(answered, one)),
    ).toEqual(Array(4).fill('field'))
    const still = encoded({ ...said1, announcement: { ...said, drain: null } })
    for (const at of [22, 23, 40, 47, 48, 55]) expect(wrong(still, octet(at, 1))).toBe('field')
    for (let length = 0; length < PROBE_BYTES; length++) {
      expect(decodeProbe(asked, 0, length)).toEqual({ ok: false, error: 'short' })
      // The length may be a lie of the caller: what is not there is not read.
      expect(decodeProbe(new DataView(asked.buffer, 0, length), 0, 100)).toEqual({ ok: false, error: 'short' })
    }
  })

  it('are as large for an answer as for a question', () => {
    expect(encoded({ slot: 0, high: 0, low: 0 }).byteLength).toBe(64)
    expect(PROBE_BYTES).toBe(64)
  })
})
