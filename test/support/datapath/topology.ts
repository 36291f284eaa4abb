import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inside, run } from './in-namespace.ts'

export const POD = { 4: '10.91.1.2', 6: 'fd00:91:1::2' } as const
export const FREE = { 4: '10.91.2.2', 6: 'fd00:91:2::2' } as const
/** Two servers in the world. */
export const GOOD = { 4: '198.18.91.7', 6: '2001:db8:91::7' } as const
export const BAD = { 4: '198.18.91.8', 6: '2001:db8:91::8' } as const

/** A node with two pods and the world behind it, each a namespace. */
export class Topology {
  readonly prefix: string
  readonly bpffs: string

  constructor(prefix: string) {
    this.prefix = `${prefix}${process.pid}`
    this.bpffs = mkdtempSync(join(tmpdir(), `${prefix}-bpffs-`))
    run('mount', '-t', 'bpf', 'bpf', this.bpffs)
    for (const name of ['node', 'pod', 'free', 'world']) {
      run('ip', 'netns', 'add', this.namespace(name))
      this.in(name, 'ip', 'link', 'set', 'lo', 'up')
    }
    const sysctls = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1', 'net.ipv4.conf.all.rp_filter=0']
    for (const setting of sysctls) this.in('node', 'sysctl', '-qw', setting)
    this.addPod('pod', 1)
    this.addPod('free', 2)
    this.addPod('world', 9)
    for (const { 4: v4, 6: v6 } of [GOOD, BAD]) {
      this.in('world', 'ip', 'address', 'add', `${v4}/32`, 'dev', 'lo')
      this.in('world', 'ip', 'address', 'add', `${v6}/128`, 'dev', 'lo', 'nodad')
    }
    this.in('node', 'ip', 'route', 'add', '198.18.91.0/24', 'via', '10.91.9.2')
    this.in('node', 'ip', '-6', 'route', 'add', '2001:db8:91::/64', 'via', 'fd00:91:9::2')
    for (const name of ['pod', 'free', 'world']) this.in(name, 'sysctl', '-qw', 'net.ipv4.ping_group_range=0 0')
  }

  namespace(name: string): string {
    return `${this.prefix}${name}`
  }

  in(name: string, ...command: readonly string[]): string {
    return run(...inside(this.namespace(name), ...command))
  }

  /** The host side is "host<n>", the pod's "eth0". */
  addPod(name: string, n: number): void {
    const peer = ['peer', 'name', 'eth0', 'netns', this.namespace(name)]
    this.in('node', 'ip', 'link', 'add', `host${n}`, 'type', 'veth', ...peer)
    this.in('node', 'ip', 'address', 'add', `10.91.${n}.1/24`, 'dev', `host${n}`)
    this.in('node', 'ip', 'address', 'add', `fd00:91:${n}::1/64`, 'dev', `host${n}`, 'nodad')
    this.in('node', 'ip', 'link', 'set', `host${n}`, 'up')
    this.in(name, 'ip', 'address', 'add', `10.91.${n}.2/24`, 'dev', 'eth0')
    this.in(name, 'ip', 'address', 'add', `fd00:91:${n}::2/64`, 'dev', 'eth0', 'nodad')
    this.in(name, 'ip', 'link', 'set', 'eth0', 'up')
    this.in(name, 'ip', 'route', 'add', 'default', 'via', `10.91.${n}.1`)
    this.in(name, 'ip', '-6', 'route', 'add', 'default', 'via', `fd00:91:${n}::1`)
  }

  /** Everything of the node's namespace and of bpf that an agent could leave behind. */
  traces(): string {
    const node = (...command: string[]): string => this.in('node', ...command)
    return (
      [
        node('ip', 'rule'),
        node('ip', '-6', 'rule'),
        node('ip', 'route', 'show', 'table', 'all'),
        ...['host1', 'host2'].flatMap((device) => [
          node('tc', 'filter', 'show', 'dev', device, 'ingress'),
          node('tc', 'filter', 'show', 'dev', device, 'egress'),
        ]),
        run('find', this.bpffs, '-mindepth', '1'),
      ]
        // Link-local addresses come a second after the interface.
        .map((text) =>
          text
            .split('\n')
            .filter((line) => !line.includes('fe80'))
            .sort()
            .join('\n'),
        )
        .join('\n--\n')
    )
  }

  /** Kernel ids of what is pinned under `directory`: "link 7", "prog 9", "map 3". */
  objects(directory: string): string[] {
    const links = JSON.parse(run('bpftool', '-j', '-f', 'link', 'show')) as {
      id: number
      prog_id: number
      pinned?: string[]
    }[]
    const maps = JSON.parse(run('bpftool', '-j', '-f', 'map', 'show')) as { id: number; pinned?: string[] }[]
    const ours = (one: { pinned?: string[] }): boolean =>
      one.pinned?.some((path) => path.startsWith(join(this.bpffs, directory))) === true
    return [
      ...links.filter(ours).flatMap((link) => [`link ${link.id}`, `prog ${link.prog_id}`]),
      ...maps.filter(ours).map((map) => `map ${map.id}`),
    ]
  }

  remove(): void {
    for (const name of ['node', 'pod', 'free', 'world']) {
      try {
        run('ip', 'netns', 'delete', this.namespace(name))
      } catch {
        // It was not made.
      }
    }
    run('umount', this.bpffs)
    rmdirSync(this.bpffs)
  }
}
