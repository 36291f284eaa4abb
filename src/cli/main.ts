import { SekishoError } from '../core/errors.ts'
import { suggest } from '../core/suggest.ts'
import { COMMANDS, type CommandEntry } from './commands.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { asUsageError } from './options.ts'
import type { RootsDoor } from './ports.ts'

/** Command line (without node and script) to exit status. Throws nothing. */
export async function run(argv: readonly string[], io: CliIo, door: RootsDoor): Promise<number> {
  const first = argv[0]
  if (first === undefined) {
    io.err(overview())
    return EXIT.usage
  }
  if (first === 'help' || first === '--help' || first === '-h') return help(argv.slice(1), io)
  if (first === '--version' || first === '-V') return run(['version'], io, door)
  const entry = find(argv)
  if (entry === undefined) return unknownCommand(argv, io)
  const args = argv.slice(entry.name.split(' ').length)
  if (wantsHelp(args)) return help(entry.name.split(' '), io)
  try {
    const command = await entry.load(door)
    return await command(args, io)
  } catch (error) {
    return explain(error, entry, args, io)
  }
}

function find(argv: readonly string[]): CommandEntry | undefined {
  return COMMANDS.find(({ name }) => name.split(' ').every((word, i) => argv[i] === word))
}

function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--')
  const own = end < 0 ? args : args.slice(0, end)
  return own.includes('--help') || own.includes('-h')
}

function help(words: readonly string[], io: CliIo): number {
  if (words.length === 0) {
    io.out(overview())
    return EXIT.ok
  }
  const entry = find(words)
  if (entry === undefined) {
    const group = COMMANDS.filter(({ name }) => name.startsWith(`${words[0]} `))
    if (group.length === 0) return unknownCommand(words, io)
    io.out(group.map((each) => `sekisho ${each.name} ${each.usage}\n    ${each.summary}\n`).join('\n'))
    return EXIT.ok
  }
  const details = entry.details === '' ? '' : `\n${entry.details}\n`
  io.out(`Usage: ${`sekisho ${entry.name} ${entry.usage}`.trimEnd()}\n\n${entry.summary}\n${details}`)
  return EXIT.ok
}

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length))
  const lines = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}\n`).join('')
  return `Usage: sekisho COMMAND [ARGUMENT...]\n\n${lines}\n"sekisho help COMMAND" tells more.\n`
}

function unknownCommand(argv: readonly string[], io: CliIo): number {
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${argv[0]} `)).map(({ name }) => name)
  const typed = argv.slice(0, group.length > 0 ? 2 : 1).join(' ')
  const near =
    group.length > 0 && argv.length === 1
      ? undefined
      : suggest(typed, group.length > 0 ? group : COMMANDS.map(({ name }) => name))
  const hint =
    near !== undefined ? `did you mean "${near}"?` : group.length > 0 ? group.join(', ') : '"sekisho help" lists them'
  io.err(`sekisho: there is no command "${typed}" (${hint})\n`)
  return EXIT.usage
}

function explain(error: unknown, entry: CommandEntry, args: readonly string[], io: CliIo): number {
  const usage = error instanceof UsageError ? error : asUsageError(error, args, [])
  if (usage !== undefined) {
    const hint = usage.hint === undefined ? '' : ` (${usage.hint})`
    io.err(`sekisho ${entry.name}: ${usage.message}${hint}\n`)
    io.err(`Usage: ${`sekisho ${entry.name} ${entry.usage}`.trimEnd()}\n`)
    return EXIT.usage
  }
  if (error instanceof SekishoError) {
    const hint = error.hint === undefined ? '' : ` (${error.hint})`
    io.err(`sekisho ${entry.name}: ${error.message}${hint} [${error.code}]\n`)
    return EXIT.failed
  }
  io.err(`sekisho ${entry.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return EXIT.software
}
