import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CASES } from '../compliance/wg-driver.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import { privateKeyForms, scanMemory } from '../support/wg/key-scan.ts'

const NAMESPACE = `skwg${process.pid}`
// The sockets of all namespaces lie in one folder.
const PREFIX = `sk${process.pid}x`
const PEER = fileURLToPath(new URL('../support/wg/driver-peer.ts', import.meta.url))

let peer: Peer
beforeAll(() => {
  process.env['SEKISHO_TEST_DRIVER'] = 'userspace'
  process.env['SEKISHO_TEST_PREFIX'] = PREFIX
  run('ip', 'netns', 'add', NAMESPACE)
  run(...inside(NAMESPACE, 'ip', 'link', 'set', 'lo', 'up'))
  peer = new Peer(NAMESPACE, PEER)
})
afterAll(async () => {
  await (peer as Peer | undefined)?.end()
  // What a failed test left: the program of a device ends with its interface, not with its namespace.
  for (const [, name] of run(...inside(NAMESPACE, 'ip', '-o', 'link')).matchAll(/^\d+: (sk\w+)/gm))
    run(...inside(NAMESPACE, 'ip', 'link', 'delete', name ?? ''))
  run('ip', 'netns', 'delete', NAMESPACE)
})

describe('userspace driver', () => {
  for (const { name } of CASES) it(name, () => peer.call('run', name))

  it('leaves no socket behind', () => {
    const sockets = readdirSync('/var/run/wireguard')
    expect(sockets.filter((name) => name.startsWith(PREFIX))).toEqual([])
  })
})

describe('private keys', () => {
  it('are nowhere in the memory of the process that made and read them', async () => {
    const name = `${PREFIX}7`
    const { publicKey } = await peer.call<{ publicKey: string }>('create', name)
    const forms = privateKeyForms(name, inside(NAMESPACE))
    for (let i = 0; i < 10; i++) {
      await peer.call('rotate', name)
      forms.push(...privateKeyForms(name, inside(NAMESPACE)))
    }
    await peer.call('readOften', name, 50)
    const { bytes, hits } = scanMemory(await peer.call<number>('pid'), [Buffer.from(publicKey), ...forms])
    await peer.call('delete', name)
    expect(bytes).toBeGreaterThan(20 << 20)
    // The first public key was handed out as text: what looks can see.
    expect(hits[0]).toBeGreaterThan(0)
    expect(hits.slice(1)).toEqual(forms.map(() => 0))
  })
})
