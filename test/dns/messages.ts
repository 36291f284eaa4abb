import { dnsPacket } from '../support/dns-packet.ts'
import type { DnsMessage, DnsRecord } from '../support/dns-packet.ts'

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'))

export const u16 = (value: number): number[] => [value >> 8, value & 0xff]

/** A name in wire form from dot-separated text, case kept. */
export const wire = (text: string): number[] => {
  if (text === '.') return [0]
  const labels = text.replace(/\.$/, '').split('.')
  return [...labels.flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')]), 0]
}

export interface QueryOptions {
  readonly id?: number
  readonly name?: string
  readonly type?: number
  readonly class?: number
  readonly flags?: number
  readonly counts?: readonly [number, number, number, number]
  /** Raw octets behind the question. */
  readonly rest?: readonly number[]
  /** Raw octets of the question's name instead of `name`. */
  readonly rawName?: readonly number[]
}

export const OPT = (size = 1232, version = 0, flags = 0, options: readonly number[] = []): number[] => [
  0,
  ...u16(41),
  ...u16(size),
  0,
  version,
  ...u16(flags),
  ...u16(options.length),
  ...options,
]

/** A query as raw octets, so that it can be wrong in any way. */
export function rawQuery(options: QueryOptions = {}): Uint8Array {
  const counts = options.counts ?? [1, 0, 0, 0]
  return Uint8Array.from([
    ...u16(options.id ?? 0x1234),
    ...u16(options.flags ?? 0x0100),
    ...counts.flatMap(u16),
    ...(options.rawName ?? wire(options.name ?? 'www.example.com')),
    ...u16(options.type ?? 1),
    ...u16(options.class ?? 1),
    ...(options.rest ?? []),
  ])
}

export const withOpt = (options: QueryOptions = {}, opt: readonly number[] = OPT()): Uint8Array =>
  rawQuery({ ...options, counts: [1, 0, 0, 1], rest: opt })

export interface RawRecord {
  readonly owner: readonly number[]
  readonly type: number
  readonly class?: number
  readonly ttl?: number
  readonly data: readonly number[]
  /** RDLENGTH that differs from the data. */
  readonly length?: number
}

export const rawRecord = (record: RawRecord): number[] => [
  ...record.owner,
  ...u16(record.type),
  ...u16(record.class ?? 1),
  ...u16((record.ttl ?? 60) >>> 16),
  ...u16((record.ttl ?? 60) & 0xffff),
  ...u16(record.length ?? record.data.length),
  ...record.data,
]

/** Owner that points to the question's name. */
export const QNAME = [0xc0, 0x0c]
export const a = (address: string, owner: readonly number[] = QNAME, ttl = 60): number[] =>
  rawRecord({ owner, type: 1, ttl, data: address.split('.').map(Number) })
export const cname = (target: readonly number[], owner: readonly number[] = QNAME, ttl = 60): number[] =>
  rawRecord({ owner, type: 5, ttl, data: target })

export interface AnswerOptions {
  readonly answers?: readonly (readonly number[])[]
  readonly authorities?: readonly (readonly number[])[]
  readonly additionals?: readonly (readonly number[])[]
  readonly flags?: number
  readonly id?: number
  readonly tail?: readonly number[]
  readonly counts?: readonly [number, number, number, number]
}

/** An answer to `query` (its question as sent) as raw octets. */
export function rawAnswer(query: Uint8Array, options: AnswerOptions = {}): Uint8Array {
  let end = 12
  while (query[end] !== 0) end += 1 + (query[end] ?? 0)
  const question = [...query.subarray(12, end + 5)]
  const sections = [options.answers ?? [], options.authorities ?? [], options.additionals ?? []]
  const counts = options.counts ?? [1, ...(sections.map((section) => section.length) as [number, number, number])]
  return Uint8Array.from([
    ...u16(options.id ?? ((query[0] ?? 0) << 8) | (query[1] ?? 0)),
    ...u16(options.flags ?? 0x8180),
    ...counts.flatMap(u16),
    ...question,
    ...sections.flat(2),
    ...(options.tail ?? []),
  ])
}

/** A good query by dns-packet. */
export const goodQuery = (name: string, type = 'A', more: Partial<DnsMessage> = {}): Uint8Array =>
  Uint8Array.from(
    dnsPacket.encode({
      id: 0x4242,
      type: 'query',
      flags: dnsPacket.RECURSION_DESIRED,
      questions: [{ name, type }],
      ...more,
    }),
  )

/** A good answer by dns-packet to a query by dns-packet. */
export function goodAnswer(
  query: Uint8Array,
  answers: readonly DnsRecord[],
  more: Partial<DnsMessage> = {},
): Uint8Array {
  const asked = dnsPacket.decode(Buffer.from(query))
  return Uint8Array.from(
    dnsPacket.encode({ id: asked.id, type: 'response', flags: 0x180, questions: asked.questions, answers, ...more }),
  )
}
