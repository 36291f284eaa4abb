import { parseArgs, type ParseArgsOptionsConfig } from 'node:util'
import { suggest } from '../core/suggest.ts'
import { UsageError } from './io.ts'

type Parsed<O extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ args: string[]; options: O; allowPositionals: true; strict: true }>
>

/** `node:util` parseArgs, strict, with our errors: an unknown option gets the nearest known one as a hint. */
export function parseOptions<O extends ParseArgsOptionsConfig>(args: readonly string[], options: O): Parsed<O> {
  try {
    return parseArgs<{ args: string[]; options: O; allowPositionals: true; strict: true }>({
      args: [...args],
      options,
      allowPositionals: true,
      strict: true,
    })
  } catch (error) {
    throw asUsageError(error, args, Object.keys(options)) ?? error
  }
}

/** A UsageError for what parseArgs throws, undefined for anything else. */
export function asUsageError(
  error: unknown,
  args: readonly string[],
  known: readonly string[],
): UsageError | undefined {
  const { code, message } = error as { code?: unknown; message?: unknown }
  if (typeof code !== 'string' || !code.startsWith('ERR_PARSE_ARGS_') || typeof message !== 'string') return undefined
  const text = message.split('. ')[0] ?? message
  if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return new UsageError(text)
  const unknown = args.find((arg) => message.includes(`'${arg.split('=')[0]}'`)) ?? ''
  const near = suggest(unknown.replace(/^-+/, '').split('=')[0] ?? '', known)
  return new UsageError(text, near === undefined ? undefined : `did you mean --${near}?`)
}
