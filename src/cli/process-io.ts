import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { CliIo } from './io.ts'

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
    async get(url, timeoutMs) {
      const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' })
      return { status: response.status, body: await response.text() }
    },
    env: process.env,
    // https://no-color.org: set and not empty
    colour: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb',
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
