/** An end of a link: the guard, and sockets that send and count datagrams. */
import { createSocket, type Socket } from 'node:dgram'
import { fileURLToPath } from 'node:url'
import { parseCidr } from '../../../src/core/ip.ts'
import { silentLog } from '../../../src/core/log.ts'
import { loadNative } from '../../../src/native/load.ts'
import { createGuard, type GuardOptions } from '../../../src/wg/guard/guard.ts'
import type { Guard } from '../../../src/wg/seams.ts'
import { serve } from '../datapath/in-namespace.ts'

const OBJECT = fileURLToPath(new URL('../../../build/guard.o', import.meta.url))
const native = loadNative()
let guard: Guard | undefined
let devices: readonly string[] = []
let received = 0
let counter: number | undefined
const sockets: Socket[] = []

const here = (): Guard => {
  if (guard === undefined) throw new Error('no guard')
  return guard
}
const typeOf = (address: string): 'udp4' | 'udp6' => (address.includes(':') ? 'udp6' : 'udp4')

const make = (options: Omit<GuardOptions, 'devices' | 'bypass'> & { bypass?: string[] }): Guard =>
  createGuard(
    {
      ...options,
      devices: () => devices,
      bypass: (options.bypass ?? []).map((text) => ({ cidr: parseCidr(text) })),
    },
    { native, log: silentLog, object: OBJECT },
  )

serve({
  async start(options: Parameters<typeof make>[0], names: readonly string[]) {
    devices = names
    guard = make(options)
    return [...(await guard.start())].sort()
  },
  devices(names: readonly string[]) {
    devices = names
  },
  protect: (prefix: string, on: boolean) => here().protect(parseCidr(prefix), on),
  check: () => here().check(),
  counts: () =>
    Object.fromEntries(
      here()
        .counts()
        .map((one) => [`${one.direction}${one.family}`, one.packets]),
    ),
  stop: () => here().stop(),
  cleanup: (options: Parameters<typeof make>[0]) => make(options).cleanup(),
  listen: (address: string, port: number) =>
    new Promise<void>((resolve, reject) => {
      const socket = createSocket({ type: typeOf(address), recvBufferSize: 1 << 20 })
      socket.on('error', reject)
      socket.on('message', () => received++)
      sockets.push(socket)
      socket.bind(port, address, () => {
        resolve()
      })
    }),
  received: () => received,
  async send(from: string, to: string, port: number, size: number, count: number) {
    const socket = createSocket(typeOf(from))
    await new Promise<void>((resolve) => {
      socket.bind(0, from, resolve)
    })
    const errors: string[] = []
    for (let i = 0; i < count; i++)
      await new Promise<void>((resolve) => {
        socket.send(new Uint8Array(size), port, to, (error: NodeJS.ErrnoException | null) => {
          if (error !== null) errors.push(error.code ?? error.message)
          resolve()
        })
      })
    socket.close()
    return errors
  },
  countOn(device: string, family: number) {
    counter = native.openPacketCounter(device, family, 1)
  },
  counted: () => native.packetCount(counter ?? -1),
})
