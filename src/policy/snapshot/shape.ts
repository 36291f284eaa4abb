import type { Entity, LabelSelector } from '../rules.ts'

/**
 * One rule of a shape, as it lies in the snapshot (JSON): what rows depend on, but for names and prefixes, which
 * the selection tables hold.
 */
export interface ShapeRule {
  readonly verdict: 'allow' | 'deny' | 'redirect'
  /** protocol, port, portBits. */
  readonly blocks: readonly (readonly [number, number, number])[]
  readonly entities: readonly Entity[]
  /** Peers that are a whole family (`0.0.0.0/0`, `::/0`) and the prefix indexes of their exceptions. */
  readonly families: readonly (readonly [4 | 6, readonly number[]])[]
  readonly selectors: readonly LabelSelector[]
}
