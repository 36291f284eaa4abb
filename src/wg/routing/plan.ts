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
  const planner = new Planner(found, wanted, usable, base, occasion)
  for (const id of ids) planner.id(id)
  for (const prefix of prefixes) planner.prefix(prefix)
  return planner.operations()
}

/** `plan` for more than one turn of the event loop takes: every id first, then prefixes. Rows and wishes must stay as they are. */
export class Planner {
  readonly #found: Rows
  readonly #wanted: Wanted
  readonly #usable: Usable
  readonly #base: number
  readonly #occasionOf: (prefix: Prefix) => Occasion
  readonly #bound: Operation[] = []
  readonly #closed: Operation[] = []
  readonly #nexthops: Operation[] = []
  readonly #routes: Operation[] = []
  readonly #opened: Operation[] = []
  readonly #dropped: Operation[] = []
  readonly #unused: Operation[] = []
  readonly #unbound: Operation[] = []
  readonly #made = new Set<number>()

  constructor(
    found: Rows,
    wanted: Wanted,
    usable: Usable,
    base: number,
    occasion: Occasion | ((prefix: Prefix) => Occasion),
  ) {
    this.#found = found
    this.#wanted = wanted
    this.#usable = usable
    this.#base = base
    this.#occasionOf = typeof occasion === 'string' ? () => occasion : occasion
  }

  id(id: number): void {
    const { nexthops } = this.#found
    const slot = this.#wanted.nexthop(id)
    if (slot === undefined) {
      if (nexthops.has(id)) this.#unused.push({ do: 'drop-nexthop', id })
    } else if (nexthops.get(id) !== slot && this.#usable(slot, familyOfNexthop(id, this.#base))) {
      this.#nexthops.push({ do: 'nexthop', id, slot })
      this.#made.add(id)
    }
  }

  prefix(prefix: Prefix): void {
    const { nexthops, routes, closed, bound } = this.#found
    const route = this.#wanted.route(prefix)
    if (route === undefined) {
      if (routes.has(prefix)) this.#dropped.push({ do: 'drop-route', prefix })
    } else if (routes.get(prefix) !== route && (nexthops.has(route) || this.#made.has(route))) {
      this.#routes.push({ do: 'route', prefix, nexthop: route })
    }
    if (this.#wanted.closed(prefix) !== closed.has(prefix)) {
      if (closed.has(prefix)) this.#opened.push({ do: 'drop-closed', prefix })
      else (this.#occasionOf(prefix) === 'mend' ? this.#closed : this.#routes).push({ do: 'closed', prefix })
    }
    const binds = this.#wanted.bound(prefix)
    for (const slot of SLOTS) {
      if (!binds) {
        if (bound[slot].has(prefix)) this.#unbound.push({ do: 'drop-bound', prefix, slot })
      } else if (bound[slot].get(prefix) !== true && this.#usable(slot, familyOfPrefix(prefix))) {
        this.#bound.push({ do: 'bound', prefix, slot })
      }
    }
  }

  operations(): Operation[] {
    return [
      ...[...this.#bound, ...this.#closed, ...this.#nexthops, ...this.#routes],
      ...[...this.#opened, ...this.#dropped, ...this.#unused, ...this.#unbound],
    ]
  }
}
