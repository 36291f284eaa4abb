/** The ledger's doorbell: one for all clients and for main, in a SharedArrayBuffer of its own. */
const BELL = 0
const ASLEEP = 1
const STOP = 2
export const DOORBELL_BYTES = 64

export class Doorbell {
  readonly #words: Int32Array

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
  }

  /** Any thread, after it pushed its request. Wakes only a sleeper: a notify is a system call. */
  ring(): void {
    Atomics.add(this.#words, BELL, 1)
    if (Atomics.load(this.#words, ASLEEP) === 1) Atomics.notify(this.#words, BELL, 1)
  }

  stop(): void {
    Atomics.store(this.#words, STOP, 1)
    this.ring()
  }

  /** Main, before it starts a ledger thread again over the same memory. */
  rearm(): void {
    Atomics.store(this.#words, STOP, 0)
  }

  get stopping(): boolean {
    return Atomics.load(this.#words, STOP) === 1
  }

  /** Ledger: the count to hand to `sleep`, read before the rings are looked at. */
  seen(): number {
    return Atomics.load(this.#words, BELL)
  }

  /** Ledger: sleeps unless the bell rang since `seen`. */
  sleep(seen: number, timeoutMs: number): void {
    Atomics.store(this.#words, ASLEEP, 1)
    Atomics.wait(this.#words, BELL, seen, timeoutMs)
    Atomics.store(this.#words, ASLEEP, 0)
  }
}
