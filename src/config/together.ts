import type { ConfigProblem } from './problem.ts'
import type { Config } from './schema.ts'

/** Settings that are good alone and do not fit together. */
export function checkTogether(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const conflict = (path: string, message: string): void => {
    problems.push({ code: 'SEKISHO_CONFIG_CONFLICT', path, origin: { kind: 'absent' }, message })
  }
  const { dns, http, fqdn } = config
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
  return problems
}
