/** Looks for secrets in the memory of a process (programs/scan.c): one pass, and beside what else runs. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import type { Scan } from '../support/wg/key-scan.ts'

const PROGRAM = join(import.meta.dirname, '../../build/vm/programs/scan')

export async function scanProcess(pid: number, needles: readonly Buffer[]): Promise<Scan> {
  const text = await new Promise<string>((resolve, reject) => {
    const child = execFile(PROGRAM, [String(pid)], (error, stdout) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`scan: ${stdout || error.message}`))
    })
    child.stdin?.end(needles.map((needle) => `${needle.toString('hex')}\n`).join(''))
  })
  return JSON.parse(text) as Scan
}
