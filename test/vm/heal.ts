/** What others do to the devices and routes of the seal, and how long it stays so. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { whyPeer } from '../../src/wg/why.ts'
import type { WgPeerReport, WgReport } from '../../src/wg/report.ts'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { type Figures, sleep, until } from './harness.ts'
import { figuresOf } from './mesh/figures.ts'
import type { Lab } from './mesh/lab.ts'
import type { Node } from './mesh/network.ts'
import { badFlows } from './mesh/traffic.ts'

/** A fault is repaired in this time on a machine of its own, ms. */
export const REPAIR_MS = 2000
/** Most of it is the wait for the next look, which comes as soon in a guest: so it may be that much longer there. */
const REPAIR_SLOW = 2
/** A tunnel that carries one way only is left in this time, ms. */
export const FAILOVER_MS = 3000
/** A session is given up, and a handshake tried in vain, in this time, ms. */
const NAMED_MS = 60_000
/** In which all must be as before, ms. */
const WHOLE_MS = 1000
const FOREIGN = 'kA4+OnZ2b7sCB8JzYbWr3fxvnAvrVNOyNRIyWZGPUFc='

interface Fault {
  readonly name: string
  /** Counted as one or more of these in sekisho_wg_repairs_total. */
  readonly counted: readonly string[]
  readonly do: () => void
  readonly mended: () => boolean
  /** Takes away what only the test needs. */
  readonly after?: () => void
}

const inNode = (node: Node, ...command: readonly string[]): string => {
  try {
    return run(...inside(node.namespace, ...command))
  } catch {
    // The device is not there at this moment.
    return ''
  }
}

function faultsOf(lab: Lab, node: Node, device: string): Fault[] {
  const show = (what: string): string => inNode(node, 'wg', 'show', device, what)
  const keys = show('peers').trim().split('\n')
  const allowed = show('allowed-ips')
  const mine = show('public-key').trim()
  const routes = (family: string): string[] =>
    inNode(node, 'ip', family, 'route', 'show', 'table', '20000')
      .split('\n')
      .map((line) => line.replace(/ nhid \d+.*/, ''))
      .filter((line) => line !== '')
      .sort()
  const before = [routes('-4').join(), routes('-6').join()]
  const mtu = (): string | undefined => /mtu (\d+)/.exec(inNode(node, 'ip', 'link', 'show', 'dev', device))?.[1]
  const wantedMtu = mtu()
  const index = show('public-key') === '' ? '' : inNode(node, 'cat', `/proc/net/dev_snmp6/${device}`)
  const sorted = (text: string): string => text.trim().split('\n').sort().join('\n')
  const endpoints = sorted(show('endpoints'))
  return [
    {
      name: 'peer taken out',
      counted: ['peer'],
      do: () => run(...inside(node.namespace, 'wg', 'set', device, 'peer', keys[0] ?? '', 'remove')),
      mended: () => sorted(show('allowed-ips')) === sorted(allowed),
    },
    {
      name: 'foreign peer with the prefix of another',
      counted: ['peer'],
      do: () =>
        run(
          ...inside(
            node.namespace,
            'wg',
            'set',
            device,
            'peer',
            FOREIGN,
            'allowed-ips',
            lab.network.node(2).prefixes[0] ?? '',
          ),
        ),
      mended: () => sorted(show('allowed-ips')) === sorted(allowed),
    },
    {
      name: 'endpoint of a peer',
      counted: ['peer'],
      do: () => {
        // WireGuard itself would mend it with the next packet of the peer.
        lab.network.blockPort(node, Number(show('listen-port')))
        run(...inside(node.namespace, 'wg', 'set', device, 'peer', keys[0] ?? '', 'endpoint', '192.0.2.9:9'))
      },
      mended: () => sorted(show('endpoints')) === endpoints,
      after: () => lab.network.unblock(node),
    },
    {
      name: 'MTU',
      counted: ['mtu'],
      do: () => run('ip', '-n', node.namespace, 'link', 'set', device, 'mtu', '1300'),
      mended: () => mtu() === wantedMtu,
      // Who sent through it meanwhile goes by what it was told for ten minutes more.
      after: () => lab.network.forgetPaths(),
    },
    {
      name: 'routes flushed',
      counted: ['route', 'unreachable'],
      do: () => {
        // One by one: ip(8) cannot flush routes with nexthop objects of IPv4.
        for (const family of ['-4', '-6'])
          for (const line of routes(family)) {
            const route = /^(?:unreachable )?\S+/.exec(line)?.[0].split(' ') ?? []
            const metric = /metric \S+/.exec(line)?.[0].split(' ') ?? []
            run('ip', family, '-n', node.namespace, 'route', 'delete', ...route, 'table', '20000', ...metric)
          }
      },
      mended: () => routes('-4').join() === before[0] && routes('-6').join() === before[1],
    },
    {
      name: 'device down',
      counted: ['link', 'nexthop'],
      do: () => run('ip', '-n', node.namespace, 'link', 'set', device, 'down'),
      mended: () =>
        inNode(node, 'ip', 'link', 'show', 'dev', device).includes(',UP') &&
        routes('-4').join() === before[0] &&
        routes('-6').join() === before[1],
    },
    {
      name: 'key changed',
      counted: ['key'],
      do: () => {
        const file = join(lab.root, 'foreign-key')
        writeFileSync(file, run('wg', 'genkey'), { mode: 0o600 })
        run(...inside(node.namespace, 'wg', 'set', device, 'private-key', file))
      },
      // Neither the key that somebody knows nor the one that is lost.
      mended: () => show('public-key').trim() !== '' && show('public-key').trim() !== mine,
    },
    {
      name: 'device deleted',
      counted: ['device'],
      do: () => run('ip', '-n', node.namespace, 'link', 'delete', device),
      mended: () => show('public-key').trim() !== '' && inNode(node, 'cat', `/proc/net/dev_snmp6/${device}`) !== index,
    },
  ]
}

async function repairs(lab: Lab, node: Node): Promise<Map<string, number>> {
  const text = await lab.agents.metrics(node)
  const found = new Map<string, number>()
  for (const [, labels = '', value] of text.matchAll(/^sekisho_wg_repairs_total\{([^}]*)\} (\d+)/gm))
    found.set(/="([^"]+)"/.exec(labels)?.[1] ?? '', Number(value))
  return found
}

export async function heal(lab: Lab, slow: number, device: string): Promise<Figures> {
  const node = lab.network.node(1)
  const figures: Record<string, number> = {}
  await lab.clearFrames()
  await lab.traffic.mark('before')
  const failures: string[] = []
  for (const fault of faultsOf(lab, node, device)) {
    const before = await repairs(lab, node)
    const isCounted = async (): Promise<boolean> => {
      const now = await repairs(lab, node)
      return fault.counted.some((what) => (now.get(what) ?? 0) > (before.get(what) ?? 0))
    }
    fault.do()
    try {
      figures[`${fault.name} ms`] = Math.round(
        await until(
          fault.name,
          async () => fault.mended() && (await isCounted()),
          REPAIR_MS * Math.min(slow, REPAIR_SLOW),
          async () => `counted: ${String(await isCounted())}\n${await lab.describe(node)}`,
        ),
      )
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error))
    }
    fault.after?.()
    try {
      await lab.untilSettled(lab.nodes, 30_000 * slow)
    } catch (error) {
      failures.push(`after ${fault.name}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const report = await lab.traffic.mark('heal')
  const clear = await lab.clearFrames()
  if (clear > 0) failures.push(`${clear} frames in the clear: ${await lab.clearSample()}`)
  if (report.tcp.resets > 0) failures.push(`${report.tcp.resets} connections broken`)
  assert.deepEqual(failures, [], failures.join('\n'))
  await sleep(WHOLE_MS)
  const after = await lab.traffic.mark('mended')
  lab.assertSmooth(after)
  return { ...figures, ...figuresOf([report, after], clear) }
}

/** The slot that a node sends to another by, both families, as the kernel has it; undefined while it moves. */
export async function routedBy(lab: Lab, node: Node, other: Node): Promise<number | undefined> {
  const { slots } = await lab.agents.report(node)
  const found = ['-4', '-6'].map((family, i) => {
    const prefix = other.prefixes[i] ?? ''
    const text = inNode(node, 'ip', family, 'route', 'show', 'exact', prefix, 'table', '20000')
    return slots.find(({ device }) => text.includes(` dev ${device} `))?.slot
  })
  return found[0] === found[1] ? found[0] : undefined
}

/** One port of a node is shut: what went through that slot goes through the other, and the operator is told which. */
export async function firewall(lab: Lab, slow: number, port: number): Promise<Figures> {
  const [first, second] = [lab.network.node(1), lab.network.node(2)]
  const peer = (await lab.agents.peers(first)).find(({ name }) => name === second.name)
  const slot = peer?.egress ?? 0
  await lab.clearFrames()
  await lab.traffic.mark('before')
  lab.network.blockPort(second, port + slot)
  const left = async (node: Node, other: Node): Promise<boolean> => (await routedBy(lab, node, other)) === 1 - slot
  try {
    const took = await until(
      'failover',
      () => left(first, second),
      FAILOVER_MS * slow,
      async () => lab.describe(first),
    )
    // The shut one sends on into the slot until it misses the answers.
    for (const other of lab.nodes.filter((one) => one !== second))
      for (const [from, to] of [[other, second] as const, [second, other] as const])
        await until(
          `failover of ${from.name}`,
          () => left(from, to),
          FAILOVER_MS * slow,
          async () => lab.describe(from),
        )
    const cut = await lab.traffic.mark('blocked')
    // Has the end of the silence in it, and nothing may be lost.
    const moved = await lab.traffic.mark('left')
    // Which way is shut shows when a handshake is tried, and an old session needs none: the device of the shut port is made again.
    const [here = '', there = ''] = [first.addresses[0], second.addresses[0]]
    const rule = `${here} to ${there} port ${port + slot}`
    let said = ''
    const named = await until(
      `the port ${port + slot} is named, its direction and the missing rule`,
      async () => {
        const report = await lab.agents.report(first)
        const now = (await lab.peersOf(first)).find(({ name }) => name === second.name)
        const { verdict, lines, remedies } = whyPeer(report as WgReport, now as WgPeerReport | undefined, second.name)
        said = [verdict, ...lines.map(({ text }) => text), ...remedies].join('\n')
        // All the while it is so, whatever else is known.
        assert.equal(verdict, 'encrypted')
        return (
          lines.some(({ text }) => text.includes(`UDP is blocked outbound from ${rule}`)) &&
          remedies.includes(`allow UDP from ${rule}`)
        )
      },
      NAMED_MS,
      () => said,
    )
    const after = await lab.traffic.mark('by the other slot')
    const clear = await lab.clearFrames()
    assert.equal(clear, 0, await lab.clearSample())
    assert.equal(cut.tcp.resets, 0)
    // Nobody else pays for it, and after the failover nothing is lost.
    assert.equal(moved.udp.lost, 0, badFlows(moved))
    lab.assertSmooth(after)
    const others = cut.flows.filter(({ label, lost }) => lost > 0 && !touches(label, second))
    assert.deepEqual(others, [])
    return { failoverMs: Math.round(took), namedMs: Math.round(named), ...figuresOf([cut, moved, after], clear) }
  } finally {
    lab.network.unblock(second)
  }
}

const touches = (label: string, node: Node): boolean => label.includes(node.namespace) || label.includes(node.pod)
