import { MAX_PAGE } from '../http/schemas.ts'
import type { SealPeer } from '../http/wg-ports.ts'
import { ask, baseOf } from './api.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { printable } from './style.ts'

export const wgOptions = {
  config: { type: 'string', short: 'c' },
  url: { type: 'string', short: 'u' },
  output: { type: 'string', short: 'o', default: 'table' },
} as const

interface Values {
  readonly config?: string
  readonly url?: string
  readonly output: string
}

/** The agent's address, after the common options are checked; or an exit status. `more`: forms of output besides table and json. */
export async function openSeal(
  io: CliIo,
  { output, ...where }: Values,
  more: readonly string[] = [],
): Promise<string | number> {
  const forms = ['table', 'json', ...more]
  if (!forms.includes(output)) {
    throw new UsageError(`unknown output ${output}`, `use ${forms.map((form) => `-o ${form}`).join(' or ')}`)
  }
  return baseOf(io, where)
}

/** The agent's answer; an exit status, and told, when there is none or it is a problem. */
export async function askSeal<T extends object>(io: CliIo, base: string, path: string): Promise<T | number> {
  const answer = await ask(io, base, path)
  if (answer === undefined) return EXIT.unavailable
  if (answer.status === 200) return answer.body as T
  tellProblem(io, answer.body)
  return EXIT.failed
}

/** A problem as the agent tells it (RFC 9457). */
export function tellProblem(io: CliIo, body: unknown): void {
  const { title, detail, code } = (body ?? {}) as { title?: unknown; detail?: unknown; code?: unknown }
  const parts = [title, detail].filter((part) => typeof part === 'string')
  const text = parts.length === 0 ? 'the answer is not one of an agent' : parts.join(': ')
  io.err(`sekisho: ${printable(text)}${typeof code === 'string' ? ` [${printable(code)}]` : ''}\n`)
}

/** All peers, page by page. */
export async function askPeers(io: CliIo, base: string, order: string): Promise<readonly SealPeer[] | number> {
  const all: SealPeer[] = []
  for (;;) {
    const path = `/v1/wg/peers?order=${order}&offset=${all.length}&limit=${MAX_PAGE}`
    const page = await askSeal<{ total: number; peers: readonly SealPeer[] }>(io, base, path)
    if (typeof page === 'number') return page
    all.push(...page.peers)
    if (page.peers.length === 0 || all.length >= page.total) return all
  }
}

export const asJson = (value: object): string => JSON.stringify(value, null, 2) + '\n'
