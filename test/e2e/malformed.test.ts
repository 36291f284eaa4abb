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

/** What of the gate's counters for one transport rose between two readings, by name. */
function risen(before: Metrics, after: Metrics, transport: string): string[] {
  const of = (metrics: Metrics): Map<string, number> => {
    const counts = new Map<string, number>()
    const add = (key: string, value: number): void => void counts.set(key, (counts.get(key) ?? 0) + value)
    for (const { name, labels, value } of metrics.samples) {
      if ((labels['transport'] ?? transport) !== transport) continue
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
  ['UDP', 'IPv4', DNS4, ODD4],
  ['UDP', 'IPv6', DNS6, ODD6],
  ['TCP', 'IPv4', DNS4, ODD4],
  ['TCP', 'IPv6', DNS6, ODD6],
])('by %s over %s', (protocol, _, server, odd) => {
  const tcp = protocol === 'TCP'
  const transport = protocol.toLowerCase()

  it('gives no malformed query an allow, counts each by its reason and goes on', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    const wrong: string[] = []
    let before = await agent.metrics()
    for (const { what, message, reason: expected, silent: quiet } of BAD_QUERIES) {
      // No question needs fragments: the programs drop them, for a socket cannot be assigned to a part of a datagram.
      const tooLong = !tcp && message.length > LONGEST_DATAGRAM
      const reason = tooLong ? /^fragment$/ : expected
      const silent = tooLong || quiet
      const options = { tcp, timeoutMs: 150 }
      const [reply = '-'] = await exchange(lab, 'client-a', server, [message.toString('hex')], options)
      const after = await agent.metrics()
      const counted = risen(before, after, transport)
      before = after
      const answered = reply !== '-' && reply !== 'closed'
      if (allows(reply)) wrong.push(`${what}: answered ${reply}`)
      if (silent === true && answered) wrong.push(`${what}: answered ${reply}`)
      if (silent !== true && !answered) wrong.push(`${what}: no answer`)
      if (!counted.some((name) => reason.test(name)))
        wrong.push(`${what}: counted as ${counted.join(', ') || 'nothing'}`)
    }
    expect(wrong).toEqual([])
    expect(agent.pid).toBe(pid)
    const [good = ''] = await exchange(lab, 'client-a', server, [GOOD_QUERY.toString('hex')], { tcp })
    expect([rcode(good), answers(good)]).toEqual([0, 1])
  })

  it('believes no malformed answer, counts each by its reason and opens none of its addresses', async () => {
    const { lab, agent } = site()
    const pid = agent.pid
    lab.writeOddScript(oddScript())
    const wrong: string[] = []
    let before = await agent.metrics()
    for (const { what, key, script, expect: outcome, reason: expected } of BAD_ANSWERS) {
      // Too long for a datagram only: by TCP it is read, and is what it is.
      const wanted = tcp && outcome === 'truncated' ? 'servfail' : outcome
      const options = { tcp, timeoutMs: 1000 }
      const [reply = '-'] = await exchange(lab, 'client-a', odd, [questionFor(key).toString('hex')], options)
      const after = await agent.metrics()
      const counted = risen(before, after, transport)
      before = after
      const got =
        reply === '-' || reply === 'closed'
          ? 'nothing'
          : rcode(reply) === 2
            ? 'servfail'
            : (parseInt(reply.slice(4, 8), 16) & 0x200) !== 0
              ? 'truncated'
              : reply.slice(4) === script[0]?.hex
                ? 'passed'
                : reply.slice(4) === script[1]?.hex
                  ? 'good'
                  : 'another answer'
      if (got !== wanted) wrong.push(`${what}: expected ${wanted}, got ${got}: ${reply}`)
      if (!expected.test('none') && !counted.some((name) => expected.test(name))) {
        wrong.push(`${what}: counted as ${counted.join(', ') || 'nothing'}`)
      }
    }
    expect(wrong).toEqual([])
    const poison = BAD_ANSWERS.flatMap((answer) => answer.poison)
    expect(await reach(lab, 'plain', poison)).toBe(poison.length)
    expect(await reach(lab, 'client-a', poison, 80, 60)).toBe(0)
    expect(agent.pid).toBe(pid)
    const good = await dig(lab, 'client-a', 'good.odd.example', tcp ? ['+tcp'] : [], odd)
    expect(good.status).toBe('NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.30.1'])).toBe(1)
  })
})

describe.each([
  ['IPv4', DNS4],
  ['IPv6', DNS6],
])('a stream over %s', (_, server) => {
  it.each([
    ['a length of 0', '!0000', ['short']],
    ['less than it says', '!00ff4242', []],
    ['half a length', '!00', []],
    ['more than it says', `!0005${GOOD_QUERY.toString('hex')}`, ['short']],
  ])('that has %s gets nothing', async (_, stream, reasons) => {
    const { lab, agent } = site()
    const pid = agent.pid
    const before = await agent.metrics()
    const [reply] = await exchange(lab, 'client-a', server, [stream], { tcp: true, timeoutMs: 150 })
    expect(['-', 'closed']).toContain(reply)
    expect(risen(before, await agent.metrics(), 'tcp')).toEqual(expect.arrayContaining(reasons))
    expect(agent.pid).toBe(pid)
    const [good = ''] = await exchange(lab, 'client-a', server, [GOOD_QUERY.toString('hex')], { tcp: true })
    expect([rcode(good), answers(good)]).toEqual([0, 1])
  })
})
