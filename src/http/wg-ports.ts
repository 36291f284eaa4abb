/**
 * What the HTTP server wants of the part that encrypts between nodes (`src/wg/report.ts` has the meaning of each field).
 * Answers are made from memory at once; no method may throw.
 */
export interface SealView {
  report(): SealReport
  peers(): readonly SealPeer[]
  /** By node name or UID. */
  peer(name: string): SealPeer | undefined
  keyEvents(): readonly SealKeyEvent[]
  /** Only asks: what comes of it is seen in the report. */
  rotate(compromised: boolean): void
}

export interface SealReport {
  readonly mode: 'manage' | 'observe'
  readonly driver: string
  readonly domain: string
  readonly node: string
  readonly endpoints?: readonly string[]
  readonly target: string
  readonly nodeEncryption: boolean
  readonly mtu: number
  readonly slots: readonly SealSlot[]
  readonly peers: {
    readonly expected: number
    readonly active: number
    readonly strict: number
    readonly unproven: number
  }
  readonly rotation: SealRotation
  readonly directory: SealDirectory
  readonly dropped: readonly { readonly direction: string; readonly family: number; readonly packets: number }[]
  readonly warnings: readonly string[]
  /** Observe mode only. */
  readonly findings?: readonly SealFinding[]
}

export interface SealSlot {
  readonly slot: number
  readonly device: string
  readonly publicKey: string | undefined
  readonly port: number
  readonly generation: number
  readonly keyAgeSeconds: number
  readonly mtu: number
  readonly programmed: number
  readonly proven: number
  readonly recreations: number
  readonly recreatedFor: { readonly missing: number; readonly broken: number }
}

export interface SealRotation {
  readonly phase: string
  readonly slot: number | undefined
  readonly reason: string | undefined
  readonly seconds: number
  readonly dueSeconds: number | undefined
  readonly awaited: readonly { readonly why: string; readonly count: number; readonly names: readonly string[] }[]
  readonly completed: number
  readonly lastSeconds: number | undefined
  readonly queue: readonly { readonly slot: number; readonly reason: string }[]
}

export interface SealDirectory {
  readonly complete: boolean
  readonly ageSeconds: number
  readonly lost: string | undefined
  readonly published: boolean
  readonly refused: readonly { readonly name: string; readonly reason: string; readonly detail: string }[]
}

export interface SealFinding {
  readonly code: string
  /** Of the node, or empty where the finding is about the device. */
  readonly peer: string
  readonly text: string
}

export interface SealPeer {
  readonly uid: string
  readonly name: string
  readonly endpoints: readonly string[]
  readonly prefixes: readonly string[]
  readonly egress: number
  readonly mode: string
  readonly excused: boolean
  readonly tunnels: readonly SealTunnel[]
  readonly announced: { readonly egress: number; readonly mode: string; readonly ageSeconds: number } | undefined
}

export interface SealTunnel {
  readonly slot: number
  readonly state: string
  readonly publicKey: string | undefined
  readonly endpoint: string | undefined
  readonly allowedIps: readonly string[]
  readonly handshakeAgeSeconds: number | undefined
  readonly rxBytes: number
  readonly txBytes: number
  readonly probesLost: number
  readonly rttMs: number | undefined
}

export interface SealKeyEvent {
  /** RFC 3339 with milliseconds. */
  readonly time: string
  readonly event: string
  readonly slot: number
  readonly fingerprint: string
}
