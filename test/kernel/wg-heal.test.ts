/** What others do to devices and routes of a real agent, mended in two seconds; guests do the same with WireGuard of the kernel. */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { heal } from '../vm/heal.ts'
import { Lab } from '../vm/mesh/lab.ts'
import type { Node } from '../vm/mesh/network.ts'

const PREFIX = `whl${process.pid}`
/** Programs in userspace share one folder of sockets on the machine, so each name must be one of a kind. */
const prefixOf = ({ index }: Node): string => `whl${process.pid % 100_000}${index}k`

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
