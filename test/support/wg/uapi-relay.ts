/**
 * Stands in the way to a device of wireguard-go: notes what is asked of it, and can make handshakes look older than they are.
 * The socket of the program goes to another name, where wg(8) still finds it.
 */
import { renameSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'

const FOLDER = '/var/run/wireguard'
const socketOf = (name: string): string => `${FOLDER}/${name}.sock`
/** Ends a request and a reply (cross-platform userspace interface of WireGuard). */
const END = '\n\n'

export class UapiRelay {
  /** First lines of the requests: `get=1` reads, `set=1` writes. */
  readonly asked: string[] = []
  /** Handshakes are told as this much older, s. */
  olderSeconds = 0
  readonly #real: string
  readonly #server: Server

  private constructor(real: string) {
    this.#real = real
    this.#server = createServer((socket) => void this.#serve(socket).catch(() => socket.destroy()))
  }

  /** `real`: what the device is called for those who go past the relay. */
  static async open(device: string, real: string): Promise<UapiRelay> {
    const relay = new UapiRelay(socketOf(real))
    renameSync(socketOf(device), socketOf(real))
    relay.#server.listen(socketOf(device))
    await once(relay.#server, 'listening')
    return relay
  }

  close(): void {
    this.#server.close()
    rmSync(this.#real, { force: true })
  }

  async #serve(client: Socket): Promise<void> {
    const request = await textOf(client)
    this.asked.push(request.slice(0, request.indexOf('\n')))
    const device = connect(this.#real)
    device.write(request)
    const reply = await textOf(device)
    device.destroy()
    const older = (_: string, seconds: string): string =>
      `last_handshake_time_sec=${Number(seconds) === 0 ? 0 : Number(seconds) - this.olderSeconds}`
    client.end(reply.replaceAll(/last_handshake_time_sec=(\d+)/g, older))
  }
}

async function textOf(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text.endsWith(END)) break
  }
  return text
}
