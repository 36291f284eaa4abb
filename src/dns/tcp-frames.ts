/** A message with its two octets of length before it (RFC 1035 section 4.2.2), in one piece: one write, one segment. */
export function frame(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(message.length + 2)
  out[0] = message.length >> 8
  out[1] = message.length & 0xff
  out.set(message, 2)
  return out
}

/** Cuts a TCP stream into messages. Holds at most one partial message and what came with the last chunk. */
export class FrameReader {
  #buffer = new Uint8Array(1024)
  #start = 0
  #end = 0

  /** True when there are octets of a message that is not whole. */
  get partial(): boolean {
    return this.#end > this.#start
  }

  push(chunk: Uint8Array): void {
    const kept = this.#end - this.#start
    if (this.#end + chunk.length > this.#buffer.length) {
      let size = this.#buffer.length
      while (size < kept + chunk.length) size *= 2
      const buffer = size === this.#buffer.length ? this.#buffer : new Uint8Array(size)
      buffer.set(this.#buffer.subarray(this.#start, this.#end))
      this.#buffer = buffer
      this.#start = 0
      this.#end = kept
    }
    this.#buffer.set(chunk, this.#end)
    this.#end += chunk.length
  }

  /** The next whole message (a copy), undefined when there is none yet. */
  next(): Uint8Array | undefined {
    const have = this.#end - this.#start
    if (have < 2) return undefined
    const length = (this.#buffer[this.#start]! << 8) | this.#buffer[this.#start + 1]!
    if (have < length + 2) return undefined
    const from = this.#start + 2
    this.#start = from + length
    return this.#buffer.slice(from, from + length)
  }
}
