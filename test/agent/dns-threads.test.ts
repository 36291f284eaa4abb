import { MessageChannel } from 'node:worker_threads'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createDnsThreads, type DnsThreads } from '../../src/agent/dns-threads.ts'
import type { LedgerThread } from '../../src/agent/ledger-thread.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { silentLog } from '../../src/core/log.ts'
import { createLearningMemory } from '../../src/fqdn/shared/learning-memory.ts'
import type { SocketCalls } from '../../src/native/binding.ts'
import { makePuppet, type Puppet, soon } from '../support/puppet-thread.ts'

function config(): Config {
  const loaded = loadConfig('policy: { paths: [/p] }\ndatapath: { endpoints: /e }', {})
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

let udp: Puppet
let tcp: Puppet
let threads: DnsThreads
/** Descriptors that main has open. */
let open: Set<number>
let refusals: number
let resets: (() => void)[]
let autoReset: boolean

beforeEach(() => {
  udp = makePuppet()
  tcp = makePuppet()
  open = new Set()
  refusals = 0
  resets = []
  autoReset = true
  let fds = 100
  const opened = (): number => {
    open.add(++fds)
    return fds
  }
  const native = {
    openTcpListener() {
      if (refusals > 0) {
        refusals--
        throw new Error('EADDRINUSE')
      }
      return opened()
    },
    openUdpListener: opened,
    close: (fd: number) => void open.delete(fd),
    kick: () => undefined,
  } as unknown as SocketCalls
  const ledger = {
    resetWorker: () => Promise.resolve(),
    resetTcp: async () => {
      const { port1, port2 } = new MessageChannel()
      port1.unref()
      if (!autoReset) await new Promise<void>((resolve) => resets.push(resolve))
      return port2
    },
  } as unknown as LedgerThread
  const learning = createLearningMemory({
    clients: 2,
    slotsPerClient: 4,
    maxEntries: 16,
    minTtlSeconds: 0,
    graceSeconds: 0,
    seed: [1, 2],
  })
  const deps = { native, config: config(), learning, ledger, kicks: [50], log: silentLog }
  threads = createDnsThreads({ ...deps, workerEntry: udp.entry, tcpEntry: tcp.entry })
})
afterEach(async () => {
  autoReset = true
  for (const reset of resets) reset()
  await end()
  udp.close()
  tcp.close()
})

/** The puppet of the worker does not read its control memory. */
async function end(): Promise<void> {
  const stopped = threads.stop()
  udp.die()
  await stopped
}

const listeners = (life: number): number => (tcp.starts[life]?.['listeners'] as unknown[] | undefined)?.length ?? 0

const both = async (): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, 200))
  await soon(() =>
    expect(threads.threads.map(({ thread }) => [thread.name, thread.alive])).toEqual([
      ['dns-0', true],
      ['tcp', true],
    ]),
  )
}

async function started(): Promise<void> {
  threads.listen()
  await threads.use(new SharedArrayBuffer(8), 1)
  await threads.start()
  await soon(() => expect(tcp.starts).toHaveLength(1))
}

it('serves TCP also when the ledger died before there was a policy', async () => {
  threads.listen()
  const taken = open.size
  threads.ledgerRestarted()
  threads.ledgerRestarted()
  await threads.use(new SharedArrayBuffer(8), 1)
  await threads.start()
  await soon(() => expect(tcp.starts).toHaveLength(1))
  expect(listeners(0)).toBe(2)
  expect(open.size).toBe(taken)
})

it('gives the tcp thread one new life for each death of the ledger, however close they are', async () => {
  await started()
  autoReset = false
  threads.ledgerRestarted()
  threads.ledgerRestarted()
  await soon(() => expect(resets).toHaveLength(1))
  resets[0]?.()
  await soon(() => expect(resets).toHaveLength(2))
  resets[1]?.()
  await both()
  // The life between may have been too short to tell of itself.
  await soon(() => expect(listeners(tcp.starts.length - 1)).toBe(2))
  expect(tcp.starts.length).toBeLessThanOrEqual(3)
})

it('lets the death of the tcp thread and of the ledger come together', async () => {
  await started()
  autoReset = false
  tcp.die()
  await soon(() => expect(resets).toHaveLength(1))
  threads.ledgerRestarted()
  resets[0]?.()
  await soon(() => expect(resets).toHaveLength(2))
  resets[1]?.()
  await both()
  await soon(() => expect(listeners(tcp.starts.length - 1)).toBe(2))
  expect(resets).toHaveLength(2)
})

it('tries again while the TCP port is not to be had', async () => {
  await started()
  refusals = 1
  threads.ledgerRestarted()
  await soon(() => expect(tcp.starts).toHaveLength(2))
  expect(listeners(1)).toBe(2)
  refusals = 2
  tcp.die()
  await soon(() => expect(tcp.starts).toHaveLength(3))
  expect(listeners(2)).toBe(2)
})

it('closes every descriptor that no thread has taken', async () => {
  threads.listen()
  expect(open.size).toBe(4)
  await end()
  expect(open.size).toBe(0)
})
