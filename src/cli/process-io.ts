import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../core/clock.ts'
import { exchange } from './exchange.ts'
import type { CliIo } from './io.ts'

const DEFAULT_COLUMNS = 80

/** The real world of a command. */
export function processIo(): CliIo {
  // A reader that has seen enough (`sekisho status | head`) is no fault.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 1)
  })
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    inputLines: () => createInterface({ input: process.stdin, crlfDelay: Infinity }),
    readText: (path) => readFile(path, 'utf8'),
    expandPath,
    get: (url, timeoutMs) => exchange(url, { method: 'GET', timeoutMs }),
    post: (url, body, headers, timeoutMs) =>
      exchange(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body, timeoutMs }),
    sleep: (ms) => sleep(ms),
    monotonicMs: () => systemClock.monotonicMs(),
    env: process.env,
    // https://no-color.org: set and not empty
    colour: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
    // A terminal that does not know its width says 0.
    columns: process.stdout.isTTY ? process.stdout.columns || DEFAULT_COLUMNS : undefined,
  }
}

async function expandPath(path: string): Promise<readonly string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const names = await readdir(path)
  return names
    .filter((name) => /\.(ya?ml|json)$/.test(name) && !name.startsWith('.'))
    .sort()
    .map((name) => join(path, name))
}
