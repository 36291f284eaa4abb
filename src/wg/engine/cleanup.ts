import type { EngineParts } from './types.ts'

/** Takes everything of ours out of the kernel and the directory. No engine may run. Tries all, then throws the first error. */
export async function cleanupEngine(
  devices: readonly string[],
  {
    driver,
    routing,
    guard,
    directory,
  }: Pick<EngineParts, 'driver' | 'routing' | 'guard'> & {
    readonly directory?: EngineParts['directory']
  },
): Promise<void> {
  const acts = [
    () => routing.cleanup(),
    ...devices.map((name) => () => driver.delete(name)),
    () => guard.cleanup(),
    () => directory?.withdraw(),
  ]
  const errors: unknown[] = []
  for (const act of acts) {
    try {
      await act()
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}
