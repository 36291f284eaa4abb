import Type from 'typebox'

/** A key of X25519 in base64: 43 characters and one `=`. */
export const KEY_PATTERN = '^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$'
/** Of a node: an RFC 1123 subdomain. */
export const NAME_PATTERN = '^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$'
/** Printable ASCII: what is beyond it counts differently in octets, UTF-16 and code points. */
const CAPABILITY_PATTERN = '^[!-~]{1,63}$'

export const MAX_ENDPOINTS = 16
export const MAX_PREFIXES = 64
export const MAX_NODE_IPS = 32
export const MAX_CAPABILITIES = 32

/** Capabilities that this version knows. */
export const CAP_TWO_SLOTS = 'two-slot/1'
export const CAP_PROBES = 'probe/1'

const Address = Type.String({ minLength: 2, maxLength: 45 })
const Prefix = Type.String({ minLength: 4, maxLength: 49 })
const WallMs = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Slot = Type.Union([Type.Literal(0), Type.Literal(1)])
const Name = Type.String({ pattern: NAME_PATTERN, maxLength: 253 })
const Uid = Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$', maxLength: 64 })

const SlotRecord = Type.Object(
  {
    id: Slot,
    port: Type.Integer({ minimum: 1, maximum: 65_535 }),
    publicKey: Type.String({ pattern: KEY_PATTERN, maxLength: 44 }),
    gen: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    /** When the key was made, wall clock ms of its owner; an agent that starts again takes its key's age from here. */
    since: WallMs,
  },
  { additionalProperties: false },
)

const DrainRecord = Type.Object(
  {
    slot: Slot,
    seq: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    since: WallMs,
    reason: Type.Union([Type.Literal('Rotate'), Type.Literal('Repair'), Type.Literal('Compromise')]),
  },
  { additionalProperties: false },
)

/** What a node publishes: the `spec` of a WireGuardNode, and a file of the shared folder. Under 1 KiB as a rule. */
export const nodeRecordSchema = Type.Object(
  {
    /** Encryption domain: records of another are refused. */
    domain: Type.String({ pattern: '^[A-Za-z0-9._-]{1,63}$', maxLength: 63 }),
    node: Name,
    nodeUID: Uid,
    bootID: Uid,
    /** When this UID first published, wall clock ms: of two owners of one key or prefix the first is right. */
    created: WallMs,
    /** Grows with every write of this UID; an older one replaces a newer only when it stays (view.ts). */
    revision: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    endpoints: Type.Array(Type.Object({ ip: Address }, { additionalProperties: false }), {
      minItems: 1,
      maxItems: MAX_ENDPOINTS,
    }),
    prefixes: Type.Array(Prefix, { maxItems: MAX_PREFIXES }),
    nodeIPs: Type.Array(Address, { maxItems: MAX_NODE_IPS }),
    slots: Type.Array(SlotRecord, { minItems: 1, maxItems: 2 }),
    drain: Type.Union([Type.Null(), DrainRecord]),
    caps: Type.Array(Type.String({ pattern: CAPABILITY_PATTERN, maxLength: 63 }), { maxItems: MAX_CAPABILITIES }),
  },
  { additionalProperties: false },
)

export type NodeRecord = Type.Static<typeof nodeRecordSchema>

/**
 * No node writes as often in its life: a revision beyond was put into our record by somebody else. What we write goes on from
 * our own count then, so that nobody who may write the directory can use up the numbers of another node.
 */
export const MOST_REVISIONS = 2 ** 52
