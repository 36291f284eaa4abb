/**
 * Sets of labels, by number; 0 is the empty set. The identity room owns them; here they are only counted.
 * A number stays valid while somebody retains it.
 */
export interface LabelSets {
  retain(set: number): void
  release(set: number): void
  /** The union, retained once for the caller. */
  union(a: number, b: number): number
}

/** Which labels the policy in force gives to a name (wire form at `offset`); retained once for the caller. */
export type NameMatcher = (name: Uint8Array, offset: number) => number

export interface NameLimits {
  /** Addresses that one name of one endpoint may have. */
  readonly maxAddressesPerName: number
  readonly maxNamesPerEndpoint: number
  /** Entries that one endpoint may have, so that it cannot push out those of all others. */
  readonly maxEntriesPerEndpoint: number
  /** All (endpoint, name, address) together; memory for the indexes is reserved for this many. */
  readonly maxEntries: number
}
