import type { PolicyFile } from '../policy/load.ts'
import { printable } from './style.ts'
import type { CliIo } from './io.ts'

/** The texts of policy files and folders; undefined after every path that cannot be read has been told. */
export async function readPolicyFiles(io: CliIo, paths: readonly string[]): Promise<readonly PolicyFile[] | undefined> {
  const files: PolicyFile[] = []
  let failed = false
  for (const path of paths) {
    try {
      for (const file of await io.expandPath(path)) files.push({ path: file, text: await io.readText(file) })
    } catch (error) {
      io.err(`sekisho: ${printable(path)}: ${(error as { code?: string }).code ?? String(error)}\n`)
      failed = true
    }
  }
  return failed ? undefined : files
}
