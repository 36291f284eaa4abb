import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'

const firstLine = (file: string, args: readonly string[]): string =>
  execFileSync(file, args, { encoding: 'utf8' }).split('\n')[0]?.trim() ?? ''

/** What the figures were taken on: machine.txt beside them. */
export function writeMachine(directory: string): void {
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown'
  const lines = [
    `processors: ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    `memory: ${Math.round(totalmem() / 2 ** 30)} GiB`,
    `kernel: ${release()}`,
    `system: ${system}`,
    `node: ${process.version}`,
    `dnsdist: ${firstLine('dnsdist', ['--version']).replace(/^dnsdist (\S+).*/, '$1')}`,
    `date: ${new Date().toISOString().slice(0, 10)}`,
    `commit: ${firstLine('git', ['-C', import.meta.dirname, 'rev-parse', '--short', 'HEAD'])}`,
  ]
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'machine.txt'), lines.join('\n') + '\n')
}
