import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SekishoError } from '../../core/errors.ts'
import { parseCidr } from '../../core/ip.ts'
import type { NativeError, NetlinkAsyncCalls, NetlinkCalls, WgKeyCalls } from '../../native/binding.ts'
import { NetlinkError } from '../../netlink/errors.ts'
import {
  type AsyncLinks,
  type AsyncNetlinkConnection,
  asyncLinks,
  NETLINK_ROUTE,
  openAsyncConnection,
} from '../../netlink/netlink.ts'
import { encodeKey } from '../keys.ts'
import type { WgDevice, WgDeviceOptions, WgDriver, WgFeatures, WgPeerBatch } from '../ports.ts'
import { InOrder } from './in-order.ts'
import { detour, takesAllowedIps } from './detour.ts'
import {
  allowedIpRemovalLines,
  batchLines,
  detourLines,
  parseDevice,
  parseReply,
  type Reply,
  request,
} from './uapi-text.ts'

/** What the driver needs of the native door. */
export type UapiWgDoor = Pick<NetlinkCalls, 'netlinkOpen' | 'netlinkPort'> &
  NetlinkAsyncCalls &
  Pick<WgKeyCalls, 'wgUapi' | 'wgUapiSetNewKey'> & { close(fd: number): void }

export interface UapiOptions {
  /** The program that makes a device: `<command> <interface>` returns when the device stands, and goes on in the background. */
  readonly command: string
  /** Where it puts `<interface>.sock`; shared by all network namespaces, so names must be unique on the machine. */
  readonly directory: string
}

const DEFAULTS: UapiOptions = { command: 'wireguard-go', directory: '/var/run/wireguard' }
const ANSWER_MS = 15_000
const START_MS = 10_000
const EINVAL = 22
/** Of the interface that such a program makes. */
const KIND = 'tun'

/**
 * WireGuard of a process of its own for each device, which outlives this one: an agent that restarts finds device, key and
 * sessions as they were.
 */
export class UapiWgDriver implements WgDriver {
  readonly kind = 'userspace'
  readonly #native: UapiWgDoor
  readonly #options: UapiOptions
  readonly #route: AsyncNetlinkConnection
  readonly #links: AsyncLinks
  #removeAllowedIp: boolean | undefined
  readonly #inOrder = new InOrder().run

  constructor(native: UapiWgDoor, options: Partial<UapiOptions> = {}) {
    this.#native = native
    this.#options = { ...DEFAULTS, ...options }
    this.#route = openAsyncConnection(native, NETLINK_ROUTE, { answerMs: ANSWER_MS })
    this.#links = asyncLinks(this.#route)
  }

  /** All devices run one program; before the first stands there is nobody to ask, and the answer is the careful one. */
  async features(): Promise<WgFeatures> {
    return { removeAllowedIp: this.#removeAllowedIp ?? false }
  }

  create(name: string, options: WgDeviceOptions): Promise<{ created: boolean; publicKey: string }> {
    return this.#inOrder(async () => {
      const stood = await this.#links.find(name)
      if (stood !== undefined && stood.kind !== KIND)
        throw deviceError(name, `an interface of kind ${stood.kind ?? 'none'} has the name`)
      if (stood === undefined) await this.#start(name)
      // The program answers when it has set its own MTU, so ours comes after.
      const device = await this.#mustRead(name)
      const link = await this.#links.find(name)
      if (link === undefined) throw deviceError(name, `${this.#options.command} made no interface`)
      if (link.mtu !== options.mtu) await this.#links.setMtu(link.index, options.mtu)
      if (device.listenPort !== options.listenPort) await this.#set(name, [`listen_port=${options.listenPort}`])
      if (device.fwmark !== options.fwmark) await this.#set(name, [`fwmark=${options.fwmark}`])
      const publicKey = device.publicKey ?? (await this.#newKey(name))
      if (!link.up) await this.#links.setUp(link.index, true)
      await this.#probe(name)
      return { created: stood === undefined, publicKey }
    })
  }

  delete(name: string): Promise<boolean> {
    return this.#inOrder(async () => {
      const link = await this.#links.find(name)
      if (link === undefined) return false
      if (link.kind !== KIND) throw deviceError(name, `an interface of kind ${link.kind ?? 'none'} has the name`)
      const gone = await this.#links.delete(link.index)
      // The program sees that its interface is gone, ends, and takes the socket with it.
      for (const end = performance.now() + START_MS; existsSync(this.#socket(name)) && performance.now() < end;)
        await sleep(5)
      return gone
    })
  }

  read(name: string): Promise<WgDevice | undefined> {
    return this.#inOrder(() => this.#read(name))
  }

  configure(name: string, options: Partial<Pick<WgDeviceOptions, 'listenPort' | 'fwmark'>>): Promise<void> {
    const lines: string[] = []
    if (options.listenPort !== undefined) lines.push(`listen_port=${options.listenPort}`)
    if (options.fwmark !== undefined) lines.push(`fwmark=${options.fwmark}`)
    return this.#inOrder(() => (lines.length === 0 ? Promise.resolve() : this.#set(name, lines)))
  }

  setPeers(name: string, batch: WgPeerBatch): Promise<void> {
    return this.#inOrder(async () => {
      const takes = takesAllowedIps(batch)
      const can = takes && (this.#removeAllowedIp ?? (await this.#probe(name)))
      if (!takes || can) return this.#set(name, batchLines(batch, can))
      await this.#set(name, batchLines({ set: batch.set ?? [] }, false))
      await this.#set(name, detourLines(detour(batch, (await this.#mustRead(name)).peers)))
      await this.#set(name, batchLines({ remove: batch.remove ?? [] }, false))
    })
  }

  /** The program does not notice when its interface is down for a moment; peers that are made again have no sessions. */
  restart(name: string): Promise<void> {
    return this.#inOrder(async () => {
      const { peers } = await this.#mustRead(name)
      const set = peers.map(({ publicKey, endpoint, keepalive, allowedIps }) => ({
        publicKey,
        keepalive,
        addAllowedIps: allowedIps,
        ...(endpoint === undefined ? {} : { endpoint }),
      }))
      const remove = peers.map(({ publicKey }) => publicKey)
      await this.#set(name, [...batchLines({ remove }, false), ...batchLines({ set }, false)])
    })
  }

  rotateKey(name: string): Promise<string> {
    return this.#inOrder(async () => {
      await this.#mustRead(name)
      return this.#newKey(name)
    })
  }

  async close(): Promise<void> {
    await this.#inOrder(() => this.#route.close())
  }

  #socket(name: string): string {
    return join(this.#options.directory, `${name}.sock`)
  }

  async #start(name: string): Promise<void> {
    const { command } = this.#options
    // It goes into the background by itself. Nothing of our environment is its business.
    const child = spawn(command, [name], {
      stdio: 'ignore',
      detached: true,
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LOG_LEVEL: 'error' },
    })
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL')
        reject(deviceError(name, `${command} does not get ready`))
      }, START_MS)
      child.on('error', (cause: NodeJS.ErrnoException) => {
        clearTimeout(timer)
        reject(cause.code === 'ENOENT' ? unsupported(command, cause) : deviceError(name, cause.message, cause))
      })
      child.on('exit', (code, signal) => {
        clearTimeout(timer)
        if (code === 0) resolve()
        else reject(deviceError(name, `${command} ended with ${signal ?? String(code)}`))
      })
    })
    for (const end = performance.now() + START_MS; !existsSync(this.#socket(name)); await sleep(5))
      if (performance.now() > end) throw deviceError(name, `${command} opened no socket`)
  }

  async #ask(name: string, what: Promise<Uint8Array>): Promise<Reply> {
    const reply = parseReply(await what)
    if (reply === undefined) throw new SekishoError('SEKISHO_WG_PROTOCOL', `${name}: a reply that cannot be read`)
    return reply
  }

  async #read(name: string): Promise<WgDevice | undefined> {
    let reply: Reply
    try {
      reply = await this.#ask(name, this.#native.wgUapi(this.#socket(name), request('get', []), ANSWER_MS))
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED'].includes((error as NativeError).errnoName ?? '')) return undefined
      throw error
    }
    if (reply.errno !== 0) throw new NetlinkError(`WireGuard device ${name}`, reply.errno, undefined)
    try {
      return parseDevice(name, reply.lines)
    } catch (cause) {
      throw new SekishoError('SEKISHO_WG_PROTOCOL', `${name}: ${(cause as Error).message}`, { cause })
    }
  }

  async #mustRead(name: string): Promise<WgDevice> {
    const device = await this.#read(name)
    if (device === undefined) throw deviceError(name, 'there is no such device')
    return device
  }

  async #set(name: string, lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return
    await this.#apply(name, this.#native.wgUapi(this.#socket(name), request('set', lines), ANSWER_MS))
  }

  async #apply(name: string, what: Promise<Uint8Array>): Promise<void> {
    let reply: Reply
    try {
      reply = await this.#ask(name, what)
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED'].includes((error as NativeError).errnoName ?? ''))
        throw deviceError(name, 'there is no such device', error)
      throw error
    }
    if (reply.errno !== 0) throw new NetlinkError(`WireGuard device ${name}`, reply.errno, undefined)
  }

  async #newKey(name: string): Promise<string> {
    const before = await this.#mustRead(name)
    const prefix = new TextEncoder().encode('set=1\n')
    await this.#apply(name, this.#native.wgUapiSetNewKey(this.#socket(name), prefix, ANSWER_MS))
    const { publicKey } = await this.#mustRead(name)
    if (publicKey === undefined || publicKey === before.publicKey) throw deviceError(name, 'the key has not changed')
    return publicKey
  }

  /** A program that knows no removal cannot read the value; one that does finds no such peer, and does nothing. */
  async #probe(name: string): Promise<boolean> {
    const publicKey = encodeKey(Uint8Array.from(randomBytes(32)))
    const lines = allowedIpRemovalLines({ publicKey, removeAllowedIps: [parseCidr('192.0.2.0/32')] })
    const reply = await this.#ask(name, this.#native.wgUapi(this.#socket(name), request('set', lines), ANSWER_MS))
    if (reply.errno !== 0 && reply.errno !== EINVAL)
      throw new NetlinkError(`WireGuard device ${name}`, reply.errno, undefined)
    this.#removeAllowedIp = reply.errno === 0
    return this.#removeAllowedIp
  }
}

const deviceError = (name: string, why: string, cause?: unknown): SekishoError =>
  new SekishoError('SEKISHO_WG_DEVICE', `${name}: ${why}`, { cause })

const unsupported = (command: string, cause: unknown): SekishoError =>
  new SekishoError('SEKISHO_WG_UNSUPPORTED', `${command} is not installed`, { cause })
