import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'

/** Field 19 of /proc/<pid>/task/<tid>/stat (proc(5)); the name in field 2 may hold spaces. */
const niceOf = (stat: string): number => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])
const own = (): number => niceOf(readFileSync('/proc/thread-self/stat', 'utf8'))

test('a thread gives way or goes ahead by itself, and the others stay as they are', async () => {
  const before = own()
  const source = `
    import { readFileSync } from 'node:fs'
    import { parentPort } from 'node:worker_threads'
    import { giveWay, goAhead } from ${JSON.stringify(new URL('../../src/threads/priority.ts', import.meta.url).href)}
    const stat = () => readFileSync('/proc/thread-self/stat', 'utf8')
    giveWay()
    const behind = stat()
    goAhead()
    parentPort.postMessage([behind, stat()])`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
  const [behind, ahead] = await new Promise<[string, string]>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject)
  })
  expect(niceOf(behind)).toBe(10)
  // Going ahead needs CAP_SYS_NICE.
  expect([process.getuid?.() === 0 ? -5 : 10]).toContain(niceOf(ahead))
  expect(own()).toBe(before)
})
