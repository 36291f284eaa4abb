import {
  IDENTITY_AGGREGATE_CLUSTER,
  IDENTITY_AGGREGATE_WORLD,
  IDENTITY_WORLD_IPV4,
  isLocalIdentity,
} from '../../../src/core/identity.ts'
import type { PolicyRow } from '../../../src/policy/snapshot.ts'

/** Simulates the policy map's look-up: longest prefix within each label, highest precedence across labels. */

const PRECEDENCE = { allow: 1, redirect: 2, deny: 3 }

function covers(row: PolicyRow, protocol: number, port: number): boolean {
  if (row.protocol !== 0 && row.protocol !== protocol) return false
  if (row.protocol === 0 && row.portBits !== 0) throw new Error('a port without a protocol has no key')
  return row.portBits === 0 || port >>> (16 - row.portBits) === row.port >>> (16 - row.portBits)
}

const prefixLength = (row: PolicyRow): number => (row.protocol === 0 ? 0 : 8 + row.portBits)

/** `rows` of the identity itself carry label 0 and are relabelled by the caller. */
export function kernelVerdict(
  rows: readonly PolicyRow[],
  identity: number,
  protocol: number,
  port: number,
): 'allow' | 'deny' | 'redirect' | 'none' {
  let best: PolicyRow | undefined
  for (const label of labelsOf(identity)) {
    let longest: PolicyRow | undefined
    for (const row of rows) {
      if (row.label !== label || !covers(row, protocol, port)) continue
      if (longest === undefined || prefixLength(row) > prefixLength(longest)) longest = row
    }
    if (longest !== undefined && (best === undefined || PRECEDENCE[longest.verdict] > PRECEDENCE[best.verdict])) {
      best = longest
    }
  }
  return best?.verdict ?? 'none'
}

function labelsOf(identity: number): number[] {
  if (isLocalIdentity(identity)) return [identity, IDENTITY_AGGREGATE_WORLD, 0]
  if (identity >= 256 && identity <= 65535) return [identity, IDENTITY_AGGREGATE_CLUSTER, 0]
  if (identity === IDENTITY_WORLD_IPV4 || identity === IDENTITY_WORLD_IPV4 + 1)
    return [identity, IDENTITY_AGGREGATE_WORLD, 0]
  return [identity, 0]
}
