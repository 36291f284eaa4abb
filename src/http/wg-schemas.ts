import Type from 'typebox'
import { MAX_PAGE } from './schemas.ts'

/* Shapes of the answers about encryption; a property that is not listed here is never sent. */
const Text = Type.String()
const Texts = Type.Array(Text)
const Count = Type.Integer()
const Seconds = Type.Number()

export const sealSchema = Type.Object({
  mode: Text,
  driver: Text,
  domain: Text,
  node: Text,
  endpoints: Type.Optional(Texts),
  target: Text,
  nodeEncryption: Type.Boolean(),
  mtu: Count,
  slots: Type.Array(
    Type.Object({
      slot: Count,
      device: Text,
      publicKey: Type.Optional(Text),
      port: Count,
      generation: Count,
      keyAgeSeconds: Seconds,
      mtu: Count,
      programmed: Count,
      proven: Count,
      recreations: Count,
      recreatedFor: Type.Object({ missing: Count, broken: Count }),
    }),
  ),
  peers: Type.Object({ expected: Count, active: Count, strict: Count, unproven: Count }),
  rotation: Type.Object({
    phase: Text,
    slot: Type.Optional(Count),
    reason: Type.Optional(Text),
    seconds: Seconds,
    dueSeconds: Type.Optional(Seconds),
    awaited: Type.Array(Type.Object({ why: Text, count: Count, names: Texts })),
    completed: Count,
    lastSeconds: Type.Optional(Seconds),
    queue: Type.Array(Type.Object({ slot: Count, reason: Text })),
  }),
  directory: Type.Object({
    complete: Type.Boolean(),
    ageSeconds: Seconds,
    lost: Type.Optional(Text),
    published: Type.Boolean(),
    refused: Type.Array(Type.Object({ name: Text, reason: Text, detail: Text })),
  }),
  dropped: Type.Array(Type.Object({ direction: Text, family: Count, packets: Count })),
  warnings: Texts,
  findings: Type.Optional(Type.Array(Type.Object({ code: Text, peer: Text, text: Text }))),
})

export const sealPeerSchema = Type.Object({
  uid: Text,
  name: Text,
  endpoints: Texts,
  prefixes: Texts,
  egress: Count,
  mode: Text,
  excused: Type.Boolean(),
  tunnels: Type.Array(
    Type.Object({
      slot: Count,
      state: Text,
      publicKey: Type.Optional(Text),
      endpoint: Type.Optional(Text),
      allowedIps: Texts,
      handshakeAgeSeconds: Type.Optional(Seconds),
      rxBytes: Count,
      txBytes: Count,
      probesLost: Count,
      rttMs: Type.Optional(Type.Number()),
    }),
  ),
  announced: Type.Optional(Type.Object({ egress: Count, mode: Text, ageSeconds: Seconds })),
})

export const sealPeersSchema = Type.Object({ total: Count, offset: Count, peers: Type.Array(sealPeerSchema) })

export const sealKeysSchema = Type.Object({
  events: Type.Array(Type.Object({ time: Text, event: Text, slot: Count, fingerprint: Text })),
})

/** models.DebugInfoEncryption of Cilium's API. */
export const debuginfoSchema = Type.Object({
  wireguard: Type.Object({
    interfaces: Type.Array(
      Type.Object({
        'listen-port': Count,
        name: Text,
        'peer-count': Count,
        peers: Type.Array(
          Type.Object({
            'allowed-ips': Texts,
            endpoint: Type.Optional(Text),
            'last-handshake-time': Text,
            'public-key': Text,
            'transfer-rx': Count,
            'transfer-tx': Count,
          }),
        ),
        'public-key': Type.Optional(Text),
      }),
    ),
    'node-encryption': Text,
  }),
})

export const acceptedSchema = Type.Object({ accepted: Type.Boolean(), compromised: Type.Boolean() })

export const peersQuery = Type.Object(
  {
    order: Type.Union([Type.Literal('name'), Type.Literal('worst')], { default: 'name' }),
    offset: Type.Integer({ minimum: 0, maximum: 1_000_000_000, default: 0 }),
    limit: Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: 100 }),
  },
  { additionalProperties: false },
)
export const rotateBody = Type.Object({ compromised: Type.Optional(Type.Boolean()) }, { additionalProperties: false })

export type PeersQuery = Type.Static<typeof peersQuery>
export type RotateBody = Type.Static<typeof rotateBody>
