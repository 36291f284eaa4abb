/** Agents that die amid a rotation, and a directory that is late, loses and reorders. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { type Figures, filter, type Later, LONG, sleep, until } from './harness.ts'
import { figuresOf } from './mesh/figures.ts'
import type { Lab } from './mesh/lab.ts'
import type { Node } from './mesh/network.ts'
import { FAIR } from './mesh/relay.ts'
import type { Report } from './mesh/traffic.ts'

/** Its key takes more than a tenth of a second to change where every instruction is emulated. */
const BUSY_PEERS = 500

/** Where an agent is killed, and how it is kept there. */
interface Moment {
  readonly name: string
  /** Leads a rotation of a node to the moment. The function lets go of what held it there. */
  readonly reach: (lab: Lab, round: number, slow: number) => Promise<{ readonly node: Node; letGo?: () => void }>
}

/** Asks without a pause: some phases are over soon. */
export async function untilPhase(lab: Lab, node: Node, phase: string, slow: number): Promise<void> {
  const end = performance.now() + 30_000 * slow
  while ((await lab.agents.report(node)).rotation.phase !== phase)
    if (performance.now() > end) throw new Error(`${node.name} is never ${phase}\n${await lab.describe(node)}`)
}

const nodeOf = (lab: Lab, round: number): Node => lab.network.node(1 + (round % lab.nodes.length))

/** Two nodes whose next rotations take different slots. */
export async function opposite(lab: Lab, round: number): Promise<readonly [Node, Node]> {
  const node = nodeOf(lab, round)
  const slot = await lab.olderSlot(node)
  for (const other of lab.nodes) if (other !== node && (await lab.olderSlot(other)) !== slot) return [node, other]
  const other = nodeOf(lab, round + 1)
  await lab.rotate([other])
  return [node, other]
}

/** What a node writes is not taken, and nothing comes to it. */
function takeFolder(lab: Lab, node: Node): () => void {
  const folder = lab.relay.folder(node.name)
  renameSync(folder, `${folder}-away`)
  return () => renameSync(`${folder}-away`, folder)
}

/** Somebody changes the key of a large device again and again: until that is done nobody else's is changed. */
function busyKernel(lab: Lab): () => void {
  const { fabric } = lab.network
  const file = join(lab.root, 'busy')
  const at = (...command: readonly string[]): string => run(...inside(fabric, ...command))
  const peers = Array.from({ length: BUSY_PEERS }, () => `[Peer]\nPublicKey = ${randomBytes(32).toString('base64')}\n`)
  writeFileSync(file, `[Interface]\nPrivateKey = ${run('wg', 'genkey')}\n${peers.join('')}`, { mode: 0o600 })
  run('ip', '-n', fabric, 'link', 'add', 'busy', 'type', 'wireguard')
  at('wg', 'setconf', 'busy', file)
  const again = `while wg genkey > ${file} && wg set busy private-key ${file}; do :; done`
  const [command = '', ...args] = inside(fabric, 'sh', '-c', again)
  const child = spawn(command, args, { stdio: 'ignore' })
  // The device stays: to take it away holds the same lock for seconds.
  return () => void child.kill('SIGKILL')
}

const MOMENTS: readonly Moment[] = [
  {
    name: 'draining',
    async reach(lab, round, slow) {
      const node = nodeOf(lab, round)
      await lab.agents.rotate(node)
      await untilPhase(lab, node, 'draining', slow)
      return { node }
    },
  },
  {
    name: 'waiting',
    async reach(lab, round, slow) {
      // For one that drains the other slot, and cannot tell the directory.
      const [node, other] = await opposite(lab, round)
      const letGo = takeFolder(lab, other)
      await lab.agents.rotate(other)
      await untilPhase(lab, other, 'draining', slow)
      // Told in the tunnel, with the next probe.
      await sleep(3000)
      await lab.agents.rotate(node)
      await untilPhase(lab, node, 'waiting', slow)
      return { node, letGo }
    },
  },
  {
    name: 'rekeying',
    async reach(lab, round, slow) {
      const node = nodeOf(lab, round)
      await lab.agents.rotate(node)
      await untilPhase(lab, node, 'draining', slow)
      const letGo = busyKernel(lab)
      await untilPhase(lab, node, 'rekeying', slow)
      return { node, letGo }
    },
  },
  {
    name: 'settling, before it can tell its key',
    async reach(lab, round, slow) {
      const node = nodeOf(lab, round)
      await lab.agents.rotate(node)
      await until(
        'the drain is published',
        async () => {
          const { rotation, directory } = await lab.agents.report(node)
          return rotation.phase === 'draining' && directory.published
        },
        30_000 * slow,
      )
      const letGo = takeFolder(lab, node)
      await untilPhase(lab, node, 'settling', slow)
      return { node, letGo }
    },
  },
  {
    name: 'settling, before the others hear of its key',
    async reach(lab, round, slow) {
      const node = nodeOf(lab, round)
      lab.relay.weather = { ...FAIR, cut: (writer) => writer === node.name }
      await lab.agents.rotate(node)
      await untilPhase(lab, node, 'settling', slow)
      const letGo = (): void => {
        lab.relay.weather = FAIR
      }
      return { node, letGo }
    },
  },
]

/** Each moment, at another node each time; one of them in the short form. */
export async function killAmidRotation(lab: Lab, slow: number): Promise<Later> {
  const windows: Promise<Report>[] = []
  const moments = LONG || filter !== '' ? MOMENTS : MOMENTS.slice(0, 1)
  for (const [round, { name, reach }] of moments.entries()) {
    const begun = performance.now()
    const { node, letGo } = await reach(lab, round, slow)
    await lab.agents.end(node, 'SIGKILL')
    const killed = performance.now()
    letGo?.()
    // Long enough for the others to notice, if they would.
    await sleep(1000)
    lab.agents.start(node, 'strict')
    await lab.untilMode('strict', lab.nodes, 40_000 * slow)
    await lab.untilSettled(lab.nodes, 60_000 * slow)
    const window = lab.window(`killed while ${name}`)
    windows.push(window)
    const seconds = [killed - begun, performance.now() - killed].map((ms) => (ms / 1000).toFixed(1))
    console.log(`${node.name} was killed while ${name}, after ${seconds.join(' s; whole again after ')} s`)
    if (moments.length > 1) lab.assertSmooth(await window)
  }
  const clear = await lab.clearFrames()
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  return async () => {
    const reports = await Promise.all(windows)
    for (const report of reports) lab.assertSmooth(report)
    return { kills: reports.length, ...figuresOf(reports, clear) }
  }
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
