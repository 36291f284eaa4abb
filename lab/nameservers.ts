import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inside, namespaceOf } from './namespaces.ts'
import type { Processes } from './processes.ts'
import { must, run, waitFor } from './run.ts'
import { DNS4, DNS6, ODD4 } from './topology.ts'
import type { Place } from './topology.ts'
import { BROKEN_ZONE, ODD_ZONE, zones } from './zones.ts'

const NSD_PORT = 5300

/**
 * The resolver of the pods: unbound, which asks nsd for every zone of the lab (as a resolver asks the world) and the odd
 * server for its zone. Both run in the foreground under `Processes`, with every file in `directory`.
 */
export async function startNameservers(
  prefix: string,
  directory: string,
  processes: Processes,
  freshCount: number,
): Promise<void> {
  const namespace = namespaceOf(prefix, 'dns')
  mkdirSync(directory, { recursive: true })
  const texts = zones(freshCount)
  for (const [zone, text] of texts) writeFileSync(join(directory, zoneFile(zone)), text)
  const nsd = join(directory, 'nsd.conf')
  const unbound = join(directory, 'unbound.conf')
  writeFileSync(nsd, nsdConfig(directory, [`127.0.0.1@${NSD_PORT}`], [...texts.keys()], [BROKEN_ZONE]))
  writeFileSync(unbound, unboundConfig(directory))
  await must(['nsd-checkconf', nsd])
  await must(['unbound-checkconf', unbound])
  processes.start('nsd', inside(namespace, ['nsd', '-d', '-c', nsd]))
  processes.start('unbound', inside(namespace, ['unbound', '-d', '-c', unbound]))
  await waitFor(
    'the resolver to answer',
    async () => {
      const dig = await run(inside(namespace, ['dig', `@${DNS4}`, '+short', '+tries=1', '+time=1', 'www.shop.example']))
      return dig.stdout.includes('198.18.1.10') ? true : undefined
    },
    { timeoutMs: 15_000, everyMs: 50 },
  )
}

const zoneFile = (zone: string): string => `${zone === '.' ? 'root' : zone}.zone`

/** nsd alone, in any place of the lab: answers for its zones, and knows nobody else. */
export async function startAuthority(
  prefix: string,
  place: Place,
  directory: string,
  processes: Processes,
  { zones: texts, listen }: { zones: ReadonlyMap<string, string>; listen: readonly string[] },
): Promise<void> {
  mkdirSync(directory, { recursive: true })
  for (const [zone, text] of texts) writeFileSync(join(directory, zoneFile(zone)), text)
  const file = join(directory, 'nsd.conf')
  writeFileSync(file, nsdConfig(directory, listen, [...texts.keys()]))
  await must(['nsd-checkconf', file])
  processes.start(place, inside(namespaceOf(prefix, place), ['nsd', '-d', '-c', file]))
}

/** Zones in `broken` have no file. */
function nsdConfig(
  directory: string,
  listen: readonly string[],
  names: readonly string[],
  broken: readonly string[] = [],
): string {
  const zone = (name: string, file: string): string =>
    `zone:\n  name: "${name}"\n  zonefile: "${join(directory, file)}"\n`
  return `server:
${listen.map((address) => `  ip-address: ${address}\n`).join('')}  username: ""
  chroot: ""
  pidfile: "${join(directory, 'nsd.pid')}"
  zonesdir: "${directory}"
  xfrdfile: ""
  zonelistfile: "${join(directory, 'nsd.zones')}"
  database: ""
  server-count: 1
  rrl-ratelimit: 0
  verbosity: 1
remote-control:
  control-enable: no
${names.map((name) => zone(name, zoneFile(name))).join('')}${broken.map((name) => zone(name, 'no-such.zone')).join('')}`
}

function unboundConfig(directory: string): string {
  const stub = (name: string, address: string): string => `stub-zone:\n  name: "${name}"\n  stub-addr: ${address}\n`
  return `server:
  interface: ${DNS4}
  interface: ${DNS6}
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  username: ""
  chroot: ""
  directory: "${directory}"
  pidfile: "${join(directory, 'unbound.pid')}"
  use-syslog: no
  log-time-ascii: yes
  verbosity: 1
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  prefer-ip4: yes
  qname-minimisation: no
  rrset-roundrobin: yes
  minimal-responses: yes
  edns-buffer-size: 1232
  max-udp-size: 1232
  msg-cache-size: 64m
  rrset-cache-size: 128m
  outgoing-range: 4096
  num-queries-per-thread: 2048
  so-rcvbuf: 4m
  infra-host-ttl: 1
  local-zone: "test." nodefault
remote-control:
  control-enable: no
${stub('.', `127.0.0.1@${NSD_PORT}`)}${stub(ODD_ZONE, `${ODD4}@53`)}`
}
