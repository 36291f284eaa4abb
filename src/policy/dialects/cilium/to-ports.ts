import { EVERYTHING } from '../../patterns/pattern.ts'
import type { DoubleStar } from '../../patterns/cilium.ts'
import type { DnsPattern, PortRange, Protocol } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'
import { MISPLACED_PEERS, readNames } from './names.ts'

/** Cilium's limit (pkg/policy/api, maxPorts). */
const MAX_PORTS = 40

/** One item of `toPorts`. */
export interface PortRule {
  readonly ports: readonly PortRange[]
  readonly dns: readonly DnsPattern[] | null
  readonly value: At
}

const NOT_ENFORCED = 'a Cilium field that is not enforced'

/** Reads `toPorts`; an item with a problem is left out (its file is refused anyway). */
export function readToPorts(reader: Reader, value: At, context: { deny: boolean; doubleStar: DoubleStar }): PortRule[] {
  return (reader.list(value) ?? []).flatMap((item) => {
    const fields = reader.object(item, {
      fields: context.deny ? ['ports'] : ['ports', 'rules'],
      refused: {
        ...(context.deny ? { rules: 'a deny rule has no rules' } : {}),
        ...Object.fromEntries(
          ['terminatingTLS', 'originatingTLS', 'serverNames', 'listener'].map((field) => [field, NOT_ENFORCED]),
        ),
      },
      misplaced: MISPLACED_PEERS,
    })
    if (fields === undefined) return []
    const portsAt = fields.get('ports')
    const ports = portsAt === undefined ? [] : readPorts(reader, portsAt)
    if (ports === undefined) return []
    if (portsAt === undefined || ports.length === 0) {
      reader.error(item.tree.at, `${item.path} needs ports`, 'port "0" with protocol ANY is every port')
      return []
    }
    const rules = fields.get('rules')
    const dns = rules === undefined ? null : readRules(reader, rules, context.doubleStar)
    if (dns !== null) checkDnsPorts(reader, portsAt, ports)
    return [{ ports, dns, value: item }]
  })
}

function readPorts(reader: Reader, value: At): PortRange[] | undefined {
  const items = reader.list(value)
  if (items === undefined) return undefined
  if (items.length > MAX_PORTS) {
    reader.error(value.tree.at, `${value.path} has ${items.length} ports, the limit is ${MAX_PORTS}`)
  }
  const ports = items.map((item) => readPort(reader, item))
  return ports.every((port) => port !== undefined) ? ports : undefined
}

function readPort(reader: Reader, item: At): PortRange | undefined {
  const fields = reader.object(item, { fields: ['port', 'endPort', 'protocol'] })
  if (fields === undefined) return undefined
  const protocolAt = fields.get('protocol')
  const protocol = protocolAt === undefined ? 'ANY' : readProtocol(reader, protocolAt)
  const portAt = fields.get('port')
  if (portAt === undefined) {
    reader.error(item.tree.at, `${item.path} needs port`, 'port "0" is every port')
    return undefined
  }
  const port = readNumber(reader, portAt)
  const endAt = fields.get('endPort')
  const end = endAt === undefined ? undefined : reader.integer(endAt)
  if (port === undefined || protocol === undefined || (endAt !== undefined && end === undefined)) return undefined
  if (endAt === undefined || end === undefined || end === 0) return { protocol, port, endPort: port }
  if (port === 0 || end < port || end > 65535) {
    const message = port === 0 ? 'endPort needs a port above 0' : `must be ${port} to 65535, not ${end}`
    reader.error(endAt.tree.at, `${endAt.path}: ${message}`)
    return undefined
  }
  return { protocol, port, endPort: end }
}

function readProtocol(reader: Reader, value: At): Protocol | undefined {
  const text = reader.string(value)
  switch (text) {
    case 'ANY':
    case 'TCP':
    case 'UDP':
    case 'SCTP':
      return text
    case undefined:
      return undefined
    case 'ICMP':
    case 'ICMPV6':
    case 'VRRP':
    case 'IGMP':
      reader.error(value.tree.at, `${value.path}: protocol ${text} is not enforced`)
      return undefined
    default:
      reader.error(value.tree.at, `${value.path}: unknown protocol "${text}"`, 'ANY, TCP, UDP or SCTP, in capitals')
      return undefined
  }
}

function readNumber(reader: Reader, value: At): number | undefined {
  const text = reader.string(value)
  if (text === undefined) return undefined
  if (/^[0-9]{1,5}$/.test(text) && Number(text) <= 65535) return Number(text)
  const named = /[a-zA-Z]/.test(text)
  reader.error(
    value.tree.at,
    named ? `${value.path}: named port "${text}" is not enforced` : `${value.path}: "${text}" is no port (0 to 65535)`,
    named ? 'write its number' : undefined,
  )
  return undefined
}

function readRules(reader: Reader, value: At, doubleStar: DoubleStar): readonly DnsPattern[] | null {
  const fields = reader.object(value, {
    fields: ['dns'],
    refused: { http: NOT_ENFORCED, kafka: NOT_ENFORCED, l7: NOT_ENFORCED, l7proto: NOT_ENFORCED },
    misplaced: MISPLACED_PEERS,
  })
  const list = fields?.get('dns')
  if (list === undefined) return null
  const items = reader.list(list) ?? []
  if (list.tree.kind === 'list' && list.tree.items.length === 0) {
    reader.warn(list.tree.at, `${list.path} is empty: every name is allowed`, 'write matchPattern: "*" to say so')
    return [{ pattern: EVERYTHING, origin: reader.origin(list) }]
  }
  return items.flatMap((item) =>
    readNames(reader, item, 'dns', doubleStar).map(({ pattern, value: at }) => ({
      pattern,
      origin: reader.origin(at),
    })),
  )
}

function checkDnsPorts(reader: Reader, value: At, ports: readonly PortRange[]): void {
  for (const { protocol, port, endPort } of ports) {
    if (port === 0 || port !== endPort) {
      reader.error(value.tree.at, `${value.path}: a DNS rule needs single ports, no ranges and no port 0`)
    } else if (protocol === 'SCTP') {
      reader.error(value.tree.at, `${value.path}: DNS rules are for UDP and TCP, not SCTP`)
    }
  }
}
