import { CORE_SCHEMA, load } from 'js-yaml'
import { stringify } from 'yaml'
import type { NodeRecord } from './record.ts'

export const API_GROUP = 'sekisho.dev'
export const API_VERSION = `${API_GROUP}/v1alpha1`
export const NODE_KIND = 'WireGuardNode'

/** Ends each document (YAML 1.2 section 9.1.2): a text without it was cut short, and might still read well. */
const END = '\n...\n'

/** The largest record has some 200 lines; with room. */
const MAX_CHARACTERS = 24 * 1024
const MAX_DEPTH = 16

/** A record as text: what kubectl would show of the resource, so that one form serves both. */
export const documentOf = (record: NodeRecord): string =>
  stringify(
    { apiVersion: API_VERSION, kind: NODE_KIND, metadata: { name: record.node }, spec: record },
    { lineWidth: 0, aliasDuplicateObjects: false },
  ).trimEnd() + END

/**
 * The `spec` of a document of this kind and name; undefined when the text is no such document, as a file is that was cut
 * short. The spec itself is not checked. Never throws.
 */
export function specOf(text: string, name: string): unknown {
  if (!text.endsWith(END) || text.length > MAX_CHARACTERS) return undefined
  let value: unknown
  try {
    // No aliases: a small text that stands for a large value is not ours.
    value = load(text, { schema: CORE_SCHEMA, maxAliases: 0, maxDepth: MAX_DEPTH })
  } catch {
    return undefined
  }
  const document = value as {
    apiVersion?: unknown
    kind?: unknown
    metadata?: { name?: unknown }
    spec?: unknown
  } | null
  const ours =
    typeof document === 'object' &&
    document?.apiVersion === API_VERSION &&
    document.kind === NODE_KIND &&
    document.metadata?.name === name
  return ours ? document.spec : undefined
}
