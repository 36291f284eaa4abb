import type { Peer, Rule } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'
import { readCidrs, readCidrSet, readEndpoints, readEntities, readFqdns } from './peers.ts'
import type { PeerContext, PeerReader } from './peers.ts'
import { readToPorts } from './to-ports.ts'

const PEERS: Readonly<Record<string, PeerReader>> = {
  toEndpoints: readEndpoints,
  toEntities: readEntities,
  toCIDR: readCidrs,
  toCIDRSet: readCidrSet,
  toFQDNs: readFqdns,
}

const NOT_ENFORCED = 'a Cilium field that is not enforced'

const REFUSED: Readonly<Record<string, string>> = Object.fromEntries(
  ['toServices', 'toGroups', 'toNodes', 'toRequires', 'icmps', 'authentication'].map((field) => [field, NOT_ENFORCED]),
)

/** One item of `egress` or `egressDeny`: at most one kind of peer, times each item of `toPorts`. */
export function readEgress(reader: Reader, value: At, context: PeerContext): Rule[] {
  const peerFields = Object.keys(PEERS).filter((field) => !(context.deny && field === 'toFQDNs'))
  const fields = reader.object(value, {
    fields: [...peerFields, 'toPorts'],
    refused: context.deny ? { ...REFUSED, toFQDNs: 'names cannot be denied, Cilium has no such rule' } : REFUSED,
  })
  if (fields === undefined) return []
  const given = peerFields.filter((field) => fields.has(field))
  checkCombination(reader, value, fields, given)
  const peers = given.flatMap((field) => {
    const at = fields.get(field)
    if (at === undefined) return []
    if (at.tree.kind === 'list' && at.tree.items.length === 0) {
      reader.warn(at.tree.at, `${at.path} is empty: the rule selects nothing`)
    }
    return PEERS[field]?.(reader, at, context) ?? []
  })
  const toPorts = fields.get('toPorts')
  const portRules = toPorts === undefined ? [] : readToPorts(reader, toPorts, context)
  if (toPorts?.tree.kind === 'list' && toPorts.tree.items.length === 0) {
    reader.warn(toPorts.tree.at, `${toPorts.path} is empty: every port is meant`, 'leave toPorts out to say so')
  }
  // An item with neither peers nor ports allows nothing; it only makes the policy select its endpoints.
  if (given.length === 0 && portRules.length === 0) return []
  const all: Peer = { kind: 'entity', entity: 'all', origin: reader.origin(value) }
  const rule = { deny: context.deny, peers: given.length === 0 ? [all] : peers }
  if (portRules.length === 0) return [{ ...rule, ports: [], dns: null, origin: reader.origin(value) }]
  if (given.includes('toFQDNs') && portRules.some(({ dns }) => dns !== null)) {
    reader.error(
      value.tree.at,
      `${value.path}: rules.dns for a server selected by toFQDNs is not enforced`,
      'select the server by toEndpoints, toCIDR or toEntities',
    )
  }
  return portRules.map(({ ports, dns, value: at }) => ({ ...rule, ports, dns, origin: reader.origin(at) }))
}

/** Cilium's rule: the peers of one rule are of one kind. */
function checkCombination(reader: Reader, value: At, fields: ReadonlyMap<string, At>, given: readonly string[]): void {
  const filled = given.filter((field) => {
    const tree = fields.get(field)?.tree
    return tree?.kind === 'list' && tree.items.length > 0
  })
  const [first, second] = filled
  if (first === undefined || second === undefined) return
  reader.error(
    value.tree.at,
    `${value.path}: combining ${first} and ${second} is not supported`,
    'write one rule for each; Cilium refuses it too',
  )
}
