import { formatCidr, formatIp } from '../core/ip.ts'
import type { Ip } from '../core/ip.ts'
import { endpointLabels, labelsKey } from './labels.ts'
import type { EndpointInput, Policy } from './rules.ts'
import { buildAddresses, buildPrefixes } from './snapshot/address-table.ts'
import type { AddressEntry } from './snapshot/address-table.ts'
import { GateBuilder } from './snapshot/gate-builder.ts'
import * as L from './snapshot/layout.ts'
import type { StoredEndpoint } from './snapshot/open.ts'
import { buildSelection } from './snapshot/selection-builder.ts'
import { ServerClasses } from './snapshot/server-classes.ts'
import { ShapeBuilder } from './snapshot/shape-builder.ts'
import { StringWriter } from './snapshot/strings.ts'
import { TrieBuilder } from './snapshot/trie-builder.ts'
import { WordList } from './snapshot/word-list.ts'
import { combinedRules, SubjectIndex } from './subjects.ts'

/** What a snapshot is made of. */
export interface CompileInput {
  /** Non-negative, below 2^53. */
  readonly generation: number
  readonly policies: readonly Policy[]
  readonly endpoints: readonly EndpointInput[]
  /** The node's own addresses: entity `host`. */
  readonly hostAddresses?: readonly Ip[]
}

/** Why there is no snapshot: about endpoints, so there is no place in a policy file. */
export interface CompileProblem {
  readonly message: string
}

export type CompileResult =
  | { readonly buffer: SharedArrayBuffer; readonly problems?: undefined }
  | { readonly buffer?: undefined; readonly problems: readonly CompileProblem[] }

/** Rules and endpoints to one immutable snapshot in shared memory. Never throws on any input. */
export function compilePolicy(input: CompileInput): CompileResult {
  const problems = endpointProblems(input)
  if (problems.length > 0) return { problems }
  const tries = new TrieBuilder()
  const classes = new ServerClasses()
  const gates = new GateBuilder(tries, classes)
  const shapes = new ShapeBuilder()
  const index = new SubjectIndex(input.policies)
  /** Policies in force -> their gate and shape; -1 -1 for none. */
  const combined = new Map<string, { gate: number; shape: number }>()
  const byLabels = new Map<string, { gate: number; shape: number }>()
  const stored: StoredEndpoint[] = []
  const records = new WordList()
  for (const endpoint of input.endpoints) {
    const labels = endpointLabels(endpoint)
    const key = labelsKey(labels)
    let found = byLabels.get(key)
    if (found === undefined) {
      const selecting = index.selecting(labels)
      const name = selecting.join(',')
      found = combined.get(name)
      if (found === undefined) {
        found = { gate: -1, shape: -1 }
        if (selecting.length > 0) {
          const rules = combinedRules(selecting.flatMap((i) => input.policies[i] ?? []))
          found = { gate: gates.add(rules), shape: shapes.add(rules) }
        }
        combined.set(name, found)
      }
      byLabels.set(key, found)
    }
    records.push(endpoint.id, found.gate + 1, classes.ofLabels(key), found.shape + 1)
    const { name, namespace } = endpoint
    stored.push({ name, namespace, labelsKey: key, addresses: endpoint.addresses.map(formatIp) })
  }
  const verdicts = gates.build()
  const selectorSet = tries.newSet()
  shapes.selectors.forEach((pattern, i) => tries.insert(selectorSet, pattern, i))
  const strings = new StringWriter()
  for (const selector of shapes.selectors) strings.add(selector.text)
  for (const shape of shapes.shapes) strings.add(shape.key)
  for (const shape of shapes.shapes) strings.add(JSON.stringify(shape.rules))
  strings.add(JSON.stringify(shapes.prefixes.map(formatCidr)))
  strings.add(JSON.stringify(stored))
  const header = {
    generation: input.generation,
    selectorSet,
    selectors: shapes.selectors.length,
    shapes: shapes.shapes.length,
  }
  return {
    buffer: L.assemble(header, {
      ...tries.sections(),
      endpoints: records.view(),
      addresses: buildAddresses(addressEntries(input)),
      ...buildPrefixes(classes.prefixes),
      verdicts,
      ...strings.sections(),
      ...buildSelection(shapes.shapes, shapes.selectors.length, shapes.prefixes.length),
    }),
  }
}

function addressEntries(input: CompileInput): AddressEntry[] {
  const entries: AddressEntry[] = input.endpoints.flatMap(({ addresses }, endpoint) =>
    addresses.map((ip) => ({ ip, owner: L.OWNER_ENDPOINT, endpoint }) as const),
  )
  const taken = new Set(entries.map(({ ip }) => formatIp(ip)))
  for (const ip of input.hostAddresses ?? []) {
    if (!taken.has(formatIp(ip))) entries.push({ ip, owner: L.OWNER_HOST, endpoint: 0 })
  }
  return entries
}

function endpointProblems({ endpoints }: CompileInput): CompileProblem[] {
  const problems: CompileProblem[] = []
  const ids = new Map<number, string>()
  const owners = new Map<string, string>()
  for (const { id, name, namespace, addresses } of endpoints) {
    const full = `${namespace}/${name}`
    if (!Number.isInteger(id) || id < 1 || id > 65535)
      problems.push({ message: `endpoint ${full}: id ${id} is not 1 to 65535` })
    const same = ids.get(id)
    if (same !== undefined) problems.push({ message: `endpoints ${same} and ${full} have the same id ${id}` })
    ids.set(id, full)
    for (const address of addresses.map(formatIp)) {
      const owner = owners.get(address)
      if (owner !== undefined)
        problems.push({ message: `endpoints ${owner} and ${full} have the same address ${address}` })
      owners.set(address, full)
    }
  }
  return problems
}
