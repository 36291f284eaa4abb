import { expect, test } from 'vitest'
import { bootId, deviceNames, nodeUid, ownPrefixes, type ReadText } from '../../src/agent/node-facts.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { formatCidr } from '../../src/core/ip.ts'

function config(node = '{}'): Config {
  const loaded = loadConfig(
    `node: ${node}
datapath: { mode: off }
wireguard: { mode: manage, extraPrefixes: [192.0.2.8/32], prefixes: [10.1.1.0/24], directory: { path: /k } }`,
    {},
  )
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

const files =
  (given: Readonly<Record<string, string>>): ReadText =>
  (path) =>
    given[path]
const machine = (id: string, boot = 'boot-1'): ReadText =>
  files({ '/etc/machine-id': id, '/proc/sys/kernel/random/boot_id': boot })
const ID = 'a'.repeat(32)

test('a node is the same as long as machine and name are, over boots', () => {
  const uid = nodeUid(config(), 'node-a', machine(ID))
  expect(uid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  expect(nodeUid(config(), 'node-a', machine(ID, 'boot-2'))).toBe(uid)
  expect(nodeUid(config(), 'node-b', machine(ID))).not.toBe(uid)
  expect(nodeUid(config(), 'node-a', machine('b'.repeat(32)))).not.toBe(uid)
  // machine-id(5): not to be told as it is.
  expect(uid.replaceAll('-', '')).not.toContain('aaaa'.repeat(4))
})

test.each(['', 'uninitialized', 'A'.repeat(32)])(
  'without a machine id (%j) it is the same until the next boot',
  (id) => {
    const uid = nodeUid(config(), 'node-a', machine(id))
    expect(nodeUid(config(), 'node-a', machine(id))).toBe(uid)
    expect(nodeUid(config(), 'node-a', machine(id, 'boot-2'))).not.toBe(uid)
  },
)

test('a configured UID wins', () => {
  expect(nodeUid(config('{ uid: 1234-x }'), 'node-a', machine(ID))).toBe('1234-x')
})

test('facts of the configuration', () => {
  expect(ownPrefixes(config()).map(formatCidr)).toEqual(['10.1.1.0/24', '192.0.2.8/32'])
  expect(deviceNames('kwg')).toEqual(['kwg0', 'kwg1'])
  expect(bootId(files({}))).toBe('unknown')
})
