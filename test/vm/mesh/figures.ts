import type { Report } from './traffic.ts'

/** What the summary (VM_JSON) has of every test with traffic: packets of UDP and records of TCP; gaps and stalls in ms. */
export function figuresOf(reports: readonly Report[], clearText: number): Record<string, number> {
  const sum = (pick: (report: Report) => number): number => reports.reduce((all, report) => all + pick(report), 0)
  const most = (pick: (report: Report) => number): number => Math.max(0, ...reports.map(pick))
  return {
    sent: sum(({ udp, tcp }) => udp.sent + tcp.sent),
    received: sum(({ udp, tcp }) => udp.received + tcp.received),
    lost: sum(({ udp, tcp }) => udp.lost + tcp.lost),
    duplicated: sum(({ udp }) => udp.duplicated),
    reordered: sum(({ udp }) => udp.reordered),
    resets: sum(({ tcp }) => tcp.resets),
    retransmits: sum(({ tcp }) => tcp.retransmits),
    gapMs: Math.round(most(({ udp }) => udp.maxGapMs)),
    stallMs: Math.round(most(({ udp, tcp, stallMs }) => Math.max(udp.txMaxGapMs, tcp.txMaxGapMs, stallMs))),
    clearText,
  }
}
