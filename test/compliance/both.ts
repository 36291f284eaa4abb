/**
 * The gate and the seal at once, over whichever WireGuard there is: a pod with policy by names, whose resolver is a pod of the
 * other node, so that look-ups, answers and what they open go through the tunnel. Cases run in their order, in one lab.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent } from '../../lab/agent.ts'
import { connects, curl, dig } from '../../lab/ask.ts'
import { Lab, ROOT } from '../../lab/lab.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { Seal } from '../../lab/seal.ts'
import { addSecondNode, FAR_ZONE, sealSettings } from '../../lab/second-node.ts'
import { farPod, LAB_NODES } from '../../lab/topology.ts'
import { figuresOf } from '../vm/mesh/figures.ts'

export type Figures = Readonly<Record<string, number>>

export interface Bed {
  readonly lab: Lab
  readonly near: Agent
  readonly far: Agent
  readonly seal: Seal
  /** How much longer than on a machine of its own everything takes. */
  readonly slow: number
}

export interface Case {
  readonly name: string
  run(bed: Bed): Promise<Figures | undefined>
}

const DNS = [farPod('far-dns').address4, farPod('far-dns').address6] as const
const SHOP = farPod('far-shop')
const OTHER = farPod('far-other')
/** As many as a worker has sockets to one server: some are asked more than once, few never. */
const LOOKUPS = 48

/** A lab with two nodes; the gate of the first runs and keeps the seal too, the second node has no agent yet. */
export async function openBed(prefix: string, slow = 1): Promise<Bed> {
  const lab = await Lab.up({ prefix, freshCount: 10 })
  try {
    await addSecondNode(lab)
    const [here, there] = LAB_NODES
    const policies = { 'client-a-far.yaml': readFileSync(join(ROOT, 'lab/policies/client-a-far.yaml'), 'utf8') }
    const near = new Agent(lab, { policies, settings: { ...sealSettings(lab, here), datapath: SMALL } })
    const far = new Agent(lab, { policies: {}, settings: sealSettings(lab, there), place: 'node2' })
    await near.start()
    await near.settled()
    return { lab, near, far, seal: await Seal.open(lab, near, far), slow }
  } catch (error) {
    await Lab.down(prefix)
    throw error
  }
}

/** Fits into a guest. */
const SMALL = { maps: { ipcacheEntries: 8192, policyEntries: 1024, conntrackEntries: 16384 } }

export async function closeBed({ lab, seal }: Bed): Promise<void> {
  await seal.close()
  await Lab.down(lab.prefix)
}

interface Fresh {
  readonly lookups: number
  readonly answered: number
  readonly connected: number
  readonly retransmitted: number
}

/** Names never asked before, over and over, and a connection to each as soon as its answer has come. */
async function fresh({ lab, slow }: Bed, first: number, count: number, family: 4 | 6): Promise<Fresh> {
  const server = DNS[family === 4 ? 0 : 1]
  const args = ['-l', 3000 * slow, '-c', 4000 * slow, server, `n%03d.${FAR_ZONE}`, first, count, 1, family]
  const done = await lab.program('client-a', 'fresh', args, { timeoutMs: 60_000 * slow })
  assert.equal(done.code, 0, `fresh: ${done.stderr}`)
  const seen = JSON.parse(done.stdout) as Fresh
  const { lookups, answered, connected, retransmitted } = seen
  assert.deepEqual(
    { lookups, answered, connected, retransmitted },
    { lookups: count, answered: count, connected: count, retransmitted: 0 },
    `IPv${family}: ${done.stdout}`,
  )
  return seen
}

/** Asks so often that each of the worker's sockets to the server is used. */
async function askOften({ lab, slow }: Bed): Promise<number> {
  for (const server of DNS) {
    const args = ['-l', 3000 * slow, '-c', 4000 * slow, server, `shop.${FAR_ZONE}`, 0, LOOKUPS, 1, '4']
    const done = await lab.program('client-a', 'fresh', args, { timeoutMs: 60_000 * slow })
    const { answered, connected } = JSON.parse(done.stdout) as Fresh
    assert.deepEqual([answered, connected], [LOOKUPS, LOOKUPS], `${server}: ${done.stdout}`)
  }
  return LOOKUPS * DNS.length
}

async function drops({ near }: Bed): Promise<number> {
  const endpoint = (await near.endpoints()).find(({ name }) => name === 'default/client-a')
  assert.ok(endpoint)
  return endpoint.drops
}

async function setSysctls({ lab }: Bed, settings: Readonly<Record<string, number>>): Promise<void> {
  const script = Object.entries(settings).map(([path, value]) => `echo ${value} > /proc/sys/net/ipv4/conf/${path}`)
  const done = await lab.at('node', ['sh', '-e', '-c', script.join('\n')])
  assert.equal(done.code, 0, done.stderr)
}

export const CASES: readonly Case[] = [
  {
    name: 'before the seal, look-ups at the other node are in the clear, and the sniffer sees them',
    async run(bed) {
      const asked = await askOften(bed)
      const clear = await bed.seal.clearFrames()
      assert.ok(clear > asked, `${clear} frames in the clear`)
      return { asked, clearText: clear }
    },
  },
  {
    name: 'the seal comes up while the pod talks to a name of the other node, and loses nothing',
    async run({ lab, seal, far }) {
      // Each family is asked for over itself.
      for (const [i, type] of ['A', 'AAAA'].entries()) {
        const answer = await dig(lab, 'client-a', `shop.${FAR_ZONE}`, [type], DNS[i])
        assert.equal(answer.status, 'NOERROR', answer.text)
      }
      await seal.load()
      await far.start()
      const ms = await seal.sealed(60_000)
      const report = await seal.smooth('enabling')
      await seal.clearFrames()
      await sleep(500)
      const clear = await seal.clearFrames()
      assert.equal(clear, 0, 'clear text after both are strict')
      return { ...figuresOf([report], clear), ms: Math.round(ms) }
    },
  },
  {
    name: 'look-ups go on through the tunnel, also on sockets from before',
    async run(bed) {
      const asked = await askOften(bed)
      const answer = await dig(bed.lab, 'client-a', `shop.${FAR_ZONE}`, ['+tcp'], DNS[0])
      assert.equal(answer.status, 'NOERROR', answer.text)
      assert.equal(await bed.seal.clearFrames(), 0)
      return { asked }
    },
  },
  {
    name: 'names never asked before: each first packet to the other node passes, encrypted',
    async run(bed) {
      const before = await drops(bed)
      await fresh(bed, 0, 30, 4)
      await fresh(bed, 0, 30, 6)
      const dropped = (await drops(bed)) - before
      assert.equal(dropped, 0, `${dropped} packets dropped`)
      assert.equal(await bed.seal.clearFrames(), 0)
      return { connected: 60, dropped }
    },
  },
  {
    name: 'a name at the other node that leads outside: reached',
    async run({ lab }) {
      lab.setResolvers('client-a', DNS)
      const page = await curl(lab, 'client-a', `http://out.${FAR_ZONE}/`)
      assert.equal(page.code, 0, page.body)
      assert.match(page.body, /198\.18\.9\.1|2001:db8:109::1/)
      return undefined
    },
  },
  {
    name: 'a denied name is refused, and the pod behind it is not reached',
    async run(bed) {
      const before = await drops(bed)
      for (const server of DNS) {
        const answer = await dig(bed.lab, 'client-a', `other.${FAR_ZONE}`, [], server)
        assert.equal(answer.status, 'REFUSED', answer.text)
      }
      for (const address of [OTHER.address4, OTHER.address6])
        assert.equal(await connects(bed.lab, 'client-a', address), false, `${address} was reached`)
      // It can be reached by whom no policy selects.
      for (const address of [OTHER.address4, OTHER.address6])
        assert.ok(await connects(bed.lab, 'plain', address), `${address} is not there`)
      const dropped = await waitFor('the drops to be counted', async () => {
        const now = (await drops(bed)) - before
        return now >= 2 ? now : undefined
      })
      return { dropped }
    },
  },
  {
    name: 'a rotation at each end under load and look-ups loses nothing',
    async run(bed) {
      const { seal, near, far } = bed
      await seal.smooth('before')
      await seal.clearFrames()
      const keys = [await seal.keys(near), await seal.keys(far)]
      let first = 30
      for (const agent of [near, far]) {
        const rotating = seal.rotate(agent)
        for (const family of [4, 6] as const) await fresh(bed, first, 15, family)
        first += 15
        await rotating
      }
      await sleep(500)
      const report = await seal.smooth('rotations')
      const after = [await seal.keys(near), await seal.keys(far)]
      for (const [i, before] of keys.entries())
        assert.equal(after[i]?.filter((key, slot) => key !== before[slot]).length, 1, 'one key a node changes')
      const clear = await seal.clearFrames()
      assert.equal(clear, 0)
      return figuresOf([report], clear)
    },
  },
  ...[0, 1, 2].map((filter): Case => ({
    name: `src_valid_mark=1 with rp_filter=${filter}: look-ups and first packets through the tunnel`,
    async run(bed) {
      const { seal } = bed
      const pods = ['lxca', 'under0']
      const of = (value: number): Record<string, number> =>
        Object.fromEntries(['all', ...pods].map((name) => [`${name}/rp_filter`, value]))
      await setSysctls(bed, { 'all/src_valid_mark': 1, ...of(filter) })
      try {
        const asked = await askOften(bed)
        for (const family of [4, 6] as const) await fresh(bed, 60 + 15 * filter, 15, family)
        const tcp = await dig(bed.lab, 'client-a', `shop.${FAR_ZONE}`, ['+tcp'], DNS[0])
        assert.equal(tcp.status, 'NOERROR', tcp.text)
        assert.ok(await connects(bed.lab, 'client-a', SHOP.address4))
        const report = await seal.smooth(`rp_filter ${filter}`)
        const clear = await seal.clearFrames()
        assert.equal(clear, 0)
        return { asked, ...figuresOf([report], clear) }
      } finally {
        await setSysctls(bed, { 'all/src_valid_mark': 0, ...of(0) })
      }
    },
  })),
  {
    name: 'the agent with gate and seal killed: what is known goes on, encrypted; back, it has the same keys',
    async run(bed) {
      const { lab, seal, near } = bed
      await seal.smooth('before')
      const keys = await seal.keys(near)
      await near.kill()
      assert.ok(await connects(lab, 'client-a', SHOP.address4), 'what is known is not reached')
      assert.equal(await connects(lab, 'client-a', OTHER.address4), false, 'open while the agent is gone')
      await sleep(500)
      await near.start()
      await seal.sealed(60_000)
      const report = await seal.smooth('death')
      assert.deepEqual(await seal.keys(near), keys)
      await fresh(bed, 105, 15, 4)
      const clear = await seal.clearFrames()
      assert.equal(clear, 0)
      return figuresOf([report], clear)
    },
  },
]
