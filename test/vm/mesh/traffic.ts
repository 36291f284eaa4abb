/** Flows between namespaces, and what became of each packet (programs/traffic.c). */
import { Instrument } from './instrument.ts'

export interface Totals {
  readonly sent: number
  readonly received: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  /** Sends that the kernel refused twice. */
  readonly errors: number
  readonly resets: number
  readonly retransmits: number
  /** Longest silence of any flow at its receiver, ms. */
  readonly maxGapMs: number
  /** Longest time between two sends of any flow: stalls of the machine itself show here, ms. */
  readonly txMaxGapMs: number
}

export interface FlowReport {
  /** "pod n1>n2/4": set, from, to, family. */
  readonly label: string
  readonly tcp: boolean
  readonly sent: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly errors: number
  readonly resets: number
  readonly gapMs: number
  readonly txGapMs: number
  /** First and last lost packet, ms since the window began. */
  readonly lostFromMs?: number
  readonly lostToMs?: number
  /** Last error of a send. */
  readonly errno?: string
}

export interface Report {
  readonly window: string
  readonly seconds: number
  /** Longest turn of the program's own loop, ms. */
  readonly stallMs: number
  readonly udp: Totals
  readonly tcp: Totals
  readonly flows: readonly FlowReport[]
}

export interface End {
  readonly namespace: string
  readonly address: string
}

const oneWord = (name: string): string => name.replaceAll(/[^\w.]+/g, '-').slice(0, 30)

export class Traffic {
  readonly #program = new Instrument('traffic')
  #port = 20_000

  /** Both ways, `rate` packets a second each. */
  async udp(label: string, a: End, b: End, rate: number): Promise<void> {
    await this.#program.ask(`udp ${label} ${this.#ends(a, b)} ${this.#port++} ${rate}`)
  }

  /** One connection, `rate` records a second of `size` octets each way. */
  async tcp(label: string, a: End, b: End, rate: number, size: number): Promise<void> {
    await this.#program.ask(`tcp ${label} ${this.#ends(a, b)} ${this.#port++} ${rate} ${size}`)
  }

  #ends(a: End, b: End): string {
    return `${a.namespace} ${a.address} ${b.namespace} ${b.address}`
  }

  /** How long a window waits for what was sent in it, ms. */
  async late(ms: number): Promise<void> {
    await this.#program.ask(`late ${ms}`)
  }

  async start(): Promise<void> {
    await this.#program.ask('start')
  }

  /** Ends a window; the next has begun when this comes back, and without a pause. */
  async mark(name: string): Promise<Report> {
    return this.#program.ask<Report>(`mark ${oneWord(name)}`)
  }

  /** Ends the window and sends no more. */
  async stop(name: string): Promise<Report> {
    return this.#program.ask<Report>(`stop ${oneWord(name)}`)
  }

  /** Closes all sockets. */
  async clear(): Promise<void> {
    await this.#program.ask('clear')
  }

  async end(): Promise<void> {
    await this.#program.end()
  }
}

/** Flows that lost, doubled or broke something, a line each, for a message to people. */
export function badFlows(report: Report): string {
  return report.flows
    .filter(({ lost, duplicated, resets }) => lost > 0 || duplicated > 0 || resets > 0)
    .map(
      ({ label, tcp, sent, lost, duplicated, resets, lostFromMs, lostToMs, errors, errno }) =>
        `${tcp ? 'tcp' : 'udp'} ${label}: ${lost} of ${sent} lost (sent ${lostFromMs ?? '-'}..${lostToMs ?? '-'} ms), ` +
        `${duplicated} doubled, ${resets} broken, ${errors} refused ${errno ?? ''}`,
    )
    .join('\n')
}
