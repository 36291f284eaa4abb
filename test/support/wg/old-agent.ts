import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import type { NodeDirectory } from '../../../src/wg/directory/directory.ts'
import type { NodeRecord } from '../../../src/wg/directory/record.ts'
import type { EngineWorld } from './engine-world.ts'
import { deviceName } from './fake-kernel.ts'
import { FAKE_MTU, FakeDriver } from './fake-parts.ts'

/**
 * An agent of before there were two slots: one device, no probes, no capability that we know. It does what the directory says as
 * soon as it hears of it: the new key in, the old one out, whatever traffic there is.
 */
export class OldAgent {
  readonly #world: EngineWorld
  readonly #index: number
  readonly #driver: FakeDriver
  readonly #directory: NodeDirectory
  readonly #keys = new Map<string, string>()

  constructor(world: EngineWorld, index: number) {
    this.#world = world
    this.#index = index
    this.#driver = new FakeDriver(world.kernel(index), world.net, world.clock, () => undefined)
    this.#directory = world.directory.node(`node-${index}`)
  }

  async start(): Promise<void> {
    const { underlay, prefix } = this.#world.kernel(this.#index)
    const options = { listenPort: 51_871, fwmark: 0x1e00, mtu: FAKE_MTU }
    const { publicKey } = await this.#driver.create(deviceName(this.#index, 0), options)
    await this.#directory.start((event) => {
      if (event.kind === 'record') void this.#take(event.value as NodeRecord)
    })
    const wallMs = this.#world.clock.wallMs()
    await this.#world.wait(
      this.#directory.publish({
        domain: 'test',
        node: `node-${this.#index}`,
        nodeUID: this.#world.uid(this.#index),
        bootID: `boot-${this.#index}`,
        created: wallMs,
        revision: 0,
        endpoints: [{ ip: underlay.bytes.join('.') }],
        prefixes: [prefix],
        nodeIPs: [],
        slots: [{ id: 0, port: 51_871, publicKey: publicKey ?? '', gen: 0, since: wallMs }],
        drain: null,
        caps: [],
      }),
    )
  }

  async stop(): Promise<void> {
    await this.#directory.stop()
  }

  async #take(record: NodeRecord): Promise<void> {
    const { publicKey, port } = record.slots[0] ?? {}
    const old = this.#keys.get(record.nodeUID)
    if (record.node === `node-${this.#index}` || publicKey === undefined || port === undefined || old === publicKey)
      return
    this.#keys.set(record.nodeUID, publicKey)
    await this.#driver.setPeers(deviceName(this.#index, 0), {
      set: [
        {
          publicKey,
          endpoint: { ip: parseIp(record.endpoints[0]?.ip ?? ''), port },
          keepalive: 25,
          addAllowedIps: record.prefixes.map((prefix) => parseCidr(prefix)),
        },
      ],
      remove: old === undefined ? [] : [old],
    })
    for (const prefix of record.prefixes) this.#world.kernel(this.#index).routes.set(prefix, 0)
  }
}
