import { formatFqdn } from '../core/fqdn.ts'
import { formatIp, readAddr16, tryParseIp, writeAddr16 } from '../core/ip.ts'
import { NO_PAIR } from '../fqdn/entry-store.ts'
import type { NameState } from '../fqdn/name-state.ts'
import type { IdentityTable } from '../identity/identity-table.ts'
import type { IpcacheMirror } from '../identity/ipcache-mirror.ts'
import type { LabelSets } from '../identity/label-sets.ts'
import type { LearnedAddress, LedgerAnswer, LedgerQuery } from '../identity/ledger-protocol.ts'

const MAX_PAGE = 1000
const MAX_NAMES = 100

export interface QueryWorld {
  readonly state: NameState
  readonly mirror: IpcacheMirror
  readonly identities: IdentityTable
  readonly sets: LabelSets
}

/** Answers the API's questions; bounded by the page, and by the names of one endpoint to skip over. */
export function answerQuery(world: QueryWorld, query: LedgerQuery, nowSeconds: number): LedgerAnswer {
  return query.kind === 'names'
    ? namesOf(world, query.endpointId, query.offset, Math.min(query.limit, MAX_PAGE), nowSeconds)
    : about(world, query.address, nowSeconds)
}

function identityAt(mirror: IpcacheMirror, addr16: Uint8Array, offset: number): number {
  const row = mirror.find(addr16, offset, 128)
  return row < 0 ? 0 : (mirror.written[row] as number)
}

function describe(world: QueryWorld, entry: number, nowSeconds: number): LearnedAddress {
  const { entries, pairs, names, addresses } = world.state
  const pair = entries.pair[entry] as number
  const address = (entries.address[entry] as number) * 16
  const name = pair === NO_PAIR ? -1 : (pairs.name[pair] as number)
  return {
    endpointId: pair === NO_PAIR ? 0 : world.state.ownerOf(pair).id,
    name: name < 0 ? '' : formatFqdn(names.chunk(name), names.offset(name)),
    address: formatIp(readAddr16(addresses.bytes, address)),
    secondsLeft: Math.max(0, world.state.until(entry) - nowSeconds),
    identity: identityAt(world.mirror, addresses.bytes, address),
  }
}

function namesOf(world: QueryWorld, id: number, offset: number, limit: number, nowSeconds: number): LedgerAnswer {
  const { state } = world
  const found: LearnedAddress[] = []
  let total = 0
  for (let pair = state.endpoint(id)?.oldest ?? -1; pair >= 0; pair = state.pairs.newer[pair] as number) {
    const count = state.pairs.entryCount[pair] as number
    if (total + count > offset && found.length < limit) {
      let at = total
      for (let e = state.pairs.entries[pair] as number; e >= 0; e = state.entries.nextOfPair[e] as number) {
        if (at++ >= offset && found.length < limit) found.push(describe(world, e, nowSeconds))
      }
    }
    total += count
  }
  return { kind: 'names', total, names: found }
}

function about(world: QueryWorld, text: string, nowSeconds: number): LedgerAnswer {
  const ip = tryParseIp(text)
  if (ip === undefined) return { kind: 'error', message: 'not an IP address' }
  const { state, mirror, identities, sets } = world
  const addr16 = new Uint8Array(16)
  writeAddr16(ip, addr16, 0)
  const identity = identityAt(mirror, addr16, 0)
  const record = identities.byNumber(identity)
  const names: LearnedAddress[] = []
  const row = state.addresses.find(addr16, 0)
  let e = row < 0 ? -1 : (state.addresses.entries[row] as number)
  for (; e >= 0 && names.length < MAX_NAMES; e = state.entries.nextOfAddress[e] as number) {
    if (state.entries.pair[e] !== NO_PAIR) names.push(describe(world, e, nowSeconds))
  }
  return { kind: 'address', identity, labels: record === undefined ? [] : sets.labels(record.set), names }
}
