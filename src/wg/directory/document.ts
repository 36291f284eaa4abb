import { parse, stringify } from 'yaml'
import type { NodeRecord } from './record.ts'

export const API_GROUP = 'sekisho.dev'
export const API_VERSION = `${API_GROUP}/v1alpha1`
export const NODE_KIND = 'WireGuardNode'

/** Ends each document (YAML 1.2 section 9.1.2): a text without it was cut short, and might still read well. */
const END = '\n...\n'

/**
 * Shape of the largest record, with room: some 200 lines, and flow style for lists that are empty. The reader takes seconds for
 * 64 KiB of one map, and all else would wait for it.
 */
const MAX_CHARACTERS = 24 * 1024
const MAX_LINES = 512
const MAX_FLOW = 64

const shaped = (text: string): boolean =>
  text.length <= MAX_CHARACTERS &&
  (text.match(/[\n\r]/g)?.length ?? 0) <= MAX_LINES &&
  (text.match(/[[{,?]|- -/g)?.length ?? 0) <= MAX_FLOW

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
  if (!text.endsWith(END) || !shaped(text)) return undefined
  let value: unknown
  try {
    // No aliases: a small text that stands for a large value is not ours. `silent` would pass errors over.
    value = parse(text, { version: '1.2', strict: true, uniqueKeys: true, maxAliasCount: 0, logLevel: 'error' })
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
