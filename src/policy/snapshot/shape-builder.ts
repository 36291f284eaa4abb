import { createHash } from 'node:crypto'
import { formatCidr } from '../../core/ip.ts'
import type { Cidr } from '../../core/ip.ts'
import { selectorText } from '../labels.ts'
import { portBlocks } from '../ports.ts'
import type { DomainPattern } from '../patterns/pattern.ts'
import type { Entity, LabelSelector, Peer, Rule } from '../rules.ts'
import type { ShapeRule } from './shape.ts'

/** Numbers for texts, in order of first use. */
class Numbers<T> {
  readonly #byText = new Map<string, number>()
  readonly values: T[] = []

  of(text: string, value: T): number {
    const known = this.#byText.get(text)
    if (known !== undefined) return known
    this.#byText.set(text, this.values.length)
    this.values.push(value)
    return this.values.length - 1
  }
}

export interface BuiltShape {
  readonly key: string
  readonly rules: readonly ShapeRule[]
  /** Selector indexes of each rule. */
  readonly names: readonly (readonly number[])[]
  /** Prefix index and indexes of its exceptions, of each rule. */
  readonly cidrs: readonly (readonly (readonly [number, readonly number[]])[])[]
}

interface BuiltRule {
  readonly text: string
  readonly rule: ShapeRule
  readonly names: readonly number[]
  readonly cidrs: readonly (readonly [number, readonly number[]])[]
}

/**
 * Turns rule lists into shapes: what the rows of a policy map depend on. Rule lists that differ only in the names
 * of DNS rules are one shape.
 */
export class ShapeBuilder {
  readonly #selectors = new Numbers<DomainPattern>()
  readonly #prefixes = new Numbers<Cidr>()
  readonly #shapes = new Numbers<BuiltShape>()

  /** toFQDNs patterns by selector index. */
  get selectors(): readonly DomainPattern[] {
    return this.#selectors.values
  }

  /** Every prefix and exception of every rule by index; not 0.0.0.0/0 and ::/0, which need no entry of their own. */
  get prefixes(): readonly Cidr[] {
    return this.#prefixes.values
  }

  get shapes(): readonly BuiltShape[] {
    return this.#shapes.values
  }

  /** Index of the shape of these rules. */
  add(rules: readonly Rule[]): number {
    const built = rules.map((rule) => this.#rule(rule))
    const texts = [...new Set(built.map(({ text }) => text))].sort().join('\n')
    const key = createHash('sha256').update(texts).digest('hex').slice(0, 32)
    return this.#shapes.of(key, {
      key,
      rules: built.map(({ rule }) => rule),
      names: built.map(({ names }) => names),
      cidrs: built.map(({ cidrs }) => cidrs),
    })
  }

  #rule(rule: Rule): BuiltRule {
    const verdict = rule.deny ? 'deny' : rule.dns === null ? 'allow' : 'redirect'
    const blocks = portBlocks(rule.ports)
      // A DNS rule redirects what the gate can read; the rest of its ports stays closed.
      .filter(
        ({ protocol, portBits }) => verdict !== 'redirect' || (portBits === 16 && (protocol === 6 || protocol === 17)),
      )
      .map(({ protocol, port, portBits }) => [protocol, port, portBits] as const)
    const names: number[] = []
    const cidrs: [number, number[]][] = []
    const families: [4 | 6, number[]][] = []
    const entities: Entity[] = []
    const selectors: LabelSelector[] = []
    const texts: string[] = []
    for (const peer of rule.peers) {
      texts.push(peerText(peer))
      switch (peer.kind) {
        case 'fqdn':
          names.push(this.#selectors.of(peer.pattern.text, peer.pattern))
          break
        case 'cidr': {
          // An exception of length 0 leaves nothing of the peer.
          if (peer.except.some(({ bits }) => bits === 0)) break
          const except = peer.except.map((one) => this.#prefix(one))
          if (peer.cidr.bits === 0) families.push([peer.cidr.ip.family, except])
          else cidrs.push([this.#prefix(peer.cidr), except])
          break
        }
        case 'entity':
          entities.push(peer.entity)
          break
        case 'endpoints':
          selectors.push(peer.selector)
          break
      }
    }
    const text = `${verdict} ${blocks.map((block) => block.join('/')).join(',')} ${texts.sort().join(' ')}`
    return { text, rule: { verdict, blocks, entities, families, selectors }, names, cidrs }
  }

  #prefix(cidr: Cidr): number {
    return this.#prefixes.of(formatCidr(cidr), cidr)
  }
}

export function peerText(peer: Peer): string {
  switch (peer.kind) {
    case 'fqdn':
      return `fqdn:${peer.pattern.text}`
    case 'cidr':
      return `cidr:${formatCidr(peer.cidr)}-[${peer.except.map(formatCidr).sort().join(',')}]`
    case 'entity':
      return `entity:${peer.entity}`
    case 'endpoints':
      return `endpoints:{${selectorText(peer.selector)}}`
  }
}
