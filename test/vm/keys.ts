/** Where private keys of running agents must not be: their memory, and any file that was written since the guest began. */
import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { privateKeyForms } from '../support/wg/key-scan.ts'
import { kernelCpuSeconds } from './cpu.ts'
import type { Figures } from './harness.ts'
import type { Lab } from './mesh/lab.ts'
import { scanProcess } from './scan.ts'

const DEVICES = ['kwg0', 'kwg1']
/** Not files: what the kernel shows. */
const NO_FILES = new Set(['/proc', '/sys', '/dev'])
const BEGAN = Date.now() - 1000

/** Per node: public keys as they are written, and each private key in each form. */
function keysOf(lab: Lab): { readonly known: Buffer[]; readonly secret: Buffer[] } {
  const known: Buffer[] = []
  const secret: Buffer[] = []
  for (const { namespace } of lab.nodes) {
    for (const device of DEVICES) {
      const command = inside(namespace, 'wg', 'show', device, 'public-key')
      known.push(Buffer.from(run(...command).trim()))
      secret.push(...privateKeyForms(device, inside(namespace)))
    }
  }
  return { known, secret }
}

export async function keysInMemory(lab: Lab): Promise<Figures> {
  const { known, secret } = keysOf(lab)
  let bytes = 0
  const scans = await Promise.all(
    lab.nodes.map(async (node) => [node, await scanProcess(lab.agents.pid(node), [...known, ...secret])] as const),
  )
  for (const [node, found] of scans) {
    bytes += found.bytes
    const seen = found.hits.slice(0, known.length).filter((hits) => hits > 0).length
    assert.equal(seen, known.length, `${node.name}: public keys are not found: the search is blind`)
    const leaked = found.hits.slice(known.length).reduce((all, hits) => all + hits, 0)
    assert.equal(leaked, 0, `private keys in the memory of the agent of ${node.name}`)
  }
  // What the search does to the processors is in no thread of WireGuard's.
  const kernelCpu = await kernelCpuSeconds(lab)
  return { processes: lab.nodes.length, bytes, keys: secret.length / 4, kernelCpuMs: Math.round(kernelCpu * 1000) }
}

function* writtenFiles(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    if (NO_FILES.has(path)) continue
    const info = lstatSync(path, { throwIfNoEntry: false })
    if (info?.isDirectory() === true) yield* writtenFiles(path)
    else if (info?.isFile() === true && info.size > 0 && info.ctimeMs >= BEGAN) yield path
  }
}

export async function keysOnDisk(lab: Lab): Promise<Figures> {
  const { known, secret } = keysOf(lab)
  let files = 0
  let bytes = 0
  const seen = new Set<Buffer>()
  const leaks: string[] = []
  for (const path of writtenFiles('/')) {
    let content: Buffer
    try {
      content = readFileSync(path)
    } catch {
      // Gone since, or nothing to be read.
      continue
    }
    files++
    bytes += content.length
    for (const key of known) if (content.includes(key)) seen.add(key)
    if (secret.some((key) => content.includes(key))) leaks.push(path)
  }
  assert.deepEqual(leaks, [], 'private keys in files')
  assert.equal(seen.size, known.length, 'published public keys are in no file: the search is blind')
  return { files, bytes, keys: secret.length / 4 }
}
