import { describe, expect, test } from 'vitest'
import { policyCheck } from '../../src/cli/policy-check.ts'
import { policyMatch } from '../../src/cli/policy-match.ts'
import { UsageError } from '../../src/cli/io.ts'
import type { CliIo, Command } from '../../src/cli/io.ts'
import { why } from '../../src/cli/why.ts'
import { readTable } from '../policy/support/patterns-table.ts'
import { fakeIo } from './fake-io.ts'

interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

async function run(
  command: Command,
  args: string[],
  files: Record<string, string> = {},
  input: string[] = [],
  colour = false,
): Promise<Ran> {
  let out = ''
  let err = ''
  const io: CliIo = {
    ...fakeIo(),
    out: (text) => (out += text),
    err: (text) => (err += text),
    async *inputLines() {
      yield* input
    },
    readText: async (path) => {
      const text = files[path]
      if (text === undefined) throw Object.assign(new Error(path), { code: 'ENOENT' })
      return text
    },
    expandPath: async (path) => (path === 'dir' ? Object.keys(files).sort() : [path]),
    colour,
  }
  return { status: await command(args, io), out, err }
}

const POLICY = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: web }
spec:
  endpointSelector: { matchLabels: { app: web } }
  egress:
    - toCIDR: [9.9.9.9/32]
      toPorts:
        - ports: [{ port: "53", protocol: ANY }]
          rules: { dns: [{ matchPattern: "*.example.com" }] }
    - toFQDNs: [{ matchPattern: "*.example.com" }]
      toPorts: [{ ports: [{ port: "443", protocol: TCP }] }]
`
const BROKEN = POLICY.replace('toFQDNs', 'toFQDN')
const ENDPOINTS = `endpoints:
  - { name: web-1, namespace: default, labels: { app: web }, addresses: [10.0.0.1], interface: veth1 }
  - { name: db-1, namespace: shop, labels: { app: db }, addresses: [10.0.0.2], interface: veth2 }
`

describe('policy check', () => {
  test('a good file', async () => {
    expect(await run(policyCheck, ['a.yaml'], { 'a.yaml': POLICY })).toEqual({
      status: 0,
      out: '0 errors, 0 warnings; 1 policy with 2 rules in 1 file\n',
      err: '',
    })
  })
  test('problems with their places, and the other file still counted', async () => {
    const ran = await run(policyCheck, ['dir'], { 'a.yaml': BROKEN, 'b.yaml': POLICY })
    expect(ran.status).toBe(1)
    expect(ran.out).toBe(
      'a.yaml:11:7: error: spec.egress[1].toFQDN: unknown field "toFQDN"\n    did you mean toFQDNs?\n' +
        '1 error, 0 warnings; 1 policy with 2 rules in 2 files, files with errors left out\n',
    )
  })
  test('warnings do not fail', async () => {
    const ran = await run(policyCheck, ['a.yaml'], {
      'a.yaml': POLICY.replace(/ {4}- toCIDR[^]*?(?= {4}- toFQDNs)/, ''),
    })
    expect(ran.status).toBe(0)
    expect(ran.out).toContain(
      'warning: toFQDNs without any rules.dns for these endpoints: nothing will ever be learned',
    )
  })
  test('as JSON', async () => {
    const ran = await run(policyCheck, ['-o', 'json', 'a.yaml'], { 'a.yaml': BROKEN })
    expect(JSON.parse(ran.out)).toMatchObject({
      ok: false,
      files: 1,
      errors: 1,
      problems: [{ line: 11, column: 7, file: 'a.yaml' }],
    })
  })
  test('a file that cannot be read', async () => {
    expect(await run(policyCheck, ['none.yaml'])).toMatchObject({ status: 1, err: 'sekisho: none.yaml: ENOENT\n' })
  })
  test('a colour code of a file does not reach the terminal', async () => {
    const ran = await run(policyCheck, ['a.yaml'], { 'a.yaml': 'kind: "\\e[31mred"' })
    expect(ran.out).not.toContain('\u001b')
  })
  test('no file is a usage error', async () => {
    await expect(run(policyCheck, [])).rejects.toThrow(UsageError)
    await expect(run(policyCheck, ['-o', 'xml', 'a'])).rejects.toThrow(UsageError)
  })
})

describe('policy match', () => {
  test('all match', async () => {
    const ran = await run(policyMatch, ['*.a.io', 'x.a.io', 'yy.a.io'])
    expect(ran).toEqual({ status: 0, out: 'NAME     VERDICT\nx.a.io   match\nyy.a.io  match\n', err: '' })
  })
  test('one does not', async () =>
    expect(await run(policyMatch, ['*.a.io', 'x.a.io', 'a.io'])).toMatchObject({ status: 1 }))
  test('dialect and kind', async () => {
    expect((await run(policyMatch, ['-d', 'cilium-1.18', '**.a.io', 'x.y.a.io'])).status).toBe(1)
    expect((await run(policyMatch, ['--dialect', 'npep-133', '*.a.io', 'x.y.a.io'])).status).toBe(0)
    expect((await run(policyMatch, ['--kind', 'dns.matchPattern', '*', 'hex:0361206202696f00'])).status).toBe(0)
    expect((await run(policyMatch, ['*', 'hex:0361206202696f00'])).status).toBe(1)
  })
  test('an invalid pattern says why', async () => {
    const ran = await run(policyMatch, ['a[b', 'ab'])
    expect(ran.status).toBe(1)
    expect(ran.out).toContain('invalid: Invalid characters in MatchPattern: "a[b".')
  })
  test('bad usage', async () => {
    for (const args of [[], ['*'], ['-d', 'x', '*', 'a'], ['-k', 'x', '*', 'a'], ['*', 'hex:zz'], ['*', 'hex:0361']]) {
      await expect(run(policyMatch, args)).rejects.toThrow(UsageError)
    }
  })
  test.each(['cilium', 'cilium-1.18'] as const)(
    'the whole measured table through standard input, %s',
    async (dialect) => {
      const rows = readTable()
      const input = rows.map(({ kind, pattern, name }) =>
        [dialect, kind, pattern === '' ? '""' : pattern, name].join('\t'),
      )
      const ran = await run(policyMatch, ['-'], {}, ['dialect\tkind\tpattern\tname', ...input])
      expect([ran.status, ran.err]).toEqual([0, ''])
      const [header, ...lines] = ran.out.trimEnd().split('\n')
      expect(header).toBe('dialect\tkind\tpattern\tname\tverdict')
      const wrong = lines.filter(
        (line, i) => line.replace(/\tinvalid: .*/, '\tinvalid') !== `${input[i]}\t${rows[i]?.verdicts[dialect]}`,
      )
      expect(wrong).toEqual([])
      expect(lines).toHaveLength(445)
    },
  )
  test('bad rows are told by number, the rest is judged, and the status says so', async () => {
    const input = [
      'gke\tpattern\t*.a.io\tx.a.io',
      'nonsense',
      'mars\tx\ty\tz',
      'gke\tmatchName\ta\tb',
      '',
      'gke\tname\ta.io\ta.io',
      'gke\tname\ta.io\t',
    ]
    const ran = await run(policyMatch, ['-'], {}, input)
    expect(ran.status).toBe(2)
    expect(ran.out).toBe('gke\tpattern\t*.a.io\tx.a.io\tmatch\ngke\tname\ta.io\ta.io\tmatch\n')
    expect(ran.err.split('\n').map((line) => line.split(':')[0])).toEqual(['line 2', 'line 3', 'line 4', 'line 7', ''])
  })
})

describe('why', () => {
  const files = { 'p.yaml': POLICY, 'e.yaml': ENDPOINTS }
  const at = ['--policy', 'p.yaml', '--endpoints', 'e.yaml']

  test('allowed, by rules with their places', async () => {
    const ran = await run(why, ['default/web-1', 'www.example.com', ...at], files)
    expect(ran).toEqual({
      status: 0,
      out: `default/web-1 -> www.example.com.
policies   default/web
look-up    allowed
  by      p.yaml:10:42  default/web: *.example.com, at 9.9.9.9/32, ANY/53
connect    allowed
  by      p.yaml:11:33  default/web: *.example.com, TCP/443
`,
      err: '',
    })
  })
  test('denied, with what is missing', async () => {
    const ran = await run(why, ['web-1', 'example.com', ...at], files)
    expect(ran.status).toBe(1)
    expect(ran.out).toContain('missing\n  p.yaml:10: *.example.com covers what is below example.com')
  })
  test('an endpoint without policy', async () => {
    expect(await run(why, ['shop/db-1', 'a.io', ...at], files)).toMatchObject({
      status: 0,
      out: expect.stringContaining('no policy selects') as string,
    })
  })
  test('at a server, as JSON', async () => {
    const ran = await run(why, ['web-1', 'www.example.com', ...at, '--server', '8.8.8.8', '-o', 'json'], files)
    expect(ran.status).toBe(1)
    expect(JSON.parse(ran.out)).toMatchObject({
      endpoint: 'default/web-1',
      server: '8.8.8.8',
      lookup: { allowed: false },
    })
  })
  test('files by configuration', async () => {
    const config = 'datapath: { endpoints: e.yaml }\npolicy: { paths: [p.yaml] }\n'
    const ran = await run(why, ['web-1', 'www.example.com', '--config', 'c.yaml'], { ...files, 'c.yaml': config })
    expect([ran.err, ran.status]).toEqual(['', 0])
  })
  test('broken policy is told and not explained', async () => {
    const ran = await run(why, ['web-1', 'a.io', ...at], { ...files, 'p.yaml': BROKEN })
    expect(ran).toMatchObject({ status: 1, out: '' })
    expect(ran.err).toContain('p.yaml:11:7: error')
  })
  test('bad usage', async () => {
    await expect(run(why, ['web-2', 'a.io', ...at], files)).rejects.toMatchObject({ hint: 'did you mean web-1?' })
    for (const args of [
      [],
      ['web-1'],
      ['web-1', 'a..io', ...at],
      ['web-1', 'a.io'],
      ['web-1', 'a.io', ...at, '-s', '1.2'],
    ]) {
      await expect(run(why, args, files)).rejects.toThrow(UsageError)
    }
  })
})
