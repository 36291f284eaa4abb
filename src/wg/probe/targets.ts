import { writeAddr16, type Ip } from '../../core/ip.ts'
import type { ProbeTarget } from '../seams.ts'

/** Answers to one peer: this many a second, after a burst. Four a second is what it needs with both families and slots. */
const RATE = 20
const BURST = 40

/** An address as the key of a table: the number of an IPv4 address, else text. */
export type AddressKey = number | string

/** `words`: an addr16 from word `at`. */
export const addressKey = (words: Uint32Array, at: number): AddressKey => {
  const [a, b, c, d] = [words[at] ?? 0, words[at + 1] ?? 0, words[at + 2] ?? 0, words[at + 3] ?? 0]
  return a === 0 && b === 0 && c === 0xffff0000 ? d : `${a},${b},${c},${d}`
}

export interface TargetAddress {
  readonly family: 4 | 6
  readonly key: AddressKey
  /** An addr16. */
  readonly words: Uint32Array
}

function toAddress(ip: Ip): TargetAddress {
  const words = new Uint32Array(4)
  writeAddr16(ip, new Uint8Array(words.buffer), 0)
  return { family: ip.family, key: addressKey(words, 0), words }
}

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

/** Peers by UID and by address. Of two with one address the first has it. */
export class Targets {
  #byUid = new Map<string, Target>()
  #byAddress = new Map<AddressKey, Target>()

  replace(list: readonly ProbeTarget[], now: number): void {
    const byUid = new Map<string, Target>()
    const byAddress = new Map<AddressKey, Target>()
    for (const { uid, addresses } of list) {
      // What it has used of its share stays used.
      const target = this.#byUid.get(uid) ?? new Target(uid, now)
      const families = new Map<4 | 6, TargetAddress>()
      for (const ip of addresses) {
        const address = toAddress(ip)
        if (families.has(address.family) || byAddress.has(address.key)) continue
        families.set(address.family, address)
        byAddress.set(address.key, target)
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

  at(key: AddressKey): Target | undefined {
    return this.#byAddress.get(key)
  }
}
