import { join } from 'node:path'
import { connects, curl, dig } from '../ask.ts'
import { ROOT } from '../lab.ts'
import { sleep, waitFor } from '../run.ts'
import { DNS4, DNS6 } from '../topology.ts'
import { sealSteps } from './seal.ts'
import { check, dropsOf, firstPacket, mustNotConnect, policyFile } from './steps.ts'
import type { Step } from './steps.ts'

const FORBIDDEN4 = '198.18.66.7'
const FORBIDDEN6 = '2001:db8:166::7'
const KNOWN4 = '198.18.1.10'

const names: Step[] = [
  {
    step: 'allowed name: the first packet passes',
    run: (stage) => firstPacket(stage, 'client-a', 'http://www.shop.example/'),
  },
  {
    step: 'denied name: refused, and the answer says why',
    async run({ lab }) {
      const answer = await dig(lab, 'client-a', 'www.evil.example')
      check(answer.status === 'REFUSED', `status ${answer.status || 'none'}`)
      check(answer.ede !== '', 'no extended error in the answer')
      return `${answer.status}, EDE ${answer.ede}`
    },
  },
  {
    step: 'direct address: dropped and counted, IPv4 and IPv6',
    async run(stage) {
      const before = await dropsOf(stage, 'client-a')
      await Promise.all([mustNotConnect(stage, 'client-a', FORBIDDEN4), mustNotConnect(stage, 'client-a', FORBIDDEN6)])
      const counted = await waitFor('the drops to be counted', async () => {
        const now = (await dropsOf(stage, 'client-a')) - before
        return now >= 2 ? now : undefined
      })
      return `${FORBIDDEN4} and ${FORBIDDEN6}: ${counted} packets dropped`
    },
  },
  {
    step: 'chain of CNAMEs over four zones',
    run: (stage) => firstPacket(stage, 'client-a', 'http://app.shop.example/'),
  },
  {
    step: 'wildcard: any name below, not the name above',
    async run(stage) {
      const seen = await firstPacket(stage, 'client-b', 'http://tea.wild.example/')
      const above = await dig(stage.lab, 'client-b', 'wild.example')
      check(above.status === 'REFUSED', `wild.example: ${above.status}`)
      return `${seen}; wild.example ${above.status}`
    },
  },
  {
    step: 'prefix allowed, its except dropped',
    async run(stage) {
      check(await connects(stage.lab, 'client-b', '198.18.20.1'), '198.18.20.1 was not reached')
      await mustNotConnect(stage, 'client-b', '198.18.20.129')
      return '198.18.20.1 reached, 198.18.20.129 not'
    },
  },
  {
    step: 'IPv6: asked over it, answered AAAA, connected',
    async run(stage) {
      stage.lab.setResolvers('client-a', [DNS6])
      try {
        return await firstPacket(stage, 'client-a', 'http://six.shop.example/')
      } finally {
        stage.lab.setResolvers('client-a', [DNS4])
      }
    },
  },
  {
    step: 'TCP: 100 addresses after a truncated answer, the last one too',
    async run(stage) {
      const cut = await dig(stage.lab, 'client-a', 'many.cdn.example', ['+ignore'])
      check(cut.flags.includes('tc'), 'the answer by UDP was not truncated')
      const whole = await dig(stage.lab, 'client-a', 'many.cdn.example')
      check(whole.records.length === 100, `${whole.records.length} records by TCP`)
      check(await connects(stage.lab, 'client-a', '198.18.12.100'), '198.18.12.100 was not reached')
      return `TC by UDP, ${whole.records.length} records by TCP, 198.18.12.100 reached`
    },
  },
  {
    step: 'musl (static) and glibc resolve with a search list of four',
    async run({ lab }) {
      const seen: string[] = []
      for (const program of ['resolve-musl', 'resolve']) {
        const done = await lab.inPod('client-a', [join(ROOT, 'build/lab', program), 'www.shop.example'])
        check(done.code === 0 && done.stdout.includes(KNOWN4), `${program}: ${done.stdout}`)
        seen.push(`${program} ${(JSON.parse(done.stdout) as { ms: number }).ms} ms`)
      }
      return seen.join(', ')
    },
  },
  {
    step: 'short TTL: the address goes when its time is over',
    async run(stage) {
      check((await dig(stage.lab, 'client-a', 'one.short.example')).status === 'NOERROR', 'no answer')
      check(await connects(stage.lab, 'client-a', '198.18.6.1'), '198.18.6.1 was not reached')
      // Its TTL, and the second for which a closed connection is remembered; a knock meanwhile would keep the address.
      const waited = 4500
      await sleep(waited)
      await mustNotConnect(stage, 'client-a', '198.18.6.1')
      return `TTL 1 s: reached, and ${waited / 1000} s later not`
    },
  },
  {
    step: 'pod without policy: untouched',
    async run(stage) {
      const queries = async (): Promise<number> => (await stage.agent.metrics()).sum('sekisho_dns_queries_total')
      const before = await queries()
      const page = await curl(stage.lab, 'plain', 'http://www.evil.example/')
      check(page.code === 0, `curl: exit ${page.code}`)
      check(await connects(stage.lab, 'plain', FORBIDDEN4), `${FORBIDDEN4} was not reached`)
      const seen = (await queries()) - before
      check(seen === 0, `${seen} of its queries came to the gate`)
      return `${page.body.trim()}; 0 queries at the gate`
    },
  },
]

const changes: Step[] = [
  {
    step: 'policy edited live: in force in under a second',
    async run({ lab, agent }) {
      const ask = async (): Promise<string> => (await dig(lab, 'client-a', 'other.shop.example')).status
      check((await ask()) === 'REFUSED', 'other.shop.example was allowed before')
      const good = policyFile('client-a.yaml').replaceAll(
        /^( *)- matchName: www\.shop\.example$/gm,
        '$1- matchName: www.shop.example\n$1- matchName: other.shop.example',
      )
      const started = performance.now()
      agent.writePolicy('client-a.yaml', good)
      await waitFor('the change', async () => ((await ask()) === 'NOERROR' ? true : undefined), {
        timeoutMs: 3000,
        everyMs: 5,
      })
      const ms = performance.now() - started
      check(ms < 1000, `took ${ms.toFixed(0)} ms`)
      const page = await curl(lab, 'client-a', 'http://other.shop.example/')
      check(page.code === 0, `curl: exit ${page.code}`)
      return { detail: `REFUSED, then ${page.body.trim()}`, ms }
    },
  },
  {
    step: 'broken policy file: refused whole, the old one stays',
    async run({ lab, agent }) {
      const good = agent.readPolicy('client-a.yaml')
      const { rules } = await agent.policy()
      // Broken, and with a name more: half of it must not come into force.
      const broken = good.replace('toFQDNs:', 'toFQDN:').replaceAll('www.shop.example', 'deny.shop.example')
      try {
        agent.writePolicy('client-a.yaml', broken)
        const problem = await waitFor('the problem', async () => (await agent.policy()).problems[0], {
          timeoutMs: 3000,
        })
        check(problem.line > 0 && problem.column > 0, 'no position')
        check((await agent.policy()).rules === rules, 'the rules changed')
        for (const [name, wanted] of Object.entries({
          'www.shop.example': 'NOERROR',
          'deny.shop.example': 'REFUSED',
          'www.evil.example': 'REFUSED',
        })) {
          const { status } = await dig(lab, 'client-a', name)
          check(status === wanted, `${name}: ${status}`)
        }
        return `${problem.file.split('/').pop() ?? ''}:${problem.line}:${problem.column} ${problem.message}`
      } finally {
        agent.writePolicy('client-a.yaml', good)
        await waitFor('the good file', async () => ((await agent.policy()).problems.length === 0 ? true : undefined), {
          timeoutMs: 3000,
        })
      }
    },
  },
]

const death: Step[] = [
  {
    step: 'agent killed (-9): what is known connects, nothing else does',
    async run(stage) {
      // The name is asked once more, so that its TTL outlives the steps below.
      check((await dig(stage.lab, 'client-a', 'www.shop.example')).status === 'NOERROR', 'no answer before')
      await stage.agent.kill()
      check(await connects(stage.lab, 'client-a', KNOWN4), `${KNOWN4} was not reached`)
      await Promise.all([mustNotConnect(stage, 'client-a', FORBIDDEN4), mustNotConnect(stage, 'client-a', FORBIDDEN6)])
      return `${KNOWN4} reached, ${FORBIDDEN4} and ${FORBIDDEN6} not`
    },
  },
  {
    step: 'agent gone: DNS is shut, the pod without policy goes on',
    async run({ lab }) {
      const [allowed, denied, plain] = await Promise.all([
        dig(lab, 'client-a', 'www.shop.example'),
        dig(lab, 'client-a', 'www.evil.example'),
        dig(lab, 'plain', 'www.evil.example'),
      ])
      check(allowed.status === '' && denied.status === '', `answered ${allowed.status} and ${denied.status}`)
      check(plain.status === 'NOERROR', `plain: ${plain.status}`)
      return 'no answer to a client with policy'
    },
  },
  {
    step: 'agent back: state restored, no new query needed',
    async run(stage) {
      const ms = await stage.agent.start()
      check(await connects(stage.lab, 'client-a', KNOWN4), `${KNOWN4} was not reached`)
      await mustNotConnect(stage, 'client-a', FORBIDDEN4)
      // Long enough for a reconciler that knows of nothing to sweep it all away.
      await sleep(500)
      check(await connects(stage.lab, 'client-a', KNOWN4), `${KNOWN4} was lost again`)
      const status = await stage.agent.status()
      return { detail: `ready after ${ms.toFixed(0)} ms, ${status.names.entries} names, ${KNOWN4} reached`, ms }
    },
  },
  {
    step: 'allowed name again after the restart',
    run: (stage) => firstPacket(stage, 'client-a', 'http://www.shop.example/'),
  },
  {
    step: 'the operator asks: status and why',
    async run({ agent }) {
      const status = await agent.command(['status'])
      check(status.code === 0, `status: exit ${status.code} ${status.stderr}`)
      const why = await agent.command(['why', '--config', agent.configFile, 'default/client-a', 'www.shop.example'])
      check(why.code === 0 && why.stdout.includes('client-a.yaml'), `why: exit ${why.code} ${why.stdout}${why.stderr}`)
      return why.stdout.split('\n')[0] ?? ''
    },
  },
]

const farewell: Step[] = [
  {
    step: 'stop and cleanup: nothing of the agents is left',
    async run(stage) {
      const { lab, agent, seal } = stage
      await agent.stop()
      await mustNotConnect(stage, 'client-a', FORBIDDEN4)
      await seal.far.stop()
      for (const one of [agent, seal.far]) {
        const done = await one.command(['cleanup', '--config', one.configFile])
        check(done.code === 0, `cleanup: exit ${done.code} ${done.stderr}`)
        check(!one.pinned, 'pins are left')
      }
      const look =
        'ip rule; ip -6 rule; ip route show table 2004; ip -o link show type tun; ip nexthop; bpftool net show'
      for (const node of ['node', 'node2'] as const) {
        const left = await lab.at(node, ['sh', '-c', look])
        check(!/2004|20000|sekisho|tcx|kwg/.test(left.stdout), left.stdout)
      }
      check(await connects(lab, 'client-a', FORBIDDEN4), 'the pod is still shut in')
      return 'no pin, rule, route, program or device; the pod is free'
    },
  },
]

export type Part = 'all' | 'seal'

/** Every line, in order, or those of the seal; the last part is left out when the demo is to stay up. */
export const scenario = (part: Part, keep: boolean): readonly { title: string; steps: readonly Step[] }[] => [
  ...(part === 'seal'
    ? []
    : [
        { title: 'Names and addresses', steps: names },
        { title: 'Policy that changes', steps: changes },
        { title: 'An agent that dies', steps: death },
      ]),
  { title: 'Two nodes, sealed', steps: sealSteps },
  ...(keep ? [] : [{ title: 'The end', steps: farewell }]),
]
