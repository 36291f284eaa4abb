/** The compliance of the kernel driver, and the search for private keys in the process that uses it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { CASES } from '../compliance/wg-driver.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import { privateKeyForms } from '../support/wg/key-scan.ts'
import { test } from './harness.ts'
import { scanProcess } from './scan.ts'

const NAMESPACE = 'compliance'

export async function testDriver(): Promise<void> {
  process.env['SEKISHO_TEST_DRIVER'] = 'kernel'
  process.env['SEKISHO_TEST_PREFIX'] = 'kwg'
  run('ip', 'netns', 'add', NAMESPACE)
  run(...inside(NAMESPACE, 'ip', 'link', 'set', 'lo', 'up'))
  const peer = new Peer(NAMESPACE, join(import.meta.dirname, '../../build/vm/driver-peer.mjs'))
  for (const { name } of CASES)
    await test(`kernel driver: ${name}`, async () => {
      await peer.call('run', name)
      return undefined
    })
  await test('kernel driver: tells whether single allowed IPs can be removed, and leaves no device of the question', async () => {
    const { removeAllowedIp } = await peer.call<{ removeAllowedIp: boolean }>('features')
    assert.ok(!run(...inside(NAMESPACE, 'ip', '-o', 'link')).includes('sekisho-probe'))
    return { removeAllowedIp: Number(removeAllowedIp) }
  })
  await test('T-KEYMEM: private keys are nowhere in the memory of the process that made and read them', () =>
    keysInMemory(peer))
  await peer.end()
  run('ip', 'netns', 'delete', NAMESPACE)
}

async function keysInMemory(peer: Peer): Promise<{ bytes: number; keys: number }> {
  const { publicKey } = await peer.call<{ publicKey: string }>('create', 'kwg7')
  const forms = privateKeyForms('kwg7', inside(NAMESPACE))
  for (let i = 0; i < 5; i++) {
    await peer.call('rotate', 'kwg7')
    forms.push(...privateKeyForms('kwg7', inside(NAMESPACE)))
  }
  await peer.call('readOften', 'kwg7', 20)
  const { bytes, hits } = await scanProcess(await peer.call<number>('pid'), [Buffer.from(publicKey), ...forms])
  await peer.call('delete', 'kwg7')
  assert.ok((hits[0] ?? 0) > 0, 'the public key is not found: the search is blind')
  assert.deepEqual(
    hits.slice(1),
    forms.map(() => 0),
  )
  return { bytes, keys: forms.length / 4 }
}
