import type { OddAnswer } from '../../lab/servers/odd.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')
const u16 = (n: number): Buffer => Buffer.from([(n >> 8) & 255, n & 255])
const ascii = (text: string): Buffer => Buffer.from(text, 'latin1')
const label = (text: string | Buffer): Buffer => {
  const bytes = typeof text === 'string' ? ascii(text) : text
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}
const ROOT = Buffer.from([0])
export const wireName = (text: string): Buffer => Buffer.concat([...text.split('.').map((l) => label(l)), ROOT])
/** Pointers of a name that was written for offset 0, moved by `by`; also those that lie inside labels, where other pointers lead. */
function relocate(name: Buffer, by: number): Buffer {
  const out = Buffer.from(name)
  for (let at = 0; at + 1 < out.length; at++) {
    if ((out[at] ?? 0) < 0xc0) continue
    out.writeUInt16BE((out.readUInt16BE(at) + by) & 0xffff, at++)
  }
  return out
}

/** The labels of a name of `size` octets, without its end. */
const octets = (size: number): Buffer =>
  Buffer.concat(
    Array.from({ length: Math.ceil(size / 64) }, (_, i) => label('x'.repeat(Math.min(64, size - 64 * i) - 1))),
  )

const HEADER = 12
/** Header without the id: flags and the four counts. */
const head = (flags: number, qd = 1, an = 0, ns = 0, ar = 0): Buffer => Buffer.concat([flags, qd, an, ns, ar].map(u16))
const QUERY = 0x0100
const A_IN = hex('00010001')
const OPT = hex('0000290 4d000000000 0000'.replaceAll(' ', ''))

interface NameVector {
  readonly what: string
  readonly bytes: Buffer
  /** One whole name without pointers. */
  readonly whole: boolean
  /** With pointers, and good where pointers are (not in a question). */
  readonly legal?: boolean
}

/** The name vectors of miekg/dns, mafintosh/dns-packet and c-ares. */
export const NAMES: readonly NameVector[] = [
  { what: 'label of 63', bytes: Buffer.concat([label('x'.repeat(63)), ROOT]), whole: true },
  {
    what: 'unprintable label of 63',
    bytes: Buffer.concat([label(Buffer.from(Array.from({ length: 63 }, (_, i) => i % 32))), ROOT]),
    whole: true,
  },
  {
    what: '255 octets',
    bytes: Buffer.concat([
      label('a'.repeat(61)),
      label('b'.repeat(63)),
      label('c'.repeat(63)),
      label('d'.repeat(63)),
      ROOT,
    ]),
    whole: true,
  },
  { what: '127 labels of 1', bytes: Buffer.concat([Buffer.alloc(254, '0161', 'hex'), ROOT]), whole: true },
  {
    what: '256 octets',
    bytes: Buffer.concat([
      label('a'.repeat(62)),
      label('b'.repeat(63)),
      label('c'.repeat(63)),
      label('d'.repeat(63)),
      ROOT,
    ]),
    whole: false,
  },
  { what: '128 labels of 1', bytes: Buffer.concat([Buffer.alloc(256, '0161', 'hex'), ROOT]), whole: false },
  { what: 'pointer into a label', bytes: hex('03666f6f0503636f6d00076578616d706c65c005'), whole: false, legal: true },
  {
    what: 'too long by pointers',
    bytes: hex('2825221f1c191613100d00787878787878787878787878c00ac009c008c007c006c005c004c003c002c001'),
    whole: false,
  },
  {
    what: 'long by pointers',
    bytes: hex('25221f1c191613100d0a00787878787878787878c00ac009c008c007c006c005c004c003c002c001'),
    whole: false,
    legal: true,
  },
  { what: 'cut in a label', bytes: hex('076578616d706c6503'), whole: false },
  { what: 'without the root', bytes: hex('076578616d706c6503636f6d'), whole: false },
  { what: 'pointer to itself', bytes: hex('c000'), whole: false },
  { what: 'pointer cycle through labels', bytes: hex('03666f6f03626172076578616d706c65c004'), whole: false },
  { what: 'forward pointer', bytes: hex('02c0ffc001'), whole: false },
  { what: 'label type 10', bytes: hex('076578616d706c6580'), whole: false },
  { what: 'label type 01', bytes: hex('076578616d706c6540'), whole: false },
  { what: 'bad first octet b0', bytes: hex('b0'), whole: false },
  { what: 'one octet 01', bytes: hex('01'), whole: false },
  { what: 'label of one octet, and nothing behind it', bytes: hex('0100'), whole: false },
  { what: 'half a pointer', bytes: hex('c0'), whole: false },
  { what: 'pointer to 1', bytes: hex('c001'), whole: false },
  {
    what: '8192 nested pointers',
    bytes: Buffer.concat(Array.from({ length: 8192 }, (_, i) => u16(0xc000 | Math.max(0, 2 * i - 2)))),
    whole: false,
  },
]

/** Names that a careless reader takes for www.shop.example or kubernetes.shop.example, which the policy allows. */
export const DISGUISES: readonly { readonly what: string; readonly bytes: Buffer }[] = [
  { what: 'a dot inside the last label', bytes: Buffer.concat([label('www'), label('shop.example'), ROOT]) },
  { what: 'all in one label', bytes: Buffer.concat([label('www.shop.example'), ROOT]) },
  {
    what: 'KELVIN SIGN for k',
    bytes: Buffer.concat([label(Buffer.from('\u212aubernetes')), label('shop'), label('example'), ROOT]),
  },
  { what: 'NUL behind the name', bytes: Buffer.concat([label('www'), label('shop'), label('example\0'), ROOT]) },
  { what: 'NUL inside a label', bytes: Buffer.concat([label('www\0x'), label('shop'), label('example'), ROOT]) },
  {
    what: 'a label before it',
    bytes: Buffer.concat([label('a'), label('www'), label('shop'), label('example'), ROOT]),
  },
  { what: 'an empty-looking label', bytes: Buffer.concat([label(' '), label('shop'), label('example'), ROOT]) },
  { what: 'a star', bytes: Buffer.concat([label('*'), label('shop'), label('example'), ROOT]) },
]

export interface BadQuery {
  readonly what: string
  /** The whole message with its id. */
  readonly message: Buffer
  /** Reason it is counted under; 'denied' when it is well formed and not allowed. */
  readonly reason: RegExp
  /** No answer may come. */
  readonly silent?: boolean
}

const ID = hex('4242')
const ALLOWED = wireName('www.shop.example')
const query = (flags: number, counts: readonly [number, number, number, number], ...rest: Buffer[]): Buffer =>
  Buffer.concat([ID, head(flags, ...counts), ...rest])

/** Whole packets of miekg/dns and CoreDNS, each name vector as the question, and what the RFCs on EDNS forbid. */
export const BAD_QUERIES: readonly BadQuery[] = [
  { what: 'empty datagram', message: Buffer.alloc(0), reason: /^short$/, silent: true },
  { what: '11 octets', message: Buffer.alloc(11), reason: /^short$/, silent: true },
  { what: '13 octets, label of 99', message: hex('00010000000100000000000063'), reason: /^(question_cut|label_type)$/ },
  {
    what: 'miekg TestMalformedPackets',
    message: hex('0021641c0000000100000000000078787878787878787878787303636f6d0000100001'),
    reason: /^(opcode|question_count)$/,
  },
  { what: 'a response', message: query(0x8180, [1, 0, 0, 0], ALLOWED, A_IN), reason: /^response$/, silent: true },
  { what: 'opcode 15', message: query(0x7800, [1, 0, 0, 0], ALLOWED, A_IN), reason: /^opcode$/ },
  { what: 'opcode 15, header only', message: query(0x7800, [0, 0, 0, 0]), reason: /^opcode$/ },
  { what: 'no question', message: query(QUERY, [0, 0, 0, 0]), reason: /^question_count$/ },
  {
    what: 'two questions',
    message: query(QUERY, [2, 0, 0, 0], ALLOWED, A_IN, ALLOWED, A_IN),
    reason: /^question_count$/,
  },
  { what: 'two answers', message: query(QUERY, [1, 2, 0, 0], ALLOWED, A_IN), reason: /^record_count$/ },
  { what: 'two authorities', message: query(QUERY, [1, 0, 2, 0], ALLOWED, A_IN), reason: /^record_count$/ },
  { what: 'three additionals', message: query(QUERY, [1, 0, 0, 3], ALLOWED, A_IN), reason: /^record_count$/ },
  {
    what: 'an additional that is not there',
    message: query(QUERY, [1, 0, 0, 1], ALLOWED, A_IN),
    reason: /^record_cut$/,
  },
  { what: 'question without type', message: query(QUERY, [1, 0, 0, 0], ALLOWED), reason: /^question_cut$/ },
  {
    what: 'question without class',
    message: query(QUERY, [1, 0, 0, 0], ALLOWED, hex('0001')),
    reason: /^question_cut$/,
  },
  {
    what: 'octets behind the end',
    message: query(QUERY, [1, 0, 0, 0], ALLOWED, A_IN, hex('00')),
    reason: /^trailing$/,
  },
  { what: 'OPT twice', message: query(QUERY, [1, 0, 0, 2], ALLOWED, A_IN, OPT, OPT), reason: /^opt_repeated$/ },
  {
    what: 'OPT under a name',
    message: query(QUERY, [1, 0, 0, 1], ALLOWED, A_IN, wireName('x'), OPT.subarray(1)),
    reason: /^opt_owner$/,
  },
  { what: 'OPT among the answers', message: query(QUERY, [1, 1, 0, 0], ALLOWED, A_IN, OPT), reason: /^opt_misplaced$/ },
  {
    what: 'OPT option over its end',
    message: query(QUERY, [1, 0, 0, 1], ALLOWED, A_IN, hex('00002904d0000000000004000affff')),
    reason: /^opt_options$/,
  },
  {
    what: 'EDNS version 1',
    message: query(QUERY, [1, 0, 0, 1], ALLOWED, A_IN, hex('00002904d0000100000000')),
    reason: /^edns_version$/,
  },
  ...NAMES.map(({ what, bytes, whole }) => ({
    what: `question: ${what}`,
    message: query(QUERY, [1, 0, 0, 0], relocate(bytes, HEADER), whole ? A_IN : Buffer.alloc(0)),
    reason: whole ? /^denied$/ : /^(question_cut|question_compressed|label_type|name_too_long|oversized)$/,
  })),
  {
    // Name at offset 1 of `000161c000`: the octet 0 that it points to is the last of the header here.
    what: 'question: a, then a pointer to the root before it',
    message: query(QUERY, [1, 0, 0, 0], hex('0161c00b'), A_IN),
    reason: /^question_compressed$/,
  },
  {
    what: 'question: 200 octets, then a pointer into them',
    message: query(QUERY, [1, 0, 0, 0], octets(200), u16(0xc000 | HEADER), A_IN),
    reason: /^question_compressed$/,
  },
  { what: 'question: root', message: query(QUERY, [1, 0, 0, 0], ROOT, A_IN), reason: /^denied$/ },
  ...DISGUISES.map(({ what, bytes }) => ({
    what: `disguise: ${what}`,
    message: query(QUERY, [1, 0, 0, 0], bytes, A_IN),
    reason: /^denied$/,
  })),
]

/** The good query the others are variations of. */
export const GOOD_QUERY = query(QUERY, [1, 0, 0, 0], ALLOWED, A_IN)

export interface BadAnswer {
  readonly what: string
  /** First label of the name it answers, under odd.example. */
  readonly key: string
  readonly script: readonly OddAnswer[]
  /**
   * What the client may get: SERVFAIL, the good answer that followed, these very octets, or by UDP the mark that the
   * answer is too long for it (by TCP SERVFAIL then).
   */
  readonly expect: 'servfail' | 'good' | 'passed' | 'truncated'
  /** Poison addresses in it: none of them may become reachable. */
  readonly poison: readonly string[]
  /** Reason (of `rejects`) it is counted under, or one of the single counters. */
  readonly reason: RegExp
}

const REPLY = 0x8180
const POINT = hex('c00c')
const record = (owner: Buffer, type: number, rdata: Buffer, length = rdata.length, ttl = 300): Buffer =>
  Buffer.concat([owner, u16(type), u16(1), Buffer.from([0, 0, ttl >> 8, ttl & 255]), u16(length), rdata])
const ip4 = (text: string): Buffer => Buffer.from(text.split('.').map(Number))

let made = 0
const poisonAddress = (): string => `198.18.67.${++made}`

/**
 * `build` makes what follows the id from the question and a poison address; `good` is what follows it a moment later.
 */
function bad(
  what: string,
  reason: RegExp,
  expect: BadAnswer['expect'],
  build: (question: Buffer, poison: Buffer) => Buffer,
  over: Partial<OddAnswer> = {},
): BadAnswer {
  const poison = poisonAddress()
  const key = `v${made}`
  const question = Buffer.concat([wireName(`${key}.odd.example`), A_IN])
  const script: OddAnswer[] = [{ hex: build(question, ip4(poison)).toString('hex'), ...over }]
  if (expect === 'good') {
    const answer = Buffer.concat([head(REPLY, 1, 1), question, record(POINT, 1, ip4('198.18.30.1'))])
    script.push({ hex: answer.toString('hex'), delayMs: 20 })
  }
  return { what, key, script, expect, poison: [poison], reason }
}

/** One A record; the vector is in how it is told. */
const one = (q: Buffer, rdata: Buffer, owner = POINT): Buffer =>
  Buffer.concat([head(REPLY, 1, 1), q, record(owner, 1, rdata)])

/** Two records: a name of `size` octets in data that nobody reads, and an A whose owner has as many before it points there. */
function ownedThroughPointer(q: Buffer, rdata: Buffer, size: number): Buffer {
  const hidden = record(POINT, 65280, Buffer.concat([octets(size), ROOT]))
  const at = u16(0xc000 | (HEADER + q.length + hidden.length - size - 1))
  return Buffer.concat([head(REPLY, 1, 2), q, hidden, record(Buffer.concat([octets(size), at]), 1, rdata)])
}

const wrongAnswers: readonly BadAnswer[] = [
  bad('CoreDNS: 3 octets, then the answer', /^answer_short$/, 'good', () => hex('00'), {}),
  bad('CoreDNS: question cut, then the answer', /^answer_question$/, 'good', () =>
    hex('81800001000000000000 01'.replace(' ', '')),
  ),
  bad('another id', /^answer_unknown_id$/, 'good', one, { idOffset: 1 }),
  bad('QR is 0', /^answer_not_response$/, 'good', (q, p) => Buffer.concat([head(QUERY, 1, 1), q, record(POINT, 1, p)])),
  bad('another name', /^answer_question$/, 'good', (_, p) =>
    one(Buffer.concat([wireName('www.shop.example'), A_IN]), p),
  ),
  bad('another case', /^answer_question$/, 'good', (q, p) =>
    one(Buffer.from(q.toString('latin1').replace('odd', 'ODD'), 'latin1'), p),
  ),
  bad('MX for A', /^answer_question$/, 'good', (q, p) => one(Buffer.concat([q.subarray(0, -4), hex('000f0001')]), p)),
  bad('class CHAOS', /^answer_question$/, 'good', (q, p) =>
    one(Buffer.concat([q.subarray(0, -4), hex('00010003')]), p),
  ),
  bad('no question', /^answer_question$/, 'good', (_, p) => Buffer.concat([head(REPLY, 0, 1), record(ROOT, 1, p)])),
  bad('two questions', /^answer_question$/, 'good', (q, p) =>
    Buffer.concat([head(REPLY, 2, 1), q, q, record(POINT, 1, p)]),
  ),
]

const brokenAnswers: readonly BadAnswer[] = [
  bad('A of 3 octets', /^answer_rdlength$/, 'servfail', (q, p) => one(q, p.subarray(0, 3))),
  bad('A of 5 octets', /^answer_rdlength$/, 'servfail', (q, p) => one(q, Buffer.concat([p, ROOT]))),
  bad('A of 0 octets', /^answer_rdlength$/, 'servfail', (q) => one(q, Buffer.alloc(0))),
  bad('AAAA of 4 octets', /^answer_rdlength$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY, 1, 1), q, record(POINT, 28, p)]),
  ),
  bad('RDLENGTH over the end', /^answer_record_cut$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY, 1, 1), q, record(POINT, 1, p, 4000)]),
  ),
  bad('RDLENGTH short of the address', /^(answer_rdlength|answer_record_cut|answer_trailing)$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY, 1, 1), q, record(POINT, 1, p, 2)]),
  ),
  bad('more records than there are', /^answer_record_cut$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY, 1, 9), q, record(POINT, 1, p)]),
  ),
  bad('65535 records', /^answer_record_cut$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY, 1, 65535, 65535, 65535), q, record(POINT, 1, p)]),
  ),
  bad('octets behind the end', /^answer_trailing$/, 'servfail', (q, p) => Buffer.concat([one(q, p), hex('deadbeef')])),
  bad('address with an error code', /^answer_rcode$/, 'servfail', (q, p) =>
    Buffer.concat([head(REPLY | 3, 1, 1), q, record(POINT, 1, p)]),
  ),
  bad('CNAME into itself', /^answer_name$/, 'servfail', (q, p) => {
    const at = HEADER + q.length + 12
    return Buffer.concat([head(REPLY, 1, 2), q, record(POINT, 5, u16(0xc000 | at)), record(u16(0xc000 | at), 1, p)])
  }),
  bad('CNAME whose name ends before its data', /^answer_name$/, 'servfail', (q, p) =>
    Buffer.concat([
      head(REPLY, 1, 2),
      q,
      record(POINT, 5, Buffer.concat([wireName('b.odd.example'), hex('ffff')])),
      record(POINT, 1, p),
    ]),
  ),
  bad('200 pointers hidden in the data of an unknown type', /^answer_name$/, 'servfail', (q, p) => {
    const chainAt = HEADER + q.length + 12
    const chain = Buffer.concat([
      hex('0161 00'.replace(' ', '')),
      ...Array.from({ length: 200 }, (_, i) => u16(0xc000 | (chainAt + (i === 0 ? 0 : 1 + 2 * i)))),
    ])
    const last = u16(0xc000 | (chainAt + chain.length - 2))
    return Buffer.concat([head(REPLY, 1, 2), q, record(POINT, 65280, chain), record(last, 1, p)])
  }),
  // The jump must not make the count of octets begin anew.
  bad('owner: 200 octets, then a pointer to 200', /^answer_name$/, 'servfail', (q, p) =>
    ownedThroughPointer(q, p, 200),
  ),
  ...NAMES.filter(({ whole }) => !whole).map(({ what, bytes, legal }) =>
    bad(
      `owner: ${what}`,
      /^(answer_name|answer_record_cut|answer_rdlength|answer_trailing|answer_oversized|strayed)$/,
      legal === true ? 'passed' : bytes.length > 4096 ? 'truncated' : 'servfail',
      (q, p) => one(q, p, relocate(bytes, HEADER + q.length)),
    ),
  ),
]

/** Well formed, passed on as they are, and nothing of them may be learned. */
const strayAnswers: readonly BadAnswer[] = [
  bad('address of another name', /^strayed$/, 'passed', (q, p) => one(q, p, wireName('www.shop.example'))),
  bad('owner with a dot inside a label', /^strayed$/, 'passed', (q, p) =>
    one(q, p, Buffer.concat([label(`v${made}.odd`), label('example'), ROOT])),
  ),
  bad('chain that does not begin at the question', /^strayed$/, 'passed', (q, p) =>
    Buffer.concat([
      head(REPLY, 1, 2),
      q,
      record(wireName('x.odd.example'), 5, wireName('y.odd.example')),
      record(wireName('y.odd.example'), 1, p),
    ]),
  ),
  bad('owner: 100 octets, then a pointer to 100', /^strayed$/, 'passed', (q, p) => ownedThroughPointer(q, p, 100)),
  bad('owner: a, then a pointer to the root before it', /^strayed$/, 'passed', (q, p) => {
    // `000161c000` of dns-packet: the octet 0 ends the data of the first record, the name begins behind it.
    const before = record(POINT, 65280, ROOT)
    return Buffer.concat([
      head(REPLY, 1, 2),
      q,
      before,
      record(Buffer.concat([hex('0161'), u16(0xc000 | (HEADER + q.length + before.length - 1))]), 1, p),
    ])
  }),
  // RFC 9460 section 2.2 forbids it and c-ares refuses it. The gate reads no data of this type: its client may judge it.
  ...[64, 65].map((type) =>
    bad(`type ${type} with a compressed target, a hint in it`, /^none$/, 'passed', (q, p) =>
      Buffer.concat([
        head(REPLY, 1, 1),
        q,
        record(POINT, type, Buffer.concat([u16(1), POINT, u16(4), u16(p.length), p])),
      ]),
    ),
  ),
  bad('address in the additional section', /^none$/, 'passed', (q, p) =>
    Buffer.concat([head(REPLY, 1, 0, 0, 1), q, record(POINT, 1, p)]),
  ),
  ...['127.0.0.1', '0.0.0.0', '169.254.169.254', '224.0.0.1', '255.255.255.255'].map((address) => ({
    ...bad(`address ${address}`, /^unlearnable$/, 'passed', (q) => one(q, ip4(address))),
    poison: [],
  })),
  {
    ...bad('AAAA with an IPv4 address in disguise', /^unlearnable$/, 'passed', (q, p) =>
      Buffer.concat([head(REPLY, 1, 1), q, record(POINT, 28, Buffer.concat([Buffer.alloc(10), hex('ffff'), p]))]),
    ),
  },
]

export const BAD_ANSWERS: readonly BadAnswer[] = [...wrongAnswers, ...brokenAnswers, ...strayAnswers]

/** `key` -> what the odd server sends. */
export const oddScript = (): Record<string, readonly OddAnswer[]> =>
  Object.fromEntries(BAD_ANSWERS.map(({ key, script }) => [`${key}.odd.example`, script]))

/** The query for one of BAD_ANSWERS. */
export const questionFor = (key: string): Buffer => query(QUERY, [1, 0, 0, 0], wireName(`${key}.odd.example`), A_IN)
