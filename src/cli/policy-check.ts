import { loadPolicies } from '../policy/load.ts'
import type { LoadedPolicies } from '../policy/load.ts'
import type { Problem } from '../policy/problem.ts'
import { EXIT, UsageError } from './io.ts'
import type { CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { readPolicyFiles } from './policy-files.ts'
import { paint, printable } from './style.ts'

const options = {
  output: { type: 'string', short: 'o', default: 'text' },
  'double-star': { type: 'string', default: 'labels' },
} as const

/** `sekisho policy check`: every problem with its place; 0 without errors (warnings do not count), 1 with. */
export async function policyCheck(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  const { output } = values
  const doubleStar = values['double-star']
  if (positionals.length === 0) throw new UsageError('no policy file given')
  if (output !== 'text' && output !== 'json') throw new UsageError(`unknown output ${output}`, 'use -o text or -o json')
  if (doubleStar !== 'labels' && doubleStar !== 'label') {
    throw new UsageError(`unknown meaning ${doubleStar}`, 'use --double-star labels or --double-star label')
  }
  const files = await readPolicyFiles(io, positionals)
  if (files === undefined) return EXIT.failed
  const loaded = loadPolicies(files, { doubleStar })
  if (output === 'json') io.out(JSON.stringify(report(files.length, loaded), null, 2) + '\n')
  else render(io, files.length, loaded)
  return loaded.ok ? EXIT.ok : EXIT.failed
}

const errorsOf = (problems: readonly Problem[]): number =>
  problems.filter(({ severity }) => severity === 'error').length

function report(files: number, { ok, policies, problems }: LoadedPolicies): object {
  const errors = errorsOf(problems)
  const rules = policies.reduce((sum, policy) => sum + policy.rules.length, 0)
  return { ok, files, policies: policies.length, rules, errors, warnings: problems.length - errors, problems }
}

function render(io: CliIo, files: number, { policies, problems }: LoadedPolicies): void {
  for (const { file, line, column, severity, message, hint } of problems) {
    const word = paint(io, severity === 'error' ? 'red' : 'yellow', severity)
    io.out(`${paint(io, 'bold', `${printable(file)}:${line}:${column}`)}: ${word}: ${printable(message)}\n`)
    if (hint !== undefined) io.out(`    ${paint(io, 'dim', printable(hint))}\n`)
  }
  const errors = errorsOf(problems)
  const rules = policies.reduce((sum, policy) => sum + policy.rules.length, 0)
  const found = `${count(errors, 'error')}, ${count(problems.length - errors, 'warning')}`
  const good = `${count(policies.length, 'policy', 'policies')} with ${count(rules, 'rule')} in ${count(files, 'file')}`
  io.out(
    `${paint(io, errors > 0 ? 'red' : 'green', found)}; ${good}${errors > 0 ? ', files with errors left out' : ''}\n`,
  )
}

const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`
