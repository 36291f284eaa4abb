/**
 * How long a resolved address may be used, in whole seconds of CLOCK_MONOTONIC.
 * The worker's fast path and the ledger's slow path compute it with the same function, so a raise and a first
 * learning of the same answer agree.
 */
export interface LifetimeRules {
  /** A TTL below this counts as this. */
  readonly minTtlSeconds: number
  /** Added to every TTL: clients connect some time after they asked. */
  readonly graceSeconds: number
}

/** One week. A server that promises more (up to 68 years fit the field) must not pin an entry for ever. */
export const MAX_TTL_SECONDS = 604_800

/** RFC 2181 section 8: a TTL with the top bit set counts as 0. The current second has begun already, hence the 1. */
export function expiryOf(nowMs: number, ttlSeconds: number, rules: LifetimeRules): number {
  const ttl = ttlSeconds > 0x7fff_ffff || ttlSeconds < 0 ? 0 : Math.min(ttlSeconds, MAX_TTL_SECONDS)
  return Math.floor(nowMs / 1000) + 1 + Math.max(ttl, rules.minTtlSeconds) + rules.graceSeconds
}
