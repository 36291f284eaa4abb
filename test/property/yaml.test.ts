import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAllDocuments, type Document } from 'yaml'
import type { YamlVersion } from '../../src/core/yaml/scalars.ts'
import { readYaml } from '../../src/core/yaml/text.ts'
import type { Tree } from '../../src/core/yaml/tree.ts'

const good = readFileSync(new URL('../policy/fixtures/cilium/bing.yaml', import.meta.url), 'utf8')

/** Trees as plain values; maps as lists of pairs, so that `__proto__` is a key like others. */
function plain(tree: Tree): unknown {
  switch (tree.kind) {
    case 'map':
      return tree.entries.map(({ key, value }) => [key, plain(value)])
    case 'list':
      return { items: tree.items.map(plain) }
    case 'scalar':
      return tree.value
    case 'null':
      return null
  }
}

function fromMap(value: unknown): unknown {
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)].map(([key, one]) => [key, fromMap(one)])
  return Array.isArray(value) ? { items: value.map(fromMap) } : value
}

/** The other reader's documents, or why there are none. */
function oracle(text: string, version: YamlVersion): unknown[] | 'refused' {
  const documents = parseAllDocuments(text, { version, merge: false, logLevel: 'silent' })
  const list: readonly Document.Parsed[] = 'empty' in documents ? [] : documents
  if (list.some(({ errors, warnings }) => errors.length + warnings.length > 0)) return 'refused'
  return list
    .map((document) => fromMap(document.toJS({ mapAsMap: true, maxAliasCount: 1000 })))
    .filter((value) => value !== null)
}

const scalar = fc.oneof(
  fc.constantFrom(
    'a.example.com',
    '"*.b.io"',
    "'it''s'",
    '443',
    '"443"',
    'yes',
    'No',
    'null',
    '~',
    '0x1f',
    '1.5',
    '-3',
    '*.x',
    'a: b',
    '# c',
    '',
  ),
  fc.stringMatching(/^[a-z][a-z0-9 .:/_-]{0,12}$/),
)
const edit = fc.record({
  at: fc.nat(good.length),
  cut: fc.nat(12),
  put: fc.oneof(
    scalar,
    fc.constantFrom('\n', '- ', '  ', '{', '}', '[', ']', ', ', ': ', '"', '|\n', '>-\n', '&a ', '*a', '---\n', '? '),
  ),
})

test.each(['1.1', '1.2'] as const)('whatever is taken as %s says what another reader takes it for', (version) => {
  let taken = 0
  let refused = 0
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 3 }), (edits) => {
      let text = good
      for (const { at, cut, put } of edits) text = text.slice(0, at) + put + text.slice(at + cut)
      const { documents, faults } = readYaml(text, version)
      if (faults.length > 0) return void refused++
      const other = oracle(text, version)
      if (other === 'refused') return
      taken++
      expect(documents.map(plain)).toEqual(other)
    }),
    { seed: 11, numRuns: 3000 },
  )
  expect(taken).toBeGreaterThan(500)
  expect(refused).toBeGreaterThan(500)
})

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('any'), { maxLength: 4 }),
    fc.dictionary(fc.stringMatching(/^[a-zA-Z_.-]{1,8}$/), tie('any'), { maxKeys: 4 }),
  ),
})).any

test('JSON is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2), (json, indent) => {
      const text = JSON.stringify(json, null, indent)
      const { documents, faults } = readYaml(text, '1.1')
      expect(faults).toEqual([])
      expect(documents.map(plain)).toEqual(json === null ? [] : [fromJson(json)])
    }),
    { seed: 12, numRuns: 1000 },
  )
})

function fromJson(json: unknown): unknown {
  if (Array.isArray(json)) return { items: json.map(fromJson) }
  if (typeof json === 'object' && json !== null) return Object.entries(json).map(([key, one]) => [key, fromJson(one)])
  return json
}

test('the place of a value is where it stands in the text', () => {
  const { documents, position } = readYaml('a: "q"\nb:\n  - x\n  - &n {c: d}\n  - *n\n', '1.2')
  const places: string[] = []
  const walk = (tree: Tree, name: string): void => {
    const { line, column } = position(tree.at)
    places.push(`${name} ${line}:${column}`)
    if (tree.kind === 'map') for (const entry of tree.entries) walk(entry.value, entry.key)
    if (tree.kind === 'list') for (const item of tree.items) walk(item, '-')
  }
  for (const tree of documents) walk(tree, 'top')
  expect(places).toEqual(['top 1:1', 'a 1:4', 'b 3:3', '- 3:5', '- 4:8', 'c 4:12', '- 4:8', 'c 4:12'])
})

test.each([
  ['a tag of its own', '%TAG ! tag:x,2000:\n---\na: !foo 1', '1:1: %TAG is not supported'],
  ['an unknown tag', 'a: !secret 1', '1:12: the tag !secret is not known'],
  ['a value that is not of its tag', 'a: !!int x', '1:10: the value does not fit its tag !!int'],
  ['an alias within its own value', 'a: &a [*a]', '1:8: *a stands within itself'],
  ['an alias of another document', 'a: &a 1\n---\nb: *a', '3:4: no anchor &a'],
  ['aliases of aliases', `a: &a [${'x,'.repeat(500)}]\nb: [${'*a,'.repeat(300)}]`, '2:602: too many aliases'],
  [
    'aliases that nest',
    Array.from({ length: 70 }, (_, i) => `k${i}: &a${i} [${i > 0 ? `*a${i - 1}` : ''}]`).join('\n'),
    '65:12: nested too deeply',
  ],
])('%s is refused at its place', (_name, text, expected) => {
  const { faults, position } = readYaml(text, '1.1')
  const told = faults.map(({ at, message }) => `${position(at).line}:${position(at).column}: ${message}`)
  expect(told).toEqual([expected])
})
