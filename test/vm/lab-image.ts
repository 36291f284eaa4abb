/** What a guest needs beside the checkout to build the lab in it: name servers, clients, policies, and gate threads as one file each. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { bundle, HOME } from './bundle.ts'
import { addProgram, archive } from './image.ts'

const ROOT = join(import.meta.dirname, '../..')
const BUILD = join(ROOT, 'build/vm')
const PROGRAMS = [
  'unbound',
  'unbound-checkconf',
  'nsd',
  'nsd-checkconf',
  'curl',
  'dig',
  'nstat',
  'sysctl',
  'umount',
  'mount',
  'bpftool',
]
/** Threads of the gate, and a name server: started by their path (STARTED in bundle.ts). */
const STARTED = ['src/worker', 'src/tcp', 'src/ledger', 'src/compiler', 'lab/servers/odd']

const pathOf = (name: string): string => execFileSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()

/** Gives the archive. `entries` are programs of ours, put into build/vm as one file each: `lab/demo.ts` is build/vm/demo.mjs. */
export async function prepareLab(entries: readonly string[]): Promise<string> {
  const stage = join(BUILD, 'lab')
  const out = join(BUILD, 'lab.cpio')
  rmSync(stage, { recursive: true, force: true })
  const home = join(stage, HOME)
  mkdirSync(join(stage, 'etc'), { recursive: true })
  // What a pod's own is mounted over.
  writeFileSync(join(stage, 'etc/resolv.conf'), '')
  for (const name of PROGRAMS) addProgram(stage, pathOf(name), `/usr/bin/${name}`)
  for (const folder of ['lab', 'build/lab']) cpSync(join(ROOT, folder), join(home, folder), { recursive: true })
  for (const name of STARTED) await bundle(`${name}.ts`, join(home, `${name}.mjs`))
  for (const entry of entries) await bundle(entry, join(home, `build/vm/${basename(entry, '.ts')}.mjs`))
  archive(stage, out)
  return out
}
