import { ERRORS } from '../core/errors.ts'
import type { Config } from '../config/schema.ts'
import { readConfig } from './config-file.ts'
import type { CliIo } from './io.ts'
import { printable } from './style.ts'

const TIMEOUT_MS = 5000
const DEFAULT_HTTP = { address: '127.0.0.1', port: 9876 }

/** "http://127.0.0.1:9876". */
export function apiBase({ address, port }: Config['http']): string {
  const local = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return `http://${local.includes(':') ? `[${local}]` : local}:${port}`
}

/** --url, else the http section of --config, else SEKISHO_HTTP_ADDRESS and SEKISHO_HTTP_PORT, else the defaults. */
export async function baseOf(io: CliIo, values: { url?: string; config?: string }): Promise<string | number> {
  if (values.url !== undefined) return values.url.replace(/\/+$/, '')
  if (values.config !== undefined) {
    const config = await readConfig(io, values.config)
    return config.ok ? apiBase(config.value.http) : config.error
  }
  const address = io.env['SEKISHO_HTTP_ADDRESS'] ?? DEFAULT_HTTP.address
  return apiBase({ address, port: Number(io.env['SEKISHO_HTTP_PORT'] ?? DEFAULT_HTTP.port) })
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
    tellUnreachable(io, base, error)
    return undefined
  }
}

export function tellUnreachable(io: CliIo, base: string, error: unknown): void {
  const { code, message } = error as { code?: string; message?: string }
  const why = printable(code ?? message ?? '')
  io.err(`sekisho: ${base}: ${ERRORS.SEKISHO_CLI_UNREACHABLE}: ${why} [SEKISHO_CLI_UNREACHABLE]\n`)
}
