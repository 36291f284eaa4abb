import { cidrCovers } from '../../core/ip.ts'
import type { Cidr } from '../../core/ip.ts'
import { parseLabelsKey, selectorMatches, selectorText } from '../labels.ts'
import type { LabelSet } from '../labels.ts'
import type { LabelSelector } from '../rules.ts'
import { CLASS_FIRST, CLASS_WORLD4, CLASS_WORLD6 } from './layout.ts'
import type { PrefixEntry } from './address-table.ts'

/**
 * Numbers the kinds of server that rules can tell apart: label sets of known endpoints, and prefixes that matter to
 * DNS (an address belongs to the longest).
 */
export class ServerClasses {
  readonly #labelSets: { labels: LabelSet; serverClass: number }[] = []
  readonly #byKey = new Map<string, number>()
  readonly #bySelector = new Map<string, readonly number[]>()
  readonly #byPrefix = new Map<string, PrefixEntry>()
  #sorted: { key: string; entry: PrefixEntry }[] | undefined
  #next = CLASS_FIRST

  /** Class of endpoints with this `labelsKey`. */
  ofLabels(key: string): number {
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const serverClass = this.#next++
    this.#byKey.set(key, serverClass)
    this.#labelSets.push({ labels: parseLabelsKey(key), serverClass })
    return serverClass
  }

  addPrefix(cidr: Cidr): void {
    const key = prefixKey(cidr)
    if (!this.#byPrefix.has(key)) this.#byPrefix.set(key, { cidr, serverClass: this.#next++ })
    this.#sorted = undefined
  }

  get prefixes(): readonly PrefixEntry[] {
    return [...this.#byPrefix.values()]
  }

  /** Classes of all endpoints that the selector selects; call when every label set is known. */
  selectedBy(selector: LabelSelector): readonly number[] {
    const text = selectorText(selector)
    let found = this.#bySelector.get(text)
    if (found === undefined) {
      found = this.#labelSets
        .filter(({ labels }) => selectorMatches(selector, labels))
        .map(({ serverClass }) => serverClass)
      this.#bySelector.set(text, found)
    }
    return found
  }

  /** The prefix's own class and those of every known prefix inside it. */
  inside(cidr: Cidr): readonly PrefixEntry[] {
    this.#sorted ??= [...this.#byPrefix.values()]
      .map((entry) => ({ key: prefixKey(entry.cidr), entry }))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
    const sorted = this.#sorted
    let low = 0
    let high = sorted.length
    const from = prefixKey(cidr)
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sorted[middle]?.key ?? '') < from) low = middle + 1
      else high = middle
    }
    const found: PrefixEntry[] = []
    for (let i = low; i < sorted.length; i++) {
      const entry = sorted[i]?.entry
      if (entry === undefined || !cidrCovers(cidr, entry.cidr)) break
      found.push(entry)
    }
    return found
  }
}

export const worldOf = (cidr: Cidr): number => (cidr.ip.family === 4 ? CLASS_WORLD4 : CLASS_WORLD6)

/** Sorts prefixes by family, address and length: whatever lies inside a prefix follows it at once. */
function prefixKey({ ip, bits }: Cidr): string {
  return `${ip.family}${Buffer.from(ip.bytes).toString('hex')}${String(bits).padStart(3, '0')}`
}
