import Type from 'typebox'

/*
 * Shapes of the answers. A property that is not listed here is never sent, so nothing can leak that was not meant
 * to be read.
 */
const Text = Type.String()
const Count = Type.Integer()

export const MAX_PAGE = 1000

export const readinessSchema = Type.Object({
  ready: Type.Boolean(),
  latches: Type.Array(Type.Object({ name: Text, ready: Type.Boolean(), reason: Type.Optional(Text) })),
})

export const livenessSchema = Type.Object({ alive: Type.Boolean() })

export const statusSchema = Type.Object({
  version: Text,
  node: Text,
  mode: Text,
  pid: Count,
  startedAt: Text,
  uptimeSeconds: Type.Number(),
  ready: Type.Boolean(),
  policyGeneration: Count,
  endpoints: Type.Object({ known: Count, enforced: Count }),
  names: Type.Object({ entries: Count, identities: Count }),
  workers: Type.Array(
    Type.Object({
      name: Text,
      state: Text,
      restarts: Count,
      generation: Type.Union([Count, Type.Null()]),
      pump: Type.Optional(Text),
    }),
  ),
  warnings: Type.Array(Text),
})

export const endpointsSchema = Type.Object({
  endpoints: Type.Array(
    Type.Object({
      id: Count,
      name: Text,
      labels: Type.Record(Text, Text),
      addresses: Type.Array(Text),
      interface: Text,
      enforced: Type.Boolean(),
      attached: Type.Boolean(),
      drops: Count,
    }),
  ),
})

export const namesSchema = Type.Object({
  endpoint: Text,
  total: Count,
  offset: Count,
  names: Type.Array(Type.Object({ name: Text, address: Text, secondsLeft: Count, identity: Count })),
})

export const policySchema = Type.Object({
  generation: Count,
  appliedAt: Type.Union([Text, Type.Null()]),
  rules: Count,
  files: Type.Array(Type.Object({ file: Text, documents: Count })),
  problems: Type.Array(Type.Object({ file: Text, line: Count, column: Count, severity: Text, message: Text })),
})

export const dropsSchema = Type.Object({
  drops: Type.Array(
    Type.Object({
      time: Text,
      endpoint: Text,
      direction: Text,
      reason: Text,
      source: Text,
      destination: Text,
      protocol: Count,
      sourcePort: Count,
      destinationPort: Count,
      identity: Count,
    }),
  ),
})

/** RFC 9457, with the stable error code. */
export const problemSchema = Type.Object({
  type: Text,
  title: Text,
  status: Count,
  detail: Type.Optional(Text),
  code: Text,
})

const Limit = Type.Integer({ minimum: 1, maximum: MAX_PAGE, default: 100 })

export const noQuery = Type.Object({}, { additionalProperties: false })
export const namesQuery = Type.Object(
  {
    endpoint: Type.String({ minLength: 1, maxLength: 512 }),
    offset: Type.Integer({ minimum: 0, maximum: 1_000_000_000, default: 0 }),
    limit: Limit,
  },
  { additionalProperties: false },
)
export const dropsQuery = Type.Object({ limit: Limit }, { additionalProperties: false })

export type NamesQuery = Type.Static<typeof namesQuery>
export type DropsQuery = Type.Static<typeof dropsQuery>
