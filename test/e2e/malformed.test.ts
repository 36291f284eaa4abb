import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { dnsRule, dnsRuleAt, fqdnRule, podPolicy } from '../../lab/policy.ts'
import type { Metrics } from '../../lab/metrics.ts'
import { DNS4, DNS6, ODD4, ODD6 } from '../../lab/topology.ts'
import { exchange, reach, useSite } from '../support/lab.ts'
import { BAD_ANSWERS, BAD_QUERIES, GOOD_QUERY, oddScript, questionFor } from '../support/malformed.ts'

const NAMES = ['www.shop.example', 'kubernetes.shop.example', '*.odd.example']
const site = useSite({
  prefix: 'skm',
  settings: { dns: { upstreamTimeout: '300ms' } },
  policies: {
    'client-a.yaml': podPolicy('client-a', {
      egress: [dnsRule(NAMES), dnsRuleAt([`${ODD4}/32`, `${ODD6}/128`], ['*.odd.example']), fqdnRule(NAMES)],
    }),
  },
})

const rcode = (message: string): number => parseInt(message.slice(7, 8), 16)
/** BADVERS is 16: 0 in the header and 1 in the upper bits that OPT has (RFC 6891 section 6.1.3). */
const badVersion = (message: string): boolean => rcode(message) === 0 && /000029[0-9a-f]{4}01/.test(message)
const answers = (message: string): number => parseInt(message.slice(12, 16), 16)

/** Payload of an unfragmented UDP datagram over IPv6 and an MTU of 1500. */
const LONGEST_DATAGRAM = 1452

/** Says yes, or says anything about the name. */
const allows = (reply: string): boolean =>
  /^[0-9a-f]{24}/.test(reply) && (answers(reply) > 0 || (rcode(reply) === 0 && !badVersion(reply)))

/** What of the gate's counters rose between two readings, by name. */
function risen(before: Metrics, after: Metrics): string[] {
  const of = (metrics: Metrics): Map<string, number> => {
    const counts = new Map<string, number>()
    const add = (key: string, value: number): void => void counts.set(key, (counts.get(key) ?? 0) + value)
    for (const { name, labels, value } of metrics.samples) {
      if (name === 'sekisho_dns_rejects_total') add(labels['reason'] ?? '', value)
      else if (name === 'sekisho_dns_verdicts_total' && labels['verdict'] === 'name') add('denied', value)
      else if (name === 'sekisho_datapath_drops_total') add(labels['reason'] ?? '', value)
      else if (name === 'sekisho_dns_strayed_records_total') add('strayed', value)
      else if (name === 'sekisho_dns_unlearnable_addresses_total') add('unlearnable', value)
    }
    return counts
  }
  const old = of(before)
  return [...of(after)].filter(([key, value]) => value > (old.get(key) ?? 0)).map(([key]) => key)
}

describe.each([
  ['IPv4', DNS4, ODD4],
  ['IPv6', DNS6, ODD6],
])('over %s', (_, server, odd) => {
  it('gives no malformed query an allow, counts each by its reason and goes on', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    const wrong: string[] = []
    let before = await agent.metrics()
    for (const { what, message, reason: expected, silent: quiet } of BAD_QUERIES) {
      // No question needs fragments: the programs drop them, for a socket cannot be assigned to a part of a datagram.
      const tooLong = message.length > LONGEST_DATAGRAM
      const reason = tooLong ? /^fragment$/ : expected
      const silent = tooLong || quiet
      const [reply = '-'] = await exchange(lab, 'client-a', server, [message.toString('hex')], { timeoutMs: 150 })
      const after = await agent.metrics()
      const counted = risen(before, after)
      before = after
      if (allows(reply)) wrong.push(`${what}: answered ${reply}`)
      if (silent === true && reply !== '-') wrong.push(`${what}: answered ${reply}`)
      if (silent !== true && reply === '-') wrong.push(`${what}: no answer`)
      if (!counted.some((name) => reason.test(name)))
        wrong.push(`${what}: counted as ${counted.join(', ') || 'nothing'}`)
    }
    expect(wrong).toEqual([])
    expect(agent.pid).toBe(pid)
    const [good = ''] = await exchange(lab, 'client-a', server, [GOOD_QUERY.toString('hex')])
    expect([rcode(good), answers(good)]).toEqual([0, 1])
  })

  it('believes no malformed answer, counts each by its reason and opens none of its addresses', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    lab.writeOddScript(oddScript())
    const wrong: string[] = []
    let before = await agent.metrics()
    for (const { what, key, expect: outcome, reason } of BAD_ANSWERS) {
      const [reply = '-'] = await exchange(lab, 'client-a', odd, [questionFor(key).toString('hex')], {
        timeoutMs: 1000,
      })
      const after = await agent.metrics()
      const counted = risen(before, after)
      before = after
      const got =
        reply === '-'
          ? 'nothing'
          : rcode(reply) === 2
            ? 'servfail'
            : (parseInt(reply.slice(4, 8), 16) & 0x200) !== 0
              ? 'truncated'
              : 'answer'
      const fits = outcome === 'servfail' || outcome === 'truncated' ? got === outcome : got === 'answer'
      if (!fits) wrong.push(`${what}: expected ${outcome}, got ${reply}`)
      if (!reason.test('none') && !counted.some((name) => reason.test(name))) {
        wrong.push(`${what}: counted as ${counted.join(', ') || 'nothing'}`)
      }
    }
    expect(wrong).toEqual([])
    const poison = BAD_ANSWERS.flatMap((answer) => answer.poison)
    expect(await reach(lab, 'plain', poison)).toBe(poison.length)
    expect(await reach(lab, 'client-a', poison, 80, 60)).toBe(0)
    expect(agent.pid).toBe(pid)
    expect((await dig(lab, 'client-a', 'good.odd.example', [], odd)).status).toBe('NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.30.1'])).toBe(1)
  })
})

describe('over TCP', () => {
  it('believes no malformed answer of a server either', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    lab.writeOddScript(oddScript())
    const before = await agent.metrics()
    const lines = BAD_ANSWERS.map(({ key }) => questionFor(key).toString('hex'))
    const replies = await exchange(lab, 'client-a', ODD4, lines, { tcp: true, timeoutMs: 1000 })
    const wrong = BAD_ANSWERS.filter((answer, i) => {
      const reply = replies[i] ?? ''
      return answer.expect === 'servfail' && /^[0-9a-f]{24}/.test(reply) && rcode(reply) !== 2
    })
    expect(wrong.map(({ what }) => what)).toEqual([])
    expect(risen(before, await agent.metrics())).toEqual(
      expect.arrayContaining(['answer_rdlength', 'answer_record_cut', 'answer_name']),
    )
    expect(
      await reach(
        lab,
        'client-a',
        BAD_ANSWERS.flatMap((answer) => answer.poison),
        80,
        60,
      ),
    ).toBe(0)
    expect(agent.pid).toBe(pid)
  })

  it('closes on what is no message, answers no malformed query with an allow and goes on', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    const framed = BAD_QUERIES.filter(({ message }) => message.length > 0)
    const lines = framed.map(({ message }) => message.toString('hex'))
    const replies = await exchange(lab, 'client-a', DNS4, lines, { tcp: true, timeoutMs: 150 })
    const wrong = framed.filter((_, i) => {
      const reply = replies[i] ?? ''
      return allows(reply)
    })
    expect(replies).toHaveLength(framed.length)
    expect(wrong.map(({ what }) => what)).toEqual([])
    // Raw streams: a length of 0, one without its message, half a length, a message longer than it says.
    const streams = ['!0000', '!00ff4242', '!00', `!0005${GOOD_QUERY.toString('hex')}`]
    for (const reply of await exchange(lab, 'client-a', DNS4, streams, { tcp: true, timeoutMs: 150 })) {
      expect(['-', 'closed']).toContain(reply)
    }
    expect(agent.pid).toBe(pid)
    const [good = ''] = await exchange(lab, 'client-a', DNS4, [GOOD_QUERY.toString('hex')], { tcp: true })
    expect([rcode(good), answers(good)]).toEqual([0, 1])
  })
})
