/**
 * The candidate that `word` most likely meant, or undefined when none is near: at most a third of its letters
 * differ, or one begins with the other.
 */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = word.toLowerCase()
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = distanceTo(wanted, candidate.toLowerCase(), bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** A word that goes on or breaks off ("warning" for "warn", "reg" for "registry") is as near as one wrong letter. */
function distanceTo(a: string, b: string, limit: number): number {
  const [short, long] = a.length < b.length ? [a, b] : [b, a]
  const prefix = short.length >= 3 && long.startsWith(short) && short !== long
  return prefix ? Math.min(1, limit) : editDistance(a, b, limit)
}

/** Damerau-Levenshtein (adjacent swaps count one), at most `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1)
      row.push(cost)
    }
    before = last
    last = row
  }
  return Math.min(last[b.length] ?? limit, limit)
}
