import type { Entity, LabelSelector } from '../rules.ts'

/**
 * One rule of a shape, as it lies in the snapshot (JSON): what rows depend on, names replaced by numbers.
 * `c`: prefix index, or -4 / -6 for every address of the family, then the indexes of its exceptions.
 */
export interface ShapeRule {
  readonly verdict: 'allow' | 'deny' | 'redirect'
  /** protocol, port, portBits. */
  readonly blocks: readonly (readonly [number, number, number])[]
  readonly fqdns: readonly number[]
  readonly cidrs: readonly (readonly [number, readonly number[]])[]
  readonly entities: readonly Entity[]
  readonly selectors: readonly LabelSelector[]
}

export const EVERY_IPV4 = -4
export const EVERY_IPV6 = -6
