import { describe, expect, it } from 'vitest'
import { attributeString } from '../../src/netlink/attributes.ts'
import { openConnection } from '../../src/netlink/connection.ts'
import { isRefusal, NetlinkError } from '../../src/netlink/errors.ts'
import { linkByName } from '../../src/netlink/links.ts'
import { openMonitor } from '../../src/netlink/monitor.ts'
import { addRule } from '../../src/netlink/rules.ts'
import { answer, bytes, errorBody, fakeDoor, PORT } from './support.ts'

const DONE = bytes('00000000')
const link = (index: number, name: string): Uint8Array =>
  Uint8Array.from([0, 0, 0, 0, index, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...attributeString(3, name)])

describe('connection', () => {
  it('names request, errno and the words of the kernel', () => {
    const { door } = fakeDoor((_r, seq) => [answer(2, 0x300, seq, errorBody(22, attributeString(1, 'bad table')))])
    const call = (): void => openConnection(door, 0).request('a rule', 32, 0, [])
    expect(call).toThrow('a rule: EINVAL (bad table)')
    expect(call).toThrow(NetlinkError)
  })

  it('asks for an acknowledgement and bears a new sequence number each time', () => {
    const { door, sent } = fakeDoor((_r, seq) => [answer(2, 0, seq, errorBody(0))])
    const connection = openConnection(door, 0)
    connection.request('one', 32, 0x600, [])
    connection.request('two', 32, 0x600, [])
    const views = sent.map((one) => new DataView(one.buffer))
    expect(views.map((view) => view.getUint16(6, true))).toEqual([0x605, 0x605])
    expect(views[0]?.getUint32(8, true)).not.toBe(views[1]?.getUint32(8, true))
  })

  it('takes no answer with another sequence number or for another port', () => {
    const { door } = fakeDoor((_r, seq) => [
      answer(2, 0, seq - 1, errorBody(1)),
      answer(2, 0, seq, errorBody(1), PORT + 1),
      answer(2, 0, seq, errorBody(0)),
    ])
    openConnection(door, 0).request('one', 32, 0, [])
  })

  it('gathers a dump over several datagrams', () => {
    const { door } = fakeDoor((_r, seq) => [
      Uint8Array.from([...answer(16, 2, seq, link(1, 'a')), ...answer(16, 2, seq, link(2, 'b'))]),
      answer(16, 2, seq, link(3, 'c')),
      answer(3, 2, seq, DONE),
    ])
    expect(openConnection(door, 0).dump('links', 18, [])).toHaveLength(3)
  })

  it('begins an interrupted dump anew, and gives up after a number of times', () => {
    let interruptions = 2
    const { door, sent } = fakeDoor((_r, seq) => {
      const flags = interruptions-- > 0 ? 0x12 : 2
      return [answer(16, flags, seq, link(1, 'a')), answer(3, 2, seq, DONE)]
    })
    expect(openConnection(door, 0).dump('links', 18, [])).toHaveLength(1)
    expect(sent).toHaveLength(3)
    interruptions = 1000
    expect(() => openConnection(door, 0).dump('links', 18, [])).toThrow(
      expect.objectContaining({ code: 'SEKISHO_NETLINK_INTERRUPTED' }),
    )
  })

  it('passes on the error a dump ends with', () => {
    const { door } = fakeDoor((_r, seq) => [answer(3, 2, seq, bytes('feffffff'))])
    expect(() => openConnection(door, 0).dump('routes', 26, [])).toThrow('ENOENT')
  })

  it('throws typed errors for silence and for nonsense', () => {
    const silent = fakeDoor(() => [])
    expect(() => openConnection(silent.door, 0).request('x', 32, 0, [])).toThrow(
      expect.objectContaining({ code: 'SEKISHO_NETLINK_TIMEOUT' }),
    )
    const nonsense = fakeDoor(() => [bytes('ffffff')])
    expect(() => openConnection(nonsense.door, 0).request('x', 32, 0, [])).toThrow(
      expect.objectContaining({ code: 'SEKISHO_NETLINK_PROTOCOL' }),
    )
  })

  it('closes its descriptor once', () => {
    const { door, closed } = fakeDoor(() => [])
    const connection = openConnection(door, 0)
    connection.close()
    connection.close()
    expect(closed).toEqual([7])
  })
})

describe('calls on it', () => {
  it('knows a rule that stood already from a failure', () => {
    const rule = { family: 4 as const, priority: 9, mark: 1, mask: 1, table: 1, protocol: 2 }
    const stood = fakeDoor((_r, seq) => [answer(2, 0, seq, errorBody(17))])
    expect(addRule(openConnection(stood.door, 0), rule)).toBe(false)
    const refused = fakeDoor((_r, seq) => [answer(2, 0, seq, errorBody(1))])
    expect(() => addRule(openConnection(refused.door, 0), rule)).toThrow('EPERM')
    expect(isRefusal(new Error('x'), 'EPERM')).toBe(false)
  })

  it('asks nothing for a name no interface can have', () => {
    const { door, sent } = fakeDoor(() => [])
    const connection = openConnection(door, 0)
    expect(linkByName(connection, 'sixteen-octets-x')).toBeUndefined()
    expect(linkByName(connection, '')).toBeUndefined()
    expect(sent).toHaveLength(0)
  })

  it('says that an interface is not there', () => {
    const { door } = fakeDoor((_r, seq) => [answer(2, 0, seq, errorBody(19))])
    expect(linkByName(openConnection(door, 0), 'eth9')).toBeUndefined()
  })
})

describe('monitor', () => {
  it('turns messages to events and a lost message to a resync', () => {
    const { door } = fakeDoor(() => [])
    const queue: (Uint8Array | { errnoName: string })[] = [
      answer(16, 0, 0, link(5, 'p')),
      { errnoName: 'ENOBUFS' },
      answer(17, 0, 0, link(5, 'p')),
      bytes('010203'),
    ]
    const monitor = openMonitor({
      ...door,
      netlinkReceive(_fd, out) {
        const next = queue.shift()
        if (next === undefined) return 0
        if (!(next instanceof Uint8Array)) throw Object.assign(new Error(), next)
        out.set(next)
        return next.length
      },
    })
    expect(monitor.poll().map((event) => event.kind)).toEqual(['link', 'resync', 'link-gone', 'resync'])
    expect(monitor.poll()).toEqual([])
  })
})
