import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/ip.ts'
import { type AsyncNetlinkDoor, openAsyncConnection } from '../../src/netlink/async-connection.ts'
import { attributeString, concatBytes } from '../../src/netlink/attributes.ts'
import { BATCH_REQUESTS, encodeBatch, sequencesAfter } from '../../src/netlink/batch.ts'
import { openEvents } from '../../src/netlink/events.ts'
import { splitMessages } from '../../src/netlink/message.ts'
import { deleteNexthopRequest, replaceNexthopRequest } from '../../src/netlink/nexthops.ts'
import { decodeRule, encodeRule } from '../../src/netlink/rules.ts'
import { answer, bytes, errorBody, fakeDoor, hex, PORT } from './support.ts'

const nexthop = (id: number) => replaceNexthopRequest({ id, family: 4, oif: 5, protocol: 155 })

/** The kernel's answers to a datagram of requests: what `errno` says of each, by number of the request. */
function door(errno: (place: number) => number, silent = false): { door: AsyncNetlinkDoor; sent: Uint8Array[] } {
  const sent: Uint8Array[] = []
  const queue: Uint8Array[] = []
  let place = 0
  return {
    sent,
    door: {
      netlinkOpen: () => 7,
      netlinkPort: () => PORT,
      async netlinkSendAsync(_fd, datagram) {
        sent.push(datagram)
        for (const { flags, sequence } of splitMessages(datagram) ?? []) {
          const error = errno(place++)
          if (error === 0 && (flags & 4) === 0) continue
          queue.push(answer(2, 0x300, sequence, errorBody(error, attributeString(1, 'no'))))
        }
        if (silent) queue.length = 0
      },
      netlinkReceiveAsync: async () => queue.shift() ?? new Uint8Array(0),
      close: () => undefined,
    },
  }
}

describe('a batch', () => {
  it('is one datagram, of which the last request asks for an acknowledgement', () => {
    expect(hex(encodeBatch([nexthop(5001), deleteNexthopRequest(5002)], [7, 8]))).toBe(
      '2800000068000105070000000000000002009b000000000008000100891300000800050005000000' +
        '2000000069000500080000000000000000000000000000000800010' +
        '08a130000',
    )
    expect(sequencesAfter(0xfffffffe, 3)).toEqual([0xffffffff, 1, 2])
  })

  it('tells what was refused, and goes on', async () => {
    const { door: native, sent } = door((place) => (place === 1 ? 19 : 0))
    const connection = openAsyncConnection(native, 0)
    const refusals = await connection.batch([nexthop(1), nexthop(2), nexthop(3)])
    expect(refusals.map((error) => error?.message)).toEqual([
      undefined,
      'the kernel refused a netlink request: nexthop 2 to interface 5: ENODEV (no)',
      undefined,
    ])
    expect(sent).toHaveLength(1)
    expect(await connection.batch([])).toEqual([])
    await connection.request('after', 1, 0, [])
    expect((splitMessages(sent[1] ?? bytes('')) ?? [])[0]?.sequence).toBe(4)
  })

  it('is cut where the answers would not find room', async () => {
    const { door: native, sent } = door((place) => (place === BATCH_REQUESTS ? 2 : 0))
    const many = Array.from({ length: BATCH_REQUESTS + 1 }, (_, i) => nexthop(i))
    const refusals = await openAsyncConnection(native, 0).batch(many)
    expect(sent).toHaveLength(2)
    expect(refusals).toHaveLength(many.length)
    expect(refusals.findIndex((error) => error !== undefined)).toBe(BATCH_REQUESTS)
  })

  it('takes its answer without the pool when it stands in the queue', async () => {
    const { door: native } = door(() => 0)
    let trips = 0
    const queue: Uint8Array[] = []
    const connection = openAsyncConnection(
      {
        ...native,
        async netlinkSendAsync(fd, datagram) {
          await native.netlinkSendAsync(fd, datagram)
          queue.push(await native.netlinkReceiveAsync(fd, 0))
        },
        netlinkReceive(_fd, out) {
          const next = queue.shift() ?? new Uint8Array(0)
          out.set(next)
          return next.length
        },
        netlinkReceiveAsync: async () => {
          trips++
          return queue.shift() ?? new Uint8Array(0)
        },
      },
      0,
    )
    expect(await connection.batch([nexthop(1)])).toEqual([undefined])
    expect(trips).toBe(0)
    await connection.request('one', 1, 0, [])
    expect(trips).toBe(1)
  })

  it('that is not answered is an error', async () => {
    const { door: native } = door(() => 0, true)
    await expect(openAsyncConnection(native, 0).batch([nexthop(1)])).rejects.toMatchObject({
      code: 'SEKISHO_NETLINK_TIMEOUT',
    })
  })
})

describe('rules for destinations', () => {
  const rule = {
    family: 4 as const,
    priority: 70,
    mark: 0,
    mask: 0,
    table: 254,
    protocol: 155,
    to: parseCidr('192.0.2.1/32'),
    ipProtocol: 6,
    destinationPort: 6443,
  }
  const decoded = (more: readonly Uint8Array[] = []) =>
    decodeRule({ type: 32, flags: 0, sequence: 0, port: 0, body: concatBytes([...encodeRule(rule), ...more]) })

  it('byte for byte', () => {
    expect(hex(concatBytes(encodeRule(rule)))).toBe(
      '02200000fe00000100000000' +
        '0800060046000000' +
        '08000100c0000201' +
        '0500160006000000' +
        '080018002b192b19' +
        '08000f00fe000000' +
        '050015009b000000',
    )
    expect(decoded()).toEqual({ ...rule, action: 1, inverted: false, narrowed: true })
  })

  it('say when they have selectors that are not shown', () => {
    expect(decoded([bytes('06001d00ffff0000')])?.opaque).toBeUndefined()
    expect(decoded([bytes('06001d00ff000000')])?.opaque).toBe(true)
    expect(decoded([bytes('080018002b192c19')])?.opaque).toBe(true)
    expect(decoded([attributeString(3, 'eth0')])?.opaque).toBe(true)
  })
})

describe('events', () => {
  it('come as messages; what is missing or malformed is told', () => {
    const queue = [
      answer(104, 0, 0, bytes('0200000000000000')),
      { errnoName: 'ENOBUFS' },
      bytes('0102'),
      { errnoName: 'EPERM' },
    ]
    const { door: native, closed } = fakeDoor(() => [])
    const groups: number[][] = []
    const socket = openEvents(
      {
        ...native,
        netlinkOpen: (_protocol, joined) => (groups.push([...joined]), 7),
        netlinkReceive(_fd, out) {
          const next = queue.shift()
          if (next === undefined) return 0
          if (!(next instanceof Uint8Array)) throw Object.assign(new Error(next.errnoName), next)
          out.set(next)
          return next.length
        },
      },
      [32, 19],
    )
    expect(groups).toEqual([[32, 19]])
    expect(socket.receive()).toMatchObject([{ type: 104 }])
    expect(socket.receive()).toBe('lost')
    expect(socket.receive()).toBe('lost')
    expect(() => socket.receive()).toThrow('EPERM')
    expect(socket.receive()).toBe('nothing')
    socket.close()
    socket.close()
    expect(closed).toEqual([7])
  })
})
