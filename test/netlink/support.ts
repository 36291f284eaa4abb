import type { NetlinkDoor } from '../../src/netlink/connection.ts'

export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))
export const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex')

export const PORT = 0x1234

/** One message with a header: what the kernel would send to port PORT. */
export function answer(type: number, flags: number, sequence: number, body: Uint8Array, port = PORT): Uint8Array {
  const out = new Uint8Array((16 + body.length + 3) & ~3)
  const view = new DataView(out.buffer)
  view.setUint32(0, 16 + body.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  view.setUint32(8, sequence, true)
  view.setUint32(12, port, true)
  out.set(body, 16)
  return out
}

/** The body of NLMSG_ERROR: -errno and the echoed header. */
export function errorBody(errno: number, extra: Uint8Array = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(20 + extra.length)
  new DataView(out.buffer).setInt32(0, -errno, true)
  new DataView(out.buffer).setUint32(4, 16, true)
  out.set(extra, 20)
  return out
}

export interface FakeDoor {
  readonly door: NetlinkDoor
  readonly sent: Uint8Array[]
  readonly closed: number[]
}

/** A socket whose kernel is `reply`: gets a request and its sequence number, gives the datagrams to be received. */
export function fakeDoor(
  reply: (request: Uint8Array, sequence: number) => (Uint8Array | { errnoName: string })[],
): FakeDoor {
  const sent: Uint8Array[] = []
  const closed: number[] = []
  const queue: (Uint8Array | { errnoName: string })[] = []
  const door: NetlinkDoor = {
    netlinkOpen: () => 7,
    netlinkPort: () => PORT,
    netlinkSend(_fd, message) {
      sent.push(message.slice())
      queue.push(...reply(message, new DataView(message.buffer, message.byteOffset).getUint32(8, true)))
    },
    netlinkReceive(_fd, out) {
      const next = queue.shift()
      if (next === undefined) return 0
      if (!(next instanceof Uint8Array)) throw Object.assign(new Error(next.errnoName), next)
      out.set(next)
      return next.length
    },
    close(fd) {
      closed.push(fd)
    },
  }
  return { door, sent, closed }
}
