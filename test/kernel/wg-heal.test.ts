/** What others do to devices, routes and paths of a real agent, found and mended; guests do the same with WireGuard of the kernel. */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { FAILOVER_MS, firewall, heal } from '../vm/heal.ts'
import { Lab } from '../vm/mesh/lab.ts'
import type { Node } from '../vm/mesh/network.ts'
import { oneWay } from '../vm/one-way.ts'

const PREFIX = `whl${process.pid}`
/** Programs in userspace share one folder of sockets on the machine, so each name must be one of a kind. */
const prefixOf = ({ index }: Node): string => `whl${process.pid % 100_000}${index}k`
/** Nothing here waits for a processor that is emulated, so no packet comes later, ms. */
const LATE_MS = 700

const lab = new Lab({
  prefix: PREFIX,
  nodes: 3,
  rate: 50,
  driver: 'userspace',
  wireguard: (node) => ({ devicePrefix: prefixOf(node) }),
})

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this makes namespaces: run it as root')
  await lab.open()
  await lab.traffic.late(LATE_MS)
  for (const node of lab.nodes) lab.agents.start(node, 'strict')
  await lab.untilMode('strict')
  await lab.untilSettled()
}, 120_000)

afterAll(async () => {
  await lab.agents.endAll()
  for (const node of lab.nodes)
    for (const slot of [0, 1]) spawnSync('ip', ['-n', node.namespace, 'link', 'delete', `${prefixOf(node)}${slot}`])
  await lab.close()
}, 60_000)

test('each is mended in two seconds and counted, nothing is in the clear, and no connection breaks', async () => {
  const figures = await heal(lab, 1, `${prefixOf(lab.network.node(1))}0`)
  expect(figures['clearText']).toBe(0)
}, 180_000)

test('a device that carries one way only is left in three seconds, made again once, and nothing is lost after it was left', async () => {
  const figures = await oneWay(lab, 1, (slot) => `${prefixOf(lab.network.node(1))}${slot}`)
  expect(figures['failoverMs']).toBeLessThan(FAILOVER_MS)
  expect(figures['clearText']).toBe(0)
}, 90_000)

test('a port that is shut is left in three seconds, and named with its direction and the rule that is missing', async () => {
  const figures = await firewall(lab, 1, 51_871)
  expect(figures['clearText']).toBe(0)
}, 90_000)
