import { ERRORS } from '../core/errors.ts'
import type { Config } from '../config/schema.ts'
import type { CliIo } from './io.ts'

const TIMEOUT_MS = 5000

/** "http://127.0.0.1:9876". */
export function apiBase({ address, port }: Config['http']): string {
  const local = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return `http://${local.includes(':') ? `[${local}]` : local}:${port}`
}

/** The agent's answer; undefined, and told, when nobody answers or it is no answer of an agent. */
export async function ask(
  io: CliIo,
  base: string,
  path: string,
): Promise<{ status: number; body: unknown } | undefined> {
  try {
    const { status, body } = await io.get(base + path, TIMEOUT_MS)
    return { status, body: JSON.parse(body) as unknown }
  } catch (error) {
    const { cause, message } = error as { cause?: { code?: string }; message?: string }
    io.err(`sekisho: ${base}: ${ERRORS.SEKISHO_CLI_UNREACHABLE}: ${cause?.code ?? message} [SEKISHO_CLI_UNREACHABLE]\n`)
    return undefined
  }
}
