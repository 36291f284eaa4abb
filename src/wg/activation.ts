/**
 * How far encryption of one pair has come, at one end:
 * `off` clear text, the tunnel not proven; `proven` clear text, the tunnel works; `active` we send through the tunnel and
 * still accept clear text; `strict` clear text from the peer is dropped.
 */
export type Mode = 'off' | 'proven' | 'active' | 'strict'
export const MODES: readonly Mode[] = ['off', 'proven', 'active', 'strict']

/** What the configuration wants. */
export type Target = 'off' | 'active' | 'strict'

/** What the peer last said of its own end. */
export interface PeerMode {
  readonly mode: Mode
  /** It wants to send clear text again, and waits until we do not drop it. */
  readonly leaving: boolean
  /** Time of the newest message of ours that it had seen, on our monotonic clock, ms. */
  readonly ack: number
}

export const sendsThroughTunnel = (mode: Mode): boolean => mode === 'active' || mode === 'strict'

export interface ActivationInput {
  readonly target: Target
  /** A slot of the pair carries traffic now, proven. */
  readonly usable: boolean
  readonly peer: PeerMode | undefined
  /** Since when our messages say that we leave; our monotonic clock, ms. */
  readonly leavingSince: number
}

/**
 * One step. Two invariants hold over every order of late and lost messages: no end sends through a tunnel that was never
 * proven, and no end sends clear text while the other drops it. So enabling, disabling and fleets that are half enabled never
 * black-hole. An active pair whose tunnel fails stays active: it fails closed.
 */
export function nextMode(mode: Mode, { target, usable, peer, leavingSince }: ActivationInput): Mode {
  const peerSendsTunnel = peer !== undefined && sendsThroughTunnel(peer.mode) && !peer.leaving
  if (target === 'off') {
    if (mode === 'strict') return 'active'
    if (mode === 'active') {
      const mayClear = peer !== undefined && peer.ack > leavingSince && peer.mode !== 'strict'
      return mayClear ? (usable ? 'proven' : 'off') : mode
    }
    return usable ? 'proven' : 'off'
  }
  switch (mode) {
    case 'off':
    case 'proven':
      return usable ? (mode === 'off' ? 'proven' : 'active') : 'off'
    case 'active':
      return target === 'strict' && peerSendsTunnel ? 'strict' : 'active'
    case 'strict':
      // Without a word of the peer since we started, or it did, what was dropped stays dropped until it says that it may send it.
      return target === 'strict' && (peer === undefined || peerSendsTunnel) ? 'strict' : 'active'
  }
}
