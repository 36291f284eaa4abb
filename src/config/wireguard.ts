import { choice, count, duration, list, section, text, toggle } from './kinds.ts'

const RESERVED_TABLES = [253, 254, 255]

/** The seal: WireGuard devices, keys and peers of the node. */
export const wireguardSchema = section('The seal: encryption between nodes.', {
  mode: choice(
    'Who has the devices. `manage`: Sekisho, two of its own. `observe`: another manager; its device is looked at and nothing is written.',
    ['off', 'manage', 'observe'],
    'off',
  ),
  driver: choice(
    'Which WireGuard. `auto`: the kernel’s, and where it has none the program of `command`.',
    ['auto', 'kernel', 'userspace'],
    'auto',
  ),
  command: text(
    'Program that makes a device where the kernel has no WireGuard. Its devices share one folder of sockets on the machine.',
    { default: 'wireguard-go', kind: 'path' },
  ),
  domain: text('Encryption domain. Records of nodes of another domain are refused.', {
    default: 'default',
    pattern: '^[A-Za-z0-9._-]{1,63}$',
  }),
  target: choice(
    'How far encryption goes, pair by pair, once a tunnel is proven. `active`: we send through it. `strict`: clear text is dropped too. `off`: it is given up again without loss.',
    ['off', 'active', 'strict'],
    'active',
  ),
  devicePrefix: text('Names of the two devices: this and 0 or 1.', {
    default: 'kwg',
    pattern: '^[a-z][-a-z0-9_]{0,12}$',
  }),
  port: count('UDP port of the first device; the second has the next. Both must be open between all nodes.', {
    default: 51871,
    minimum: 1,
    maximum: 65534,
  }),
  probePort: count('UDP port of the probes inside the tunnels.', { default: 51873, minimum: 1, maximum: 65535 }),
  fwmark: count(
    'Mark of the encrypted packets, within the mask 0x1f00; 7680 is 0x1e00. What has it is not led into a tunnel again.',
    { default: 0x1e00, minimum: 0x100, maximum: 0x1f00 },
  ),
  table: count('Routing table with the routes of the peers.', {
    default: 20000,
    minimum: 1,
    maximum: 4294967295,
    except: RESERVED_TABLES,
  }),
  slotTables: count('Routing table of the first device, for probes; the second has the next.', {
    default: 20100,
    minimum: 1,
    maximum: 4294967294,
    except: RESERVED_TABLES,
  }),
  rulePriority: count('Priority of the `ip rule` that looks into `table`.', {
    default: 90,
    minimum: 1,
    maximum: 32765,
  }),
  slotRulePriority: count(
    'Priority of the rules that look into `slotTables`; before `rulePriority`. Those of `bypass` are 10 before it.',
    {
      default: 80,
      minimum: 11,
      maximum: 32765,
    },
  ),
  nexthopBase: count('Number of the first nexthop object; each peer takes two.', {
    default: 5000,
    minimum: 1,
    maximum: 4294836224,
  }),
  prefixes: list(
    'Pod CIDRs of this node; the first address of the first of each family is where its probes are answered. Needed by `manage`.',
    'prefix',
    { default: [] },
  ),
  extraPrefixes: list(
    'More prefixes that live on this node: extra addresses where IPAM has no CIDR a node.',
    'prefix',
    {
      default: [],
    },
  ),
  accept: list(
    'What other nodes may claim lies in these: the pod CIDRs of all nodes and, with `encryptNodes`, their networks. A record with another prefix is refused. Empty: anything, so a node that was taken over can draw traffic for other addresses (name servers, the API server) to itself.',
    'prefix',
    { default: [] },
  ),
  endpoints: list(
    'Addresses at which peers reach this node. Empty: `node.addresses`, and without them those of the device of the default route.',
    'address',
    { default: [] },
  ),
  underlay: list(
    'Devices that clear text is watched on. Empty: those that have the addresses of `endpoints`.',
    'device',
    { default: [] },
  ),
  encryptNodes: toggle('Traffic of the nodes themselves goes through the tunnels too, once they are proven.', false),
  bypass: list(
    'Never led into a tunnel: `prefix` or `prefix tcp/port`. With `encryptNodes` the API server belongs here.',
    'flow',
    { default: [] },
  ),
  keyLife: duration('How long a key lives; each device is rotated once in this time.', {
    default: '24h',
    minimum: '1m',
    maximum: '8760h',
  }),
  maxKeyAge: duration('A rotation waits no longer for peers that are not reached once a key is this old.', {
    default: '168h',
    minimum: '2m',
    maximum: '8760h',
  }),
  quiet: duration('How long a drained device must be quiet before its key changes.', {
    default: '5s',
    minimum: '500ms',
    maximum: '5m',
  }),
  compromiseCap: duration('A rotation after a compromise waits no longer than this for peers.', {
    default: '1m',
    minimum: '1s',
    maximum: '1h',
  }),
  excuseAfter: duration('A peer that was not reached for this long is not waited for in a rotation.', {
    default: '12h',
    minimum: '1m',
    maximum: '8760h',
  }),
  keepalive: duration('Between keepalives to a peer; whole seconds.', {
    default: '25s',
    minimum: '1s',
    maximum: '2m',
  }),
  mtu: count('MTU of the devices; a multiple of 16, from 1280. 0: from the underlay.', {
    default: 0,
    minimum: 0,
    maximum: 65520,
  }),
  directory: section('Where nodes publish their public keys.', {
    kind: choice('`folder`: a shared folder, one file a node.', ['folder'], 'folder'),
    path: text(
      'The shared folder; it is never made. Name a folder inside of the mounted file system, so that it is missing while that is not mounted. Needed by `manage`.',
      { default: '', kind: 'path' },
    ),
  }),
  observe: section('For `mode: observe`.', {
    device: text('The other manager’s device.', { default: 'cilium_wg0', pattern: '^[-a-zA-Z0-9_.@]{1,15}$' }),
  }),
  metrics: section('What is counted.', {
    perPeer: toggle('Metrics of each peer, labelled by node; one series a peer, so not for thousands.', false),
  }),
})
