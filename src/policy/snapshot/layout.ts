import { SekishoError } from '../../core/errors.ts'

/**
 * A snapshot is one SharedArrayBuffer: a header of 32-bit words, a directory of sections, the sections, each
 * aligned to 8 octets. All numbers are in the machine's byte order: it never leaves the process.
 */
export const MAGIC = 0x50534b53
export const VERSION = 1

/** Header words. */
export const HEADER_MAGIC = 0
export const HEADER_VERSION = 1
export const HEADER_LENGTH = 2
export const HEADER_SECTIONS = 3
/** Generation, low and high word. */
export const HEADER_GENERATION = 4
export const HEADER_SELECTOR_SET = 6
export const HEADER_SELECTORS = 7
export const HEADER_SHAPES = 8
export const HEADER_WORDS = 16

/** Sections, in order; each directory entry is its offset and its length in octets. */
export const SECTION = {
  nodes: 0,
  edges: 1,
  labels: 2,
  globs: 3,
  globIndex: 4,
  globNodes: 5,
  sets: 6,
  endpoints: 7,
  addresses: 8,
  prefixes: 9,
  prefixLengths: 10,
  verdicts: 11,
  stringIndex: 12,
  stringBytes: 13,
  fqdnOffsets: 14,
  fqdnPairs: 15,
  prefixOffsets: 16,
  prefixPairs: 17,
  excepts: 18,
  shapeFlags: 19,
} as const
export const SECTION_COUNT = 20
export type SectionName = keyof typeof SECTION

/** Node: flags, child by a whole-label `*`, value of a pattern that ends here, value of a deep one, glob node. */
export const NODE_WORDS = 5
export const NODE_FLAGS = 0
export const NODE_STAR = 1
export const NODE_VALUE = 2
export const NODE_DEEP_VALUE = 3
export const NODE_GLOBS = 4
export const FLAG_TERMINAL = 1
export const FLAG_DEEP = 2
export const FLAG_EDGES = 4

/** Edge slot: parent node + 1 (0 is a free slot), hash of the label, child, offset of the label (length, octets). */
export const EDGE_WORDS = 4

/** Glob: child node, offset of its parts, next glob of the same bucket + 1. */
export const GLOB_WORDS = 3
/** Glob index slot: glob node + 1 (0 free), side << 8 | length, hash of the literal, first glob + 1. */
export const GLOB_INDEX_WORDS = 4
export const SIDE_PREFIX = 0
export const SIDE_SUFFIX = 1
/** Glob node: lengths of literal prefixes that occur (two words of bits), of suffixes, first glob of the rest + 1. */
export const GLOB_NODE_WORDS = 5

/** Set: root node, value of the pattern `.` + 1, value of the plain pattern + 1. */
export const SET_WORDS = 3

/** Endpoint: id, shape + 1 (0: not enforced), class, string index of its JSON. */
export const ENDPOINT_WORDS = 4
/** Address slot: four words of the addr16, kind of owner, endpoint. */
export const ADDRESS_WORDS = 6
export const OWNER_FREE = 0
export const OWNER_ENDPOINT = 1
export const OWNER_HOST = 2
/** Prefix slot: four words of the masked addr16, length in addr16 bits + 1 (0 free), class. */
export const PREFIX_WORDS = 6
/** Verdict slot: shape + 1 (0 free), protocol << 16 | port, class, set. */
export const VERDICT_WORDS = 4
/** A verdict slot's set: no rule; every name; else the set's index + 2. */
export const SET_NONE = 0
export const SET_EVERYTHING = 1
export const SET_FIRST = 2

/** Selection: shape, rule of the shape, list of exceptions (its length, then prefix indexes; offset 0 is none). */
export const SELECTION_WORDS = 3
/** Shape flags: some rule may select any address of the family; some rule selects endpoints by label. */
export const FAMILY_4 = 1
export const FAMILY_6 = 2
export const SELECTS_ENDPOINTS = 4

/** Server classes: fixed ones first, then label sets of endpoints and prefixes. */
export const CLASS_ANY = 0
export const CLASS_CLUSTER = 1
export const CLASS_HOST = 2
export const CLASS_WORLD4 = 3
export const CLASS_WORLD6 = 4
export const CLASS_FIRST = 5

const align8 = (n: number): number => (n + 7) & ~7

export interface SnapshotHeader {
  readonly generation: number
  readonly selectorSet: number
  readonly selectors: number
  readonly shapes: number
}

/** Lays the sections out in one buffer. */
export function assemble(
  header: SnapshotHeader,
  sections: Readonly<Record<SectionName, Uint32Array | Uint8Array>>,
): SharedArrayBuffer {
  const names = Object.keys(SECTION) as SectionName[]
  let length = align8((HEADER_WORDS + 2 * SECTION_COUNT) * 4)
  const offsets = names.map((name) => {
    const offset = length
    length = align8(length + sections[name].byteLength)
    return offset
  })
  const buffer = new SharedArrayBuffer(length)
  const words = new Uint32Array(buffer, 0, HEADER_WORDS + 2 * SECTION_COUNT)
  words[HEADER_MAGIC] = MAGIC
  words[HEADER_VERSION] = VERSION
  words[HEADER_LENGTH] = length
  words[HEADER_SECTIONS] = SECTION_COUNT
  words[HEADER_GENERATION] = header.generation >>> 0
  words[HEADER_GENERATION + 1] = Math.floor(header.generation / 2 ** 32)
  words[HEADER_SELECTOR_SET] = header.selectorSet
  words[HEADER_SELECTORS] = header.selectors
  words[HEADER_SHAPES] = header.shapes
  names.forEach((name, i) => {
    const bytes = sections[name]
    words[HEADER_WORDS + 2 * i] = offsets[i] ?? 0
    words[HEADER_WORDS + 2 * i + 1] = bytes.byteLength
    new Uint8Array(buffer, offsets[i], bytes.byteLength).set(
      new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    )
  })
  return buffer
}

/** Views of a checked buffer. */
export class Sections {
  readonly header: SnapshotHeader
  readonly #buffer: SharedArrayBuffer
  readonly #words: Uint32Array

  /** Throws SEKISHO_POLICY_SNAPSHOT when the buffer is no whole snapshot of this version. */
  constructor(buffer: SharedArrayBuffer) {
    const directory = HEADER_WORDS + 2 * SECTION_COUNT
    if (buffer.byteLength < directory * 4) throw damaged('too short')
    const words = new Uint32Array(buffer, 0, directory)
    if (words[HEADER_MAGIC] !== MAGIC) throw damaged('wrong magic')
    if (words[HEADER_VERSION] !== VERSION) throw damaged(`version ${words[HEADER_VERSION] ?? 0}, want ${VERSION}`)
    if (words[HEADER_LENGTH] !== buffer.byteLength) throw damaged('wrong length')
    if (words[HEADER_SECTIONS] !== SECTION_COUNT) throw damaged('wrong number of sections')
    this.#buffer = buffer
    this.#words = words
    this.header = {
      generation: (words[HEADER_GENERATION] ?? 0) + (words[HEADER_GENERATION + 1] ?? 0) * 2 ** 32,
      selectorSet: words[HEADER_SELECTOR_SET] ?? 0,
      selectors: words[HEADER_SELECTORS] ?? 0,
      shapes: words[HEADER_SHAPES] ?? 0,
    }
  }

  octets(name: SectionName): Uint8Array {
    const { offset, length } = this.#range(name)
    return new Uint8Array(this.#buffer, offset, length)
  }

  /** A section of records of `words` 32-bit words. */
  words(name: SectionName, recordWords: number): Uint32Array {
    const { offset, length } = this.#range(name)
    if (length % (recordWords * 4) !== 0) throw damaged(`section ${name} is not whole records`)
    return new Uint32Array(this.#buffer, offset, length / 4)
  }

  /** An open-addressing table: a power of two of slots, one of them free at least, or probing would not end. */
  table(name: SectionName, slotWords: number, usedWord: number): Uint32Array {
    const words = this.words(name, slotWords)
    const slots = words.length / slotWords
    if (slots === 0 || (slots & (slots - 1)) !== 0) throw damaged(`table ${name} is not a power of two`)
    for (let slot = 0; slot < slots; slot++) if (words[slot * slotWords + usedWord] === 0) return words
    throw damaged(`table ${name} is full`)
  }

  #range(name: SectionName): { offset: number; length: number } {
    const at = HEADER_WORDS + 2 * SECTION[name]
    const offset = this.#words[at] ?? 0
    const length = this.#words[at + 1] ?? 0
    if (offset % 8 !== 0 || offset + length > this.#buffer.byteLength) throw damaged(`section ${name} lies outside`)
    return { offset, length }
  }
}

export const damaged = (detail: string): SekishoError => new SekishoError('SEKISHO_POLICY_SNAPSHOT', detail)
