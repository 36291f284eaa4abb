/** Handshakes that may begin at once. WireGuard asks for cookies, and so for another try, when 512 wait at the other end. */
export const BURST = 500
/** After that, a second: half of what one core does, and no more than eight seconds for a slot of a fleet of any size. */
const RATE = 256
const SPREAD_S = 8

/** Spreads handshakes: when thousands of peers come or change at once, all would begin theirs in the same moment. */
export class Pace {
  #left = BURST
  #at: number | undefined

  /** How many of `wanted` may begin now; those are used up. */
  take(wanted: number, peers: number, now: number): number {
    this.#fill(peers, now)
    const taken = Math.min(wanted, Math.floor(this.#left))
    this.#left -= taken
    return taken
  }

  /** Milliseconds until one may begin; 0 for now. */
  waitMs(peers: number, now: number): number {
    this.#fill(peers, now)
    return this.#left >= 1 ? 0 : Math.ceil(((1 - this.#left) * 1000) / rateOf(peers))
  }

  #fill(peers: number, now: number): void {
    const seconds = (now - (this.#at ?? now)) / 1000
    this.#at = now
    this.#left = Math.min(BURST, this.#left + seconds * rateOf(peers))
  }
}

const rateOf = (peers: number): number => Math.max(RATE, peers / SPREAD_S)
