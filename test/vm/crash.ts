/** Agents that die amid a rotation, and a directory that is late, loses and reorders. */
import assert from 'node:assert/strict'
import { type Figures, LONG, sleep, until } from './harness.ts'
import { figuresOf, type Lab } from './mesh/lab.ts'
import { FAIR } from './mesh/relay.ts'
import type { Report } from './mesh/traffic.ts'

/** A rotation is in the others for moments only. */
const PHASES = ['draining', 'settling'] as const

export async function killAmidRotation(lab: Lab, slow: number): Promise<Figures> {
  const reports: Report[] = []
  for (let round = 0; round < (LONG ? lab.nodes.length : 1); round++)
    for (const phase of LONG ? PHASES : PHASES.slice(0, 1)) {
      const node = lab.network.node(1 + ((round + PHASES.indexOf(phase)) % lab.nodes.length))
      await lab.agents.rotate(node)
      await until(
        `${node.name} ${phase}`,
        async () => (await lab.agents.report(node)).rotation.phase === phase,
        30_000 * slow,
        async () => lab.describe(node),
      )
      await lab.agents.end(node, 'SIGKILL')
      // Long enough for the others to notice, if they would.
      await sleep(1000)
      lab.agents.start(node, 'strict')
      await lab.untilMode('strict', lab.nodes, 40_000 * slow)
      await lab.untilSettled(lab.nodes, 60_000 * slow)
      reports.push(await lab.traffic.mark(`killed while ${phase}`))
    }
  const clear = await lab.clearFrames()
  for (const report of reports) lab.assertSmooth(report)
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  return { kills: reports.length, ...figuresOf(reports, clear) }
}

export async function badDirectory(lab: Lab, slow: number): Promise<Figures> {
  const reports: Report[] = []
  const before = lab.relay.counts
  await lab.traffic.mark('before')
  await lab.clearFrames()
  try {
    lab.relay.weather = { delayMs: [20, 3000], loss: 0.3, cut: () => false }
    await lab.rotate(lab.nodes, 90_000 * slow)
    reports.push(await lab.traffic.mark('late, missing, reordered'))
    const [first, second] = [lab.network.node(1), lab.network.node(2)]
    // The second never hears of what the first does until the rotation has been waiting for a while.
    lab.relay.weather = { ...FAIR, cut: (writer, reader) => writer === first.name && reader === second.name }
    await lab.agents.rotate(first)
    await sleep(LONG ? 60_000 : 8_000)
    reports.push(await lab.traffic.mark('cut off from the directory'))
  } finally {
    lab.relay.weather = FAIR
  }
  await lab.untilSettled(lab.nodes, 90_000 * slow)
  reports.push(await lab.traffic.mark('back'))
  const clear = await lab.clearFrames()
  for (const report of reports) lab.assertSmooth(report)
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  const { lost, overtaken, delivered } = lab.relay.counts
  assert.ok(lost > before.lost, 'the directory lost nothing: the weather was too good')
  return {
    recordsLost: lost - before.lost,
    recordsOvertaken: overtaken - before.overtaken,
    recordsDelivered: delivered - before.delivered,
    ...figuresOf(reports, clear),
  }
}

/** A node is made again under its name: another UID, new devices and keys. */
export async function rebirth(lab: Lab, slow: number): Promise<Figures> {
  const node = lab.network.node(lab.nodes.length)
  const others = lab.nodes.filter((one) => one !== node)
  await lab.traffic.mark('before')
  await lab.clearFrames()
  await lab.agents.end(node, 'SIGKILL')
  lab.network.holdPods(node)
  lab.network.loseDevices(node)
  lab.agents.rename(node, `${lab.agents.uid(node)}-2`)
  lab.agents.start(node, 'strict')
  // As the orchestrator does, which starts no pod on a node that is not ready.
  await until(
    'ready',
    () => lab.agents.ready(node),
    60_000 * slow,
    () => lab.describe(node),
  )
  lab.network.releasePods(node)
  await lab.untilMode('strict', lab.nodes, 60_000 * slow)
  await lab.untilSettled(lab.nodes, 60_000 * slow)
  const uids = (await lab.agents.peers(lab.network.node(1))).filter(({ name }) => name === node.name)
  assert.deepEqual(
    uids.map(({ uid }) => uid),
    [lab.agents.uid(node)],
    'the old node is still there',
  )
  const report = await lab.traffic.mark('rebirth')
  const bystanders = report.flows.filter(
    ({ label, lost, resets }) =>
      (lost > 0 || resets > 0) && !label.includes(node.namespace) && !label.includes(node.pod),
  )
  assert.deepEqual(bystanders, [], `flows among ${others.map(({ name }) => name).join(' and ')} suffer`)
  const clear = await lab.clearFrames()
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  await sleep(500)
  const after = await lab.traffic.mark('after')
  lab.assertSmooth(after)
  return figuresOf([report, after], clear)
}
