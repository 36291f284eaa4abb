import type { Generation } from './generation.ts'
import type { IdentityTable } from './identity-table.ts'
import type { KernelRow } from './ports.ts'
import type { ReconcileCounts } from './reconcile.ts'
import type { Shape } from './shapes.ts'

/** Protocols that rows are written with (any, ICMP, TCP, UDP, ICMPv6, SCTP), at the place that stands for each in a key. */
const PLACES = new Int8Array(256).fill(-1)
for (const [place, protocol] of [0, 1, 6, 17, 58, 132].entries()) PLACES[protocol] = place

/**
 * Bits of a port that do not count, and the port of a row without a protocol, are no part of its key. A number, 32 bits of
 * label, 3 of protocol and 17 of port, as there are a hundred thousand rows; text for what only others write.
 */
export function keyOf({ label, protocol, port, portBits }: KernelRow): number | string {
  const place = PLACES[protocol] ?? -1
  const ports = protocol === 0 || portBits === 0 ? 1 : (1 << portBits) | (port >> (16 - portBits))
  return place < 0 ? `${label} ${protocol} ${ports}` : label * 2 ** 20 + place * 2 ** 17 + ports
}

/**
 * Compares the rows of one policy with what was written, and repairs them, in one go: nothing changes meanwhile. Rows that
 * could not be written are left to `Shapes.retry`. A map that nobody touched since it was found right is not compared again.
 */
export function repairRows(shape: Shape, generation: Generation, identities: IdentityTable): ReconcileCounts {
  const counts = { foreign: 0, changed: 0, missing: 0 }
  const { map } = shape
  if (map === null || !generation.shapes.has(shape.key)) return counts
  const digest = map.digest()
  if (digest === shape.verified) return counts
  const fixed = generation.staticRows(shape.key)
  const fixedByKey = new Map(fixed.map((row) => [keyOf(row), row]))
  const foreign: KernelRow[] = []
  const changed: KernelRow[] = []
  const present = new Set<number | string>()
  for (const row of map.dump()) {
    const key = keyOf(row)
    const wanted =
      fixedByKey.get(key) ??
      identities
        .byNumber(row.label)
        ?.rows.get(shape)
        ?.find((one) => keyOf(one) === key)
    if (wanted === undefined) foreign.push(row)
    else {
      present.add(key)
      if (wanted.verdict !== row.verdict || row.altered === true) changed.push(wanted)
    }
  }
  const missing =
    present.size < fixedByKey.size + shape.identityRows ? missingRows(shape, fixed, identities, present) : []
  if (foreign.length + changed.length + missing.length === 0) {
    shape.verified = digest
    return counts
  }
  try {
    if (foreign.length > 0) map.delete(foreign)
    if (changed.length + missing.length > 0) map.update([...changed, ...missing])
  } catch {
    // The next pass finds them again.
    return counts
  }
  return { foreign: foreign.length, changed: changed.length, missing: missing.length }
}

function missingRows(
  shape: Shape,
  fixed: readonly KernelRow[],
  identities: IdentityTable,
  present: ReadonlySet<number | string>,
): KernelRow[] {
  const missing = fixed.filter((row) => !present.has(keyOf(row)))
  for (const identity of identities) {
    if (identity.missing.has(shape)) continue
    for (const row of identity.rows.get(shape) ?? []) if (!present.has(keyOf(row))) missing.push(row)
  }
  return missing
}
