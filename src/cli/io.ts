/**
 * The world as a command sees it. Commands read and write through this alone, so a test runs them in process
 * and no command can reach a terminal, a file or the network by another door.
 */
export interface CliIo {
  /** Standard output; the caller writes its own newlines. */
  out(text: string): void
  /** Standard error: problems, hints, usage. */
  err(text: string): void
  /** Lines of standard input without their line ends. */
  inputLines(): AsyncIterable<string>
  /** Whole text of a file, UTF-8. Rejects with Node's own error (`code` ENOENT, EISDIR, ...). */
  readText(path: string): Promise<string>
  /** The files a path stands for: itself, or the names in a directory that end in .yaml, .yml or .json, sorted, full paths. */
  expandPath(path: string): Promise<readonly string[]>
  /** GET with a time-out; rejects when nothing answers. */
  get(url: string, timeoutMs: number): Promise<{ readonly status: number; readonly body: string }>
  /** POST of a JSON text with a time-out; rejects when nothing answers. */
  post(
    url: string,
    body: string,
    headers: Readonly<Record<string, string>>,
    timeoutMs: number,
  ): Promise<{ readonly status: number; readonly body: string }>
  sleep(ms: number): Promise<void>
  monotonicMs(): number
  readonly env: Readonly<Record<string, string | undefined>>
  /** True when standard output is a terminal and NO_COLOR is unset. */
  readonly colour: boolean
  /** Width of the terminal; undefined when standard output is none. */
  readonly columns: number | undefined
}

/** Exit statuses of every command. */
export const EXIT = {
  ok: 0,
  /** The command ran, and the answer is no: a problem found, a name denied, an agent not ready. */
  failed: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** The configuration is wrong; nothing was opened. */
  config: 64,
  /** sysexits.h EX_UNAVAILABLE: the agent does not answer. */
  unavailable: 69,
  /** sysexits.h EX_SOFTWARE: a fault of ours. */
  software: 70,
  /** sysexits.h EX_NOPERM: the command needs root. */
  permission: 77,
} as const

/** A command: arguments after its own name, the world, and the exit status out. Bad usage is told by throwing UsageError. */
export type Command = (args: readonly string[], io: CliIo) => Promise<number>

/** The command line is wrong: the dispatcher prints the message, the hint and where help is, and exits 2. */
export class UsageError extends Error {
  readonly hint: string | undefined

  constructor(message: string, hint?: string) {
    super(message)
    this.name = 'UsageError'
    this.hint = hint
  }
}
