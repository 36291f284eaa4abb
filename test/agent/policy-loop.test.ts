import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createPolicyLoop, type PolicyLoop, type PolicyLoopDeps } from '../../src/agent/policy-loop.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parseIp } from '../../src/core/ip.ts'
import { silentLog } from '../../src/core/log.ts'
import { openEndpointIds } from '../../src/datapath/endpoint-ids.ts'
import type { Datapath } from '../../src/datapath/ports.ts'
import { PolicyMetrics } from '../../src/policy/metrics.ts'
import { openSnapshot } from '../../src/policy/snapshot.ts'
import { soon } from '../support/puppet-thread.ts'

const policy = (app: string, name: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${app}, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: ${app} } }
  egress:
    - toFQDNs: [{ matchName: ${name} }]
`
const pods = (...list: readonly (readonly [app: string, address: string, link: string])[]): string =>
  `endpoints:\n${list
    .map(
      ([app, address, link]) =>
        `  - { name: ${app}, namespace: default, labels: { app: ${app} }, addresses: ['${address}'], interface: ${link} }\n`,
    )
    .join('')}`
const A = ['a', '10.0.0.1', 'vetha'] as const
const B = ['b', '10.0.0.2', 'vethb'] as const

let folder: string
let loop: PolicyLoop
/** What the loop did, in order. */
let done: string[]
/** What the ledger says to the next generations; settled when it is empty. */
let refusals: Error[]
/** While it is set, an apply waits for it. */
let hold: Promise<void> | undefined
let used: boolean
let snapshots: SharedArrayBuffer[]

const write = (file: string, text: string): void => writeFileSync(join(folder, file), text)
const names = (buffer: SharedArrayBuffer): string => {
  const view = openSnapshot(buffer)
  return Array.from({ length: view.selectorCount }, (_, i) => view.selectorLabel(i).slice(5))
    .sort()
    .join(',')
}
const errors = (): string[] =>
  loop.state.problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)

function build(): void {
  const yaml = `policy: { paths: [${folder}/policies] }
datapath: { endpoints: ${folder}/endpoints.yaml }
state: { dir: ${folder}/state }`
  const loaded = loadConfig(yaml, {})
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  const deps: PolicyLoopDeps = {
    config: loaded.value,
    log: silentLog,
    compilerEntry: new URL('../support/poisoned-compiler.ts', import.meta.url),
    endpointIds: openEndpointIds(join(folder, 'state', 'endpoints.json')),
    datapath: {
      applyEndpoints: async (list) => {
        const words = list.map(({ id, interface: link, enforced }) => `${id}${link.slice(4)}${enforced ? '!' : ''}`)
        done.push(`datapath ${words.join(' ')}`.trimEnd())
      },
    } as Datapath,
    metrics: new PolicyMetrics(),
    nodeAddresses: () => [parseIp('192.0.2.1')],
    async apply(generation, buffer) {
      done.push(`ledger ${generation} ${names(buffer)}`)
      await hold
      const refusal = refusals.shift()
      if (refusal !== undefined) throw refusal
      snapshots.push(buffer)
    },
    async use(_buffer, generation) {
      done.push(`dns ${generation}`)
      return used
    },
    settled: (generation) => void done.push(`settled ${generation}`),
  }
  loop = createPolicyLoop(deps)
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'atk-policy-'))
  mkdirSync(join(folder, 'policies'))
  mkdirSync(join(folder, 'state'))
  done = []
  refusals = []
  snapshots = []
  hold = undefined
  used = true
  write('endpoints.yaml', pods(A, B))
  write('policies/a.yaml', policy('a', 'one.example'))
  build()
})
afterEach(async () => {
  await loop.stop()
  rmSync(folder, { recursive: true })
})

const FIRST = ['ledger 1 one.example', 'dns 1', 'datapath 1a! 2b', 'settled 1']

async function started(): Promise<void> {
  await loop.start()
  await soon(() => expect(done).toEqual(FIRST))
  done.length = 0
}

it('tells ledger, dns threads, datapath in this order, and then that all is settled', async () => {
  await started()
  expect(loop.state).toMatchObject({ generation: 1, rules: 1 })
  expect(errors()).toEqual([])
  expect(loop.state.endpoints.map(({ id, name, enforced }) => [id, name, enforced])).toEqual([
    [1, 'a', true],
    [2, 'b', false],
  ])
})

it('takes enforcement away before the dns threads forget, and sets it after they know', async () => {
  await started()
  rmSync(join(folder, 'policies/a.yaml'))
  write('policies/b.yaml', policy('b', 'two.example'))
  loop.trigger()
  await soon(() =>
    expect(done).toEqual(['ledger 2 two.example', 'datapath 1a 2b', 'dns 2', 'datapath 1a 2b!', 'settled 2']),
  )
})

it('keeps what only older policies need while a dns thread is behind', async () => {
  await started()
  used = false
  write('policies/a.yaml', policy('a', 'two.example'))
  loop.trigger()
  await soon(() => expect(done.at(-1)).toBe('datapath 1a! 2b'))
  await soon(() => expect(loop.state.generation).toBe(2))
  expect(done).not.toContain('settled 2')
})

it('does nothing when nothing changed', async () => {
  await started()
  for (let i = 0; i < 3; i++) {
    loop.trigger()
    await sleep(20)
  }
  await sleep(100)
  expect(done).toEqual([])
})

it('makes one pass at a time, and what changes meanwhile is in the next', async () => {
  await started()
  let release: () => void = () => undefined
  hold = new Promise((resolve) => (release = resolve))
  write('policies/a.yaml', policy('a', 'n0.example'))
  loop.trigger()
  await soon(() => expect(done).toEqual(['ledger 2 n0.example']))
  for (let i = 1; i <= 20; i++) {
    write('policies/a.yaml', policy('a', `n${i}.example`))
    loop.trigger()
  }
  await sleep(50)
  expect(done).toHaveLength(1)
  hold = undefined
  release()
  await soon(() => expect(done.at(-1)).toBe('settled 3'))
  expect(done.filter((line) => line.startsWith('ledger'))).toEqual(['ledger 2 n0.example', 'ledger 3 n20.example'])
})

it('loses no change of many in rapid succession', async () => {
  await started()
  for (let i = 0; i < 40; i++) {
    write('policies/a.yaml', policy('a', `n${i}.example`))
    await sleep(i % 7)
  }
  await soon(() => expect(snapshots.map(names).at(-1)).toBe('n39.example'))
})

it('does not act on a file that is being written', async () => {
  await started()
  const text = policy('a', 'one.example') + '---\n' + policy('a', 'two.example').replace('name: a', 'name: a2')
  for (let round = 0; round < 3; round++) {
    // In place and in steps: empty, then the first document only.
    write('policies/a.yaml', '')
    loop.trigger()
    await sleep(25)
    write('policies/a.yaml', text.slice(0, text.indexOf('---')))
    loop.trigger()
    await sleep(25)
    write('policies/a.yaml', text)
  }
  await soon(() => expect(snapshots.map(names).at(-1)).toBe('one.example,two.example'))
  expect(done.filter((line) => line.startsWith('ledger'))).toEqual(['ledger 2 one.example,two.example'])
})

it('keeps the endpoints of a broken file, says where it is broken, and takes policies all the same', async () => {
  await started()
  write('endpoints.yaml', 'endpoints:\n  - { name: a, namspace: default }\n')
  write('policies/a.yaml', policy('a', 'two.example'))
  loop.trigger()
  await soon(() => expect(done.at(-1)).toBe('settled 2'))
  expect(done).toEqual(['ledger 2 two.example', 'dns 2', 'datapath 1a! 2b', 'settled 2'])
  expect(loop.state.problems[0]).toMatchObject({ file: join(folder, 'endpoints.yaml'), line: 2, severity: 'error' })
})

it('moves an endpoint of the same name to another address and interface, and gives numbers to nobody else at once', async () => {
  await started()
  write('endpoints.yaml', pods(['a', '10.0.0.9', 'vethz'], ['c', '10.0.0.1', 'vetha']))
  loop.trigger()
  await soon(() => expect(done.at(-1)).toBe('settled 2'))
  expect(done).toEqual(['ledger 2 one.example', 'dns 2', 'datapath 1z! 3a', 'settled 2'])
  const view = openSnapshot(snapshots.at(-1) as SharedArrayBuffer)
  expect(view.endpoints.map(({ id, name }) => [id, name])).toEqual([
    [1, 'a'],
    [3, 'c'],
  ])
})

it('leaves the policy in force when the ledger fails, says so, and tries again', async () => {
  await started()
  refusals = [new Error('no room'), new Error('no room')]
  write('policies/a.yaml', policy('a', 'two.example'))
  loop.trigger()
  await soon(() => expect(errors()).toEqual([expect.stringContaining('no room')]))
  expect(loop.state.generation).toBe(1)
  await soon(() => expect(done.at(-1)).toBe('settled 4'))
  expect(done).toEqual([
    'ledger 2 two.example',
    'ledger 3 two.example',
    'ledger 4 two.example',
    'dns 4',
    'datapath 1a! 2b',
    'settled 4',
  ])
  expect(errors()).toEqual([])
})

it('closes every endpoint while the first policy cannot be put into force', async () => {
  refusals = [new Error('no room')]
  await loop.start()
  await soon(() => expect(done.at(-1)).toBe('settled 2'))
  expect(done.slice(0, 2)).toEqual(['ledger 1 one.example', 'datapath 1a! 2b!'])
})

it('is not held up by a file that kills the compiler', async () => {
  await started()
  write('policies/b.yaml', `# POISON\n${policy('b', 'two.example')}`)
  loop.trigger()
  await soon(() => expect(errors()).toEqual([expect.stringContaining('died')]))
  expect(done).toEqual([])
  write('policies/b.yaml', policy('b', 'three.example'))
  await soon(() => expect(done.at(-1)).toBe('settled 2'))
  expect(done[0]).toBe('ledger 2 one.example,three.example')
  expect(errors()).toEqual([])
})

it('starts with the texts that were in force last beside a file that is broken now', async () => {
  await started()
  await soon(() => expect(loop.state.generation).toBe(1))
  await sleep(20)
  await loop.stop()
  write('policies/a.yaml', policy('a', 'two.example').replace('toFQDNs', 'toFQDN'))
  done = []
  build()
  await loop.start()
  await soon(() => expect(done).toEqual(FIRST))
  expect(errors()).toHaveLength(1)
})

it('closes every endpoint when the first policy there is cannot be read', async () => {
  write('policies/a.yaml', 'kind: [')
  await loop.start()
  await soon(() => expect(done).toEqual(['datapath 1a! 2b!']))
  expect(loop.state.generation).toBe(0)
})
