import { IntIndex, mixWords } from '../../core/int-index.ts'
import { writeAddr16, type Ip } from '../../core/ip.ts'
import type { ProbeTarget } from '../seams.ts'

/** Answers to one peer: this many a second, after a burst. Four a second is what it needs with both families and slots. */
const RATE = 20
const BURST = 40

export interface TargetAddress {
  readonly family: 4 | 6
  /** An addr16. */
  readonly words: Uint32Array
}

function toAddress(ip: Ip): TargetAddress {
  const words = new Uint32Array(4)
  writeAddr16(ip, new Uint8Array(words.buffer), 0)
  return { family: ip.family, words }
}

/** `words`: an addr16 from word `at`. */
export const isAddress = (address: TargetAddress, words: Uint32Array, at: number): boolean =>
  address.words[0] === words[at] &&
  address.words[1] === words[at + 1] &&
  address.words[2] === words[at + 2] &&
  address.words[3] === words[at + 3]

/** A peer that may ask and be asked. */
export class Target {
  readonly uid: string
  /** One a family. */
  addresses: readonly TargetAddress[] = []
  #tokens = BURST
  #at: number

  constructor(uid: string, now: number) {
    this.uid = uid
    this.#at = now
  }

  /** False when it has had its share of answers. */
  mayAnswer(now: number): boolean {
    this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#at) * RATE) / 1000)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

/** From an addr16 to whose it is. Each datagram is looked up here, so nothing is made of the address: no text, no object. */
class ByAddress {
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #addresses: TargetAddress[] = []
  readonly #targets: Target[] = []
  #words: Uint32Array = new Uint32Array(4)
  #at = 0
  readonly #same = (row: number): boolean => {
    const address = this.#addresses[row]
    return address !== undefined && isAddress(address, this.#words, this.#at)
  }

  constructor(capacity: number) {
    this.#hashes = new Int32Array(capacity)
    this.#index = new IntIndex(capacity, this.#hashes)
  }

  get(words: Uint32Array, at: number): Target | undefined {
    this.#words = words
    this.#at = at
    const row = this.#index.find(hashOf(words, at), this.#same)
    return row < 0 ? undefined : this.#targets[row]
  }

  add(address: TargetAddress, target: Target): void {
    const row = this.#addresses.push(address) - 1
    this.#targets.push(target)
    this.#hashes[row] = hashOf(address.words, 0)
    this.#index.add(row)
  }
}

const hashOf = (words: Uint32Array, at: number): number =>
  mixWords(mixWords(words[at] ?? 0, words[at + 1] ?? 0), mixWords(words[at + 2] ?? 0, words[at + 3] ?? 0)) | 0

/** Peers by UID and by address. Of two with one address the first has it. */
export class Targets {
  #byUid = new Map<string, Target>()
  #byAddress = new ByAddress(0)

  replace(list: readonly ProbeTarget[], now: number): void {
    const byUid = new Map<string, Target>()
    const byAddress = new ByAddress(list.reduce((sum, { addresses }) => sum + addresses.length, 0))
    for (const { uid, addresses } of list) {
      // What it has used of its share stays used.
      const target = this.#byUid.get(uid) ?? new Target(uid, now)
      const families = new Map<4 | 6, TargetAddress>()
      for (const ip of addresses) {
        const address = toAddress(ip)
        if (families.has(address.family) || byAddress.get(address.words, 0) !== undefined) continue
        families.set(address.family, address)
        byAddress.add(address, target)
      }
      target.addresses = [...families.values()]
      byUid.set(uid, target)
    }
    this.#byUid = byUid
    this.#byAddress = byAddress
  }

  get(uid: string): Target | undefined {
    return this.#byUid.get(uid)
  }

  /** `words`: an addr16 from word `at`. */
  at(words: Uint32Array, at: number): Target | undefined {
    return this.#byAddress.get(words, at)
  }
}
