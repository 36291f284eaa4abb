import { createHash } from 'node:crypto'
import type { Agent } from '../agent.ts'
import { connects, curl, dig } from '../ask.ts'
import { sleep, waitFor } from '../run.ts'
import { FAR_ZONE } from '../second-node.ts'
import { DNS4, farPod } from '../topology.ts'
import { check, dropsOf, firstPacket, mustNotConnect, policyFile } from './steps.ts'
import type { Stage, Step } from './steps.ts'

const SHOP = farPod('far-shop')
const OTHER = farPod('far-other')
const DNS = farPod('far-dns')
/** Some seconds on a machine of its own. */
const PATIENCE_MS = 60_000

/** Fetches a page as `firstPacket` does, with the resolver of the other node; none of it may be seen on the wire. */
async function encrypted(stage: Stage, url: string, resolver: string): Promise<string> {
  await stage.seal.clearFrames()
  stage.lab.setResolvers('client-a', [resolver])
  try {
    const seen = await firstPacket(stage, 'client-a', url)
    const clear = await stage.seal.clearFrames()
    check(clear === 0, `${clear} packets in the clear`)
    return `${seen}; 0 packets in the clear`
  } finally {
    stage.lab.setResolvers('client-a', [DNS4])
  }
}

/** The first letters of each slot's fingerprint, as `sekisho wg keys` has them; a restarted agent's key log is empty. */
async function fingerprints(stage: Stage, agent: Agent): Promise<readonly string[]> {
  const keys = await stage.seal.keys(agent)
  return keys.map((key) => {
    check(key !== undefined, 'a slot has no key')
    const hash = createHash('sha256').update(Buffer.from(key, 'base64')).digest('base64')
    return `SHA256:${hash.slice(0, 6)}`
  })
}

async function rotateBoth(stage: Stage): Promise<string> {
  const { seal } = stage
  await seal.clearFrames()
  const told: string[] = []
  for (const agent of [seal.near, seal.far]) {
    const before = await fingerprints(stage, agent)
    await seal.rotate(agent)
    const after = await fingerprints(stage, agent)
    const slot = after.findIndex((print, i) => print !== before[i])
    check(slot >= 0, 'no key changed')
    told.push(`${before[slot]} to ${after[slot]}`)
  }
  await sleep(300)
  const { udp, tcp } = await seal.smooth('rotation')
  const clear = await seal.clearFrames()
  check(clear === 0, `${clear} packets in the clear`)
  return (
    `${udp.lost + tcp.lost} lost, ${udp.duplicated} doubled of ${udp.sent} datagrams and ${tcp.sent} records; ` +
    `${tcp.resets} streams reset; keys ${told.join(', ')}`
  )
}

export const sealSteps: readonly Step[] = [
  {
    step: 'no seal yet: pods of two nodes talk in the clear, and it is seen',
    async run({ lab, agent, seal }) {
      agent.writePolicy('client-a-far.yaml', policyFile('client-a-far.yaml'))
      await seal.clearFrames()
      for (const host of [SHOP.address4, `[${SHOP.address6}]`]) {
        const page = await curl(lab, 'plain', `http://${host}/`)
        check(page.code === 0, `curl ${host}: exit ${page.code}`)
      }
      const clear = await seal.clearFrames()
      check(clear > 0, 'the sniffer sees nothing')
      return `${clear} packets of pods on the wire between the nodes`
    },
  },
  {
    step: 'agent of the second node: both prove each other on two slots',
    async run({ agent, seal }) {
      const started = performance.now()
      await seal.far.start(PATIENCE_MS)
      await seal.sealed(PATIENCE_MS)
      const ms = performance.now() - started
      const status = await agent.command(['wg', 'status'])
      check(status.code === 0, `wg status: exit ${status.code} ${status.stdout}${status.stderr}`)
      const { driver } = await agent.seal()
      const line = status.stdout.split('\n').find((text) => text.startsWith('Encryption: Wireguard ['))
      check(line !== undefined && line.includes('Peers: 1)'), status.stdout)
      return { detail: `${line.trim()}, driver: ${driver}`, ms }
    },
  },
  {
    step: 'name of a pod there, asked there: first packet, encrypted',
    run: (stage) => encrypted(stage, `http://shop.${FAR_ZONE}/`, DNS.address4),
  },
  {
    step: 'the same over IPv6',
    run: (stage) => encrypted(stage, `http://six.${FAR_ZONE}/`, DNS.address6),
  },
  {
    step: 'denied name of a pod there: refused, its address dropped',
    async run(stage) {
      const { lab } = stage
      const before = await dropsOf(stage, 'client-a')
      const answer = await dig(lab, 'client-a', `other.${FAR_ZONE}`, [], DNS.address4)
      check(answer.status === 'REFUSED', `status ${answer.status || 'none'}`)
      await Promise.all([OTHER.address4, OTHER.address6].map((one) => mustNotConnect(stage, 'client-a', one)))
      const counted = await waitFor('the drops to be counted', async () => {
        const now = (await dropsOf(stage, 'client-a')) - before
        return now >= 2 ? now : undefined
      })
      check(await connects(lab, 'plain', OTHER.address4), `${OTHER.address4} is not there`)
      return `${answer.status}; ${OTHER.address4} and ${OTHER.address6}: ${counted} packets dropped`
    },
  },
  {
    step: 'keys of both nodes changed under load: nothing lost',
    async run(stage) {
      const { lab, seal } = stage
      for (const [type, server] of [
        ['A', DNS.address4],
        ['AAAA', DNS.address6],
      ] as const)
        check((await dig(lab, 'client-a', `shop.${FAR_ZONE}`, [type], server)).status === 'NOERROR', `no ${type}`)
      await seal.load()
      return rotateBoth(stage)
    },
  },
  {
    step: 'agent with gate and seal killed (-9) under load: tunnel goes on',
    async run(stage) {
      const { lab, agent, seal } = stage
      await seal.smooth('before')
      await agent.kill()
      check(await connects(lab, 'client-a', SHOP.address4), `${SHOP.address4} was not reached`)
      await mustNotConnect(stage, 'client-a', OTHER.address4)
      const { udp, tcp } = await seal.smooth('killed')
      const clear = await seal.clearFrames()
      check(clear === 0, `${clear} packets in the clear`)
      return `${udp.lost + tcp.lost} lost of ${udp.sent + tcp.sent}, ${clear} in the clear; ${OTHER.address4} not reached`
    },
  },
  {
    step: 'agent back: it adopts the keys, and nothing was lost',
    async run(stage) {
      const { agent, seal } = stage
      const devices = await seal.deviceKeys()
      const ms = await agent.start(PATIENCE_MS)
      await seal.sealed(PATIENCE_MS)
      const keys = await seal.keys(agent)
      check(devices.join() === keys.join(), 'the public keys are others')
      const { udp, tcp } = await seal.smooth('back')
      await seal.endLoad()
      const clear = await seal.clearFrames()
      check(clear === 0, `${clear} packets in the clear`)
      const seen = await encrypted(stage, `http://shop.${FAR_ZONE}/`, DNS.address4)
      const prints = await fingerprints(stage, agent)
      const lost = `${udp.lost + tcp.lost} lost of ${udp.sent + tcp.sent}`
      return { detail: `ready after ${ms.toFixed(0)} ms, keys ${prints.join(' and ')} as before; ${lost}; ${seen}`, ms }
    },
  },
]
