import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ReadEnd, readRecords, type RecordSink, RecordWriter } from '../../src/fqdn/record-codec.ts'
import { wire } from '../support/fake-view.ts'

const BOOT = Uint8Array.from({ length: 16 }, (_, i) => i)

function read(file: Uint8Array, boot = BOOT): { end: ReadEnd; seen: string[] } {
  const seen: string[] = []
  const sink: RecordSink = {
    header: ({ localCursor, clusterCursor }) => seen.push(`header ${localCursor} ${clusterCursor}`),
    endpoint: (id, key) => seen.push(`endpoint ${id} ${key}`),
    identity: ({ number, family, labels }) => seen.push(`identity ${number} ${family} ${labels.join(',')}`),
    learned: (id, name, addr16, until) => seen.push(`learned ${id} ${name.length} ${addr16[15]} ${until}`),
  }
  const job = readRecords(file, boot, sink)
  for (;;) {
    const step = job.next()
    if (step.done === true) return { end: step.value, seen }
  }
}

function sample(): { file: Uint8Array; ends: number[]; seen: string[] } {
  const writer = new RecordWriter()
  const ends: number[] = []
  const name = wire('www.example.com')
  writer.header({ bootId: BOOT, localCursor: 0x0100_0009, clusterCursor: 300 })
  ends.push(writer.length)
  writer.endpoint(7, 'shop/täg')
  ends.push(writer.length)
  writer.identity({ number: 0x0100_0001, family: 6, labels: ['fqdn:*.example.com', 'cidr:2001:db8::/32'] })
  ends.push(writer.length)
  writer.beginLearned(65535, name, 0, name.length)
  for (let i = 1; i <= 2; i++) writer.address(new Uint8Array(16).fill(i), 0, 0x7fff_fff0 + i)
  writer.endLearned()
  ends.push(writer.length)
  writer.end()
  ends.push(writer.length)
  return {
    file: new Uint8Array(writer.take()),
    ends,
    seen: [
      `header ${0x0100_0009} 300`,
      'endpoint 7 shop/täg',
      `identity ${0x0100_0001} 6 fqdn:*.example.com,cidr:2001:db8::/32`,
      `learned 65535 17 1 ${0x7fff_fff1}`,
      `learned 65535 17 2 ${0x7fff_fff2}`,
    ],
  }
}

describe('records of the state', () => {
  it('come back as they were written', () => {
    const { file, seen } = sample()
    const back = read(file)
    expect(back.seen).toEqual(seen)
    expect(back.end).toEqual({ valid: file.length, records: 5, complete: true, torn: false, foreign: false })
  })

  it('cut off at any octet give every whole record before it and nothing else', () => {
    const { file, ends, seen } = sample()
    for (let length = 0; length < file.length; length++) {
      const { end, seen: got } = read(file.subarray(0, length))
      const whole = ends.filter((at) => at <= length).length
      expect(end.records).toBe(whole)
      expect(end.valid).toBe(ends[whole - 1] ?? 0)
      expect(end.torn).toBe(length > end.valid)
      expect(end.complete).toBe(false)
      expect(got).toEqual(seen.slice(0, [0, 1, 2, 3, 5][whole]))
    }
  })

  it('with any octet changed give nothing that was not written', () => {
    const { file, seen } = sample()
    for (let at = 0; at < file.length; at++) {
      const damaged = file.slice()
      damaged[at] = (damaged[at] as number) ^ 0x41
      const { seen: got } = read(damaged)
      expect(got).toEqual(seen.slice(0, got.length))
      expect(got.length).toBeLessThanOrEqual(seen.length)
    }
  })

  it('of another boot are not handed out', () => {
    const { end, seen } = read(sample().file, new Uint8Array(16).fill(9))
    expect(seen).toEqual([])
    expect(end.foreign).toBe(true)
  })

  it('after a second header go on', () => {
    const { file } = sample()
    const twice = new Uint8Array(2 * file.length)
    twice.set(file)
    twice.set(file, file.length)
    expect(read(twice).end.records).toBe(10)
    expect(read(twice).seen.length).toBe(10)
  })

  it('never throw, whatever the octets', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (noise, at) => {
        const { file } = sample()
        const mixed = file.slice()
        mixed.set(noise.subarray(0, Math.max(0, mixed.length - at)), Math.min(at, mixed.length))
        read(mixed)
        read(noise)
      }),
      { numRuns: 2000, seed: 5 },
    )
  })

  it('of an identity with too many labels are left out', () => {
    const writer = new RecordWriter()
    const labels = Array.from({ length: 4000 }, (_, i) => `fqdn:name-${i}.example.com`)
    expect(writer.identity({ number: 1, family: 4, labels })).toBe(false)
    expect(writer.length).toBe(0)
  })
})
