/** A part that starts and stops. Composition roots start in order and stop in the reverse order. */
export interface Startable {
  /** Resolves when the part serves. */
  start(): Promise<void>
  /** Idempotent and bounded in time; resolves when nothing of the part runs any more. */
  stop(): Promise<void>
}
