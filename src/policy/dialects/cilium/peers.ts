import { suggest } from '../../../core/suggest.ts'
import { cidrCovers, formatCidr, tryParseCidr } from '../../../core/ip.ts'
import type { Cidr } from '../../../core/ip.ts'
import type { DoubleStar } from '../../patterns/cilium.ts'
import type { Entity, Peer } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'
import { MISPLACED_PEERS, readNames } from './names.ts'
import { inNamespace, namesNamespace, readSelector } from './selector.ts'

export interface PeerContext {
  /** Namespace of the policy, null when it is cluster-wide. */
  readonly namespace: string | null
  readonly doubleStar: DoubleStar
  readonly deny: boolean
}

/** Reads one peer field of an egress rule; the list may be empty, and then selects nothing. */
export type PeerReader = (reader: Reader, value: At, context: PeerContext) => Peer[]

const ENFORCED: readonly Entity[] = ['all', 'world', 'world-ipv4', 'world-ipv6', 'cluster', 'host', 'none']

/** No address of a standalone node ever has one of these identities, so a rule would silently select nothing. */
const NOT_ENFORCED = ['remote-node', 'kube-apiserver', 'init', 'health', 'unmanaged', 'ingress']

export const readFqdns: PeerReader = (reader, value, { doubleStar }) =>
  (reader.list(value) ?? []).flatMap((item) =>
    readNames(reader, item, 'toFQDNs', doubleStar).map(({ pattern, value: at }) => {
      if (/(^|\.)svc\.cluster\.local$/.test(pattern.text)) {
        reader.warn(at.tree.at, `${at.path}: toFQDNs never selects pods and Services of the cluster`, 'use toEndpoints')
      }
      return { kind: 'fqdn', pattern, origin: reader.origin(at) }
    }),
  )

export const readCidrs: PeerReader = (reader, value) =>
  (reader.list(value) ?? []).flatMap((item) => {
    const cidr = readCidr(reader, item)
    return cidr === undefined ? [] : [{ kind: 'cidr', cidr, except: [], origin: reader.origin(item) }]
  })

const CIDR_GROUP = 'CIDR groups are not enforced'

export const readCidrSet: PeerReader = (reader, value) =>
  (reader.list(value) ?? []).flatMap((item): Peer[] => {
    const before = reader.problems.length
    const fields = reader.object(item, {
      fields: ['cidr', 'except'],
      refused: { cidrGroupRef: CIDR_GROUP, cidrGroupSelector: CIDR_GROUP },
      misplaced: MISPLACED_PEERS,
    })
    if (fields === undefined) return []
    const at = fields.get('cidr')
    if (at === undefined) {
      if (reader.problems.length === before) reader.error(item.tree.at, `${item.path} needs cidr`)
      return []
    }
    const cidr = readCidr(reader, at)
    if (cidr === undefined) return []
    const list = fields.get('except')
    const except = list === undefined ? [] : readExcept(reader, list, cidr)
    return except === undefined ? [] : [{ kind: 'cidr', cidr, except, origin: reader.origin(item) }]
  })

function readExcept(reader: Reader, value: At, cidr: Cidr): Cidr[] | undefined {
  const before = reader.problems.length
  const except = (reader.list(value) ?? []).flatMap((item) => {
    const inner = readCidr(reader, item)
    if (inner === undefined) return []
    if (!cidrCovers(cidr, inner)) {
      reader.error(item.tree.at, `${item.path}: ${formatCidr(inner)} does not lie in ${formatCidr(cidr)}`)
    }
    return [inner]
  })
  return reader.problems.slice(before).some(({ severity }) => severity === 'error') ? undefined : except
}

function readCidr(reader: Reader, value: At): Cidr | undefined {
  const text = reader.string(value)
  if (text === undefined) return undefined
  const cidr = tryParseCidr(text, { mask: true })
  if (cidr === undefined) {
    reader.error(value.tree.at, `${value.path}: "${text}" is no IP prefix`)
  } else if (tryParseCidr(text) === undefined) {
    reader.warn(value.tree.at, `${value.path}: "${text}" has host bits`, `it means ${formatCidr(cidr)}`)
  }
  return cidr
}

export const readEntities: PeerReader = (reader, value, { deny }) =>
  (reader.list(value) ?? []).flatMap((item): Peer[] => {
    const text = reader.string(item)
    if (text === undefined) return []
    const entity = ENFORCED.find((known) => known === text)
    if (entity === undefined) {
      const known = NOT_ENFORCED.includes(text)
      const near = suggest(text, ENFORCED)
      const hint = known
        ? `enforced are ${ENFORCED.join(', ')}`
        : near === undefined
          ? undefined
          : `did you mean ${near}?`
      reader.error(item.tree.at, `${item.path}: entity "${text}" is ${known ? 'not enforced' : 'unknown'}`, hint)
      return []
    }
    if (deny && entity === 'cluster') {
      reader.warn(item.tree.at, `${item.path}: cluster is what this node knows: its endpoints and its own addresses`)
    }
    return [{ kind: 'entity', entity, origin: reader.origin(item) }]
  })

export const readEndpoints: PeerReader = (reader, value, { namespace }) =>
  (reader.list(value) ?? []).flatMap((item) => {
    const selector = readSelector(reader, item)
    if (selector === undefined) return []
    const local = namespace === null || namesNamespace(selector) ? selector : [...selector, inNamespace(namespace)]
    return [{ kind: 'endpoints', selector: local, origin: reader.origin(item) }]
  })
