import type { Cidr, Ip } from '../../core/ip.ts'

/** A node as others publish it. */
export interface ExpectedNode {
  readonly name: string
  readonly endpoints: readonly Ip[]
  readonly prefixes: readonly Cidr[]
  /** Undefined while the node has published none. */
  readonly publicKey: string | undefined
}
