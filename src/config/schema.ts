import Type from 'typebox'
import { choice, count, duration, list, section, size, text } from './kinds.ts'
import { wireguardSchema } from './wireguard.ts'

/**
 * Every setting: its kind, range, default and what it is for. The type, the checks and docs/configuration.md all
 * come from here. A setting without a default must be given; what is needed by some modes only is in `together.ts`.
 */
export const configSchema = section('', {
  node: section('The node the agent runs on.', {
    name: text('Name of the node in status and logs. Empty: the name of the host.', {
      default: '',
      pattern: '^[-a-z0-9.]{0,253}$',
    }),
    uid: text(
      'What tells this node from another of the same name, also one made again. Empty: worked out of /etc/machine-id and the name; without that file, of the boot.',
      { default: '', pattern: '^[A-Za-z0-9-]{0,64}$' },
    ),
    procfs: text(
      'Where settings of the network (`sys/net`) are written: in a container another path than /proc, where they are read-only.',
      { default: '/proc', kind: 'path' },
    ),
    addresses: list('Addresses of the node (identity 1, host). Empty: every address the node has.', 'address', {
      default: [],
    }),
  }),
  datapath: section('The kernel side: programs on the pods’ interfaces, pinned maps, routing rules.', {
    mode: choice(
      'Who enforces. `standalone`: the tc programs of Sekisho. `off`: nobody; there is no gate, only the seal runs.',
      ['standalone', 'off'],
      'standalone',
    ),
    bpffs: text('Where bpffs is or will be mounted.', { default: '/sys/fs/bpf', kind: 'path' }),
    directory: text('Folder of the pins under `bpffs`. Two agents on one machine need two.', {
      default: 'sekisho',
      pattern: '^[a-zA-Z0-9_-]{1,64}$',
    }),
    endpoints: text(
      'File that lists the endpoints: name, namespace, labels, addresses, interface. Needed unless `mode` is `off`.',
      { default: '', kind: 'path' },
    ),
    routeTable: count('Routing table that delivers redirected packets locally.', {
      default: 2004,
      minimum: 1,
      maximum: 4294967295,
      except: [253, 254, 255],
    }),
    rulePriority: count(
      'Priority of the `ip rule` that looks into it; below 32766, the main table. The one before and the one after it are used too.',
      {
        default: 9,
        minimum: 2,
        maximum: 32764,
      },
    ),
    eventsPerSecond: count('Drops a second that are reported as events; all are counted. 0 turns events off.', {
      default: 100,
      minimum: 0,
      maximum: 1000000,
    }),
    maps: section('Sizes of the BPF maps. A map that is pinned already keeps its size until `sekisho cleanup`.', {
      ipcacheEntries: count('Prefixes in the identity map.', { default: 512000, minimum: 1024, maximum: 16777216 }),
      policyEntries: count('Rows in one policy map.', { default: 16384, minimum: 256, maximum: 1048576 }),
      conntrackEntries: count('Connections in each conntrack map; there are four.', {
        default: 262144,
        minimum: 1024,
        maximum: 16777216,
      }),
    }),
    conntrack: section('How long a connection without traffic is remembered.', {
      tcpSeconds: count('TCP, established.', { default: 8000, minimum: 1, maximum: 604800 }),
      otherSeconds: count('UDP, ICMP and the rest.', { default: 60, minimum: 1, maximum: 604800 }),
      synSeconds: count('TCP, before the handshake is over.', { default: 60, minimum: 1, maximum: 604800 }),
      closeSeconds: count('TCP, after FIN or RST.', { default: 10, minimum: 1, maximum: 604800 }),
    }),
  }),
  policy: section('Which policies are in force.', {
    paths: list(
      'Policy files, and folders of which every .yaml, .yml and .json file is read. Watched for changes. Needed unless `datapath.mode` is `off`.',
      'path',
      { default: [] },
    ),
    doubleStar: choice(
      'What `**.` at the start of a pattern stands for: `labels`, one or more labels (Cilium 1.19 and later); `label`, the same as `*.` (1.18 and before).',
      ['labels', 'label'],
      'labels',
    ),
  }),
  dns: section('The DNS gate.', {
    port: count('UDP and TCP port of the listeners on 127.0.0.1 and ::1; packets come to it by redirect only.', {
      default: 10053,
      minimum: 1,
      maximum: 65535,
    }),
    workers: count('Worker threads for UDP. One serves what a node needs.', { default: 1, minimum: 1, maximum: 64 }),
    pump: choice(
      'How a worker waits for packets. `auto`: io_uring where the kernel gives it (6.1 and later, and not forbidden), else epoll. `io_uring` fails where it does not.',
      ['auto', 'epoll', 'io_uring'],
      'auto',
    ),
    denyResponse: choice(
      'How a denied name is answered. `auto`: NXDOMAIN below a search domain, so that musl’s resolver goes on with its list, else REFUSED.',
      ['auto', 'refused', 'nxdomain'],
      'auto',
    ),
    searchDomains: list('Search domains of the pods; used by `denyResponse: auto`.', 'name', {
      default: ['svc.cluster.local', 'cluster.local'],
    }),
    upstreamTimeout: duration(
      'How long to wait for the server before SERVFAIL. Below the 5 s after which glibc and musl give a server up.',
      {
        default: '4500ms',
        minimum: '10ms',
        maximum: '1m',
      },
    ),
    receiveBuffer: size(
      'Receive buffer of each UDP listener (SO_RCVBUF); holds what arrives while a worker starts again.',
      { default: '4MiB', minimum: '64KiB', maximum: '1GiB' },
    ),
    maxInFlight: count(
      'Queries that wait for a server, in each worker. Beyond it a query gets SERVFAIL and is counted.',
      {
        default: 8192,
        minimum: 16,
        maximum: 60000,
      },
    ),
    maxPending: count('Answers that wait for the ledger, in each worker.', {
      default: 2048,
      minimum: 1,
      maximum: 65536,
    }),
    endpointShare: count(
      'What one endpoint may have of `maxInFlight`, of `maxPending` and of the 256 servers asked at a time, percent. Beyond it its own queries get SERVFAIL.',
      { default: 25, minimum: 1, maximum: 100 },
    ),
    tcp: section('DNS over TCP.', {
      maxConnections: count('Open connections of all pods.', { default: 1024, minimum: 1, maximum: 65536 }),
      maxConnectionsPerEndpoint: count('Open connections of one pod.', { default: 64, minimum: 1, maximum: 65536 }),
      idleTimeout: duration('A connection without a query is closed after it (RFC 7766 section 6.2.3).', {
        default: '10s',
        minimum: '100ms',
        maximum: '1h',
      }),
      maxQueriesPerConnection: count('Queries on one connection before it is closed. 0: no limit.', {
        default: 0,
        minimum: 0,
        maximum: 1000000000,
      }),
    }),
  }),
  fqdn: section('What names resolved to, and for how long it counts.', {
    minTtl: duration('TTLs below it are raised to it in our tables; the answer is not changed.', {
      default: '0s',
      minimum: '0s',
      maximum: '24h',
    }),
    grace: duration('Added to every TTL in our tables.', { default: '0s', minimum: '0s', maximum: '24h' }),
    maxAddressesPerName: count('Addresses of one name of one endpoint. The one that expires first makes room.', {
      default: 1000,
      minimum: 1,
      maximum: 1000000,
    }),
    maxNamesPerEndpoint: count('Names of one endpoint. The one that expires first makes room.', {
      default: 10000,
      minimum: 1,
      maximum: 10000000,
    }),
    maxEntries: count('(endpoint, name, address) entries on the node.', {
      default: 500000,
      minimum: 1,
      maximum: 16777216,
    }),
    maxEntriesPerEndpoint: count(
      'Entries of one endpoint, so that none can push out those of all others. Its name not asked for longest makes room.',
      { default: 125000, minimum: 1, maximum: 16777216 },
    ),
    conntrackInterval: duration('How often conntrack is read for addresses that live connections keep.', {
      default: '10s',
      minimum: '100ms',
      maximum: '10m',
    }),
  }),
  wireguard: wireguardSchema,
  state: section('What a restarted agent reads.', {
    dir: text('Folder of snapshot and journal. On a tmpfs: they are of no use after a reboot.', {
      default: '/run/sekisho',
      kind: 'path',
    }),
    snapshotInterval: duration('How often the names are written to disk.', {
      default: '5s',
      minimum: '100ms',
      maximum: '10m',
    }),
  }),
  http: section('Health, metrics and the JSON API.', {
    address: text(
      'Address to listen on. The API has no authentication: anything but loopback lets others read names and policy.',
      { default: '127.0.0.1', kind: 'address' },
    ),
    port: count('TCP port. 0: the kernel chooses.', { default: 9876, minimum: 0, maximum: 65535 }),
  }),
  log: section('Logs: JSON lines on standard output.', {
    level: choice('Least severe level that is written.', ['trace', 'debug', 'info', 'warn', 'error', 'silent'], 'warn'),
  }),
})

/** The whole configuration: checked, complete, frozen. Durations are milliseconds, sizes octets, addresses RFC 5952 text. */
export type Config = DeepReadonly<Type.Static<typeof configSchema>>

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T
