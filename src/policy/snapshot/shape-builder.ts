import { createHash } from 'node:crypto'
import { formatCidr } from '../../core/ip.ts'
import type { Cidr } from '../../core/ip.ts'
import { selectorText } from '../labels.ts'
import { portBlocks } from '../ports.ts'
import type { DomainPattern } from '../patterns/pattern.ts'
import type { Entity, LabelSelector, Peer, Rule } from '../rules.ts'
import { EVERY_IPV4, EVERY_IPV6 } from './shape.ts'
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
    const texts: string[] = []
    const built = rules.map((rule) => {
      const { text, shapeRule } = this.#rule(rule)
      texts.push(text)
      return shapeRule
    })
    const key = createHash('sha256')
      .update([...new Set(texts)].sort().join('\n'))
      .digest('hex')
      .slice(0, 32)
    return this.#shapes.of(key, { key, rules: built })
  }

  #rule(rule: Rule): { text: string; shapeRule: ShapeRule } {
    const verdict = rule.deny ? 'deny' : rule.dns === null ? 'allow' : 'redirect'
    const blocks = portBlocks(rule.ports)
      // A DNS rule redirects what the gate can read; the rest of its ports stays closed.
      .filter(
        ({ protocol, portBits }) => verdict !== 'redirect' || (portBits === 16 && (protocol === 6 || protocol === 17)),
      )
      .map(({ protocol, port, portBits }) => [protocol, port, portBits] as const)
    const fqdns: number[] = []
    const cidrs: [number, number[]][] = []
    const entities: Entity[] = []
    const selectors: LabelSelector[] = []
    const texts: string[] = []
    for (const peer of rule.peers) {
      texts.push(peerText(peer))
      switch (peer.kind) {
        case 'fqdn':
          fqdns.push(this.#selectors.of(peer.pattern.text, peer.pattern))
          break
        case 'cidr':
          cidrs.push([this.#prefix(peer.cidr), peer.except.map((except) => this.#prefix(except))])
          break
        case 'entity':
          entities.push(peer.entity)
          break
        case 'endpoints':
          selectors.push(peer.selector)
          break
      }
    }
    const text = `${verdict} ${blocks.map((block) => block.join('/')).join(',')} ${texts.sort().join(' ')}`
    return { text, shapeRule: { verdict, blocks, fqdns, cidrs, entities, selectors } }
  }

  #prefix(cidr: Cidr): number {
    if (cidr.bits === 0) return cidr.ip.family === 4 ? EVERY_IPV4 : EVERY_IPV6
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
