import type { Slot } from '../slots.ts'

/** Prefixes are keys in canonical text. */
export type Prefix = string

/** Stands in our place, and is not what we would put there. */
export const OTHER = -1

/**
 * What the tables hold, as far as it is ours:
 * `nexthops` by id, with the slot they lead to (OTHER: elsewhere); `routes` of the encryption table, with the id of their
 * nexthop; `closed` prefixes have an unreachable route that catches what no other route takes; `bound` are the routes of the
 * slots' own tables, false when they lead elsewhere.
 */
export interface Rows {
  readonly nexthops: Map<number, Slot | typeof OTHER>
  readonly routes: Map<Prefix, number>
  readonly closed: Set<Prefix>
  readonly bound: readonly [Map<Prefix, boolean>, Map<Prefix, boolean>]
}

export const emptyRows = (): Rows => ({
  nexthops: new Map(),
  routes: new Map(),
  closed: new Set(),
  bound: [new Map(), new Map()],
})

export type Operation =
  | { readonly do: 'nexthop'; readonly id: number; readonly slot: Slot }
  | { readonly do: 'route'; readonly prefix: Prefix; readonly nexthop: number }
  | { readonly do: 'closed'; readonly prefix: Prefix }
  | { readonly do: 'bound'; readonly prefix: Prefix; readonly slot: Slot }
  | { readonly do: 'drop-nexthop'; readonly id: number }
  | { readonly do: 'drop-route'; readonly prefix: Prefix }
  | { readonly do: 'drop-closed'; readonly prefix: Prefix }
  | { readonly do: 'drop-bound'; readonly prefix: Prefix; readonly slot: Slot }

/** What the kernel does, done to the rows. */
export function apply(rows: Rows, operation: Operation): void {
  switch (operation.do) {
    case 'nexthop':
      rows.nexthops.set(operation.id, operation.slot)
      return
    case 'route':
      rows.routes.set(operation.prefix, operation.nexthop)
      return
    case 'closed':
      rows.closed.add(operation.prefix)
      return
    case 'bound':
      rows.bound[operation.slot].set(operation.prefix, true)
      return
    case 'drop-nexthop':
      rows.nexthops.delete(operation.id)
      return
    case 'drop-route':
      rows.routes.delete(operation.prefix)
      return
    case 'drop-closed':
      rows.closed.delete(operation.prefix)
      return
    case 'drop-bound':
      rows.bound[operation.slot].delete(operation.prefix)
      return
  }
}
