import { beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { formatIp, parseIp } from '../../src/core/ip.ts'
import type { LxcValue } from '../../src/bpf/layouts.ts'
import { type EndpointTable, openEndpointTable } from '../../src/datapath/endpoint-table.ts'
import type { DatapathEndpoint } from '../../src/datapath/ports.ts'
import type { Link } from '../../src/netlink/netlink.ts'

let steps: string[]
let links: Map<string, number>
let lxc: Map<string, LxcValue>
let interfaces: Map<number, { endpointId: number; enforced: boolean }>
let attached: Set<number>
let broken: Set<number>

const open = (): EndpointTable =>
  openEndpointTable({
    interfaces: {
      set(ifindex, value) {
        steps.push(`interface ${ifindex} = ${value.endpointId}${value.enforced ? ' enforced' : ''}`)
        interfaces.set(ifindex, value)
      },
      delete(ifindex) {
        steps.push(`interface ${ifindex} deleted`)
        interfaces.delete(ifindex)
      },
      dump: () => [...interfaces].map(([ifindex, value]) => ({ ifindex, value })),
    },
    lxc: {
      set(ip, value) {
        steps.push(`address ${formatIp(ip)} = ${value.endpointId} on ${value.ifindex}`)
        lxc.set(formatIp(ip), value)
      },
      delete(ip) {
        steps.push(`address ${formatIp(ip)} deleted`)
        lxc.delete(formatIp(ip))
      },
      dump: () => [...lxc].map(([text, value]) => ({ ip: parseIp(text), value })),
    },
    attachments: {
      attach(ifindex) {
        if (broken.has(ifindex)) throw new Error(`interface ${ifindex} is broken`)
        steps.push(`attach ${ifindex}`)
        attached.add(ifindex)
      },
      detach(ifindex) {
        steps.push(`detach ${ifindex}`)
        attached.delete(ifindex)
      },
      list: () => [...attached],
    },
    programs: { from_pod: 1, to_pod: 2 },
    linkByName: (name) => {
      const index = links.get(name)
      return index === undefined ? undefined : ({ index, name } as Link)
    },
    forget: (id) => steps.push(`forget ${id}`),
    log: silentLog,
  })

const endpoint = (id: number, change: Partial<DatapathEndpoint> = {}): DatapathEndpoint => ({
  id,
  name: `test/${id}`,
  interface: `host${id}`,
  addresses: [parseIp(`10.0.0.${id}`)],
  enforced: true,
  ...change,
})
const taken = (): string[] => steps.splice(0)

beforeEach(() => {
  steps = []
  links = new Map([
    ['host1', 11],
    ['host2', 12],
  ])
  lxc = new Map()
  interfaces = new Map()
  attached = new Set()
  broken = new Set()
})

describe('the table of endpoints', () => {
  it('has addresses and enforcement stand before the program runs', async () => {
    await open().apply([endpoint(1)])
    expect(taken()).toEqual(['address 10.0.0.1 = 1 on 11', 'interface 11 = 1 enforced', 'attach 11'])
  })

  it('does nothing when nothing changed', async () => {
    const table = open()
    await table.apply([endpoint(1)])
    taken()
    await table.apply([endpoint(1)])
    await table.refresh()
    expect(taken()).toEqual([])
  })

  it('takes the program off before the entry that makes it judge', async () => {
    const table = open()
    await table.apply([endpoint(1), endpoint(2)])
    taken()
    await table.apply([endpoint(2)])
    expect(taken()).toEqual(['address 10.0.0.1 deleted', 'detach 11', 'interface 11 deleted', 'forget 1'])
    expect(table.states().map((one) => one.id)).toEqual([2])
  })

  it('waits for an interface, and follows it when it comes back as another', async () => {
    const table = open()
    links.delete('host1')
    await table.apply([endpoint(1)])
    expect(taken()).toEqual([])
    expect(table.states()).toEqual([{ id: 1, ifindex: undefined, attached: false, enforced: true }])
    links.set('host1', 21)
    await table.refresh()
    expect(taken()).toContain('attach 21')
    links.set('host1', 22)
    await table.refresh()
    expect(taken()).toEqual([
      'detach 21',
      'interface 21 deleted',
      'address 10.0.0.1 = 1 on 22',
      'interface 22 = 1 enforced',
      'attach 22',
    ])
    links.delete('host1')
    await table.refresh()
    expect(taken()).toEqual(['detach 22', 'interface 22 deleted'])
  })

  it('keeps an address that another endpoint has taken over', async () => {
    const table = open()
    await table.apply([endpoint(1), endpoint(2)])
    await table.apply([endpoint(2, { addresses: [parseIp('10.0.0.2'), parseIp('10.0.0.1')] })])
    expect(lxc.get('10.0.0.1')?.endpointId).toBe(2)
    await table.apply([endpoint(1), endpoint(2)])
    expect(lxc.get('10.0.0.1')?.endpointId).toBe(1)
    expect(lxc.get('10.0.0.2')?.endpointId).toBe(2)
  })

  it('keeps an interface that another endpoint has taken over', async () => {
    const table = open()
    await table.apply([endpoint(1)])
    taken()
    await table.apply([endpoint(2, { interface: 'host1' })])
    expect(taken()).not.toContain('detach 11')
    expect(interfaces.get(11)).toEqual({ endpointId: 2, enforced: true })
    expect(attached).toEqual(new Set([11]))
  })

  it('swaps the interfaces of two endpoints without taking a program off', async () => {
    const table = open()
    await table.apply([endpoint(1), endpoint(2)])
    taken()
    await table.apply([endpoint(1, { interface: 'host2' }), endpoint(2, { interface: 'host1' })])
    expect(interfaces.get(12)?.endpointId).toBe(1)
    expect(interfaces.get(11)?.endpointId).toBe(2)
    expect(attached).toEqual(new Set([11, 12]))
  })

  it('drops addresses that an endpoint no longer has, and changes enforcement in place', async () => {
    const table = open()
    await table.apply([endpoint(1, { addresses: [parseIp('10.0.0.1'), parseIp('fd00::1')] })])
    taken()
    await table.apply([endpoint(1, { enforced: false })])
    expect(taken()).toEqual(['address fd00::1 deleted', 'address 10.0.0.1 = 1 on 11', 'interface 11 = 1', 'attach 11'])
  })

  it('removes what an earlier agent left and the first list does not name', async () => {
    lxc.set('10.9.9.9', { ifindex: 99, endpointId: 9, flags: 0, identity: 0 })
    interfaces.set(99, { endpointId: 9, enforced: true })
    attached.add(99).add(11)
    await open().apply([endpoint(1)])
    expect(taken().slice(3)).toEqual(['address 10.9.9.9 deleted', 'detach 99', 'interface 99 deleted'])
    expect(attached).toEqual(new Set([11]))
  })

  it('does the rest when one interface fails, says so, and tries again', async () => {
    const table = open()
    broken.add(11)
    await expect(table.apply([endpoint(1), endpoint(2)])).rejects.toThrow('interface 11 is broken')
    expect(table.states().map((one) => one.attached)).toEqual([false, true])
    broken.clear()
    await table.refresh()
    expect(table.states().map((one) => one.attached)).toEqual([true, true])
  })
})
