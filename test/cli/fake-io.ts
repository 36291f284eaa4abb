import type { CliIo } from '../../src/cli/io.ts'

export interface FakeIo extends CliIo {
  readonly written: { out: string; err: string }
}

export interface World {
  readonly files?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  readonly colour?: boolean
  /** URL to answer; others refuse the connection. */
  readonly answers?: Readonly<Record<string, { readonly status: number; readonly body: unknown }>>
  /** Told the time, ms, after each sleep, which takes none. */
  readonly slept?: (now: number) => void
  readonly columns?: number
}

/** A terminal, a file system and a network in memory. */
export function fakeIo(world: World = {}): FakeIo {
  const written = { out: '', err: '' }
  let now = 0
  return {
    written,
    out: (text) => void (written.out += text),
    err: (text) => void (written.err += text),
    async *inputLines() {},
    async readText(path) {
      const text = world.files?.[path]
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
      return text
    },
    expandPath: async (path) => [path],
    async get(url) {
      const answer = world.answers?.[url]
      if (answer === undefined) throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
      return { status: answer.status, body: JSON.stringify(answer.body) }
    },
    async post() {
      throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
    },
    async sleep(ms) {
      now += ms
      world.slept?.(now)
    },
    monotonicMs: () => now,
    columns: world.columns,
    env: world.env ?? {},
    colour: world.colour ?? false,
  }
}
