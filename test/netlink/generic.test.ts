import { describe, expect, it } from 'vitest'
import {
  attributeNested,
  attributeString,
  attributeU16,
  attributeU32,
  concatBytes,
  readU16,
  readU64,
} from '../../src/netlink/attributes.ts'
import { type AsyncNetlinkDoor, openAsyncConnection } from '../../src/netlink/async-connection.ts'
import { decodeFamily, encodeGeneric, genericBody, resolveFamily } from '../../src/netlink/generic.ts'
import { asyncLinks, encodeLinkCreate, encodeLinkDelete, encodeLinkMtu } from '../../src/netlink/links.ts'
import { encodeMessage, type Message } from '../../src/netlink/message.ts'
import { asyncRoutes } from '../../src/netlink/routes.ts'
import { formatCidr } from '../../src/core/ip.ts'
import { answer, bytes, errorBody, fakeDoor, hex } from './support.ts'

const message = (type: number, body: Uint8Array): Message => ({ type, flags: 0, sequence: 1, port: 1, body })
const FAMILY = concatBytes([
  ...encodeGeneric(1, 2),
  attributeU16(1, 0x1e),
  attributeString(2, 'wireguard'),
  attributeU32(3, 1),
  attributeNested(7, [
    attributeNested(1, [attributeU32(2, 5), attributeString(1, 'peers')]),
    attributeNested(2, [attributeU32(2, 9), attributeString(1, 'other')]),
    attributeNested(3, [attributeU32(2, 9)]),
  ]),
])

/** The fake door of the synchronous connection, asked on a thread of its own as it were. */
function asyncDoor(reply: Parameters<typeof fakeDoor>[0]): {
  door: AsyncNetlinkDoor
  sent: Uint8Array[]
  closed: number[]
} {
  const { door, sent, closed } = fakeDoor(reply)
  const buffer = new Uint8Array(65_536)
  return {
    sent,
    closed,
    door: {
      ...door,
      async netlinkSendAsync(fd, request) {
        door.netlinkSend(fd, request)
      },
      async netlinkReceiveAsync(fd, timeoutMs) {
        return buffer.slice(0, door.netlinkReceive(fd, buffer, timeoutMs))
      },
    },
  }
}

describe('generic netlink', () => {
  it('reads a family with its groups', () => {
    expect(decodeFamily(message(16, FAMILY))).toEqual({
      id: 0x1e,
      version: 1,
      groups: new Map([
        ['peers', 5],
        ['other', 9],
      ]),
    })
  })

  it('is no family when the type, the command or the id is another', () => {
    expect(decodeFamily(message(17, FAMILY))).toBeUndefined()
    expect(decodeFamily(message(16, concatBytes(encodeGeneric(3, 1, [attributeU16(1, 5)]))))).toBeUndefined()
    expect(decodeFamily(message(16, concatBytes(encodeGeneric(1, 1))))).toBeUndefined()
    expect(genericBody(message(16, bytes('0101')))).toBeUndefined()
    expect(genericBody(message(16, bytes('01010000 ffff0000')))).toBeUndefined()
  })

  it('finds a family, and nothing for one the kernel does not have', async () => {
    const there = asyncDoor((_r, seq) => [answer(16, 0, seq, FAMILY), answer(2, 0, seq, errorBody(0))])
    expect((await resolveFamily(openAsyncConnection(there.door, 16), 'wireguard'))?.id).toBe(0x1e)
    expect(hex(there.sent[0] ?? new Uint8Array())).toBe(
      '24000000100005000100000000000000030100000e000200776972656775617264000000',
    )
    const absent = asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(2))])
    expect(await resolveFamily(openAsyncConnection(absent.door, 16), 'wireguard')).toBeUndefined()
    const refused = asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(1))])
    await expect(resolveFamily(openAsyncConnection(refused.door, 16), 'wireguard')).rejects.toThrow('EPERM')
  })

  it('reads words of 2 and 8 octets, and no other size', () => {
    const attributes = [
      { type: 1, payload: bytes('0102') },
      { type: 2, payload: bytes('0100000000000080') },
    ]
    expect([readU16(attributes, 1), readU16(attributes, 2), readU64(attributes, 2), readU64(attributes, 1)]).toEqual([
      0x201,
      undefined,
      0x8000000000000001n,
      undefined,
    ])
  })
})

describe('links', () => {
  it('are made, changed and deleted by these octets', () => {
    expect(hex(encodeMessage(16, 0x605, 1, encodeLinkCreate('wg0', 'wireguard', 1420)))).toBe(
      '44000000100005060100000000000000' +
        '00000000000000000000000000000000' +
        '0800030077673000' +
        '080004008c050000' +
        '14001280' +
        '0e000100776972656775617264000000',
    )
    expect(hex(concatBytes(encodeLinkMtu(3, 1408)))).toBe('00000000030000000000000000000000' + '0800040080050000')
    expect(hex(concatBytes(encodeLinkDelete(3)))).toBe('00000000030000000000000000000000')
  })

  it('that stand already, or are gone already, are told and no error', async () => {
    const errno = (number: number) =>
      asyncLinks(openAsyncConnection(asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(number))]).door, 0))
    expect(await errno(0).create('wg0', 'wireguard', 1420)).toBe(true)
    expect(await errno(17).create('wg0', 'wireguard', 1420)).toBe(false)
    await expect(errno(95).create('wg0', 'wireguard', 1420)).rejects.toThrow('EOPNOTSUPP')
    expect(await errno(0).delete(3)).toBe(true)
    expect(await errno(19).delete(3)).toBe(false)
    expect(await errno(19).find('wg0')).toBeUndefined()
    await expect(errno(1).find('wg0')).rejects.toThrow('EPERM')
  })
})

describe('requests off the event loop', () => {
  it('stand in a queue: none is sent before the one before is answered', async () => {
    const log: string[] = []
    const { door } = asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(0))])
    const slow: AsyncNetlinkDoor = {
      ...door,
      async netlinkSendAsync(fd, request) {
        log.push('send')
        await new Promise((resolve) => setTimeout(resolve, 5))
        await door.netlinkSendAsync(fd, request)
      },
      async netlinkReceiveAsync(fd, timeoutMs) {
        log.push('receive')
        return door.netlinkReceiveAsync(fd, timeoutMs)
      },
    }
    const connection = openAsyncConnection(slow, 0)
    await Promise.all([connection.request('one', 32, 0, []), connection.request('two', 32, 0, [])])
    expect(log).toEqual(['send', 'receive', 'send', 'receive'])
  })

  it('go on after one that failed, and end with the connection, which is closed once', async () => {
    let errno = 1
    const { door, closed } = asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(errno))])
    const connection = openAsyncConnection(door, 0)
    await expect(connection.request('one', 32, 0, [])).rejects.toThrow('one: EPERM')
    errno = 0
    await connection.request('two', 32, 0, [])
    await Promise.all([connection.close(), connection.close()])
    expect(closed).toEqual([7])
    await expect(connection.request('three', 32, 0, [])).rejects.toThrow('closed')
  })

  it('begin an interrupted dump anew, and read by the reader that is handed in', async () => {
    let interruptions = 2
    const { door, sent } = asyncDoor((_r, seq) => [
      answer(16, interruptions-- > 0 ? 0x12 : 2, seq, bytes('01020304')),
      answer(3, 2, seq, bytes('00000000')),
    ])
    let read = 0
    const connection = openAsyncConnection(door, 0, {
      receive(fd, timeoutMs) {
        read++
        return door.netlinkReceiveAsync(fd, timeoutMs)
      },
    })
    expect(await connection.dump('links', 18, [])).toHaveLength(1)
    expect(sent).toHaveLength(3)
    expect(read).toBe(6)
  })

  it('that nobody answers end with a typed error', async () => {
    const { door } = asyncDoor(() => [])
    await expect(openAsyncConnection(door, 0).request('x', 32, 0, [])).rejects.toMatchObject({
      code: 'SEKISHO_NETLINK_TIMEOUT',
    })
  })

  it('are one trip where the reader can send too, and dumps are read in several datagrams a turn', async () => {
    const { door } = asyncDoor((_r, seq) => [
      answer(16, 2, seq, bytes('01020304')),
      answer(16, 2, seq, bytes('05060708')),
      answer(3, 2, seq, bytes('00000000')),
    ])
    const trips: string[] = []
    const connection = openAsyncConnection(door, 0, {
      async receive(fd, timeoutMs, most) {
        trips.push(`receive ${most > 1 ? 'several' : 'one'}`)
        const parts: Uint8Array[] = []
        for (let i = 0; i < most && i < 3; i++) parts.push(await door.netlinkReceiveAsync(fd, timeoutMs))
        return concatBytes(parts)
      },
      async exchange(fd, request, timeoutMs) {
        trips.push('exchange')
        await door.netlinkSendAsync(fd, request)
        return door.netlinkReceiveAsync(fd, timeoutMs)
      },
    })
    expect((await connection.query('all', 18, [])).map(({ body }) => hex(body))).toEqual(['01020304', '05060708'])
    expect(trips.splice(0)).toEqual(['exchange', 'receive one', 'receive one'])
    const taken: string[] = []
    await connection.walk('all', 18, [], () => (one) => void taken.push(hex(one.body)))
    expect(taken).toEqual(['01020304', '05060708'])
    expect(trips).toEqual(['receive several'])
  })
})

describe('tables that change while they are read', () => {
  const route = (last: string): Uint8Array => bytes(`02180000fe9b0001 00000000 08000f00204e0000 080001000a0100${last}`)

  it('are read anew, and what came before counts no more', async () => {
    let attempts = 0
    const { door } = asyncDoor((_r, seq) => {
      const interrupted = ++attempts === 1
      return [
        answer(24, interrupted ? 0x12 : 2, seq, route(interrupted ? '01' : '02')),
        answer(3, 2, seq, bytes('00000000')),
      ]
    })
    let found: string[] = []
    await asyncRoutes(openAsyncConnection(door, 0)).walk(4, 20_000, () => {
      const list: string[] = []
      found = list
      return ({ destination }) => void list.push(formatCidr(destination))
    })
    expect([attempts, found]).toEqual([2, ['10.1.0.2/24']])
  })

  it('and that do not exist have no routes; other refusals are told', async () => {
    const errno = (number: number) =>
      asyncRoutes(openAsyncConnection(asyncDoor((_r, seq) => [answer(2, 0, seq, errorBody(number))]).door, 0))
    const refuse = () => () => expect.unreachable()
    await errno(2).walk(4, 20_000, refuse)
    await expect(errno(1).walk(4, 20_000, refuse)).rejects.toThrow('EPERM')
  })
})
