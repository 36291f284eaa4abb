import { randomBytes } from 'node:crypto'
import { SekishoError } from '../../core/errors.ts'
import { parseCidr } from '../../core/ip.ts'
import type { NativeError, NetlinkAsyncCalls, NetlinkCalls, WgKeyCalls } from '../../native/binding.ts'
import { attributeString, attributeU16, attributeU32 } from '../../netlink/attributes.ts'
import { NLM_F_ACK, NLM_F_REQUEST } from '../../netlink/constants.ts'
import { encodeMessage } from '../../netlink/message.ts'
import {
  type AsyncConnectionOptions,
  type AsyncLinks,
  type AsyncNetlinkConnection,
  asyncLinks,
  encodeGeneric,
  type GenericFamily,
  isRefusal,
  NETLINK_GENERIC,
  NETLINK_ROUTE,
  openAsyncConnection,
  resolveFamily,
} from '../../netlink/netlink.ts'
import { encodeKey } from '../keys.ts'
import type { WgDevice, WgDeviceOptions, WgDriver, WgFeatures, WgPeerBatch } from '../ports.ts'
import { decodeHead, DeviceReader } from './decode.ts'
import { InOrder } from './in-order.ts'
import { detour, takesAllowedIps } from './detour.ts'
import { encodeAllowedIpRemovals, encodePeerRemoval, encodePeerSet, packBatch } from './encode.ts'
import {
  WG_CMD_GET_DEVICE,
  WG_CMD_SET_DEVICE,
  WG_GENL_NAME,
  WG_GENL_VERSION,
  WGDEVICE_A_FWMARK,
  WGDEVICE_A_IFNAME,
  WGDEVICE_A_LISTEN_PORT,
} from './family.ts'
import { NOBODY } from './key-bytes.ts'
import type { Seen } from './seen.ts'

/** What the driver needs of the native door. */
export type KernelWgDoor = Pick<NetlinkCalls, 'netlinkOpen' | 'netlinkPort'> &
  NetlinkAsyncCalls &
  Pick<WgKeyCalls, 'wgSetNewKey' | 'wgReceive' | 'wgExchange'> & { close(fd: number): void }

const KIND = 'wireguard'
/** Stands for a moment, once in the life of the driver; never set up. */
const PROBE_DEVICE = 'sekisho-probe'
/** A key change computes one Curve25519 for each peer before it is acknowledged. */
const ANSWER_MS = 15_000

/** WireGuard of the kernel. Every request runs on a thread of the pool. */
export class KernelWgDriver implements WgDriver {
  readonly kind = 'kernel'
  readonly #native: KernelWgDoor
  /** Private keys are blanked before they come here. */
  readonly #receiving: AsyncConnectionOptions
  readonly #generic: AsyncNetlinkConnection
  readonly #route: AsyncNetlinkConnection
  readonly #links: AsyncLinks
  readonly #inOrder = new InOrder().run
  /** What the last dump of each device was made of. */
  readonly #seen = new Map<string, readonly Seen[]>()
  #family: Promise<GenericFamily> | undefined
  #features: Promise<WgFeatures> | undefined

  constructor(native: KernelWgDoor) {
    this.#native = native
    this.#receiving = {
      receive: (fd, timeoutMs, most) => native.wgReceive(fd, timeoutMs, most),
      exchange: (fd, message, timeoutMs) => native.wgExchange(fd, message, timeoutMs),
      answerMs: ANSWER_MS,
    }
    this.#generic = openAsyncConnection(native, NETLINK_GENERIC, this.#receiving)
    this.#route = openAsyncConnection(native, NETLINK_ROUTE, { answerMs: ANSWER_MS })
    this.#links = asyncLinks(this.#route)
  }

  features(): Promise<WgFeatures> {
    return this.#inOrder(() => this.#known())
  }

  create(name: string, options: WgDeviceOptions): Promise<{ created: boolean; publicKey: string }> {
    return this.#inOrder(() => this.#create(name, options))
  }

  delete(name: string): Promise<boolean> {
    return this.#inOrder(() => this.#delete(name))
  }

  read(name: string): Promise<WgDevice | undefined> {
    return this.#inOrder(() => this.#read(name))
  }

  configure(name: string, options: Partial<Pick<WgDeviceOptions, 'listenPort' | 'fwmark'>>): Promise<void> {
    return this.#inOrder(() => this.#configure(name, options))
  }

  /** Encoded at once, while the kernel works on what was asked for before. */
  async setPeers(name: string, batch: WgPeerBatch): Promise<void> {
    const sets = (batch.set ?? []).flatMap(encodePeerSet)
    const removals = (batch.remove ?? []).map(encodePeerRemoval)
    return this.#inOrder(() => this.#setPeers(name, batch, sets, removals))
  }

  restart(name: string): Promise<void> {
    return this.#inOrder(() => this.#restart(name))
  }

  rotateKey(name: string): Promise<string> {
    return this.#inOrder(() => this.#rotateKey(name))
  }

  close(): Promise<void> {
    return this.#inOrder(async () => {
      await this.#generic.close()
      await this.#route.close()
    })
  }

  #known(): Promise<WgFeatures> {
    this.#features ??= this.#probe().catch((error: unknown) => {
      this.#features = undefined
      throw error
    })
    return this.#features
  }

  async #create(name: string, options: WgDeviceOptions): Promise<{ created: boolean; publicKey: string }> {
    const created = await this.#addLink(name, options.mtu)
    const link = await this.#links.find(name)
    if (link?.kind !== KIND) throw deviceError(name, `an interface of kind ${link?.kind ?? 'none'} has the name`)
    if (link.mtu !== options.mtu) await this.#links.setMtu(link.index, options.mtu)
    const device = await this.#mustReadHead(name)
    const changes = {
      ...(device.listenPort === options.listenPort ? {} : { listenPort: options.listenPort }),
      ...(device.fwmark === options.fwmark ? {} : { fwmark: options.fwmark }),
    }
    await this.#configure(name, changes)
    const publicKey = device.publicKey ?? (await this.#rotateKey(name))
    if (!link.up) await this.#links.setUp(link.index, true)
    return { created, publicKey }
  }

  async #delete(name: string): Promise<boolean> {
    const link = await this.#links.find(name)
    if (link === undefined) return false
    if (link.kind !== KIND) throw deviceError(name, `an interface of kind ${link.kind ?? 'none'} has the name`)
    this.#seen.delete(name)
    return this.#links.delete(link.index)
  }

  async #read(name: string): Promise<WgDevice | undefined> {
    return this.#asked(name, async (id, body) => {
      const before = this.#seen.get(name)
      let reader = new DeviceReader(name)
      await this.#generic.walk(`WireGuard device ${name}`, id, body, () => {
        reader = new DeviceReader(name, before)
        return (message) => {
          reader.take(message)
        }
      })
      const device = reader.device()
      this.#seen.set(name, reader.seen)
      return device
    })
  }

  /** Without the peers: the first datagram of the dump is enough, and the kernel makes no other. */
  async #readHead(name: string): Promise<Omit<WgDevice, 'peers'> | undefined> {
    return this.#asked(name, async (id, body) => {
      // On a socket of its own, which is closed with the dump on it.
      const connection = openAsyncConnection(this.#native, NETLINK_GENERIC, this.#receiving)
      try {
        return decodeHead(name, await connection.begin(`WireGuard device ${name}`, id, body))
      } finally {
        await connection.close()
      }
    })
  }

  async #asked<T>(name: string, act: (id: number, body: readonly Uint8Array[]) => Promise<T>): Promise<T | undefined> {
    const { id } = await this.#resolved()
    const body = encodeGeneric(WG_CMD_GET_DEVICE, WG_GENL_VERSION, [attributeString(WGDEVICE_A_IFNAME, name)])
    try {
      return await act(id, body)
    } catch (error) {
      if (isRefusal(error, 'ENODEV')) return undefined
      if (isRefusal(error, 'EOPNOTSUPP')) throw deviceError(name, 'an interface of another kind has the name')
      throw error
    }
  }

  async #configure(name: string, options: Partial<Pick<WgDeviceOptions, 'listenPort' | 'fwmark'>>): Promise<void> {
    const attributes: Uint8Array[] = []
    if (options.listenPort !== undefined) attributes.push(attributeU16(WGDEVICE_A_LISTEN_PORT, options.listenPort))
    if (options.fwmark !== undefined) attributes.push(attributeU32(WGDEVICE_A_FWMARK, options.fwmark))
    if (attributes.length > 0) await this.#set(name, attributes)
  }

  async #setPeers(
    name: string,
    batch: WgPeerBatch,
    sets: readonly Uint8Array[],
    removals: readonly Uint8Array[],
  ): Promise<void> {
    if (!takesAllowedIps(batch)) return this.#setAll(name, packBatch(sets, removals))
    if ((await this.#known()).removeAllowedIp)
      return this.#setAll(name, packBatch([...sets, ...(batch.set ?? []).flatMap(encodeAllowedIpRemovals)], removals))
    await this.#setAll(name, packBatch(sets, []))
    const gone = detour(batch, (await this.#mustRead(name)).peers)
    const through = gone.length === 0 ? [] : encodePeerSet({ publicKey: NOBODY, addAllowedIps: gone })
    await this.#setAll(name, packBatch(through, gone.length === 0 ? [] : [encodePeerRemoval(NOBODY)]))
    await this.#setAll(name, packBatch([], removals))
  }

  async #restart(name: string): Promise<void> {
    const link = await this.#links.find(name)
    if (link?.kind !== KIND) throw deviceError(name, 'there is no such device')
    await this.#links.setUp(link.index, false)
    await this.#links.setUp(link.index, true)
  }

  async #rotateKey(name: string): Promise<string> {
    const { id } = await this.#resolved()
    const before = await this.#mustReadHead(name)
    const body = encodeGeneric(WG_CMD_SET_DEVICE, WG_GENL_VERSION, [attributeString(WGDEVICE_A_IFNAME, name)])
    await this.#generic.exclusively(async (fd, sequence) => {
      const prefix = encodeMessage(id, NLM_F_REQUEST | NLM_F_ACK, sequence, body)
      try {
        await this.#native.wgSetNewKey(fd, prefix, ANSWER_MS)
      } catch (error) {
        throw deviceError(name, `a new key is refused: ${(error as NativeError).errnoName ?? 'unknown'}`, error)
      }
    })
    const { publicKey } = await this.#mustReadHead(name)
    if (publicKey === undefined || publicKey === before.publicKey) throw deviceError(name, 'the key has not changed')
    return publicKey
  }

  async #addLink(name: string, mtu: number): Promise<boolean> {
    try {
      return await this.#links.create(name, KIND, mtu)
    } catch (error) {
      if (isRefusal(error, 'EOPNOTSUPP')) throw unsupported(error)
      throw error
    }
  }

  #resolved(): Promise<GenericFamily> {
    this.#family ??= resolveFamily(this.#generic, WG_GENL_NAME).then((family) => {
      if (family !== undefined) return family
      // The module may come later.
      this.#family = undefined
      throw unsupported()
    })
    return this.#family
  }

  async #mustRead(name: string): Promise<WgDevice> {
    const device = await this.#read(name)
    if (device === undefined) throw deviceError(name, 'there is no such device')
    return device
  }

  async #mustReadHead(name: string): Promise<Omit<WgDevice, 'peers'>> {
    const head = await this.#readHead(name)
    if (head === undefined) throw deviceError(name, 'there is no such device')
    return head
  }

  async #set(name: string, attributes: readonly Uint8Array[]): Promise<void> {
    const { id } = await this.#resolved()
    const body = encodeGeneric(WG_CMD_SET_DEVICE, WG_GENL_VERSION, [
      attributeString(WGDEVICE_A_IFNAME, name),
      ...attributes,
    ])
    try {
      await this.#generic.request(`WireGuard device ${name}`, id, 0, body)
    } catch (error) {
      if (isRefusal(error, 'ENODEV', 'EOPNOTSUPP')) throw deviceError(name, 'there is no such device', error)
      throw error
    }
  }

  async #setAll(name: string, nests: readonly Uint8Array[]): Promise<void> {
    for (const nest of nests) await this.#set(name, [nest])
  }

  /** A kernel that cannot remove single allowed IPs does not know the attribute, and says EINVAL. */
  async #probe(): Promise<WgFeatures> {
    await this.#delete(PROBE_DEVICE)
    await this.#addLink(PROBE_DEVICE, 1280)
    try {
      const publicKey = encodeKey(Uint8Array.from(randomBytes(32)))
      const peer = { publicKey, removeAllowedIps: [parseCidr('192.0.2.0/32')] }
      await this.#setAll(PROBE_DEVICE, packBatch(encodePeerSet({ publicKey }), []))
      await this.#setAll(PROBE_DEVICE, packBatch(encodeAllowedIpRemovals(peer), []))
      return { removeAllowedIp: true }
    } catch (error) {
      if (isRefusal(error, 'EINVAL')) return { removeAllowedIp: false }
      throw error
    } finally {
      await this.#delete(PROBE_DEVICE)
    }
  }
}

const deviceError = (name: string, why: string, cause?: unknown): SekishoError =>
  new SekishoError('SEKISHO_WG_DEVICE', `${name}: ${why}`, { cause })

const unsupported = (cause?: unknown): SekishoError =>
  new SekishoError('SEKISHO_WG_UNSUPPORTED', 'the kernel', {
    hint: 'load the module `wireguard`, or allow the userspace driver',
    cause,
  })
