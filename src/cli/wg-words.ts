import type { SealPeer, SealReport, SealTunnel } from '../http/wg-ports.ts'
import { uptime } from './status.ts'
import { printable, type Style } from './style.ts'
import { table, type Cell, type Column } from './table.ts'

export const age = (seconds: number | undefined): string => (seconds === undefined ? 'never' : uptime(seconds))

/** "2.3 MiB"; three digits at the most before the unit. */
export function octets(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = count
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}

const STATE_STYLES: Readonly<Record<string, Style>> = { proven: 'green', suspect: 'yellow', installed: 'yellow' }
const MODE_STYLES: Readonly<Record<string, Style>> = { active: 'green', strict: 'green', proven: 'yellow' }

const styled = (text: string, style: Style): Cell => ({ text: printable(text), style })

/** Peers in columns; a column of state and of handshake age for each slot that one of them has. */
export function peerTable(io: { readonly colour: boolean }, peers: readonly SealPeer[]): string {
  const slots = [...new Set(peers.flatMap(({ tunnels }) => tunnels.map(({ slot }) => slot)))].sort()
  const columns: Column[] = [
    { title: 'peer' },
    { title: 'endpoint' },
    { title: 'egress' },
    { title: 'mode' },
    ...slots.map((slot) => ({ title: `slot ${slot}` })),
    ...slots.map((slot) => ({ title: `handshake ${slot}`, align: 'right' as const })),
    { title: 'received', align: 'right' },
    { title: 'sent', align: 'right' },
    { title: 'rtt', align: 'right' },
  ]
  return table(
    io,
    columns,
    peers.map((peer) => peerRow(peer, slots)),
  )
}

function peerRow(peer: SealPeer, slots: readonly number[]): Cell[] {
  const tunnel = (slot: number): SealTunnel | undefined => peer.tunnels.find((one) => one.slot === slot)
  const egress = tunnel(peer.egress)
  const sum = (count: (one: SealTunnel) => number): number => peer.tunnels.reduce((all, one) => all + count(one), 0)
  return [
    printable(peer.name) + (peer.excused ? ' (excused)' : ''),
    printable(egress?.endpoint ?? peer.endpoints[0] ?? '-'),
    String(peer.egress),
    styled(peer.mode, MODE_STYLES[peer.mode] ?? 'dim'),
    ...slots.map((slot) => {
      const state = tunnel(slot)?.state
      return state === undefined ? '-' : styled(state, STATE_STYLES[state] ?? 'red')
    }),
    ...slots.map((slot) => (tunnel(slot) === undefined ? '-' : age(tunnel(slot)?.handshakeAgeSeconds))),
    octets(sum(({ rxBytes }) => rxBytes)),
    octets(sum(({ txBytes }) => txBytes)),
    egress?.rttMs === undefined ? '-' : `${egress.rttMs.toFixed(2)} ms`,
  ]
}

/** The line of `cilium status` as GKE's and older Cilium's agents print it; one for each device. */
export const statusLines = ({ slots }: SealReport): string =>
  slots
    .map(
      ({ device, publicKey, port, programmed }) =>
        `Encryption: Wireguard [${printable(device)} (Pubkey: ${printable(publicKey ?? '-')}, Port: ${port}, Peers: ${programmed})]\n`,
    )
    .join('')

/** What `cilium-dbg encrypt status` prints. */
export const encryptStatus = ({ slots }: SealReport): string =>
  'Encryption: Wireguard\n' +
  slots
    .map(
      ({ device, publicKey, programmed }) =>
        `Interface: ${printable(device)}\n\tPublic key: ${printable(publicKey ?? '-')}\n\tNumber of peers: ${programmed}\n`,
    )
    .join('')

/**
 * What `cilium encrypt status` (the command line of the cluster) prints; that one asks every agent, this is what our node knows: it
 * and the peers that it sends to encrypted, of all nodes.
 */
export const clusterStatus = ({ peers }: SealReport): string =>
  `Encryption: Wireguard (${peers.active + 1}/${peers.expected + 1} nodes)\n`
