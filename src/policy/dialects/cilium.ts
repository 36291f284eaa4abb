import { readYaml } from '../../core/yaml/text.ts'
import type { DoubleStar } from '../patterns/cilium.ts'
import type { Problem } from '../problem.ts'
import type { Policy } from '../rules.ts'
import { readDocument } from './cilium/document.ts'
import { Reader } from './reader.ts'

export interface CiliumOptions {
  /** Default `labels`, the meaning of 1.19 and later. */
  readonly doubleStar?: DoubleStar
}

export interface ParsedPolicies {
  /** Empty when any problem is an error: a broken file is refused whole. */
  readonly policies: readonly Policy[]
  /** By place in the file. */
  readonly problems: readonly Problem[]
}

/**
 * CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2) from YAML or JSON text as kubectl takes it:
 * many documents, lists, `spec` and `specs`. What is known and not enforced, unknown, or can never match is an error.
 * Never throws. `file` is only repeated in origins and problems.
 */
export function parseCilium(text: string, file: string, options: CiliumOptions = {}): ParsedPolicies {
  const parsed = readYaml(text, '1.1')
  const reader = new Reader(file, parsed.position)
  const policies = parsed.documents.flatMap((tree) =>
    readDocument(reader, { tree, path: '' }, options.doubleStar ?? 'labels'),
  )
  for (const { at, message } of parsed.faults) reader.error(at, message)
  const problems = reader.problems.sort((a, b) => a.line - b.line || a.column - b.column)
  const refused = problems.some(({ severity }) => severity === 'error')
  return { policies: refused ? [] : policies, problems }
}
