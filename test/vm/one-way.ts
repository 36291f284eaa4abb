/** A device that sends and no longer hands on what it receives: found by probes, left, and made again. */
import assert from 'node:assert/strict'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { type Figures, until } from './harness.ts'
import { FAILOVER_MS, routedBy } from './heal.ts'
import { figuresOf } from './mesh/figures.ts'
import type { Lab } from './mesh/lab.ts'
import type { Node } from './mesh/network.ts'
import { badFlows } from './mesh/traffic.ts'

/** A slot is so for this long before its device is made again, ms: `brokenAfterMs` of the engine. */
const BROKEN_MS = 10_000
/** From there until it is drained (`quietMs` of the machine), made and counted, ms. */
const MADE_MS = 8_000

/**
 * What comes in from this very device is dropped after decryption. By the number of the interface: a device made again under
 * its name works. So handshakes and keepalives go on, and only what is inside of the tunnel tells.
 */
function deafen(node: Node, device: string): { readonly dropped: () => number; readonly end: () => void } {
  const rules = `table inet deaf { chain c { type filter hook prerouting priority -300; iif "${device}" counter drop; }; }`
  run(...inside(node.namespace, 'nft', rules))
  const list = (): string => run(...inside(node.namespace, 'nft', 'list', 'table', 'inet', 'deaf'))
  return {
    dropped: () => Number(/packets (\d+)/.exec(list())?.[1]),
    end: () => void run(...inside(node.namespace, 'nft', 'delete', 'table', 'inet', 'deaf')),
  }
}

async function recreations(lab: Lab): Promise<Record<string, number>> {
  const found: Record<string, number> = {}
  for (const node of lab.nodes)
    for (const { slot, recreations: count } of (await lab.agents.report(node)).slots)
      found[`${node.name} slot ${slot}`] = count
  return found
}

/** `deviceOf`: names of the slots' devices on the first node. */
export async function oneWay(lab: Lab, slow: number, deviceOf: (slot: number) => string): Promise<Figures> {
  const node = lab.network.node(1)
  const others = lab.nodes.filter((one) => one !== node)
  const pairs = others.flatMap((other) => [[other, node] as const, [node, other] as const])
  // What is sent to the node by this slot is lost.
  const slot = (await routedBy(lab, lab.network.node(2), node)) ?? 0
  const here = `${node.name} slot ${slot}`
  const before = await recreations(lab)
  await lab.clearFrames()
  void lab.window('before')
  const deaf = deafen(node, deviceOf(slot))
  const begun = performance.now()
  try {
    const times = pairs.map(async ([from, to]) =>
      until(
        `${from.name} leaves slot ${slot} of ${to.name}`,
        async () => (await routedBy(lab, from, to)) === 1 - slot,
        FAILOVER_MS * slow,
        async () => lab.describe(from),
      ),
    )
    const failoverMs = Math.max(...(await Promise.all(times)))
    const cut = await lab.traffic.mark('one way')
    // Has the end of the silence in it, and nothing may be lost.
    const left = lab.window('left')
    await until(
      `the device of slot ${slot} is made again`,
      async () => (await recreations(lab))[here] !== before[here],
      (BROKEN_MS + MADE_MS) * slow,
      async () => lab.describe(node),
    )
    const madeMs = performance.now() - begun
    await lab.untilSettled(lab.nodes, 30_000 * slow)
    const settledMs = performance.now() - begun
    const moved = await left
    const after = await lab.traffic.mark('made again')
    const clear = await lab.clearFrames()
    assert.equal(clear, 0, await lab.clearSample())
    assert.ok(deaf.dropped() > 0, 'the device was not deaf')
    // Only what was sent to it until it was left; nobody else pays for it, then or when the device is made again. Acknowledgements
    // to streams are lost too, and these wait.
    const toNode = (label: string): boolean => [node.namespace, node.pod].some((name) => label.includes(`>${name}/`))
    const lossy = cut.flows.filter(({ tcp, lost }) => !tcp && lost > 0)
    assert.ok(lossy.length > 0, 'nothing was lost')
    assert.deepEqual(
      lossy.filter(({ label }) => !toNode(label)),
      [],
    )
    assert.equal(cut.tcp.resets, 0)
    assert.equal(moved.udp.lost, 0, badFlows(moved))
    lab.assertSmooth(after)
    // Once, and no device of those that hear.
    assert.deepEqual(await recreations(lab), { ...before, [here]: (before[here] ?? 0) + 1 })
    return {
      failoverMs: Math.round(failoverMs),
      madeMs: Math.round(madeMs),
      settledMs: Math.round(settledMs),
      deafTo: deaf.dropped(),
      ...figuresOf([cut, moved, after], clear),
    }
  } finally {
    deaf.end()
  }
}
