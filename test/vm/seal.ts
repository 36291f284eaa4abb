/** The real agents on kernel WireGuard, under traffic: enabling, rotation, faults, disabling. */
import assert from 'node:assert/strict'
import { badDirectory, killAmidRotation, rebirth } from './crash.ts'
import { silence } from './cut.ts'
import { type Figures, filter, type Later, LONG, settled, sleep, test, wanted } from './harness.ts'
import { firewall, heal } from './heal.ts'
import { keysInMemory, keysOnDisk } from './keys.ts'
import { figuresOf } from './mesh/figures.ts'
import { Lab } from './mesh/lab.ts'
import type { Report } from './mesh/traffic.ts'
import { move } from './move.ts'
import { oneWay } from './one-way.ts'

/** How much longer than on a machine of its own everything takes here. */
const SLOW = 4
const ENABLE = 'T-ENABLE: nodes are sealed under UDP and TCP'

export async function testSeal(): Promise<void> {
  const lab = new Lab({ prefix: 's', nodes: LONG ? 5 : 3, rate: LONG ? 10 : 20 })
  await test(ENABLE, () => enable(lab), { always: true })
  await test('T-ROTATE: one node after the other', () => rotateEach(lab))
  await test('T-ROTATE: all nodes at once, opposite slots, 10 ms away from each other', () => rotateAll(lab))
  await test('T-ROTATE: an agent is killed amid it', () => killAmidRotation(lab, SLOW))
  if (LONG || filter !== '') await testFaults(lab)
  // What sends and receives costs the processors that look for keys.
  else await test('T-ROTATE: the rest of the traffic', () => endTraffic(lab))
  await test('T-KEYMEM: private keys are nowhere in the memory of the agents', () => keysInMemory(lab))
  await test('T-KEYDISK: private keys are in no file', () => keysOnDisk(lab))
  if (LONG || filter !== '')
    await test('T-DISABLE: one node after the other is unsealed under UDP and TCP', () => disable(lab))
  // The last window is still open.
  await settled()
  await lab.close()
}

/** Not in the bounded form: each waits for agents to start again or for repairs. */
async function testFaults(lab: Lab): Promise<void> {
  await test('T-ROTATE: the directory is late, loses and reorders', () => badDirectory(lab, SLOW))
  await test('T-SILENCE: a pair hears nothing of each other for longer than a session lives', () => silence(lab, SLOW))
  await test('T-HEAL: what others do to devices and routes is mended', () => heal(lab, SLOW, 'kwg0'))
  await test('T-HEAL: a device carries one way only', () => oneWay(lab, SLOW, (slot) => `kwg${slot}`))
  await test('T-FW: one port is shut', () => firewall(lab, SLOW, 51_871))
  await test('T-MOVE: a node gets other addresses', () => move(lab, SLOW))
  await test('T-REBIRTH: a node is made again under its name', () => rebirth(lab, SLOW))
}

async function enable(lab: Lab): Promise<Later> {
  await lab.open()
  const leaked = await lab.clearFrames()
  assert.ok(leaked > 20, 'the sniffer sees no clear text where all of it is')
  // Of no interest, but the next begins.
  void lab.window('clear')
  const start = performance.now()
  // One after the other: those that came before are strict while others are not there yet. All at once in the short form, and
  // where other tests only stand on it.
  const steps = LONG && wanted(ENABLE) ? lab.nodes.map(({ index }) => index) : [lab.nodes.length]
  let running = 0
  for (const step of steps) {
    for (const node of lab.nodes.slice(running, step)) lab.agents.start(node, 'strict')
    running = step
    await lab.untilMode('strict', lab.nodes.slice(0, step), 40_000 * SLOW)
  }
  await lab.untilSettled()
  const seconds = (performance.now() - start) / 1000
  const window = lab.window('enable')
  const guarded = await lab.dropped()
  assert.deepEqual(guarded, {}, 'a guard dropped what was on its way')
  await lab.clearFrames()
  await sleep(500)
  const clear = await lab.clearFrames()
  assert.equal(clear, 0, `clear text after all pairs are strict: ${await lab.clearSample()}`)
  return async () => {
    const report = await window
    lab.assertSmooth(report)
    return { ...figuresOf([report], clear), leakedBefore: leaked, seconds: Math.round(seconds) }
  }
}

/** What the windows say when they are known, and no clear text until now. */
async function smooth(lab: Lab, windows: readonly Promise<Report>[], more: Figures): Promise<Later> {
  const clear = await lab.clearFrames()
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  return async () => {
    const reports = await Promise.all(windows)
    for (const report of reports) lab.assertSmooth(report)
    return { ...more, ...figuresOf(reports, clear) }
  }
}

async function rotateEach(lab: Lab): Promise<Later> {
  const rotations = LONG ? 20 : 2
  const windows: Promise<Report>[] = []
  const times: number[] = []
  for (let i = 0; i < rotations; i++) {
    const node = lab.network.node((i % lab.nodes.length) + 1)
    times.push(await lab.rotate([node]))
    if (LONG || i + 1 === rotations) windows.push(lab.window(`rotation ${i + 1} of ${node.name}`))
  }
  return smooth(lab, windows, { rotations, longestMs: Math.round(Math.max(...times)) })
}

async function rotateAll(lab: Lab): Promise<Later> {
  const rounds = LONG ? 3 : 1
  // A rotation takes the older slot, and what went before left the nodes with different ones.
  const older = async (): Promise<Set<number>> =>
    new Set(await Promise.all(lab.nodes.map((node) => lab.olderSlot(node))))
  if ((await older()).size < 2) await lab.rotate([lab.network.node(1)])
  assert.equal((await older()).size, 2, 'all nodes would rotate the same slot')
  lab.network.delay(10)
  const windows: Promise<Report>[] = []
  for (let i = 0; i < rounds; i++) {
    await lab.rotate(lab.nodes, 120_000)
    windows.push(lab.window(`all at once ${i + 1}`))
  }
  lab.network.delay(0)
  return smooth(lab, windows, { rotations: rounds * lab.nodes.length })
}

/** Nothing is lost up to the last packet. */
async function endTraffic(lab: Lab): Promise<Later> {
  return smooth(lab, [lab.lastWindow('rest')], {})
}

export async function disable(lab: Lab): Promise<Figures> {
  await lab.traffic.mark('before')
  for (const node of lab.nodes) {
    await lab.agents.end(node, 'SIGTERM')
    lab.agents.start(node, 'off')
    await lab.untilMode('off', [node], 40_000 * SLOW)
  }
  await lab.untilMode('off', lab.nodes, 40_000 * SLOW)
  const report = await lab.traffic.mark('disable')
  lab.assertSmooth(report)
  return figuresOf([report], await lab.clearFrames())
}
