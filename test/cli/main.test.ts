import { expect, test, vi } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { run } from '../../src/cli/main.ts'
import type { Roots, RootsDoor } from '../../src/cli/ports.ts'
import { VERSION } from '../../src/core/version.ts'
import { fakeIo, type World } from './fake-io.ts'

const CONFIG = 'datapath: { endpoints: /e }\npolicy: { paths: [/p] }\n'

function door(root = true): RootsDoor & { roots: Roots; load: ReturnType<typeof vi.fn<() => Promise<Roots>>> } {
  const runAgent = vi.fn<Roots['runAgent']>(async () => 0)
  const cleanup = vi.fn<Roots['cleanup']>(async (_config, tell) => {
    tell('removed')
    return 0
  })
  const roots = { runAgent, cleanup }
  return { root, roots, load: vi.fn(async () => roots) }
}

async function call(
  line: string,
  world: World = {},
  at = door(),
): Promise<{ status: number; out: string; err: string }> {
  const io = fakeIo(world)
  const status = await run(line.split(' ').filter(Boolean), io, at)
  return { status, ...io.written }
}

test('without a command the overview goes to standard error and the status is 2', async () => {
  const { status, out, err } = await call('')
  expect([status, out]).toEqual([2, ''])
  for (const { name, summary } of COMMANDS) expect(err).toMatch(new RegExp(`${name} +${summary}`))
})

test.each(COMMANDS.map(({ name }) => name))('%s explains itself by help NAME and by --help', async (name) => {
  const byWord = await call(`help ${name}`)
  expect(byWord).toMatchObject({ status: 0, err: '' })
  expect(byWord.out).toContain(`Usage: sekisho ${name}`)
  expect((await call(`${name} --help`)).out).toBe(byWord.out)
})

test.each([
  ['stats', 'did you mean "status"?'],
  ['policy chek', 'did you mean "policy check"?'],
  ['policy', 'policy check, policy match'],
  ['xyzzy', '"sekisho help" lists them'],
  ['help nothing', 'lists them'],
])('"%s" is no command', async (line, hint) => {
  const { status, err } = await call(line)
  expect(status).toBe(2)
  expect(err).toContain(hint)
})

test.each([
  ['status --confg x', 'did you mean --config?'],
  ['agent --chek', 'did you mean --check?'],
  ['agent file.yaml', 'use --config FILE'],
  ['status -o xml', 'use -o table or -o json'],
  ['agent --config', 'Usage: sekisho agent'],
  ['why shop/cart', 'Usage: sekisho why'],
])('"%s" is bad usage', async (line, text) => {
  const { status, err } = await call(line)
  expect(status).toBe(2)
  expect(err).toContain(text)
})

test('version', async () => {
  expect((await call('version')).out).toContain(VERSION)
  expect(await call('--version')).toEqual(await call('version'))
})

test('a bad configuration is 64, every problem told, and nothing is loaded', async () => {
  const at = door()
  const { status, err } = await call(
    'agent -c /c',
    { files: { '/c': `${CONFIG}http: { prt: 1 }\nlog: { level: x }` } },
    at,
  )
  expect(status).toBe(64)
  expect(err).toContain('/c:3:9: http.prt: there is no such setting (did you mean port?) [SEKISHO_CONFIG_UNKNOWN]')
  expect(err).toContain('/c:4:15: log.level')
  expect(err).toContain('2 problems')
  expect(at.load).not.toHaveBeenCalled()
})

test('a configuration that cannot be read is 64', async () => {
  const { status, err } = await call('agent -c /none')
  expect(status).toBe(64)
  expect(err).toContain('ENOENT [SEKISHO_CONFIG_FILE]')
})

test('the agent runs with the whole configuration and gives the status', async () => {
  const at = door()
  expect((await call('agent -c /c', { files: { '/c': CONFIG }, env: { SEKISHO_HTTP_PORT: '7' } }, at)).status).toBe(0)
  expect(at.roots.runAgent).toHaveBeenCalledExactlyOnceWith(
    expect.objectContaining({ http: { address: '127.0.0.1', port: 7 } }),
  )
})

test('--check reads the configuration and starts nothing', async () => {
  const at = door()
  expect(await call('agent --check -c /c', { files: { '/c': CONFIG } }, at)).toMatchObject({ status: 0, err: '' })
  expect(at.load).not.toHaveBeenCalled()
})

test.each(['agent', 'cleanup'])('%s without root is 77', async (name) => {
  const at = door(false)
  const { status, err } = await call(`${name} -c /c`, { files: { '/c': CONFIG } }, at)
  expect(status).toBe(77)
  expect(err).toContain('SEKISHO_CLI_ROOT')
  expect(at.load).not.toHaveBeenCalled()
})

test('cleanup refuses while an agent answers, unless forced', async () => {
  const world = {
    files: { '/c': CONFIG },
    answers: { 'http://127.0.0.1:9876/livez': { status: 200, body: { alive: true } } },
  }
  const refused = door()
  expect((await call('cleanup -c /c', world, refused)).status).toBe(1)
  expect(refused.roots.cleanup).not.toHaveBeenCalled()
  expect(await call('cleanup --force -c /c', world)).toMatchObject({ status: 0, out: 'removed\n' })
  expect(await call('cleanup -c /c', { files: { '/c': CONFIG } })).toMatchObject({ status: 0, out: 'removed\n' })
})

test('a fault of ours is 70 and shows where', async () => {
  const at = door()
  at.load.mockRejectedValue(new TypeError('boom'))
  const { status, err } = await call('agent -c /c', { files: { '/c': CONFIG } }, at)
  expect(status).toBe(70)
  expect(err).toContain('boom')
  expect(err).toContain('main.test.ts')
})
