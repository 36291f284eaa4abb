import { suggest } from '../core/suggest.ts'
import { isSection, type Leaf, type Section } from './kinds.ts'
import type { ConfigProblem } from './problem.ts'

export const ENVIRONMENT_PREFIX = 'SEKISHO_'

/** "dns.tcp.idleTimeout" to "SEKISHO_DNS_TCP_IDLE_TIMEOUT". */
export const variableOf = (path: string): string =>
  ENVIRONMENT_PREFIX + path.replaceAll('.', '_').replaceAll(/[A-Z]/g, '_$&').toUpperCase()

/** Every setting below `section` with its dotted path, in the order of the schema. */
export function* leaves(section: Section, prefix = ''): Generator<{ path: string; leaf: Leaf }> {
  for (const [key, node] of Object.entries(section.properties)) {
    const path = prefix + key
    if (isSection(node)) yield* leaves(node, `${path}.`)
    else yield { path, leaf: node }
  }
}

/**
 * Variables that were meant for us and are none of ours: SEKISHO_<section>_... of no setting. What Kubernetes
 * makes of Services (..._SERVICE_HOST, ..._PORT_53_UDP) and other words are left alone.
 */
export function strayVariables(root: Section, env: Readonly<Record<string, string | undefined>>): ConfigProblem[] {
  const known = new Set([...leaves(root)].map(({ path }) => variableOf(path)))
  const ours = Object.keys(root.properties).map((key) => `${variableOf(key)}_`)
  const problems: ConfigProblem[] = []
  for (const variable of Object.keys(env).sort()) {
    if (env[variable] === undefined || known.has(variable) || !ours.some((start) => variable.startsWith(start)))
      continue
    if (/_SERVICE_(HOST|PORT)|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$/.test(variable)) continue
    const near = suggest(variable, known)
    problems.push({
      code: 'SEKISHO_CONFIG_UNKNOWN',
      path: '',
      origin: { kind: 'environment', variable },
      message: 'no setting has this variable',
      ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
    })
  }
  return problems
}
