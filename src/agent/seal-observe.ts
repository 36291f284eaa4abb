import { systemClock } from '../core/clock.ts'
import { tryParseCidr, tryParseIp } from '../core/ip.ts'
import { linkByName, type NetlinkConnection } from '../netlink/netlink.ts'
import { KernelWgDriver } from '../wg/drivers/kernel.ts'
import { UapiWgDriver } from '../wg/drivers/uapi.ts'
import type { WgDriver } from '../wg/ports.ts'
import { FolderDirectory } from '../wg/directory/folder.ts'
import { readRecord } from '../wg/directory/read-record.ts'
import type { ExpectedNode } from '../wg/observe/findings.ts'
import { createObserver } from '../wg/observe/observer.ts'
import { endpointsOf, underlayDevices } from './node-facts.ts'
import type { SealPartsDeps } from './seal-parts.ts'
import type { SealWork } from './seal.ts'

const LOOK_MS = 10_000

const present = <T>(values: readonly (T | undefined)[]): T[] => values.filter((value) => value !== undefined)

/** Watches another manager's device. The nodes it should know come from the folder, where one is given. */
export async function openObserver(deps: SealPartsDeps): Promise<SealWork> {
  const { config, node, part, route } = deps
  const { wireguard } = config
  const log = part('wg')
  const driver = readingDriver(deps)
  const nodes = wireguard.directory.path === '' ? undefined : expectedNodes(deps)
  const underlayMtu = mtuOfUnderlay(deps, route)
  const observer = createObserver(
    {
      device: wireguard.observe.device,
      intervalMs: LOOK_MS,
      node,
      domain: wireguard.domain,
      ...(underlayMtu === undefined ? {} : { underlayMtu }),
    },
    {
      driver,
      nodes: () => nodes?.list(),
      clock: systemClock,
      log,
      mtuOf: (device) => linkByName(route, device)?.mtu,
    },
  )
  await nodes?.start()
  await observer.start()
  return {
    view: observer,
    // It keeps nothing that a pod would wait for.
    waitsFor: () => undefined,
    addressesChanged: () => undefined,
    async stop() {
      await observer.stop()
      await nodes?.stop()
      await driver.close()
    },
  }
}

/** Nothing is asked that would make a device, as the question for features does. */
function readingDriver({ config: { wireguard }, native, route }: SealPartsDeps): WgDriver {
  const kind = linkByName(route, wireguard.observe.device)?.kind
  const program = wireguard.driver === 'userspace' || (wireguard.driver === 'auto' && kind === 'tun')
  return program ? new UapiWgDriver(native, { command: wireguard.command }) : new KernelWgDriver(native)
}

function mtuOfUnderlay({ config }: SealPartsDeps, route: NetlinkConnection): number | undefined {
  const names = underlayDevices(config, endpointsOf(config, route), route)
  const mtus = present(names.map((name) => linkByName(route, name)?.mtu))
  return mtus.length === 0 ? undefined : Math.min(...mtus)
}

/** Nodes by their records in the folder, read only. */
function expectedNodes({ config: { wireguard }, node, part }: SealPartsDeps) {
  const { path } = wireguard.directory
  const directory = new FolderDirectory({ path, node, log: part('wg-directory'), readOnly: true })
  const nodes = new Map<string, ExpectedNode>()
  let complete = false
  return {
    list: (): readonly ExpectedNode[] | undefined => (complete ? [...nodes.values()] : undefined),
    start: () =>
      directory.start((event) => {
        if (event.kind === 'complete') complete = true
        else if (event.kind === 'removed') nodes.delete(event.name)
        else if (event.kind === 'record') {
          const read = readRecord(event.value, { domain: wireguard.domain, name: event.name })
          if (!read.ok) return
          nodes.set(event.name, {
            name: event.name,
            endpoints: present(read.value.endpoints.map(({ ip }) => tryParseIp(ip))),
            prefixes: present(read.value.prefixes.map((text) => tryParseCidr(text))),
            publicKey: read.value.slots[0]?.publicKey,
          })
        }
      }),
    stop: () => directory.stop(),
  }
}
