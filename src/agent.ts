import { hostname } from 'node:os'
import { pino } from 'pino'
import { addressesKey } from './agent/addresses.ts'
import type { GateEntries } from './agent/gate.ts'
import { agentMetrics } from './agent/metrics.ts'
import { createStops } from './agent/stops.ts'
import { createView } from './agent/view.ts'
import type { Config } from './config/schema.ts'
import { SekishoError } from './core/errors.ts'
import { type Ip, parseIp } from './core/ip.ts'
import { createHttpServer } from './http/server.ts'
import { createMetrics } from './metrics/registry.ts'
import { loadNative } from './native/load.ts'
import { listAddresses, NETLINK_ROUTE, openConnection } from './netlink/netlink.ts'

/** How often the node's addresses are read, ms. Peers are told of another one within two seconds; for policy five are enough. */
const ADDRESSES_SEAL_MS = 1000
const ADDRESSES_GATE_MS = 5000
/** Every how often it is asked which of the addresses others can use, changed or not: that is a look at all routes. */
const USABLE_EVERY = 5
/** How long /readyz says no before anything ends, ms: probes and load balancers see it first. */
const LAMEDUCK_MS = 100

/** What tests put in the place of product parts; nothing of it can be set from a file or the environment. */
export type AgentOverrides = GateEntries

/**
 * Wires the rooms of the main thread: the order of start, and its reverse. Gate and seal are loaded only where they run, and
 * neither waits for the other.
 */
export async function runAgent(config: Config, overrides: AgentOverrides = {}): Promise<number> {
  const log = pino({ level: config.log.level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
  const part = (name: string) => log.child({ part: name })
  // Auditors want every key that was made or retired, also where only warnings are written.
  const keyLog = log.child({ part: 'wg-keys' }, config.log.level === 'silent' ? {} : { level: 'info' })
  const native = loadNative()
  const node = nodeName(config)
  const signalled = waitForSignal()
  const stops = createStops(log)

  const route = openConnection(native, NETLINK_ROUTE)
  const nodeAddresses = (): readonly Ip[] =>
    config.node.addresses.length > 0
      ? config.node.addresses.map((text) => parseIp(text))
      : listAddresses(route).map(({ ip }) => ip)

  try {
    let addresses = nodeAddresses()
    const serving = (): void => log.info({ node, port: config.dns.port, http: http.port }, 'serving')
    const gate =
      config.datapath.mode === 'off'
        ? undefined
        : await (
            await import('./agent/gate.ts')
          ).startGate({ config, native, part, entries: overrides, addresses, serving, stops })
    const seal =
      config.wireguard.mode === 'off'
        ? undefined
        : (await import('./agent/node-seal.ts')).createNodeSeal({ config, node, native, part, keyLog, route })

    const view = createView({ config, node, gate: gate?.view, seal })
    const metrics = createMetrics({ process: true })
    const http = createHttpServer({ ...config.http, view, metrics, log: part('http') })
    for (const source of [agentMetrics(view), http.source, ...(gate?.sources ?? []), ...(seal?.sources ?? [])]) {
      metrics.add(source)
    }
    await http.start()
    stops.add(() => http.stop())

    // Tried again until it works, and waited for by nobody: names are answered without it.
    seal?.start()
    stops.add(() => seal?.stop())

    let looks = 0
    const watch = setInterval(
      () => {
        try {
          const now = nodeAddresses()
          const changed = addressesKey(now) !== addressesKey(addresses)
          // Whatever the list says: which of them others can use depends on the default route, and on DAD.
          if (changed || ++looks % USABLE_EVERY === 0) seal?.addressesChanged()
          if (!changed) return
          addresses = now
          gate?.nodeAddresses(now)
        } catch (error) {
          log.warn({ err: error }, 'addresses of the node could not be read; they are read again')
        }
      },
      seal === undefined ? ADDRESSES_GATE_MS : ADDRESSES_SEAL_MS,
    )
    stops.add(() => clearInterval(watch))

    if (gate === undefined) log.info({ node, http: http.port }, 'the seal runs, without the gate')
    else await gate.serve()

    const signal = await signalled
    log.info({ signal }, 'stopping; what is in the kernel stays and goes on')
    http.lameduck()
    await new Promise((resolve) => setTimeout(resolve, LAMEDUCK_MS))
    return 0
  } catch (error) {
    report(log, error)
    return 1
  } finally {
    await stops.run()
    route.close()
  }
}

const nodeName = (config: Config): string => (config.node.name === '' ? hostname() : config.node.name)

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

/** Takes everything of ours off the node. */
export async function cleanup(config: Config, tell: (line: string) => void): Promise<number> {
  const native = loadNative()
  const log = pino({ level: 'silent' })
  const part = (name: string) => log.child({ part: name })
  const [{ cleanupDatapath }, { cleanupSeal }] = await Promise.all([
    import('./datapath/datapath.ts'),
    import('./agent/seal-cleanup.ts'),
  ])
  const route = openConnection(native, NETLINK_ROUTE)
  try {
    // The seal first: its guard lies in a folder that the datapath takes away.
    const done = await cleanupSeal({ config, node: nodeName(config), native, part, keyLog: log, route }, tell)
    cleanupDatapath({ native }, config.datapath)
    tell('removed: programs, maps, pins, routing rules')
    return done ? 0 : 1
  } finally {
    route.close()
  }
}
