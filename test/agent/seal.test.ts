import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createSeal, type Seal, type SealWork } from '../../src/agent/seal.ts'
import { createView } from '../../src/agent/view.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { SekishoError } from '../../src/core/errors.ts'
import type { Log } from '../../src/core/log.ts'
import type { WgReport, WgView } from '../../src/wg/report.ts'

function config(): Config {
  const loaded = loadConfig(
    'datapath: { mode: off }\nwireguard: { mode: manage, prefixes: [10.1.1.0/24], directory: { path: /k } }',
    {},
  )
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

interface World {
  readonly seal: Seal
  readonly done: string[]
  readonly lines: string[]
}

function world(open: (done: string[]) => Promise<SealWork>): World {
  const done: string[] = []
  const lines: string[] = []
  const log: Log = {
    debug: (_fields, message) => void lines.push(`debug ${message}`),
    info: (_fields, message) => void lines.push(`info ${message}`),
    warn: (_fields, message) => void lines.push(`warn ${message}`),
    error: (_fields, message) => void lines.push(`error ${message}`),
  }
  const seal = createSeal({
    config: config(),
    node: 'node-a',
    log,
    retryMs: 5,
    metrics: () => [],
    open: () => open(done),
  })
  return { seal, done, lines }
}

function work(done: string[], waits?: string): SealWork {
  const report = {
    driver: 'kernel',
    warnings: ['rp_filter is 1 on all'],
    directory: { lost: 'EIO' },
  } as unknown as WgReport
  const view = {
    report: () => report,
    peers: () => [],
    peer: () => undefined,
    keyEvents: () => [],
    counters: () => ({}) as ReturnType<WgView['counters']>,
    rotate: (compromised: boolean) => void done.push(`rotate ${compromised}`),
  } satisfies WgView
  return {
    view,
    waitsFor: () => waits,
    addressesChanged: () => void done.push('addresses'),
    stop: async () => void done.push('stopped'),
  }
}

const unsupported = (): SekishoError =>
  new SekishoError('SEKISHO_WG_UNSUPPORTED', 'the kernel', { hint: 'load the module `wireguard`' })

async function until(holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 2000; !holds(); await sleep(2)) expect(performance.now()).toBeLessThan(end)
}

test('before it has started the view says so, and every method answers', () => {
  const { seal, lines } = world(() => new Promise(() => undefined))
  seal.start()
  expect(seal.readiness()).toEqual([{ name: 'wireguard', ready: false, reason: 'it starts' }])
  expect(seal.warnings()).toEqual([])
  expect(seal.view.report()).toMatchObject({ node: 'node-a', slots: [], directory: { lost: 'it starts' } })
  expect([seal.view.peers(), seal.view.peer('x'), seal.view.keyEvents()]).toEqual([[], undefined, []])
  expect(seal.view.counters().errors).toBe(0)
  seal.view.rotate(false)
  seal.addressesChanged()
  expect(lines).toEqual(['warn a rotation was asked for before the seal has started'])
})

test('a start that fails is told with its hint, once a cause, and tried again until it works', async () => {
  let tries = 0
  const { seal, lines } = world(async (done) => {
    tries++
    if (tries <= 3) throw unsupported()
    if (tries === 4) throw new Error('another cause')
    return work(done)
  })
  seal.start()
  await until(() => tries >= 2)
  expect(seal.readiness()[0]?.reason).toContain('load the module')
  expect(seal.warnings()[0]).toContain('cannot start: there is no WireGuard to use')
  await until(() => seal.readiness()[0]?.ready === true)
  expect(seal.view.report().driver).toBe('kernel')
  expect(seal.warnings()).toEqual(['the directory of keys is lost: EIO', 'rp_filter is 1 on all'])
  expect(lines.filter((line) => line.startsWith('error'))).toHaveLength(2)
  await seal.stop()
})

test('what runs is asked, told of addresses, and stopped once', async () => {
  const { seal, done } = world(async (list) => work(list, '3 of 5 peers are not proven yet'))
  seal.start()
  seal.start()
  await until(() => seal.view.report().mode === undefined)
  expect(seal.readiness()).toEqual([{ name: 'wireguard', ready: false, reason: '3 of 5 peers are not proven yet' }])
  seal.addressesChanged()
  seal.view.rotate(true)
  await seal.stop()
  expect(done).toEqual(['addresses', 'rotate true', 'stopped'])
})

test('a stop ends the wait for the next try, and a start that comes through late is stopped', async () => {
  let tries = 0
  const failing = createSeal({
    config: config(),
    node: 'node-a',
    log: { debug() {}, info() {}, warn() {}, error() {} },
    retryMs: 60_000,
    metrics: () => [],
    open: () => {
      tries++
      return Promise.reject(unsupported())
    },
  })
  failing.start()
  await until(() => tries === 1)
  await sleep(5)
  const began = performance.now()
  await failing.stop()
  expect(performance.now() - began).toBeLessThan(1000)
  expect(tries).toBe(1)

  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  const late = world(async (done) => {
    await held
    return work(done)
  })
  late.seal.start()
  const stopping = late.seal.stop()
  release()
  await stopping
  expect(late.done).toEqual(['stopped'])
})

test('the agent’s status has what gate and seal say, or the one that runs', async () => {
  const { seal } = world(() => new Promise(() => undefined))
  const view = createView({ config: config(), node: 'node-a', gate: undefined, seal })
  expect(view.readiness().map(({ name }) => name)).toEqual(['wireguard'])
  expect(view.status()).toMatchObject({ node: 'node-a', mode: 'off', policyGeneration: 0, workers: [] })
  expect(view.wg()).toBe(seal.view)
  expect(await view.names('a/b', 0, 1)).toBeUndefined()
  expect([view.endpoints(), view.drops(1), view.policy().files]).toEqual([[], [], []])
  const alone = createView({ config: config(), node: 'node-a', gate: undefined, seal: undefined })
  expect([alone.readiness(), alone.wg()]).toEqual([[], undefined])
})
