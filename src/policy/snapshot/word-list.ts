/** A growing list of 32-bit words, for tables that are written once. */
export class WordList {
  #words = new Uint32Array(1024)
  #length = 0

  get length(): number {
    return this.#length
  }

  get(i: number): number {
    return this.#words[i] ?? 0
  }

  set(i: number, word: number): void {
    this.#words[i] = word
  }

  /** Appends `count` zero words; returns where they start. */
  grow(count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#words.length) {
      const wider = new Uint32Array(Math.max(this.#words.length * 2, this.#length))
      wider.set(this.#words)
      this.#words = wider
    }
    return at
  }

  push(...words: readonly number[]): number {
    const at = this.grow(words.length)
    for (let i = 0; i < words.length; i++) this.#words[at + i] = words[i] ?? 0
    return at
  }

  view(): Uint32Array {
    return this.#words.subarray(0, this.#length)
  }
}

/** A growing run of octets. */
export class OctetList {
  #octets = new Uint8Array(4096)
  #length = 0

  get length(): number {
    return this.#length
  }

  append(bytes: Uint8Array): number {
    const at = this.#reserve(bytes.length)
    this.#octets.set(bytes, at)
    return at
  }

  push(byte: number): void {
    this.#octets[this.#reserve(1)] = byte
  }

  view(): Uint8Array {
    return this.#octets.subarray(0, this.#length)
  }

  #reserve(count: number): number {
    const at = this.#length
    this.#length += count
    if (this.#length > this.#octets.length) {
      const wider = new Uint8Array(Math.max(this.#octets.length * 2, this.#length))
      wider.set(this.#octets)
      this.#octets = wider
    }
    return at
  }
}
