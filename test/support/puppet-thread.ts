import { BroadcastChannel } from 'node:worker_threads'
import { vi } from 'vitest'

/** What a puppet does: hands on what it hears, says what it is told, dies when told. */
const PUPPET = `
import { parentPort, workerData, BroadcastChannel } from 'node:worker_threads'
const strings = new BroadcastChannel(NAME)
strings.onmessage = ({ data }) => {
  if ('say' in data) parentPort.postMessage(data.say)
  else process.exit(70)
}
parentPort.on('message', (message) => {
  if (message.kind === 'stop') process.exit(0)
  if ('wake' in message) message.wake = null
  strings.postMessage({ heard: message })
})
const { completions, ...data } = workerData ?? {}
strings.postMessage({ started: data })
`

/** A thread for `superviseThread` whose strings the test holds. */
export interface Puppet {
  readonly entry: URL
  /** Messages of the main thread, over all lives of the puppet. */
  readonly heard: readonly { readonly type?: string; readonly [key: string]: unknown }[]
  /** workerData of each life. */
  readonly starts: readonly Record<string, unknown>[]
  say(message: unknown): void
  die(): void
  close(): void
}

let puppets = 0

export function makePuppet(): Puppet {
  const name = `puppet-${process.pid}-${puppets++}`
  const strings = new BroadcastChannel(name)
  const heard: Record<string, unknown>[] = []
  const starts: Record<string, unknown>[] = []
  strings.onmessage = (event) => {
    const data = (event as { data: { heard?: Record<string, unknown>; started?: Record<string, unknown> } }).data
    if (data.heard !== undefined) heard.push(data.heard)
    if (data.started !== undefined) starts.push(data.started)
  }
  return {
    entry: new URL(`data:text/javascript,${encodeURIComponent(PUPPET.replace('NAME', JSON.stringify(name)))}`),
    heard,
    starts,
    say: (message) => strings.postMessage({ say: message }),
    die: () => strings.postMessage({ die: true }),
    close: () => strings.close(),
  }
}

/** Waits for threads on a busy machine. */
export const soon = (check: () => void): Promise<void> => vi.waitFor(check, 10_000)
