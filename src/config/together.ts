import { cidrContains, cidrCovers, parseCidr, parseIp, type Cidr } from '../core/ip.ts'
import { variableOf } from './environment.ts'
import type { ConfigProblem } from './problem.ts'
import type { Config } from './schema.ts'

/** Bits of a packet's mark that are the gate's redirect, and what it writes there (docs/architecture.md). */
const GATE_MARK = 0x200
const GATE_MASK = 0xf00
/** Bits that are the seal's. */
const SEAL_MASK = 0x1f00
/** Least MTU of a link with IPv6 (RFC 8200 section 5). */
const LEAST_MTU = 1280
/** WireGuard pads to it: a device MTU that is no multiple can give outer packets that are too long. */
const MTU_STEP = 16

/** What the chosen modes need and nobody gave. A value that was given and is wrong is undefined, and told already. */
export function checkNeeded(config: Partial<Config>): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const need = (path: string, value: string | readonly unknown[] | undefined, why: string): void => {
    if (value === undefined || value.length > 0) return
    const hint = `set it in the file or by ${variableOf(path)}`
    problems.push({ code: 'SEKISHO_CONFIG_MISSING', path, origin: { kind: 'absent' }, message: why, hint })
  }
  const { datapath, policy, wireguard } = config
  if (datapath?.mode === 'standalone') {
    need('datapath.endpoints', datapath.endpoints, 'must be given')
    need('policy.paths', policy?.paths, 'must be given')
  }
  if (wireguard?.mode === 'manage') {
    need('wireguard.prefixes', wireguard.prefixes, 'must be given with wireguard.mode manage')
    need('wireguard.directory.path', wireguard.directory.path, 'must be given with wireguard.mode manage')
  }
  return problems
}

/** What fits into a record (src/wg/directory/record.ts), and into the guard. */
const MAX_PREFIXES = 64
const MAX_ENDPOINTS = 16
const MAX_BYPASS = 32

type Conflict = (path: string, message: string) => void

/** Settings that are good alone and do not fit together. */
export function checkTogether(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const conflict: Conflict = (path, message) => {
    problems.push({ code: 'SEKISHO_CONFIG_CONFLICT', path, origin: { kind: 'absent' }, message })
  }
  const { datapath, wireguard } = config
  if (datapath.mode === 'off' && wireguard.mode === 'off') {
    conflict('datapath.mode', 'is off and wireguard.mode is off: there is nothing to do')
  }
  if (datapath.mode !== 'off') checkGate(config, conflict)
  if (wireguard.mode === 'manage') checkSeal(config, conflict)
  return problems
}

function checkGate({ dns, http, fqdn }: Config, conflict: Conflict): void {
  // The TCP listener of the gate is on loopback, where the HTTP server is by default; a wildcard covers it too.
  if (http.port === dns.port && ['127.0.0.1', '::1', '0.0.0.0', '::'].includes(http.address)) {
    conflict('http.port', `${http.port} is also dns.port, on the same address`)
  }
  if (dns.tcp.maxConnectionsPerEndpoint > dns.tcp.maxConnections) {
    conflict('dns.tcp.maxConnectionsPerEndpoint', `is more than dns.tcp.maxConnections (${dns.tcp.maxConnections})`)
  }
  if (fqdn.maxAddressesPerName > fqdn.maxEntries) {
    conflict('fqdn.maxAddressesPerName', `is more than fqdn.maxEntries (${fqdn.maxEntries})`)
  }
}

function checkSeal(config: Config, conflict: Conflict): void {
  const { wireguard: seal, datapath } = config
  checkSealPorts(config, conflict)
  checkSealPrefixes(config, conflict)
  const tables = [seal.table, seal.slotTables, seal.slotTables + 1]
  const reserved = [253, 254, 255]
  if (new Set(tables).size < tables.length || reserved.includes(seal.slotTables + 1)) {
    conflict(
      'wireguard.slotTables',
      `${seal.slotTables} and the next must be other tables than ${seal.table} and 253 to 255`,
    )
  }
  if (seal.slotRulePriority >= seal.rulePriority) {
    conflict('wireguard.slotRulePriority', `must be below wireguard.rulePriority (${seal.rulePriority})`)
  }
  if (datapath.mode !== 'off') {
    if (tables.includes(datapath.routeTable)) conflict('datapath.routeTable', 'is also a table of wireguard')
    // The gate has rules right before and after its own, the seal those of `bypass`.
    const gate = [datapath.rulePriority - 1, datapath.rulePriority, datapath.rulePriority + 1]
    if ([seal.rulePriority, seal.slotRulePriority, seal.slotRulePriority - 10].some((one) => gate.includes(one))) {
      conflict('datapath.rulePriority', 'is a priority of wireguard, or next to one')
    }
  }
  if ((seal.fwmark & ~SEAL_MASK) !== 0) conflict('wireguard.fwmark', 'has bits outside of 0x1f00')
  if ((seal.fwmark & GATE_MASK) === GATE_MARK)
    conflict('wireguard.fwmark', 'is the mark of the DNS redirect, 0x200/0xf00')
  if (seal.mtu !== 0 && (seal.mtu < LEAST_MTU || seal.mtu % MTU_STEP !== 0)) {
    conflict('wireguard.mtu', `must be 0, or a multiple of ${MTU_STEP} from ${LEAST_MTU}`)
  }
  if (seal.keepalive % 1000 !== 0) conflict('wireguard.keepalive', 'must be whole seconds')
  if (seal.maxKeyAge <= seal.keyLife) conflict('wireguard.maxKeyAge', 'must be more than wireguard.keyLife')
  if (seal.quiet * 2 >= seal.keyLife) conflict('wireguard.quiet', 'must be less than half of wireguard.keyLife')
}

function checkSealPorts({ wireguard: { port, probePort } }: Config, conflict: Conflict): void {
  if (probePort === port || probePort === port + 1) {
    conflict('wireguard.probePort', `is also a port of the devices (${port}, ${port + 1})`)
  }
}

function checkSealPrefixes({ wireguard: seal }: Config, conflict: Conflict): void {
  const own = [...seal.prefixes, ...seal.extraPrefixes].map((text) => parseCidr(text))
  const overlap = (a: Cidr, b: Cidr): boolean => cidrCovers(a, b) || cidrCovers(b, a)
  for (const [i, prefix] of own.entries()) {
    const path =
      i < seal.prefixes.length ? `wireguard.prefixes[${i}]` : `wireguard.extraPrefixes[${i - seal.prefixes.length}]`
    if (prefix.bits < (prefix.ip.family === 4 ? 12 : 32))
      conflict(path, 'is wider than peers accept (IPv4 /12, IPv6 /32)')
    if (own.slice(0, i).some((other) => overlap(other, prefix))) conflict(path, 'overlaps one before it')
    const inside = seal.endpoints.find((text) => cidrContains(prefix, parseIp(text)))
    if (inside !== undefined)
      conflict('wireguard.endpoints', `${inside} lies in ${path}: the tunnel would run in itself`)
  }
  const counts = [
    ['wireguard.extraPrefixes', own.length, MAX_PREFIXES],
    ['wireguard.endpoints', seal.endpoints.length, MAX_ENDPOINTS],
    ['wireguard.bypass', seal.bypass.length, MAX_BYPASS],
  ] as const
  for (const [path, count, most] of counts) if (count > most) conflict(path, `makes ${count}; at most ${most} can be`)
}
