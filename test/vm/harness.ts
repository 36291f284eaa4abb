/** Runs tests one after the other within the guest, and says of each what became of it. */
import { asksFor } from './groups.ts'
import { formatResult, type TestResult } from './protocol.ts'

export type Figures = Readonly<Record<string, number>>
/** What is known a while after a test: the next one need not wait for it. */
export type Later = () => Promise<Figures>

/** Which tests run: groups.ts says how it is read. */
export const filter = process.env['TESTS'] ?? ''
/** More rotations, every state, the slow limits. */
export const LONG = process.env['VM_LONG'] === '1'

/** An answer of an agent costs an emulated processor some milliseconds. */
const LOOK_MS = 150

let failed = 0
const open: Promise<void>[] = []

export const wanted = (...names: readonly string[]): boolean => names.some((name) => asksFor(filter, name))

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

function tell(name: string, milliseconds: number, outcome: Pick<TestResult, 'ok' | 'error' | 'figures'>): void {
  if (!outcome.ok) failed++
  console.log(formatResult({ name, ...outcome, milliseconds: Math.round(milliseconds) }))
}

/** Is passed over when TESTS names others, unless others stand on it. The function gives what was counted. */
export async function test(
  name: string,
  act: () => Promise<Figures | Later | undefined>,
  options: { readonly always?: boolean } = {},
): Promise<void> {
  if (!wanted(name) && options.always !== true) return
  const start = performance.now()
  let took = 0
  const failure = (error: unknown): void =>
    tell(name, performance.now() - start, { ok: false, error: messageOf(error) })
  const success = (figures: Figures | undefined): void => tell(name, took, { ok: true, ...(figures && { figures }) })
  try {
    const figures = await act()
    took = performance.now() - start
    if (typeof figures === 'function') open.push(figures().then(success, failure))
    else success(figures)
  } catch (error) {
    failure(error)
  }
}

/** Until all is known of the tests that have been. */
export async function settled(): Promise<void> {
  await Promise.all(open)
}

export const sleep = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits until it holds, and tells how long that took, ms; throws with `describe` when it never does. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs: number,
  describe: () => string | Promise<string> = () => '',
): Promise<number> {
  const start = performance.now()
  while (!(await holds())) {
    if (performance.now() - start > timeoutMs) throw new Error(`${what}: not in ${timeoutMs} ms\n${await describe()}`)
    await sleep(LOOK_MS)
  }
  return performance.now() - start
}

/** What a failed test left running does not keep the guest. */
export function finish(): never {
  process.exit(failed > 0 ? 1 : 0)
}
