import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import * as C from '../../src/dns/counters.ts'
import type { AnswerGate } from '../../src/dns/gate.ts'
import { frame, FrameReader } from '../../src/dns/tcp-frames.ts'
import { TcpGate } from '../../src/dns/tcp-gate.ts'
import type { TcpGateConfig } from '../../src/dns/tcp-ports.ts'
import { FakeLearner, FakePolicy, seededRandom } from './gate-world.ts'

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Waits until `check` holds, at most two seconds. */
export async function until(check: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !check(); i++) await sleep(5)
  if (!check()) throw new Error('it never came true')
}

export class TcpClient {
  readonly socket: Socket
  readonly messages: Uint8Array[] = []
  /** Sizes of what each read gave. */
  readonly chunks: number[] = []
  ended = false
  closed = false

  constructor(port: number) {
    this.socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    const frames = new FrameReader()
    this.socket.on('data', (chunk) => {
      this.chunks.push(chunk.length)
      frames.push(chunk)
      for (let message; (message = frames.next()) !== undefined;) this.messages.push(message)
    })
    this.socket.on('end', () => (this.ended = true))
    this.socket.on('close', () => (this.closed = true))
    this.socket.on('error', () => {})
  }

  send(...messages: Uint8Array[]): void {
    this.socket.write(Buffer.concat(messages.map((message) => frame(message))))
  }

  async next(count = 1): Promise<Uint8Array[]> {
    await until(() => this.messages.length >= count)
    return this.messages.splice(0, count)
  }
}

/** A server whose connections and queries the test holds in its hands. */
export class TcpUpstreamServer {
  readonly connections: Socket[] = []
  readonly queries: { readonly bytes: Uint8Array; readonly socket: Socket }[] = []
  readonly server = createServer((socket) => {
    this.connections.push(socket)
    const frames = new FrameReader()
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      frames.push(chunk)
      for (let bytes; (bytes = frames.next()) !== undefined;) this.queries.push({ bytes, socket })
    })
  })

  async next(count = 1): Promise<{ bytes: Uint8Array; socket: Socket; reply: (message: Uint8Array) => void }[]> {
    await until(() => this.queries.length >= count)
    return this.queries.splice(0, count).map((one) => ({
      ...one,
      reply: (message) => void one.socket.write(frame(message)),
    }))
  }
}

export interface TcpWorldOptions extends Partial<TcpGateConfig> {
  readonly names?: readonly string[]
  readonly gate?: AnswerGate
  /** No socket can be had. */
  readonly unreachable?: boolean
}

export class TcpWorld {
  readonly learner = new FakeLearner()
  readonly counters = C.makeCounters()
  readonly upstream = new TcpUpstreamServer()
  readonly connected: string[] = []
  policy!: FakePolicy
  gate!: TcpGate
  port = 0
  upstreamPort = 0
  /** Added to the clock. */
  ahead = 0
  #front!: Server
  readonly #clients: TcpClient[] = []

  static async open(options: TcpWorldOptions = {}): Promise<TcpWorld> {
    const world = new TcpWorld()
    world.upstreamPort = await listen(world.upstream.server)
    world.#front = createServer({ allowHalfOpen: true }, (socket) => world.gate.accept(socket))
    world.port = await listen(world.#front)
    const names = options.names ?? ['www.example.com', '*.wild.example']
    world.policy = new FakePolicy([{ from: '127.0.0.1', server: '127.0.0.1', port: world.port, protocol: 6, names }])
    world.gate = new TcpGate(
      {
        policy: world.policy,
        learner: world.learner,
        counters: world.counters,
        random: seededRandom('tcp'),
        connect: (server, port) => {
          if (options.unreachable === true) throw new Error('EMFILE')
          world.connected.push(`${[...server.subarray(12)].join('.')}#${port}`)
          return connect({ host: '127.0.0.1', port: world.upstreamPort })
        },
        now: () => performance.now() + world.ahead,
        ...(options.gate === undefined ? {} : { gate: options.gate }),
      },
      {
        denyResponse: 'auto',
        searchDomains: [],
        upstreamTimeoutMs: 4500,
        ledgerTimeoutMs: 1000,
        maxConnections: 100,
        maxConnectionsPerEndpoint: 50,
        idleTimeoutMs: 10_000,
        maxQueriesPerConnection: 0,
        maxPending: 16,
        maxPendingPerEndpoint: 16,
        ...options,
      },
    )
    return world
  }

  client(): TcpClient {
    const client = new TcpClient(this.port)
    this.#clients.push(client)
    return client
  }

  /** The clock moves, and deadlines are looked at. */
  pass(ms: number): void {
    this.ahead += ms
    this.gate.tick()
  }

  tcp(base: number, size: number, offset: number): number {
    return this.counters.values[base + size + offset] ?? 0
  }

  close(): void {
    for (const client of this.#clients) client.socket.destroy()
    this.gate.abort()
    for (const socket of this.upstream.connections) socket.destroy()
    this.upstream.server.close()
    this.#front.close()
  }
}
