import type { SealPeer, SealReport } from './wg-ports.ts'

/** What Go prints for a time that was never set. */
const NEVER = '0001-01-01T00:00:00.000Z'

/** As `cilium-dbg debuginfo -o json | jq .encryption` (models.DebugInfoEncryption); one interface a slot. */
export function debuginfo(report: SealReport, peers: readonly SealPeer[], wallMs: number): object {
  const interfaces = report.slots.map((slot) => {
    const programmed = peers.flatMap(({ tunnels }) => {
      const tunnel = tunnels.find((one) => one.slot === slot.slot)
      if (tunnel?.publicKey === undefined) return []
      const age = tunnel.handshakeAgeSeconds
      return [
        {
          'allowed-ips': tunnel.allowedIps,
          endpoint: tunnel.endpoint,
          'last-handshake-time': age === undefined ? NEVER : new Date(wallMs - age * 1000).toISOString(),
          'public-key': tunnel.publicKey,
          'transfer-rx': tunnel.rxBytes,
          'transfer-tx': tunnel.txBytes,
        },
      ]
    })
    return {
      'listen-port': slot.port,
      name: slot.device,
      'peer-count': slot.programmed,
      peers: programmed,
      'public-key': slot.publicKey,
    }
  })
  return { wireguard: { interfaces, 'node-encryption': report.nodeEncryption ? 'Enabled' : 'Disabled' } }
}
