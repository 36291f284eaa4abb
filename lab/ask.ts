import type { Lab } from './lab.ts'
import { DNS4 } from './topology.ts'
import type { PodKey } from './topology.ts'

/** What dig saw. `status` is empty when no answer came. */
export interface Answer {
  readonly status: string
  readonly flags: readonly string[]
  /** Values of the answer section by record type. */
  readonly records: readonly {
    readonly name: string
    readonly ttl: number
    readonly type: string
    readonly data: string
  }[]
  /** Extended DNS Error (RFC 8914) as dig prints it, empty without one. */
  readonly ede: string
  /** Milliseconds as dig measured them. */
  readonly ms: number
  readonly text: string
}

/** `dig` in a pod, one attempt. `extra` are dig's own words: a type, +tcp, +ignore, +bufsize=512, ... */
export async function dig(
  lab: Lab,
  pod: PodKey,
  name: string,
  extra: readonly string[] = [],
  server = DNS4,
): Promise<Answer> {
  const plus = ['+tries=1', '+time=2', '+nosearch', '+qr', '+comments', '+answer', '+stats']
  const { stdout } = await lab.inPod(pod, ['dig', `@${server}`, ...plus, name, ...extra])
  return readDig(stdout)
}

export function readDig(stdout: string): Answer {
  // With +qr the query is printed first; the answer starts at its own header.
  const text = stdout.slice(Math.max(0, stdout.indexOf(';; Got answer:')))
  const got = stdout.includes(';; Got answer:')
  const records = got
    ? text
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith(';'))
        .map((line) => line.split(/\s+/))
        .map(([name = '', ttl = '', , type = '', ...data]) => ({ name, ttl: Number(ttl), type, data: data.join(' ') }))
    : []
  return {
    status: got ? (/status: ([A-Z]+)/.exec(text)?.[1] ?? '') : '',
    flags: /;; flags: ([a-z ]*);/.exec(text)?.[1]?.split(' ') ?? [],
    records,
    ede: /; EDE: (.*)/.exec(text)?.[1] ?? '',
    ms: Number(/;; Query time: (\d+) msec/.exec(text)?.[1] ?? NaN),
    text: stdout,
  }
}

/** What curl saw. `code` is curl's exit status (0 fine, 6 no name, 7 refused, 28 time over). */
export interface Fetch {
  readonly code: number
  readonly body: string
  /** Milliseconds for name, connect and the whole. */
  readonly lookupMs: number
  readonly connectMs: number
  readonly ms: number
}

/** `curl` in a pod. A lost first SYN costs 1000 ms of connect time. */
export async function curl(
  lab: Lab,
  pod: PodKey,
  url: string,
  extra: readonly string[] = [],
  seconds = 4,
): Promise<Fetch> {
  const format = '\n%{time_namelookup} %{time_connect} %{time_total}'
  const done = await lab.inPod(pod, ['curl', '-s', '-m', String(seconds), '-w', format, ...extra, url])
  const cut = done.stdout.lastIndexOf('\n')
  const [lookup = 0, connect = 0, total = 0] = done.stdout
    .slice(cut + 1)
    .split(' ')
    .map((s) => Number(s) * 1000)
  return {
    code: done.code,
    body: done.stdout.slice(0, Math.max(0, cut)),
    lookupMs: lookup,
    connectMs: Math.max(0, connect - lookup),
    ms: total,
  }
}

/** Can a pod open a TCP connection to this address now? One SYN and, with the default of 800 ms, no second one. */
export async function connects(lab: Lab, pod: PodKey, address: string, port = 80, timeoutMs = 800): Promise<boolean> {
  const { stdout } = await lab.program(pod, 'prober', ['-n', 1, '-t', timeoutMs, address, port])
  return (JSON.parse(stdout) as { connected: number }).connected > 0
}
