/** A node gets other addresses while all pairs talk: it says so in its record, and the others send to there. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { inside } from '../support/datapath/in-namespace.ts'
import { type Figures, sleep, until } from './harness.ts'
import { figuresOf } from './mesh/figures.ts'
import type { Lab } from './mesh/lab.ts'
import type { Node } from './mesh/network.ts'
import { badFlows, type FlowReport, type Report } from './mesh/traffic.ts'

/** As other faults, `heal.ts`. */
const MOVED_MS = 4000
/** A connection tries again only after as long as it was cut off before (RFC 6298 section 5.5), and then once more, ms. */
const TRIES_AGAIN_MS = 12_000
const WINDOW_MS = 500

/** Each new one is another host of the same networks. */
const otherAddresses = ({ index }: Node): readonly string[] => [`192.168.0.${100 + index}`, `fd00::${100 + index}`]

const recordAt = (lab: Lab, node: Node, reader: Node): string => {
  const file = join(lab.relay.folder(reader.name), `${node.name}.yaml`)
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

/** The other node sends to this address by both slots. The directory is carried on while it is asked. */
async function sendsTo(other: Node, address: string): Promise<boolean> {
  const [command = '', ...args] = inside(other.namespace, 'wg', 'show', 'all', 'endpoints')
  const { stdout } = await promisify(execFile)(command, args)
  return stdout.split(`\t${address}:`).length === 3
}

interface Moved {
  /** Until everybody had the record, ms. */
  readonly toldMs: number
  /** Until everybody sent to there, ms. */
  readonly movedMs: number
}

/** Those that send to there are not asked again. */
async function untilMoved(lab: Lab, node: Node, addresses: readonly string[]): Promise<Moved> {
  const [four = ''] = addresses
  const left = new Set(lab.nodes.filter((other) => other !== node))
  const isTold = (other: Node): boolean => {
    const record = recordAt(lab, node, other)
    return addresses.every((address) => record.includes(address))
  }
  const describe = async (): Promise<string> =>
    (await Promise.all([node, ...left].map(async (one) => lab.describe(one)))).join('\n')
  const toldMs = await until(`all are told of ${four}`, () => [...left].every(isTold), MOVED_MS, describe)
  const rest = await until(
    `all send to ${four}`,
    async () => {
      for (const other of left) if (await sendsTo(other, four)) left.delete(other)
      return left.size === 0
    },
    MOVED_MS - toldMs,
    describe,
  )
  // The last look may have ended late.
  assert.ok(toldMs + rest <= MOVED_MS, `all send to ${four} after ${toldMs + rest} ms, told after ${toldMs} ms`)
  return { toldMs, movedMs: toldMs + rest }
}

async function counterOf(lab: Lab, node: Node, name: string): Promise<number> {
  const value = new RegExp(`^${name} (\\d+)$`, 'm').exec(await lab.agents.metrics(node))?.[1]
  return Number(value ?? NaN)
}

const isTo = ({ label }: FlowReport, node: Node): boolean =>
  label.includes(`>${node.pod}`) || label.includes(`>${node.namespace}`)
const isFrom = ({ label }: FlowReport, node: Node): boolean =>
  label.includes(` ${node.pod}>`) || label.includes(` ${node.namespace}>`)

interface Leg {
  readonly name: string
  readonly from: readonly string[]
  readonly to: readonly string[]
  /** Nothing that the node sends comes in at the others until they send to there: they have its record alone. */
  readonly mute: boolean
}

async function moveOnce(lab: Lab, node: Node, { name, from, to, mute }: Leg): Promise<[Moved, Report[]]> {
  const others = lab.nodes.filter((other) => other !== node)
  const wrote = await counterOf(lab, node, 'sekisho_wg_directory_writes_total')
  const followed = (): Promise<number[]> =>
    Promise.all(others.map((other) => counterOf(lab, other, 'sekisho_wg_address_changes_total')))
  const followedBefore = await followed()
  if (mute) for (const other of others) lab.network.blockSources(other, to)
  await lab.traffic.mark('before')
  lab.network.readdress(node, from, to)
  let took: Moved
  try {
    took = await untilMoved(lab, node, to)
  } finally {
    if (mute) for (const other of others) lab.network.unblock(other)
  }
  const moved = await lab.traffic.mark(name)
  const costs = moved.flows.filter(({ lost }) => lost > 0)
  // An answer to a connection may be among what is lost, and then it waits.
  const paid = (flow: FlowReport): boolean => isTo(flow, node) || ((mute || flow.tcp) && isFrom(flow, node))
  assert.deepEqual(
    costs.filter((flow) => !paid(flow)),
    [],
    `${name} costs others\n${badFlows(moved)}`,
  )
  assert.equal(moved.tcp.resets + moved.udp.duplicated, 0, badFlows(moved))
  if (mute)
    assert.ok(
      costs.some(({ tcp }) => !tcp),
      'nothing is lost by a node that nobody hears: it was not mute',
    )
  assert.ok((await counterOf(lab, node, 'sekisho_wg_directory_writes_total')) > wrote, 'the new record is not counted')
  const counted = (await followed()).map((count, i) => count - (followedBefore[i] ?? 0))
  assert.ok(Math.min(...counted) > 0, `a peer has not counted that it followed: ${counted.join(' ')}`)
  return [took, [moved, ...(await quietAgain(lab, name))]]
}

/** From now on no packet is lost; the last of the windows has all that connections had to say again. */
async function quietAgain(lab: Lab, name: string): Promise<Report[]> {
  const reports: Report[] = []
  const end = performance.now() + TRIES_AGAIN_MS
  for (let late = true; late;) {
    await sleep(WINDOW_MS)
    const report = await lab.traffic.mark(`after ${name}`)
    reports.push(report)
    assert.equal(report.udp.lost, 0, badFlows(report))
    late = report.tcp.lost > 0
    assert.ok(!late || performance.now() < end, `connections do not go on\n${badFlows(report)}`)
  }
  await sleep(1000)
  const whole = await lab.traffic.mark(`whole after ${name}`)
  lab.assertSmooth(whole)
  return [...reports, whole]
}

export async function move(lab: Lab, slow: number): Promise<Figures> {
  const node = lab.network.node(2)
  const [old, fresh] = [node.addresses, otherAddresses(node)]
  // Until now it published what its settings say.
  await lab.agents.end(node, 'SIGTERM')
  lab.agents.find(node)
  lab.agents.start(node, 'strict')
  await lab.untilMode('strict', lab.nodes, 40_000 * slow)
  await lab.untilSettled(lab.nodes, 60_000 * slow)
  await untilMoved(lab, node, old)
  const guarded = await lab.dropped()
  await lab.clearFrames()

  const heard = await moveOnce(lab, node, { name: 'moved', from: old, to: fresh, mute: false })
  const mute = await moveOnce(lab, node, { name: 'moved back, mute', from: fresh, to: old, mute: true })
  await lab.untilSettled(lab.nodes, 60_000 * slow)

  const clear = await lab.clearFrames()
  assert.equal(clear, 0, `clear text: ${await lab.clearSample()}`)
  assert.deepEqual(await lab.dropped(), guarded, 'the guards dropped more than before')
  return {
    ...timesOf('Heard', heard),
    ...timesOf('Mute', mute),
    ...figuresOf([...heard[1], ...mute[1]], clear),
  }
}

const timesOf = (name: string, [{ toldMs, movedMs }, reports]: readonly [Moved, readonly Report[]]): Figures => ({
  [`told${name}Ms`]: Math.round(toldMs),
  [`moved${name}Ms`]: Math.round(movedMs),
  [`lost${name}`]: reports.reduce((all, { udp }) => all + udp.lost, 0),
})
