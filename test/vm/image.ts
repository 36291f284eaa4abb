/** Makes what QEMU boots: kernels of Debian as they are, and an initial file system with this checkout in it. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { bundle, bundleAgent, EMULATED, HOME } from './bundle.ts'
import { warmUp } from './warm.ts'

const ROOT = join(import.meta.dirname, '../..')
const BUILD = join(ROOT, 'build/vm')
/** The tests, as one file. */
export const GUEST = 'build/vm/guest.mjs'

/** Loaded in this order with what each depends on; one that a kernel has built in is passed over. */
const MODULES = ['wireguard', 'veth', 'bridge', 'dummy', 'tun', 'nf_tables', 'sch_netem', 'sch_ingress', 'cls_bpf']
/** Programs of the machine that go along, with their libraries. */
const PROGRAMS = ['ip', 'tc', 'wg', 'nsenter', 'nft', 'mount']

export interface Kernel {
  /** "6.1", "6.12". */
  readonly line: string
  readonly version: string
  readonly image: string
  /** Initial file system with the modules of this kernel. */
  readonly modules: string
}

/** Name of the meta package of each kernel we support. */
export const META_PACKAGES: Readonly<Record<string, string>> = {
  '6.1': 'linux-image-cloud-amd64',
  '6.12': 'linux-image-6.12-cloud-amd64',
}

const run = (command: string, args: readonly string[], cwd?: string): string =>
  execFileSync(command, args, { encoding: 'utf8', cwd, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 })

/** Packs a folder so that the kernel unpacks it over what other archives brought. */
export function archive(folder: string, out: string): void {
  execFileSync(
    'sh',
    ['-c', `find . | LC_ALL=C sort | cpio -o -H newc --quiet > '${out}.new' && mv '${out}.new' '${out}'`],
    {
      cwd: folder,
    },
  )
}

/** Fetches a package into `debs` and gives its path; undefined when apt does not know it, or knows one that is gone. */
function fetchKernel(name: string | undefined, debs: string): string | undefined {
  if (name === undefined) return undefined
  const find = (): string | undefined => readdirSync(debs).find((file) => file.startsWith(`${name}_`))
  try {
    if (find() === undefined) run('apt-get', ['download', '-q', name], debs)
  } catch {
    return undefined
  }
  const file = find()
  return file === undefined ? undefined : join(debs, file)
}

/** Downloads the newest kernel of a line, unless it is there, and unpacks it. */
export function prepareKernel(line: string, lists: 'fresh' | 'any' = 'any'): Kernel {
  const meta = META_PACKAGES[line]
  if (meta === undefined) throw new Error(`no kernel ${line}: ${Object.keys(META_PACKAGES).join(', ')}`)
  const name = /Depends: (linux-image-\S+)/.exec(run('apt-cache', ['depends', meta]))?.[1]
  const version = name?.replace('linux-image-', '') ?? ''
  const folder = join(BUILD, 'kernels', version)
  const image = join(folder, `boot/vmlinuz-${version}`)
  const modules = join(folder, 'modules.cpio')
  if (name === undefined || !existsSync(image)) {
    const debs = join(BUILD, 'debs')
    mkdirSync(debs, { recursive: true })
    const deb = fetchKernel(name, debs)
    if (deb === undefined) {
      if (lists === 'fresh') throw new Error(`apt has no package for ${meta}`)
      run('apt-get', ['update', '-qq'])
      return prepareKernel(line, 'fresh')
    }
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    run('dpkg-deb', ['-x', deb, folder])
    run('depmod', ['-b', folder, version])
  }
  // Made anew each time, as the list of modules may have changed.
  packModules(folder, version, modules)
  return { line, version, image, modules }
}

function packModules(folder: string, version: string, out: string): void {
  const stage = join(folder, 'stage')
  rmSync(stage, { recursive: true, force: true })
  mkdirSync(join(stage, 'modules'), { recursive: true })
  const paths = new Set<string>()
  for (const name of MODULES) {
    const shown = run('modprobe', ['-d', folder, '-S', version, '--show-depends', name])
    for (const [, path] of shown.matchAll(/^insmod (\S+)/gm)) if (path !== undefined) paths.add(path)
  }
  for (const [i, path] of [...paths].entries()) {
    const target = join(stage, 'modules', `${100 + i}-${basename(path).replace(/\.xz$/, '')}`)
    if (path.endsWith('.xz')) writeFileSync(target, execFileSync('xz', ['-dc', path], { maxBuffer: 1 << 28 }))
    else copyFileSync(path, target)
  }
  archive(stage, out)
}

export function addProgram(stage: string, path: string, target = path): void {
  const put = (from: string, to: string): void => {
    mkdirSync(join(stage, dirname(to)), { recursive: true })
    if (!existsSync(join(stage, to))) copyFileSync(realpathSync(from), join(stage, to))
  }
  put(path, target)
  chmodSync(join(stage, target), 0o755)
  addLibraries(path, put)
}

function addLibraries(path: string, put: (from: string, to: string) => void): void {
  for (const [, library] of run('ldd', [path]).matchAll(/(?:=> |^\s)(\/\S+)/gm))
    if (library !== undefined) put(library, library)
}

/** Tools and Node: the same until one of them changes, so it is kept. */
export function prepareBase(): string {
  const out = join(BUILD, 'base.cpio')
  const programs = PROGRAMS.map((name) => run('sh', ['-c', `command -v ${name}`]).trim())
  const stamp = ['stripped', process.execPath, process.version, ...programs.map((path) => realpathSync(path))].join(
    '\n',
  )
  if (existsSync(out) && existsSync(`${out}.stamp`) && readFileSync(`${out}.stamp`, 'utf8') === stamp) return out
  const stage = join(BUILD, 'base')
  rmSync(stage, { recursive: true, force: true })
  for (const folder of ['bin/applets', 'usr/bin', 'lib64']) mkdirSync(join(stage, folder), { recursive: true })
  copyFileSync('/bin/busybox', join(stage, 'bin/busybox'))
  symlinkSync('busybox', join(stage, 'bin/sh'))
  for (const path of programs) addProgram(stage, path, `/usr/bin/${basename(path)}`)
  addProgram(stage, process.execPath, '/usr/bin/node')
  // A seventh of what is unpacked at each boot is symbols.
  run('strip', ['--strip-unneeded', join(stage, 'usr/bin/node')])
  archive(stage, out)
  writeFileSync(`${out}.stamp`, stamp)
  return out
}

/** Of the checkout as it is now what runs: programs as one file each, the addon with its libraries, BPF objects. */
export async function prepareCheckout(): Promise<string> {
  const stage = join(BUILD, 'checkout')
  const out = join(BUILD, 'checkout.cpio')
  rmSync(stage, { recursive: true, force: true })
  const home = join(stage, HOME)
  mkdirSync(join(home, 'build'), { recursive: true })
  for (const path of ['bin', 'package.json']) cpSync(join(ROOT, path), join(home, path), { recursive: true })
  // The launcher looks for it; it is in the agent's file.
  mkdirSync(join(home, 'node_modules/fastify'), { recursive: true })
  for (const file of readdirSync(join(ROOT, 'build')))
    if (/\.(node|o)$/.test(file) && !file.includes('asan'))
      copyFileSync(join(ROOT, 'build', file), join(home, 'build', file))
  cpSync(join(ROOT, 'build/vm/programs'), join(home, 'build/vm/programs'), { recursive: true })
  addLibraries(join(ROOT, 'build/sekisho.node'), (from, to) => {
    mkdirSync(join(stage, dirname(to)), { recursive: true })
    copyFileSync(realpathSync(from), join(stage, to))
  })
  await bundleAgent(home)
  await bundle('test/vm/guest.ts', join(home, GUEST))
  await bundle('test/support/wg/driver-peer.ts', join(home, 'build/vm/driver-peer.mjs'))
  writeFileSync(join(home, 'build/vm/node-flags'), EMULATED)
  warmUp(join(BUILD, 'base'), home)
  copyFileSync(join(ROOT, 'test/vm/init.sh'), join(stage, 'init'))
  chmodSync(join(stage, 'init'), 0o755)
  archive(stage, out)
  return out
}
