import { mkdirSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import type { Config } from '../config/schema.ts'
import { formatIp, type Ip } from '../core/ip.ts'
import type { Log } from '../core/log.ts'
import type { MetricSource } from '../core/metric.ts'
import { createDatapath } from '../datapath/datapath.ts'
import { openEndpointIds } from '../datapath/endpoint-ids.ts'
import { datapathMetrics } from '../datapath/metrics.ts'
import { createDnsMetrics } from '../dns/metrics.ts'
import { fqdnMetrics } from '../fqdn/metrics.ts'
import { createLearningMemory } from '../fqdn/shared/learning-memory.ts'
import { identityMetrics } from '../identity/metrics.ts'
import type { Native } from '../native/binding.ts'
import { PolicyMetrics } from '../policy/metrics.ts'
import { createDnsThreads } from './dns-threads.ts'
import { createGateView, type GateView } from './gate-view.ts'
import { createLedgerThread } from './ledger-thread.ts'
import { createPolicyLoop } from './policy-loop.ts'
import type { Stops } from './stops.ts'

const here = (path: string): URL => new URL(path, import.meta.url)
const DATAPATH_OBJECT = here('../../build/datapath.o').pathname

/** The tcp thread has this many places for answers that wait (src/tcp.ts). */
const TCP_PENDING = 512

/** What tests put in the place of product threads. */
export interface GateEntries {
  readonly workerEntry?: URL
  readonly tcpEntry?: URL
  readonly ledgerEntry?: URL
  readonly compilerEntry?: URL
}

export interface GateDeps {
  readonly config: Config
  readonly native: Native
  readonly part: (name: string) => Log
  readonly entries: GateEntries
  readonly addresses: readonly Ip[]
  /** The first policy is in force, and queries are answered. */
  readonly serving: () => void
  readonly stops: Stops
}

export interface Gate {
  readonly view: GateView
  readonly sources: readonly MetricSource[]
  /** Policies are read, and with the first the dns threads start. */
  serve(): Promise<void>
  /** The node has these addresses now. */
  nodeAddresses(addresses: readonly Ip[]): void
}

/**
 * The gate for names: takes the ports, starts datapath and ledger. What must be stopped is added to `stops`, also when the
 * start fails half way; programs and maps go on enforcing.
 */
export async function startGate({ config, native, part, entries, serving, stops, ...deps }: GateDeps): Promise<Gate> {
  mkdirSync(config.state.dir, { recursive: true, mode: 0o700 })
  const up = new Set<string>()
  let { addresses } = deps
  const datapath = createDatapath({ native, log: part('datapath'), object: DATAPATH_OBJECT }, config.datapath)
  const kicks = Array.from({ length: config.dns.workers }, () => native.openEvent())
  const seed = crypto.getRandomValues(new Uint32Array(2))
  const learning = createLearningMemory({
    clients: config.dns.workers + 1,
    slotsPerClient: Math.max(config.dns.maxPending, TCP_PENDING),
    maxEntries: config.fqdn.maxEntries,
    minTtlSeconds: Math.ceil(config.fqdn.minTtl / 1000),
    graceSeconds: Math.ceil(config.fqdn.grace / 1000),
    seed: [seed[0] ?? 0, seed[1] ?? 0],
  })
  const ledger = createLedgerThread(
    {
      learning,
      kicks,
      // Read when the thread starts, after the datapath did.
      get maps() {
        return datapath.maps
      },
      proxyPort: config.dns.port,
      policyEntries: config.datapath.maps.policyEntries,
      ipcacheEntries: config.datapath.maps.ipcacheEntries,
      limits: {
        maxAddressesPerName: config.fqdn.maxAddressesPerName,
        maxNamesPerEndpoint: config.fqdn.maxNamesPerEndpoint,
        maxEntriesPerEndpoint: config.fqdn.maxEntriesPerEndpoint,
        maxEntries: config.fqdn.maxEntries,
      },
      conntrackIntervalMs: config.fqdn.conntrackInterval,
      nodeAddresses: addresses.map(formatIp),
      stateDir: config.state.dir,
      snapshotIntervalMs: config.state.snapshotInterval,
    },
    entries.ledgerEntry ?? here('../ledger.ts'),
    part('ledger'),
    () => dns.ledgerRestarted(),
  )
  const dns = createDnsThreads({
    native,
    config,
    learning,
    ledger,
    kicks,
    log: part('dns'),
    workerEntry: entries.workerEntry ?? here('../worker.ts'),
    tcpEntry: entries.tcpEntry ?? here('../tcp.ts'),
  })
  // The ports come first: a second agent must fail before it touches a map.
  dns.listen()
  await datapath.start()
  stops.add(() => datapath.stop())
  up.add('datapath')
  await ledger.thread.start()
  stops.add(() => ledger.thread.stop())

  const policyMetrics = new PolicyMetrics()
  const policy = createPolicyLoop({
    config,
    log: part('policy'),
    compilerEntry: entries.compilerEntry ?? here('../compiler.ts'),
    endpointIds: openEndpointIds(join(config.state.dir, 'endpoints.json'), datapath.adoptedIds, (error) =>
      part('policy').warn({ err: error }, 'ids of endpoints could not be written'),
    ),
    datapath,
    metrics: policyMetrics,
    nodeAddresses: () => addresses,
    apply: (generation, buffer) => ledger.apply(generation, buffer),
    async use(buffer, generation) {
      const taken = await dns.use(buffer, generation)
      if (!up.has('dns')) {
        await dns.start()
        up.add('dns')
        serving()
        // Written now: an agent that is killed would leave the next one to compile everything again.
        flushCompileCache()
      }
      return taken
    },
    settled: (generation) => ledger.settled(generation),
  })
  const view = createGateView({ datapath, ledger, dns, policy, up })

  return {
    view,
    sources: [
      datapathMetrics(datapath),
      createDnsMetrics(dns.counters),
      fqdnMetrics(ledger.stats),
      identityMetrics(ledger.stats),
      policyMetrics,
    ],
    async serve() {
      await policy.start()
      stops.add(() => policy.stop())
      stops.add(
        datapath.whenEvents(() => {
          view.collectDrops()
        }),
      )
      // Ends first: what is in flight still needs the ledger.
      stops.add(() => dns.stop())
    },
    nodeAddresses(now) {
      addresses = now
      ledger.nodes(now.map(formatIp))
      policy.trigger()
    },
  }
}
