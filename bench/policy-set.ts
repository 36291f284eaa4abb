import { hostInterface, podAddress, UPSTREAM } from './ground.ts'

/** Patterns of one endpoint, a third of each kind, and names that they allow. */
export interface EndpointRules {
  readonly endpoint: string
  readonly names: readonly string[]
  readonly stars: readonly string[]
  readonly doubleStars: readonly string[]
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** `count` patterns of an endpoint's own. `mark` goes into the first pattern of ten: another mark is another set. */
export function rulesOf(endpoint: string, count: number, mark = ''): EndpointRules {
  const third = Math.floor(count / 3)
  const tail = `${endpoint}.bench.test`
  const marked = (letter: string, j: number): string => `${letter}${j}${j % 10 === 9 ? mark : ''}`
  return {
    endpoint,
    names: range(count - 2 * third).map((j) => `${marked('n', j)}.${tail}`),
    stars: range(third).map((j) => `*.${marked('w', j)}.${tail}`),
    doubleStars: range(third).map((j) => `**.${marked('d', j)}.${tail}`),
  }
}

/** `count` different names that the rules allow, spread evenly over the patterns. */
export function namesOf(rules: EndpointRules, count: number): string[] {
  const patterns = [...rules.names, ...rules.stars, ...rules.doubleStars]
  const names = new Set<string>()
  for (let turn = 0; names.size < count; turn++) {
    for (const pattern of spread(patterns, count)) {
      if (names.size === count) break
      names.add(pattern.replace(/^\*\*\./, `a${turn}.b.`).replace(/^\*\./, `h${turn}.`))
    }
  }
  return [...names]
}

/** At most `count` of the list, evenly taken, so that few names still touch all kinds of patterns. */
function spread<T>(list: readonly T[], count: number): T[] {
  const step = Math.max(1, list.length / count)
  return list.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step))
}

/** A CiliumNetworkPolicy that lets the endpoint ask and reach exactly these names. */
export function policyDocument(rules: EndpointRules): string {
  const items = [
    ...rules.names.map((name) => `{matchName: ${name}}`),
    ...[...rules.stars, ...rules.doubleStars].map((pattern) => `{matchPattern: "${pattern}"}`),
  ]
  return [
    'apiVersion: cilium.io/v2',
    'kind: CiliumNetworkPolicy',
    `metadata: {name: ${rules.endpoint}, namespace: bench}`,
    'spec:',
    `  endpointSelector: {matchLabels: {app: ${rules.endpoint}}}`,
    '  egress:',
    `    - toCIDR: [${UPSTREAM}/32]`,
    '      toPorts:',
    '        - ports: [{port: "53", protocol: ANY}]',
    '          rules:',
    '            dns:',
    ...items.map((item) => `              - ${item}`),
    '    - toFQDNs:',
    ...items.map((item) => `        - ${item}`),
    '',
  ].join('\n')
}

export const policyFile = (all: readonly EndpointRules[]): string => all.map(policyDocument).join('---\n')

/** The endpoints file: the n-th endpoint has the n-th gated interface. */
export function endpointsFile(endpoints: readonly string[]): string {
  const lines = endpoints.map(
    (name, i) =>
      `  - {name: ${name}, namespace: bench, labels: {app: ${name}}, ` +
      `addresses: [${podAddress('gated', i)}], interface: ${hostInterface('gated', i)}}`,
  )
  return ['endpoints:', ...lines, ''].join('\n')
}

/** Lines "SOURCE NAME" in an order that is random and always the same. */
export function questionLines(pairs: readonly (readonly [source: number, name: string])[]): string {
  const mixed = [...pairs]
  let state = 0x9e3779b9
  for (let i = mixed.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = state % (i + 1)
    const [a, b] = [mixed[i], mixed[j]]
    if (a !== undefined && b !== undefined) [mixed[i], mixed[j]] = [b, a]
  }
  return mixed.map(([source, name]) => `${source} ${name}\n`).join('')
}
