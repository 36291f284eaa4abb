import { sendsThroughTunnel } from './activation.ts'
import type { AwaitedWhy, WgPeerReport, WgReport, WgTunnelReport } from './report.ts'
import { ANNOUNCEMENT_FRESH_MS, HANDSHAKE_DEAD_MS, PROBES_LOST } from './slots.ts'
import { ownAddress, ownPort, target, wholeRule } from './why-firewall.ts'
import { REFUSAL_REMEDY } from './why-refused.ts'

export const WHY_CODES = [
  'self',
  'refused',
  'unknown',
  'directory-lost',
  'directory-incomplete',
  'no-device',
  'absent',
  'nothing-sent',
  'no-answer',
  'not-heard',
  'old-handshake',
  'unprobed',
  'probes-lost',
  'stale',
  'dead',
  'proven',
  'one-port',
  'one-slot',
  'allowed-ips',
  'moved',
  'silent',
  'rotating',
  'awaited',
  'excused',
  'encrypted',
  'fails-closed',
  'clear-wanted',
  'clear-unproven',
  'not-strict',
  'host',
] as const
export type WhyCode = (typeof WHY_CODES)[number]

export interface WhyLine {
  readonly code: WhyCode
  /** `fault`: keeps the pair, or one slot of it, from working. */
  readonly level: 'good' | 'note' | 'fault'
  readonly text: string
}

export interface WgWhy {
  /** What becomes of a packet to a pod of the peer: through the tunnel, dropped, or sent as if we were not there. */
  readonly verdict: 'encrypted' | 'dropped' | 'clear' | 'unknown'
  readonly lines: readonly WhyLine[]
  /** What to do, the likeliest first. */
  readonly remedies: readonly string[]
}

class Story {
  readonly lines: WhyLine[] = []
  readonly remedies: string[] = []

  add(level: WhyLine['level'], code: WhyCode, text: string, ...remedies: readonly string[]): void {
    this.lines.push({ level, code, text })
    for (const remedy of remedies) if (!this.remedies.includes(remedy)) this.remedies.push(remedy)
  }
}

/** Why the tunnels to a peer are proven and used, or are not. `name`: what was asked for. Pure. */
export function whyPeer(report: WgReport, peer: WgPeerReport | undefined, name: string): WgWhy {
  const story = new Story()
  const refused = report.directory.refused.find((one) => one.name === (peer?.name ?? name))
  if (peer === undefined) {
    whyUnknown(story, report, refused, name)
    return { verdict: 'unknown', lines: story.lines, remedies: story.remedies }
  }
  const verdict = whyMode(story, report, peer)
  if (refused !== undefined) {
    const text = `its newest record is refused: ${refused.reason} (${refused.detail}); what it said before stays`
    story.add('fault', 'refused', text, REFUSAL_REMEDY[refused.reason])
  }
  for (const tunnel of peer.tunnels) whyTunnel(story, report, peer, tunnel)
  whyPair(story, report, peer)
  return { verdict, lines: story.lines, remedies: story.remedies }
}

function whyUnknown(
  story: Story,
  { node, domain, directory }: WgReport,
  refused: WgReport['directory']['refused'][number] | undefined,
  name: string,
): void {
  if (name === node) return story.add('note', 'self', `${name} is this node: it has no tunnel to itself`)
  if (refused !== undefined) {
    const text = `the record of ${name} is refused: ${refused.reason} (${refused.detail})`
    return story.add('fault', 'refused', text, REFUSAL_REMEDY[refused.reason])
  }
  story.add(
    'fault',
    'unknown',
    `no node ${name} has published keys in domain ${domain}`,
    `look on ${name}: does its agent run, is wireguard.mode on, is wireguard.domain ${domain}, can it write to the directory?`,
  )
  if (directory.lost !== undefined) {
    story.add('fault', 'directory-lost', `the directory cannot be read: ${directory.lost}`, 'mend the directory first')
  } else if (!directory.complete) {
    story.add('note', 'directory-incomplete', 'the directory has not been read to its end since the start: ask again')
  }
}

function whyMode(story: Story, report: WgReport, peer: WgPeerReport): WgWhy['verdict'] {
  const works = peer.tunnels.some(
    ({ slot, state }) => slot === peer.egress && (state === 'proven' || state === 'suspect'),
  )
  if (sendsThroughTunnel(peer.mode)) {
    if (!works) {
      const text = `mode ${peer.mode}: packets to it go into slot ${peer.egress}, which does not work; none goes in the clear`
      story.add('fault', 'fails-closed', text)
      return 'dropped'
    }
    const strict = peer.mode === 'strict' ? ', and clear text from it is dropped' : ''
    story.add('good', 'encrypted', `mode ${peer.mode}: packets to it go through slot ${peer.egress}${strict}`)
    if (report.target === 'strict' && peer.mode === 'active') {
      const why = peer.announced === undefined ? 'says nothing' : `says that it is ${peer.announced.mode}`
      story.add('note', 'not-strict', `not strict yet: ${peer.name} ${why}, and must send through the tunnel first`)
    }
    return 'encrypted'
  }
  if (report.target === 'off') {
    story.add('note', 'clear-wanted', `mode ${peer.mode}: clear text, because wireguard.target is off on this node`)
  } else {
    story.add('fault', 'clear-unproven', `mode ${peer.mode}: clear text until slot ${peer.egress} is proven`)
  }
  return 'clear'
}

function whyTunnel(story: Story, report: WgReport, peer: WgPeerReport, tunnel: WgTunnelReport): void {
  const { slot, state } = tunnel
  const own = report.slots.find((one) => one.slot === slot)
  const device = own?.device ?? `slot ${slot}`
  const say = (level: WhyLine['level'], code: WhyCode, text: string, ...remedies: readonly string[]): void =>
    story.add(level, code, `slot ${slot}: ${text}`, ...remedies)
  switch (state) {
    case 'proven': {
      const probe = tunnel.rttMs === undefined ? '' : `, last probe ${tunnel.rttMs.toFixed(2)} ms`
      return say('good', 'proven', `proven, handshake ${age(tunnel)}${probe}`)
    }
    case 'absent':
      if (own?.publicKey === undefined) {
        return say('fault', 'no-device', `${device} is missing, or has no key`, `see the agent's log about ${device}`)
      }
      return say('fault', 'absent', `not in ${device}`, 'the agent mends this within 2 s; if not, see its log')
    case 'installed':
      return whyInstalled(story, report, peer, tunnel)
    case 'suspect':
      if (tunnel.probesLost >= PROBES_LOST) return whyProbes(story, report, peer, tunnel)
      return say(
        'note',
        'stale',
        `the last handshake is ${age(tunnel)}: nothing keeps the session up, or nothing passes`,
      )
    case 'dead': {
      const text = `worked, but the last handshake is ${age(tunnel)}, and a session lives 180 s`
      const remedy = `is ${peer.name} up? If it is: ${wholeRule(report, peer)}`
      return say('fault', 'dead', text, remedy)
    }
  }
}

/** In the device, and never proven with the keys that are current. */
function whyInstalled(story: Story, report: WgReport, peer: WgPeerReport, tunnel: WgTunnelReport): void {
  const { slot, handshakeAgeSeconds, rxBytes, txBytes } = tunnel
  const say = (code: WhyCode, text: string, ...remedies: readonly string[]): void =>
    story.add('fault', code, `slot ${slot}: ${text}`, ...remedies)
  if (handshakeAgeSeconds !== undefined) {
    const keyAge = report.slots.find((one) => one.slot === slot)?.keyAgeSeconds ?? Infinity
    if (handshakeAgeSeconds < Math.min(keyAge, HANDSHAKE_DEAD_MS / 1000)) return whyProbes(story, report, peer, tunnel)
    const text = `no handshake since a key changed; the last one is ${age(tunnel)}`
    return say('old-handshake', text, wholeRule(report, peer), askThere(report, peer))
  }
  const there = target(report, peer, slot)
  const here = ownAddress(report, there.ip)
  const port = ownPort(report, slot)
  const whole = wholeRule(report, peer)
  if (txBytes === 0) {
    return say(
      'nothing-sent',
      `no handshake, and not one octet has left for ${there.ip}:${there.port}`,
      `ip route get ${there.ip}: is there a route? Does this node's own firewall let UDP to port ${there.port} out?`,
      whole,
    )
  }
  if (rxBytes === 0) {
    const text = `no handshake: ${txBytes} octets went to ${there.ip}:${there.port}, none came back; UDP is blocked, inbound to port ${port} of this node, or outbound to port ${there.port}`
    return say('no-answer', text, whole, askThere(report, peer))
  }
  // A responder counts what it could read: so the peer's packets arrive, and the answers to them do not.
  say(
    'not-heard',
    `no handshake: packets of ${peer.name} arrive (${rxBytes} octets), ours do not arrive there; UDP is blocked outbound from ${here} to ${there.ip} port ${there.port}`,
    `allow UDP from ${here} to ${there.ip} port ${there.port}`,
    whole,
  )
}

/**
 * What goes inside does not come back. Lost probes are asked again each second, so a handshake that is older than they are says
 * nothing of what is lost now: for two minutes a session needs none (REKEY_AFTER_TIME), and a port that was shut looks the same.
 */
function whyProbes(story: Story, report: WgReport, peer: WgPeerReport, tunnel: WgTunnelReport): void {
  const never = tunnel.state === 'installed'
  const { handshakeAgeSeconds = Infinity, probesLost } = tunnel
  const lost = never ? 'no probe through it was ever answered' : `the last ${probesLost} probes were lost`
  const unknown = !never && handshakeAgeSeconds > probesLost
  story.add(
    'fault',
    never ? 'unprobed' : 'probes-lost',
    unknown
      ? `slot ${tunnel.slot}: ${lost}, and since then no handshake was needed (the last one was ${age(tunnel)}): UDP is blocked, or what is inside does not pass`
      : `slot ${tunnel.slot}: handshakes work (${age(tunnel)}), but ${lost}: UDP passes, what is inside does not`,
    ...(unknown ? [wholeRule(report, peer)] : []),
    `does the agent of ${peer.name} run? It answers probes; packets of pods may pass all the same`,
    `rp_filter must be 0 or 2, never 1, on "all" and on the slot's device, at both ends`,
    `the path must carry UDP of ${report.mtu + 80} octets with IP header: look for a smaller MTU between the nodes`,
  )
}

const askThere = ({ node }: WgReport, peer: WgPeerReport): string =>
  `on ${peer.name}: sekisho wg why ${node} (octets received there: only the way back is blocked; no record of ${node} there: it does not have our key)`

function whyPair(story: Story, report: WgReport, peer: WgPeerReport): void {
  const blocked = peer.tunnels.filter(
    ({ handshakeAgeSeconds, publicKey }) => publicKey !== undefined && handshakeAgeSeconds === undefined,
  )
  const [only] = peer.tunnels
  const shut = blocked[0]
  const open = peer.tunnels.find(({ state }) => state === 'proven')
  if (shut !== undefined && open !== undefined) {
    const [good, bad] = [target(report, peer, open.slot), target(report, peer, shut.slot)]
    const text = `UDP port ${good.port} works and ${bad.port} does not: most likely a rule names one port only`
    story.add('fault', 'one-port', text, wholeRule(report, peer))
  }
  if (peer.tunnels.length === 1 && only !== undefined) {
    story.add('note', 'one-slot', `${peer.name} has one slot only: a rotation of slot ${only.slot} loses packets to it`)
  }
  for (const { slot, allowedIps, publicKey, endpoint } of peer.tunnels) {
    const missing = publicKey === undefined ? [] : peer.prefixes.filter((prefix) => !allowedIps.includes(prefix))
    if (missing.length > 0) {
      const text = `slot ${slot}: allowed IPs lack ${missing.join(', ')}: the kernel drops packets of these`
      story.add(
        'fault',
        'allowed-ips',
        text,
        'the agent mends this within 2 s; if not, something else writes to the device',
      )
    }
    const there = target(report, peer, slot).ip
    if (endpoint !== undefined && !peer.endpoints.includes(there)) {
      story.add(
        'note',
        'moved',
        `slot ${slot}: it sends from ${there}, and publishes ${peer.endpoints.join(', ')}: is there NAT?`,
      )
    }
  }
  const announcedMs = (peer.announced?.ageSeconds ?? Infinity) * 1000
  if (
    announcedMs > ANNOUNCEMENT_FRESH_MS &&
    peer.tunnels.some(({ handshakeAgeSeconds }) => handshakeAgeSeconds !== undefined)
  ) {
    story.add('note', 'silent', `the agent of ${peer.name} says nothing in the tunnel: it is down, or without probes`)
  }
  whyRotation(story, report, peer)
  if (peer.excused) story.add('note', 'excused', `${peer.name} is not ready for long: rotations do not wait for it`)
  if (story.lines.some(({ level }) => level === 'fault')) {
    for (const warning of report.warnings) story.add('note', 'host', `on this node: ${warning}`)
  }
}

const AWAITED_WORDS: Readonly<Record<AwaitedWhy, string>> = {
  unproven: 'it has not proven the other slot',
  contended: 'it drains the other slot itself, or has not spoken since our start',
  'on-slot': 'packets still go to it through the slot',
  unheard: 'it has not said that it left the slot',
  unsettled: 'it has not proven the new key',
  'not-quiet': 'packets still arrive on the slot',
  'not-published': 'our record is not published',
}

function whyRotation(story: Story, { rotation }: WgReport, peer: WgPeerReport): void {
  if (rotation.phase === 'idle' || rotation.slot === undefined) return
  const text = `slot ${rotation.slot} is being rotated (${rotation.phase}): traffic moves to the other slot`
  story.add('note', 'rotating', text)
  for (const { why, names } of rotation.awaited) {
    if (names.includes(peer.name)) story.add('note', 'awaited', `the rotation waits for it: ${AWAITED_WORDS[why]}`)
  }
}

const age = ({ handshakeAgeSeconds }: WgTunnelReport): string =>
  handshakeAgeSeconds === undefined ? 'never' : `${Math.round(handshakeAgeSeconds)} s ago`
