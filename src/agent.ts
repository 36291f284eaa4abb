import { mkdirSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { createDnsThreads } from './agent/dns-threads.ts'
import { createLedgerThread } from './agent/ledger-thread.ts'
import { agentMetrics } from './agent/metrics.ts'
import { addressesKey, createPolicyLoop } from './agent/policy-loop.ts'
import { createView } from './agent/view.ts'
import type { Config } from './config/schema.ts'
import { SekishoError } from './core/errors.ts'
import { formatIp, type Ip, parseIp } from './core/ip.ts'
import { cleanupDatapath, createDatapath } from './datapath/datapath.ts'
import { openEndpointIds } from './datapath/endpoint-ids.ts'
import { datapathMetrics } from './datapath/metrics.ts'
import { createDnsMetrics } from './dns/metrics.ts'
import { fqdnMetrics } from './fqdn/metrics.ts'
import { createLearningMemory } from './fqdn/shared/learning-memory.ts'
import { createHttpServer } from './http/server.ts'
import { identityMetrics } from './identity/metrics.ts'
import { createMetrics } from './metrics/registry.ts'
import { loadNative } from './native/load.ts'
import { listAddresses, NETLINK_ROUTE, openConnection } from './netlink/netlink.ts'
import { PolicyMetrics } from './policy/metrics.ts'

const here = (path: string): URL => new URL(path, import.meta.url)
const DATAPATH_OBJECT = here('../build/datapath.o').pathname

const NODE_ADDRESSES_MS = 5000
const DROPS_MS = 250
/** The tcp thread has this many places for answers that wait (src/tcp.ts). */
const TCP_PENDING = 512
/** How long /readyz says no before anything ends, ms: probes and load balancers see it first. */
const LAMEDUCK_MS = 100

/** What tests put in the place of product parts; nothing of it can be set from a file or the environment. */
export interface AgentOverrides {
  readonly workerEntry?: URL
  readonly tcpEntry?: URL
  readonly ledgerEntry?: URL
  readonly compilerEntry?: URL
}

/** Wires the rooms of the main thread: the order of start, and its reverse. */
export async function runAgent(config: Config, overrides: AgentOverrides = {}): Promise<number> {
  const log = pino({ level: config.log.level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
  const part = (name: string) => log.child({ part: name })
  const native = loadNative()
  const node = config.node.name === '' ? hostname() : config.node.name
  mkdirSync(config.state.dir, { recursive: true, mode: 0o700 })
  const signalled = waitForSignal()
  const up = new Set<string>()
  const stops: (() => Promise<void> | void)[] = []

  const route = openConnection(native, NETLINK_ROUTE)
  const nodeAddresses = (): readonly Ip[] =>
    config.node.addresses.length > 0
      ? config.node.addresses.map((text) => parseIp(text))
      : listAddresses(route).map(({ ip }) => ip)

  try {
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
    let addresses = nodeAddresses()
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
          maxEntries: config.fqdn.maxEntries,
        },
        conntrackIntervalMs: config.fqdn.conntrackInterval,
        nodeAddresses: addresses.map(formatIp),
        stateDir: config.state.dir,
        snapshotIntervalMs: config.state.snapshotInterval,
      },
      overrides.ledgerEntry ?? here('./ledger.ts'),
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
      workerEntry: overrides.workerEntry ?? here('./worker.ts'),
      tcpEntry: overrides.tcpEntry ?? here('./tcp.ts'),
    })
    // The ports come first: a second agent must fail before it touches a map.
    dns.listen()
    await datapath.start()
    stops.push(() => datapath.stop())
    up.add('datapath')
    await ledger.thread.start()
    stops.push(() => ledger.thread.stop())

    const policyMetrics = new PolicyMetrics()
    const policy = createPolicyLoop({
      config,
      log: part('policy'),
      compilerEntry: overrides.compilerEntry ?? here('./compiler.ts'),
      endpointIds: openEndpointIds(join(config.state.dir, 'endpoints.json')),
      datapath,
      metrics: policyMetrics,
      nodeAddresses: () => addresses,
      apply: (generation, buffer) => ledger.apply(generation, buffer),
      async use(buffer, generation) {
        const taken = await dns.use(buffer, generation)
        if (!up.has('dns')) {
          await dns.start()
          up.add('dns')
          log.info({ node, port: config.dns.port, http: http.port }, 'serving')
          // Written now: an agent that is killed would leave the next one to compile everything again.
          flushCompileCache()
        }
        return taken
      },
      settled: (generation) => ledger.settled(generation),
    })

    const view = createView({ config, node, datapath, ledger, dns, policy, up })
    const metrics = createMetrics({ process: true })
    const http = createHttpServer({ ...config.http, view, metrics, log: part('http') })
    for (const source of [
      agentMetrics(view),
      http.source,
      datapathMetrics(datapath),
      createDnsMetrics(dns.counters),
      fqdnMetrics(ledger.stats),
      identityMetrics(ledger.stats),
      policyMetrics,
    ]) {
      metrics.add(source)
    }
    await http.start()
    stops.push(() => http.stop())

    await policy.start()
    stops.push(() => policy.stop())

    const timers = [
      setInterval(() => view.collectDrops(), DROPS_MS),
      setInterval(() => {
        const now = nodeAddresses()
        if (addressesKey(now) === addressesKey(addresses)) return
        addresses = now
        ledger.nodes(now.map(formatIp))
        policy.trigger()
      }, NODE_ADDRESSES_MS),
    ]
    stops.push(() => timers.forEach((timer) => clearInterval(timer)))

    // Ends first: what is in flight still needs the ledger.
    stops.push(() => dns.stop())

    const signal = await signalled
    log.info({ signal }, 'stopping; programs and maps go on enforcing')
    http.lameduck()
    await new Promise((resolve) => setTimeout(resolve, LAMEDUCK_MS))
    return 0
  } catch (error) {
    report(log, error)
    return 1
  } finally {
    for (const stop of stops.reverse()) {
      try {
        await stop()
      } catch (error) {
        log.error({ err: error }, 'a part did not stop cleanly')
      }
    }
    route.close()
  }
}

const waitForSignal = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })

function report(log: pino.Logger, error: unknown): void {
  const known = error instanceof SekishoError ? error : undefined
  log.fatal({ err: error, code: known?.code, hint: known?.hint }, 'the agent cannot start')
  process.stderr.write(`sekisho: ${error instanceof Error ? error.message : String(error)}\n`)
  if (known !== undefined) process.stderr.write(`${known.code}${known.hint === undefined ? '' : ` — ${known.hint}`}\n`)
}

/** Takes the datapath off the node. */
export async function cleanup(config: Config, tell: (line: string) => void): Promise<number> {
  cleanupDatapath({ native: loadNative() }, config.datapath)
  tell('removed: programs, maps, pins, routing rules')
  return 0
}
