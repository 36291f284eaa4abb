import type { Fqdn } from '../core/fqdn.ts'
import { RCODE_NXDOMAIN, RCODE_REFUSED } from './message/constants.ts'
import { VERDICT_ALLOWED } from './ports.ts'
import type { PolicyView } from './ports.ts'

/**
 * How a denied name is answered. `auto`: NXDOMAIN when the name is an allowed one with a search-list suffix behind it,
 * else REFUSED. musl's resolver gives up at the first REFUSED of its search list and goes on after NXDOMAIN, so `auto`
 * lets an allowed name resolve through a search list without a pattern for every expansion.
 */
export type DenyResponse = 'auto' | 'refused' | 'nxdomain'

const NAMESPACE_SUFFIX_LABEL = [3, 0x73, 0x76, 0x63]

/** Chooses the rcode of a denial. Runs only for denied names. */
export class Denial {
  readonly #mode: DenyResponse
  readonly #suffixes: readonly Fqdn[]
  readonly #stem = new Uint8Array(256)

  /** `searchDomains` in wire form. One that starts with the label `svc` also stands for `<namespace>.svc...`. */
  constructor(mode: DenyResponse, searchDomains: readonly Fqdn[]) {
    this.#mode = mode
    this.#suffixes = searchDomains.filter((suffix) => suffix.length > 1)
  }

  rcode(
    policy: PolicyView,
    endpoint: number,
    server: Uint8Array,
    serverOffset: number,
    protocol: number,
    port: number,
    name: Uint8Array,
    nameLength: number,
  ): number {
    if (this.#mode === 'refused') return RCODE_REFUSED
    if (this.#mode === 'nxdomain') return RCODE_NXDOMAIN
    for (const suffix of this.#suffixes) {
      const tail = nameLength - suffix.length
      if (tail <= 0) continue
      let at = 0
      let last = 0
      while (at < tail) {
        last = at
        at += 1 + name[at]!
      }
      if (at !== tail || !endsWith(name, tail, suffix)) continue
      if (this.#allowed(policy, endpoint, server, serverOffset, protocol, port, name, tail)) return RCODE_NXDOMAIN
      if (last === 0 || !isServiceSuffix(suffix)) continue
      if (this.#allowed(policy, endpoint, server, serverOffset, protocol, port, name, last)) return RCODE_NXDOMAIN
    }
    return RCODE_REFUSED
  }

  /** Is the name made of the first `length` octets allowed? */
  #allowed(
    policy: PolicyView,
    endpoint: number,
    server: Uint8Array,
    serverOffset: number,
    protocol: number,
    port: number,
    name: Uint8Array,
    length: number,
  ): boolean {
    for (let i = 0; i < length; i++) this.#stem[i] = name[i]!
    this.#stem[length] = 0
    return policy.verdict(endpoint, server, serverOffset, protocol, port, this.#stem, 0) === VERDICT_ALLOWED
  }
}

function endsWith(name: Uint8Array, at: number, suffix: Uint8Array): boolean {
  for (let i = 0; i < suffix.length; i++) if (name[at + i] !== suffix[i]) return false
  return true
}

function isServiceSuffix(suffix: Uint8Array): boolean {
  for (let i = 0; i < 4; i++) if (suffix[i] !== NAMESPACE_SUFFIX_LABEL[i]) return false
  return true
}
