/** Two nodes hear nothing of each other's keys for longer than a session of WireGuard lives, while both would rotate. */
import assert from 'node:assert/strict'
import { opposite, untilPhase } from './crash.ts'
import { type Figures, sleep, until } from './harness.ts'
import { figuresOf } from './mesh/figures.ts'
import type { Lab } from './mesh/lab.ts'
import type { Node } from './mesh/network.ts'
import { FAIR } from './mesh/relay.ts'
import type { Report } from './mesh/traffic.ts'

/** REJECT_AFTER_TIME of WireGuard is 180 s: no session from before the cut is left at its end. */
const CUT_SECONDS = 200
/** State and age of the last handshake, seconds, of a tunnel, as the node sees it. */
async function tunnel(lab: Lab, node: Node, peer: Node, slot: number): Promise<{ state: string; age: number }> {
  const found = (await lab.agents.peers(node)).find(({ name }) => name === peer.name)
  const one = found?.tunnels.find((other) => other.slot === slot)
  return { state: one?.state ?? 'none', age: one?.handshakeAgeSeconds ?? Infinity }
}

const phaseOf = async (lab: Lab, node: Node): Promise<string> => (await lab.agents.report(node)).rotation.phase

const keysOf = async (lab: Lab, nodes: readonly Node[]): Promise<(string | undefined)[]> =>
  (await Promise.all(nodes.map(async (node) => lab.agents.report(node)))).flatMap(({ slots }) =>
    slots.map(({ publicKey }) => publicKey),
  )

const completed = async (lab: Lab, nodes: readonly Node[]): Promise<number[]> =>
  Promise.all(nodes.map(async (node) => (await lab.agents.report(node)).rotation.completed))

export async function silence(lab: Lab, slow: number): Promise<Figures> {
  const reports: Report[] = []
  await lab.traffic.mark('before')
  await lab.clearFrames()
  const [first, second] = await opposite(lab, 0)
  const both = [first, second]
  const changed = await lab.olderSlot(first)
  const before = await completed(lab, both)
  const begun = performance.now()
  const seconds = (): number => (performance.now() - begun) / 1000
  try {
    const names = both.map(({ name }) => name)
    lab.relay.weather = { ...FAIR, cut: (writer, reader) => names.includes(writer) && names.includes(reader) }
    await lab.agents.rotate(first)
    const old = await keysOf(lab, both)
    await untilPhase(lab, first, 'settling', slow)
    await until('the new key is reported', async () => (await keysOf(lab, both)).join() !== old.join(), 5000 * slow)
    const keys = await keysOf(lab, both)
    // The other slot of the pair is the only one that still works: no key of it may be changed, whoever is asked to.
    await lab.agents.rotate(second)
    let asked = false
    for (; seconds() < CUT_SECONDS; await sleep(1000)) {
      assert.deepEqual(await keysOf(lab, both), keys, `a key was changed after ${seconds().toFixed(0)} s`)
      if (asked || (await phaseOf(lab, first)) !== 'idle') continue
      // It waited a minute for the other to prove its new key.
      await lab.agents.rotate(first)
      asked = true
    }
    assert.ok(asked, `${first.name} is still ${await phaseOf(lab, first)}`)
    const dead = await tunnel(lab, second, first, changed)
    assert.ok(dead.state !== 'proven' && dead.age > 180, `slot ${changed}: ${JSON.stringify(dead)}`)
    const alive = await tunnel(lab, second, first, 1 - changed)
    // The session from before the cut is dead in this slot too: it was renewed, by keys that both knew.
    assert.ok(alive.state === 'proven' && alive.age < 180, `slot ${1 - changed}: ${JSON.stringify(alive)}`)
    for (const [node, peer] of [
      [first, second],
      [second, first],
    ] as const) {
      const { awaited } = (await lab.agents.report(node)).rotation
      assert.ok(
        awaited.some(({ names }) => names.includes(peer.name)),
        `${node.name} does not name ${peer.name}`,
      )
    }
    reports.push(await lab.traffic.mark('silence'))
  } finally {
    lab.relay.weather = FAIR
  }
  const heard = performance.now()
  await lab.untilSettled(lab.nodes, 60_000 * slow)
  const settledMs = Math.round(performance.now() - heard)
  const after = await completed(lab, both)
  // The first has changed both of its keys now, the second one.
  assert.deepEqual(after, [(before[0] ?? 0) + 2, (before[1] ?? 0) + 1], 'rotations that were held up do not end')
  reports.push(await lab.traffic.mark('heard'))
  const clear = await lab.clearFrames()
  for (const report of reports) lab.assertSmooth(report)
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  return { silentSeconds: CUT_SECONDS, settledMs, ...figuresOf(reports, clear) }
}
