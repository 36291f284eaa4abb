export const TAKE_FULL = -1
export const TAKE_NO_SHARE = -2

/**
 * Answers that wait for the ledger, in slots of the pump's buffer behind the receive slots, so that they can be sent
 * from where they lie. A slot that was handed to the pump is free again only after the next step has sent it.
 */
export class PendingSlots {
  readonly capacity: number
  used = 0

  readonly #base: number
  readonly #stride: number
  readonly #free: Int32Array
  readonly #sequence: Uint16Array
  readonly #entry: Int32Array
  readonly #length: Uint32Array
  readonly #endpoint: Uint16Array
  readonly #byEndpoint = new Uint32Array(65536)
  readonly #share: number
  readonly #sent: Int32Array
  #sentCount = 0

  /** `capacity` slots of `stride` octets from octet `base` of the buffer on; at most 65536, `share` of one endpoint. */
  constructor(capacity: number, base: number, stride: number, share = capacity) {
    if (capacity > 65536) throw new RangeError('at most 65536 pending answers')
    this.capacity = capacity
    this.#base = base
    this.#share = share
    this.#endpoint = new Uint16Array(capacity)
    this.#stride = stride
    this.#free = Int32Array.from({ length: capacity }, (_, i) => capacity - 1 - i)
    this.#sequence = new Uint16Array(capacity)
    this.#entry = new Int32Array(capacity).fill(-1)
    this.#length = new Uint32Array(capacity)
    this.#sent = new Int32Array(capacity)
  }

  /** A slot for the answer to `entry`, TAKE_FULL when all are taken, TAKE_NO_SHARE when the endpoint has its share. */
  take(entry: number, length: number, endpointId: number): number {
    if (this.used === this.capacity) return TAKE_FULL
    if (this.#byEndpoint[endpointId]! >= this.#share) return TAKE_NO_SHARE
    const slot = this.#free[this.capacity - 1 - this.used]!
    this.used++
    this.#sequence[slot]! += 1
    this.#entry[slot] = entry
    this.#length[slot] = length
    this.#endpoint[slot] = endpointId
    this.#byEndpoint[endpointId]! += 1
    return slot
  }

  /** Octet offset of a slot in the buffer. */
  offset(slot: number): number {
    return this.#base + slot * this.#stride
  }

  length(slot: number): number {
    return this.#length[slot]!
  }

  entry(slot: number): number {
    return this.#entry[slot]!
  }

  /** What the ledger knows the slot by; the sequence makes a completion for an earlier use recognisable. */
  ticket(slot: number): number {
    return ((this.#sequence[slot]! << 16) | slot) >>> 0
  }

  /** The slot a ticket stands for, -1 when it stands for nothing any more. */
  resolve(ticket: number): number {
    const slot = ticket & 0xffff
    if (slot >= this.capacity || this.#entry[slot]! < 0 || this.#sequence[slot] !== ticket >>> 16) return -1
    return slot
  }

  /** Nobody needs the answer any more. */
  drop(slot: number): void {
    this.#entry[slot] = -1
    this.#byEndpoint[this.#endpoint[slot]!]! -= 1
    this.used--
    this.#free[this.capacity - 1 - this.used] = slot
  }

  /** The answer goes out with this batch. */
  send(slot: number): void {
    this.#entry[slot] = -1
    this.#sent[this.#sentCount++] = slot
  }

  /** The batch has been sent. */
  reclaim(): void {
    for (let i = 0; i < this.#sentCount; i++) this.drop(this.#sent[i]!)
    this.#sentCount = 0
  }
}
