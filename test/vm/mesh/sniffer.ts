/** Counts frames of protected prefixes on the underlay (programs/sniff.c). */
import { Instrument } from './instrument.ts'

export interface Frames {
  readonly frames: number
  readonly interfaces: Readonly<Record<string, number>>
  /** The first frame, hex. */
  readonly sample: string
}

export class Sniffer {
  readonly #program: Instrument

  private constructor(program: Instrument) {
    this.#program = program
  }

  static async open(namespace: string, interfaces: readonly string[], prefixes: readonly string[]): Promise<Sniffer> {
    const program = new Instrument('sniff', [namespace, ...interfaces, '--', ...prefixes])
    await program.heard()
    return new Sniffer(program)
  }

  async count(): Promise<Frames> {
    return this.#program.ask<Frames>('count')
  }

  async end(): Promise<void> {
    await this.#program.end()
  }
}
