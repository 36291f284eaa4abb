import { SLOTS, type Slot } from '../slots.ts'
import type { Operation, Prefix, Rows } from './rows.ts'

/** What the tables must hold. */
export interface Wanted {
  /** Slot that the nexthop leads to; undefined when there must be none. */
  nexthop(id: number): Slot | undefined
  /** Id of the nexthop; undefined when there must be no route. */
  route(prefix: Prefix): number | undefined
  closed(prefix: Prefix): boolean
  bound(prefix: Prefix): boolean
}

/** What is looked at: everything, or what a change touched. */
export interface Scope {
  readonly ids: Iterable<number>
  readonly prefixes: Iterable<Prefix>
}

/** An interface that is there and up, in a family it speaks. */
export type Usable = (slot: Slot, family: 4 | 6) => boolean

/** IPv4 has the even numbers. */
export const familyOfNexthop = (id: number, base: number): 4 | 6 => (((id - base) & 1) === 0 ? 4 : 6)
export const familyOfPrefix = (prefix: Prefix): 4 | 6 => (prefix.includes(':') ? 6 : 4)

/**
 * `change`: the table holds what was wanted before. `mend`: others changed it, and packets may be in clear text by now. Where others
 * changed something while a prefix is sealed for the first time, the prefix is a change: its packets are in clear text rightly.
 */
export type Occasion = 'change' | 'mend'

/**
 * Operations that turn `found` into `wanted`, in an order that never lets a packet of a sealed prefix out in clear text, and
 * never loses one:
 *
 * 1. when mending, unreachable routes first: what should be sealed is shut at once, whatever fails from here on;
 * 2. nexthops, then the routes to them, each put in place of what stood (one message, no gap), also when a prefix moves
 *    from one peer to another;
 * 3. a prefix that was in clear text gets its route first and its unreachable route right after it: the other way round,
 *    packets between the two would find neither tunnel nor clear text. It is not sealed before both stand;
 * 4. a prefix that goes back to clear text loses the unreachable route first and then the route, for the same reason: its
 *    packets go through the tunnel up to the last step;
 * 5. nexthops that no route uses any more go last: with one of them the kernel takes its routes too.
 *
 * Routes of the slots' own tables only carry probes; they come first and go last.
 */
export function plan(
  found: Rows,
  wanted: Wanted,
  { ids, prefixes }: Scope,
  usable: Usable,
  base: number,
  occasion: Occasion | ((prefix: Prefix) => Occasion),
): Operation[] {
  const bound: Operation[] = []
  const closed: Operation[] = []
  const nexthops: Operation[] = []
  const routes: Operation[] = []
  const opened: Operation[] = []
  const dropped: Operation[] = []
  const unused: Operation[] = []
  const unbound: Operation[] = []
  const made = new Set<number>()
  const occasionOf = typeof occasion === 'string' ? (): Occasion => occasion : occasion

  for (const id of ids) {
    const slot = wanted.nexthop(id)
    if (slot === undefined) {
      if (found.nexthops.has(id)) unused.push({ do: 'drop-nexthop', id })
    } else if (found.nexthops.get(id) !== slot && usable(slot, familyOfNexthop(id, base))) {
      nexthops.push({ do: 'nexthop', id, slot })
      made.add(id)
    }
  }
  for (const prefix of prefixes) {
    const route = wanted.route(prefix)
    if (route === undefined) {
      if (found.routes.has(prefix)) dropped.push({ do: 'drop-route', prefix })
    } else if (found.routes.get(prefix) !== route && (found.nexthops.has(route) || made.has(route))) {
      routes.push({ do: 'route', prefix, nexthop: route })
    }
    if (wanted.closed(prefix) !== found.closed.has(prefix)) {
      if (found.closed.has(prefix)) opened.push({ do: 'drop-closed', prefix })
      else (occasionOf(prefix) === 'mend' ? closed : routes).push({ do: 'closed', prefix })
    }
    for (const slot of SLOTS) {
      if (!wanted.bound(prefix)) {
        if (found.bound[slot].has(prefix)) unbound.push({ do: 'drop-bound', prefix, slot })
      } else if (found.bound[slot].get(prefix) !== true && usable(slot, familyOfPrefix(prefix))) {
        bound.push({ do: 'bound', prefix, slot })
      }
    }
  }
  return [...bound, ...closed, ...nexthops, ...routes, ...opened, ...dropped, ...unused, ...unbound]
}
