import { WordList, OctetList } from './word-list.ts'
import type { Sections } from './layout.ts'

/** Texts of a snapshot, by number. */
export class StringWriter {
  readonly #index = new WordList()
  readonly #octets = new OctetList()

  add(text: string): number {
    const bytes = Buffer.from(text, 'utf8')
    return this.#index.push(this.#octets.append(bytes), bytes.length) / 2
  }

  sections(): { stringIndex: Uint32Array; stringBytes: Uint8Array } {
    return { stringIndex: this.#index.view(), stringBytes: this.#octets.view() }
  }
}

/** Decodes a text when it is asked for; a data-path thread never asks. */
export class StringReader {
  readonly #index: Uint32Array
  readonly #octets: Uint8Array

  constructor(sections: Sections) {
    this.#index = sections.words('stringIndex', 2)
    this.#octets = sections.octets('stringBytes')
  }

  get(i: number): string {
    const offset = this.#index[2 * i]
    const length = this.#index[2 * i + 1]
    if (offset === undefined || length === undefined) throw new RangeError(`no text ${i} in the snapshot`)
    const { buffer, byteOffset } = this.#octets
    return Buffer.from(buffer, byteOffset + offset, length).toString('utf8')
  }
}
