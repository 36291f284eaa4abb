import { execFileSync } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native/load.ts'
import { thrownBy } from '../native/support.ts'

/** include/uapi/linux/netlink.h, rtnetlink.h */
const NLM_F_REQUEST = 1
const NLM_F_DUMP = 0x300
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const NETLINK_GENERIC = 16

const native = loadNative()
const opened: number[] = []
const open = (protocol = 0): number => {
  const fd = native.netlinkOpen(protocol, [])
  opened.push(fd)
  return fd
}
afterEach(() => {
  for (const fd of opened.splice(0)) native.close(fd)
})

/** nlmsghdr and ifinfomsg. */
function getLink(flags: number, ifindex = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(32))
  view.setUint32(0, 32, true)
  view.setUint16(4, RTM_GETLINK, true)
  view.setUint16(6, flags, true)
  view.setUint32(8, 7, true)
  view.setInt32(20, ifindex, true)
  return new Uint8Array(view.buffer)
}

function* messages(out: Uint8Array, length: number): Generator<DataView> {
  for (let at = 0; at < length;) {
    const size = new DataView(out.buffer, at).getUint32(0, true)
    yield new DataView(out.buffer, at, size)
    at += (size + 3) & ~3
  }
}

describe('netlink', () => {
  test('a dump of the links comes whole, to this socket', () => {
    const fd = open()
    const out = new Uint8Array(65_536)
    native.netlinkSend(fd, getLink(NLM_F_REQUEST | NLM_F_DUMP))
    const indexes: number[] = []
    let done = false
    while (!done) {
      const length = native.netlinkReceive(fd, out, 1000)
      expect(length).toBeGreaterThan(0)
      for (const message of messages(out, length)) {
        expect(message.getUint32(8, true)).toBe(7)
        expect(message.getUint32(12, true)).toBe(native.netlinkPort(fd))
        if (message.getUint16(4, true) === NLMSG_DONE) done = true
        else {
          expect(message.getUint16(4, true)).toBe(RTM_NEWLINK)
          indexes.push(message.getInt32(20, true))
        }
      }
    }
    expect(indexes).toContain(1)
    expect(indexes.length).toBeGreaterThanOrEqual(Object.keys(networkInterfaces()).length)
  })

  test('an error comes with the text of the kernel, and without the request', () => {
    const fd = open()
    const out = new Uint8Array(8192)
    // Strict checking: a dump with a field it has no use for.
    const request = getLink(NLM_F_REQUEST | NLM_F_DUMP)
    new DataView(request.buffer).setUint32(24, 0xffff, true)
    native.netlinkSend(fd, request)
    const length = native.netlinkReceive(fd, out, 1000)
    const [message] = [...messages(out, length)]
    const type = message?.getUint16(4, true)
    expect(type === NLMSG_ERROR || type === NLMSG_DONE).toBe(true)
    expect(Buffer.from(out.subarray(0, length)).toString('latin1')).toMatch(/Invalid values in header for link dump/)
  })

  test('nothing to read: 0 after the time-out', () => {
    const fd = open(NETLINK_GENERIC)
    const start = performance.now()
    expect(native.netlinkReceive(fd, new Uint8Array(64), 60)).toBe(0)
    expect(performance.now() - start).toBeGreaterThanOrEqual(59)
    expect(native.netlinkReceive(fd, new Uint8Array(64), 0)).toBe(0)
  })

  test('a message that does not fit is ENOSPC', () => {
    const fd = open()
    native.netlinkSend(fd, getLink(NLM_F_REQUEST, 1))
    expect(thrownBy(() => native.netlinkReceive(fd, new Uint8Array(16), 1000))).toMatchObject({
      code: 'SEKISHO_NATIVE_SYSCALL',
      errnoName: 'ENOSPC',
    })
  })

  test('what another process sends is not taken for the kernel', () => {
    const fd = open()
    // AF_NETLINK from Python, which every machine of ours has for its tools: one message of a header alone.
    const script = `
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.sendto(struct.pack('=IHHII', 16, 3, 0, 7, 0), (int(sys.argv[1]), 0))`
    execFileSync('python3', ['-c', script, String(native.netlinkPort(fd))], { env: { ...process.env, LD_PRELOAD: '' } })
    expect(native.netlinkReceive(fd, new Uint8Array(64), 100)).toBe(0)
  })

  test('each socket has a port of its own; a descriptor of something else is refused', () => {
    const [a, b] = [open(), open()]
    expect(native.netlinkPort(a)).not.toBe(native.netlinkPort(b))
    const event = native.openEvent()
    opened.push(event)
    expect(thrownBy(() => native.netlinkPort(event)).errnoName).toBe('ENOTSOCK')
    native.kick(event)
    expect(thrownBy(() => native.netlinkReceive(event, new Uint8Array(16), 0)).errnoName).toBe('ENOTSOCK')
    expect(thrownBy(() => native.netlinkSend(a, new Uint8Array(15))).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.netlinkOpen(31, [])).errnoName).toBe('EPROTONOSUPPORT')
    expect(thrownBy(() => native.netlinkOpen(0, [1_000_000])).code).toBe('SEKISHO_NATIVE_SYSCALL')
  })

  test('a group tells of changes, and of an overrun', () => {
    const script = fileURLToPath(new URL('./fixtures/native-links.ts', import.meta.url))
    const lines = execFileSync('unshare', ['--net', process.execPath, script], { encoding: 'utf8' }).trim().split('\n')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ before: 0, type: RTM_NEWLINK, ifindex: 1 })
    expect(JSON.parse(lines[1] ?? '')).toEqual({ error: 'ENOBUFS' })
  })
})
