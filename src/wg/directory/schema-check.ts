interface Node {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Node>>
  readonly required?: readonly string[]
  readonly items?: Node
  readonly anyOf?: readonly Node[]
  readonly const?: unknown
  readonly pattern?: string
  readonly minLength?: number
  readonly maxLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly minItems?: number
  readonly maxItems?: number
}

/**
 * Where `value` first differs from a JSON schema of objects, arrays, texts, integers, null, constants and unions; undefined
 * when it fits. Properties that the schema does not name are passed over: newer versions of a peer may have more. Reads
 * lengths before contents, so that a hostile value costs no more than the schema allows.
 */
export function misfit(schema: unknown, value: unknown, path = ''): string | undefined {
  return walk(schema as Node, value, path)
}

function walk(schema: Node, value: unknown, path: string): string | undefined {
  const here = path === '' ? '/' : path
  if (schema.anyOf !== undefined) {
    const faults = schema.anyOf.map((option) => walk(option, value, path))
    return faults.includes(undefined) ? undefined : faults.at(-1)
  }
  if ('const' in schema) return value === schema.const ? undefined : here
  switch (schema.type) {
    case 'null':
      return value === null ? undefined : here
    case 'integer':
      return Number.isSafeInteger(value) && within(value as number, schema.minimum, schema.maximum) ? undefined : here
    case 'string':
      if (typeof value !== 'string' || !within(value.length, schema.minLength, schema.maxLength)) return here
      return schema.pattern === undefined || new RegExp(schema.pattern).test(value) ? undefined : here
    case 'array': {
      if (!Array.isArray(value) || !within(value.length, schema.minItems, schema.maxItems)) return here
      for (let i = 0; i < value.length; i++) {
        const fault = walk(schema.items ?? {}, value[i], `${path}/${i}`)
        if (fault !== undefined) return fault
      }
      return undefined
    }
    case 'object': {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return here
      for (const [key, child] of Object.entries(schema.properties ?? {})) {
        if (!Object.hasOwn(value, key)) {
          if (schema.required?.includes(key) === true) return `${path}/${key}`
          continue
        }
        const fault = walk(child, (value as Record<string, unknown>)[key], `${path}/${key}`)
        if (fault !== undefined) return fault
      }
      return undefined
    }
    default:
      return here
  }
}

const within = (n: number, low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY): boolean =>
  n >= low && n <= high
