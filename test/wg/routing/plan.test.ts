import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../../src/core/ip.ts'
import { MODES, sendsThroughTunnel, type Mode } from '../../../src/wg/activation.ts'
import { Claims, type Touched } from '../../../src/wg/routing/claims.ts'
import { familyOfPrefix, plan, type Usable } from '../../../src/wg/routing/plan.ts'
import { apply, emptyRows, type Operation, OTHER, type Prefix, type Rows } from '../../../src/wg/routing/rows.ts'
import type { PeerRoutes } from '../../../src/wg/seams.ts'
import type { Slot } from '../../../src/wg/slots.ts'

const BASE = 5000
const always: Usable = () => true
const PREFIXES = ['10.1.1.0/24', '10.1.2.0/24', '10.1.3.0/24', 'fd10:1::/64', 'fd10:2::/64', 'fd10:3::/64']

const peer = (uid: string, prefixes: readonly string[], mode: Mode, egress: Slot = 0): PeerRoutes => ({
  uid,
  prefixes: prefixes.map((text) => parseCidr(text)),
  egress,
  mode,
})

/** Where a packet to an address of the prefix goes: a slot, nowhere, or as if we were not there. */
function fate(rows: Rows, prefix: Prefix): Slot | 'elsewhere' | 'shut' | 'clear' {
  const id = rows.routes.get(prefix)
  const slot = id === undefined ? undefined : rows.nexthops.get(id)
  if (id !== undefined && slot !== undefined) return slot === OTHER ? 'elsewhere' : slot
  return rows.closed.has(prefix) ? 'shut' : 'clear'
}

/** The kernel: with a nexthop go its routes. */
function kernel(rows: Rows, operation: Operation): void {
  if (operation.do === 'route' && !rows.nexthops.has(operation.nexthop)) throw new Error('EINVAL')
  if (operation.do === 'drop-nexthop') {
    for (const [prefix, id] of rows.routes) if (id === operation.id) rows.routes.delete(prefix)
  }
  apply(rows, operation)
}

const copy = ({ nexthops, routes, closed, bound }: Rows): Rows => ({
  nexthops: new Map(nexthops),
  routes: new Map(routes),
  closed: new Set(closed),
  bound: [new Map(bound[0]), new Map(bound[1])],
})

function everything(claims: Claims, rows: Rows): Touched {
  const { ids, prefixes } = claims.all()
  for (const id of rows.nexthops.keys()) ids.add(id)
  for (const keys of [rows.routes.keys(), rows.closed, rows.bound[0].keys(), rows.bound[1].keys()]) {
    for (const prefix of keys) prefixes.add(prefix)
  }
  return { ids, prefixes }
}

const enact = (rows: Rows, operations: readonly Operation[], look: (rows: Rows) => void = () => undefined): void => {
  for (const operation of operations) {
    kernel(rows, operation)
    look(rows)
  }
}

const names = (operations: readonly Operation[]): string[] => operations.map((one) => one.do)

describe('the order of operations', () => {
  it('leads a prefix into the tunnel and shuts what is behind it, so that no packet meets a shut door', () => {
    const claims = new Claims(BASE)
    const touched = claims.set(peer('a', ['10.1.1.0/24', '10.1.2.0/24'], 'active'))
    const operations = plan(emptyRows(), claims, touched, always, BASE, 'change')
    expect(names(operations).slice(4)).toEqual(['nexthop', 'route', 'closed', 'route', 'closed'])
  })

  it('shuts a prefix first when mending, because its packets may be in clear text', () => {
    const claims = new Claims(BASE)
    const touched = claims.set(peer('a', ['10.1.1.0/24', '10.1.2.0/24'], 'active'))
    const operations = plan(emptyRows(), claims, touched, always, BASE, 'mend')
    expect(names(operations).slice(4)).toEqual(['closed', 'closed', 'nexthop', 'route', 'route'])
  })

  it('shuts first only what was sealed before, when others changed the table meanwhile', () => {
    const claims = new Claims(BASE)
    claims.set(peer('a', ['10.1.1.0/24'], 'active'))
    claims.set(peer('b', ['10.1.2.0/24'], 'active'))
    const occasion = (prefix: string): 'mend' | 'change' => (prefix === '10.1.1.0/24' ? 'mend' : 'change')
    const operations = plan(emptyRows(), claims, everything(claims, emptyRows()), always, BASE, occasion)
    const order = operations.flatMap((one) =>
      'prefix' in one && !one.do.endsWith('bound') ? [`${one.do} ${one.prefix}`] : [],
    )
    expect(order).toEqual(['closed 10.1.1.0/24', 'route 10.1.1.0/24', 'route 10.1.2.0/24', 'closed 10.1.2.0/24'])
  })

  it('opens a prefix before its route goes, so that no packet meets a shut door', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'strict')), always, BASE, 'change'))
    const back = plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'proven')), always, BASE, 'change')
    expect(names(back)).toEqual(['drop-closed', 'drop-route', 'drop-nexthop'])
  })

  it('is one message a family when only the egress changes', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    const prefixes = ['10.1.1.0/24', '10.1.2.0/24', 'fd10:1::/64']
    enact(rows, plan(rows, claims, claims.set(peer('a', prefixes, 'active', 0)), always, BASE, 'change'))
    expect(plan(rows, claims, claims.set(peer('a', prefixes, 'active', 1)), always, BASE, 'change')).toEqual([
      { do: 'nexthop', id: 5000, slot: 1 },
      { do: 'nexthop', id: 5001, slot: 1 },
    ])
  })

  it('is nothing for a peer that stands as it is', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    const one = peer('a', ['10.1.1.0/24', 'fd10:1::/64'], 'active')
    enact(rows, plan(rows, claims, claims.set(one), always, BASE, 'change'))
    expect(plan(rows, claims, claims.set(one), always, BASE, 'change')).toEqual([])
    expect(plan(rows, claims, everything(claims, rows), always, BASE, 'change')).toEqual([])
  })

  it('replaces the route of a prefix that moves to another peer', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'active', 0)), always, BASE, 'change'))
    const fates: unknown[] = []
    const look = (now: Rows): number => fates.push(fate(now, '10.1.1.0/24'))
    enact(rows, plan(rows, claims, claims.set(peer('b', ['10.1.1.0/24'], 'active', 1)), always, BASE, 'change'), look)
    enact(rows, plan(rows, claims, claims.remove('a'), always, BASE, 'change'), look)
    expect(new Set(fates)).toEqual(new Set([0, 1]))
    expect(fate(rows, '10.1.1.0/24')).toBe(1)
    expect([...rows.nexthops.keys()]).toEqual([5002])
  })

  it('lets no claim in clear text take a prefix from a peer that is sealed', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'active')), always, BASE, 'change'))
    expect(plan(rows, claims, claims.set(peer('b', ['10.1.1.0/24'], 'off')), always, BASE, 'change')).toEqual([])
  })

  it('leaves a peer on its slot when the other device is not there, and shuts one that has none', () => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    const onlyFirst: Usable = (slot) => slot === 0
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'active', 0)), onlyFirst, BASE, 'change'))
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'active', 1)), onlyFirst, BASE, 'change'))
    expect(fate(rows, '10.1.1.0/24')).toBe(0)
    enact(rows, plan(rows, claims, claims.set(peer('b', ['10.1.2.0/24'], 'active', 1)), onlyFirst, BASE, 'change'))
    expect(fate(rows, '10.1.2.0/24')).toBe('shut')
  })
})

describe('what an earlier run left', () => {
  const left = (): Rows => {
    const claims = new Claims(BASE)
    const rows = emptyRows()
    enact(
      rows,
      plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24', 'fd10:1::/64'], 'active', 1)), always, BASE, 'change'),
    )
    enact(rows, plan(rows, claims, claims.set(peer('b', ['10.1.2.0/24'], 'active', 0)), always, BASE, 'change'))
    return rows
  }

  it('is taken over with its nexthops, whatever order the peers come in', () => {
    const rows = left()
    const claims = new Claims(BASE)
    claims.adopt(rows, [])
    expect(claims.found()).toEqual(
      new Map<string, Slot>([
        ['10.1.1.0/24', 1],
        ['fd10:1::/64', 1],
        ['10.1.2.0/24', 0],
      ]),
    )
    expect(plan(rows, claims, claims.set(peer('b', ['10.1.2.0/24'], 'active', 0)), always, BASE, 'change')).toEqual([])
    const first = peer('a', ['10.1.1.0/24', 'fd10:1::/64'], 'active', 1)
    expect(plan(rows, claims, claims.set(first), always, BASE, 'change')).toEqual([])
    expect(plan(rows, claims, claims.prune(), always, BASE, 'change')).toEqual([])
  })

  it('stays until the list of peers is complete', () => {
    const rows = left()
    const claims = new Claims(BASE)
    claims.adopt(rows, [])
    enact(rows, plan(rows, claims, claims.set(peer('b', ['10.1.2.0/24'], 'active', 0)), always, BASE, 'change'))
    expect(plan(rows, claims, everything(claims, rows), always, BASE, 'change')).toEqual([])
    enact(rows, plan(rows, claims, claims.prune(), always, BASE, 'change'))
    expect([...rows.closed]).toEqual(['10.1.2.0/24'])
    expect([...rows.nexthops.keys()]).toEqual([5002])
  })

  it('follows the peer that took its nexthop over, until it is pruned', () => {
    const rows = left()
    const claims = new Claims(BASE)
    claims.adopt(rows, [])
    enact(rows, plan(rows, claims, claims.set(peer('a', ['10.1.1.0/24'], 'active', 0)), always, BASE, 'change'))
    expect(fate(rows, '10.1.1.0/24')).toBe(0)
    expect(fate(rows, 'fd10:1::/64')).toBe(0)
    enact(rows, plan(rows, claims, claims.prune(), always, BASE, 'change'))
    expect(fate(rows, 'fd10:1::/64')).toBe('clear')
  })

  it('counts as sealed when the devices were lost and only the shut prefixes are there', () => {
    const rows = emptyRows()
    rows.closed.add('10.1.1.0/24')
    const claims = new Claims(BASE)
    claims.adopt(rows, [])
    expect(claims.found()).toEqual(new Map([['10.1.1.0/24', 0]]))
    expect(plan(rows, claims, everything(claims, rows), always, BASE, 'change')).toEqual([
      { do: 'bound', prefix: '10.1.1.0/24', slot: 0 },
      { do: 'bound', prefix: '10.1.1.0/24', slot: 1 },
    ])
  })

  it('gives no nexthop away that is another’s', () => {
    const claims = new Claims(BASE)
    claims.adopt(emptyRows(), [5000, 5003])
    claims.set(peer('a', ['10.1.1.0/24'], 'active'))
    expect(claims.route('10.1.1.0/24')).toBe(5004)
  })
})

const step = fc.record({
  uid: fc.constantFrom('a', 'b', 'c'),
  prefixes: fc.subarray(PREFIXES),
  egress: fc.constantFrom<Slot>(0, 1),
  mode: fc.constantFrom(...MODES),
  /** How many changes make one plan. */
  remove: fc.integer({ min: 0, max: 9 }),
})

/** A peer that sends claims it. */
const sealed = (peers: ReadonlyMap<string, PeerRoutes>, prefix: Prefix): boolean =>
  [...peers.values()].some(
    ({ mode, prefixes }) => sendsThroughTunnel(mode) && prefixes.some((one) => sameText(one, prefix)),
  )
const sameText = (cidr: PeerRoutes['prefixes'][number], text: string): boolean => {
  const other = parseCidr(text)
  return other.bits === cidr.bits && other.ip.bytes.join() === cidr.ip.bytes.join()
}

it('any changes lead to what is wanted; a prefix sealed before and after is in a tunnel all the while', () => {
  fc.assert(
    fc.property(fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { maxLength: 12 }), (turns) => {
      const claims = new Claims(BASE)
      const rows = emptyRows()
      const peers = new Map<string, PeerRoutes>()
      for (const turn of turns) {
        const before = new Set(PREFIXES.filter((prefix) => sealed(peers, prefix)))
        const touched: Touched = { ids: new Set(), prefixes: new Set() }
        for (const { uid, prefixes, egress, mode, remove } of turn) {
          const one = peer(uid, prefixes, mode, egress)
          const { ids, prefixes: changed } = remove === 0 ? claims.remove(uid) : claims.set(one)
          if (remove === 0) peers.delete(uid)
          else peers.set(uid, one)
          for (const id of ids) touched.ids.add(id)
          for (const prefix of changed) touched.prefixes.add(prefix)
        }
        const after = new Set(PREFIXES.filter((prefix) => sealed(peers, prefix)))
        enact(rows, plan(rows, claims, touched, always, BASE, 'change'), (now) => {
          for (const prefix of before) if (after.has(prefix)) expect(fate(now, prefix)).toBeOneOf([0, 1])
          // Into the tunnel and back to clear text: never a shut door.
          for (const prefix of PREFIXES) expect(fate(now, prefix)).not.toBe('shut')
        })
        for (const prefix of PREFIXES) {
          if (!after.has(prefix)) {
            expect(fate(rows, prefix)).toBe('clear')
            continue
          }
          expect(rows.closed.has(prefix)).toBe(true)
          const claimants = [...peers.values()].filter(
            ({ mode, prefixes }) => sendsThroughTunnel(mode) && prefixes.some((one) => sameText(one, prefix)),
          )
          expect(claimants.map(({ egress }) => egress)).toContain(fate(rows, prefix))
        }
        // Nothing is over: the whole plan of the same wish is empty.
        expect(plan(rows, claims, everything(claims, rows), always, BASE, 'change')).toEqual([])
      }
    }),
  )
})

const wrecked = fc.record({
  lostNexthops: fc.subarray([5000, 5001, 5002, 5003, 5004, 5005]),
  lostRoutes: fc.subarray(PREFIXES),
  lostClosed: fc.subarray(PREFIXES),
  wrong: fc.subarray(PREFIXES),
  alien: fc.boolean(),
})

it('whatever is wrecked is mended, and no step lets a sealed prefix out that was shut before', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 6 }), wrecked, (steps, wreck) => {
      const claims = new Claims(BASE)
      const good = emptyRows()
      for (const { uid, prefixes, egress, mode } of steps) {
        enact(good, plan(good, claims, claims.set(peer(uid, prefixes, mode, egress)), always, BASE, 'change'))
      }
      const rows = copy(good)
      for (const id of wreck.lostNexthops) if (rows.nexthops.has(id)) kernel(rows, { do: 'drop-nexthop', id })
      for (const prefix of wreck.lostRoutes) rows.routes.delete(prefix)
      for (const prefix of wreck.lostClosed) rows.closed.delete(prefix)
      for (const prefix of wreck.wrong) {
        if (rows.routes.has(prefix)) rows.routes.set(prefix, OTHER)
        if (rows.bound[0].has(prefix)) rows.bound[0].set(prefix, false)
      }
      if (wreck.alien) {
        rows.nexthops.set(5998, 1)
        rows.closed.add('10.9.9.0/24')
      }
      const safe = PREFIXES.filter((prefix) => claims.closed(prefix) && fate(rows, prefix) !== 'clear')
      enact(rows, plan(rows, claims, everything(claims, rows), always, BASE, 'mend'), (now) => {
        for (const prefix of safe) expect(fate(now, prefix)).not.toBe('clear')
      })
      expect(rows).toEqual(good)
    }),
  )
})

it('families are told by the text and by the number', () => {
  expect(PREFIXES.map(familyOfPrefix)).toEqual([4, 4, 4, 6, 6, 6])
})
