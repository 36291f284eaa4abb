/** What a guest says on its serial console: one line a test, amid whatever else is printed. */
export interface TestResult {
  readonly name: string
  readonly ok: boolean
  readonly milliseconds: number
  /** Of a test that failed. */
  readonly error?: string
  /** What was counted: packets sent, lost, and the like. */
  readonly figures?: Readonly<Record<string, number>>
}

const PREFIX = '@@TEST '

export const formatResult = (result: TestResult): string => PREFIX + JSON.stringify(result)

export type Line =
  | { readonly kind: 'boot' }
  | { readonly kind: 'result'; readonly result: TestResult }
  | { readonly kind: 'end'; readonly status: number }
  | { readonly kind: 'other' }

export function parseLine(line: string): Line {
  if (line.startsWith('@@BOOT ')) return { kind: 'boot' }
  if (line.startsWith('@@END ')) return { kind: 'end', status: Number(line.slice(6)) }
  if (!line.startsWith(PREFIX)) return { kind: 'other' }
  try {
    return { kind: 'result', result: JSON.parse(line.slice(PREFIX.length)) as TestResult }
  } catch {
    // Torn by a message of the kernel: the test counts as failed.
    return { kind: 'result', result: { name: line, ok: false, milliseconds: 0, error: 'a line that cannot be read' } }
  }
}
