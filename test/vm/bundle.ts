/** Makes the agent of the guest start sooner: as one file, and with its code compiled beforehand. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { rolldown } from 'rolldown'

const ROOT = join(import.meta.dirname, '../..')
/** Where the guest has the checkout. */
export const HOME = '/sekisho'
const BUNDLE = 'build/vm/agent.mjs'
/** Long enough to be started whole, s. */
const WARM_SECONDS = 5

/**
 * Puts a program of ours into `home` as one file. Without KVM the loader of Node needs half a minute for hundreds of modules.
 * Nothing else is changed; `import.meta.url` and `import.meta.dirname` stay those of each module.
 */
export async function bundle(input: string, file: string): Promise<void> {
  const made = await rolldown({
    input: join(ROOT, input),
    platform: 'node',
    external: [/\.node$/],
    onLog: () => undefined,
    plugins: [
      {
        name: 'place',
        transform: {
          order: 'pre',
          handler(code, id) {
            if (!code.includes('import.meta.')) return null
            const path = `${HOME}/${relative(ROOT, id)}`
            return {
              code: code
                .replaceAll('import.meta.url', JSON.stringify(`file://${path}`))
                .replaceAll('import.meta.dirname', JSON.stringify(dirname(path))),
            }
          },
        },
      },
    ],
  })
  await made.write({ file, format: 'esm', codeSplitting: false })
  await made.close()
}

/**
 * Where every instruction is emulated, a compiler of hot code and threads that look for work cost more than they bring. Without
 * the extensions of a processor, compiled code is that of any: Node throws kept code away when they differ.
 */
export const EMULATED = [
  '--single-threaded',
  '--no-opt',
  '--no-maglev',
  '--no-sparkplug',
  '--regexp-interpret-all',
  ...[
    'sse3',
    'ssse3',
    'sse4-1',
    'sse4-2',
    'sahf',
    'avx',
    'avx2',
    'avx-vnni',
    'avx-vnni-int8',
    'fma3',
    'f16c',
    'bmi1',
    'bmi2',
    'lzcnt',
    'popcnt',
  ].map((name) => `--no-enable-${name}`),
].join(' ')

/** Puts the agent into `home` as one file, and lets the launcher there run it. */
export async function bundleAgent(home: string): Promise<void> {
  await bundle('src/main.ts', join(home, BUNDLE))
  const launcher = readFileSync(join(home, 'bin/sekisho'), 'utf8')
  const changed = launcher
    .replace('exec "$node" ', `exec "$node" ${EMULATED} `)
    .replace('$home/src/main.ts', `$home/${BUNDLE}`)
  if (!changed.includes(EMULATED) || !changed.includes(BUNDLE)) throw new Error('bin/sekisho starts another program')
  writeFileSync(join(home, 'bin/sekisho'), changed)
}

const CONFIG = {
  node: { name: 'warm', uid: 'warm', addresses: ['127.0.0.1'] },
  datapath: { mode: 'off', bpffs: '/tmp/bpf' },
  state: { dir: '/tmp/state' },
  wireguard: {
    mode: 'manage',
    driver: 'kernel',
    prefixes: ['10.1.1.0/24'],
    endpoints: ['127.0.0.1'],
    directory: { path: '/tmp' },
  },
}

/**
 * Starts the agent once where the guest will have it, so that Node writes compiled code into `build`: in the guest's files,
 * with namespaces of its own, where it finds no WireGuard and does nothing. Without root there is no such place: then the
 * guest compiles by itself, and is slower.
 */
export function warmUp(base: string, home: string): void {
  if (process.geteuid?.() !== 0) return
  for (const folder of [HOME, 'tmp', 'proc', 'dev']) mkdirSync(join(base, folder), { recursive: true })
  writeFileSync(join(home, 'build/warm.yaml'), JSON.stringify(CONFIG))
  const script = `
    mount --bind '${home}' '${base}${HOME}'
    mount -t proc proc '${base}/proc'
    mount -t tmpfs tmp '${base}/tmp'
    mount -t tmpfs dev '${base}/dev'
    mknod '${base}/dev/null' c 1 3; mknod '${base}/dev/urandom' c 1 9
    mkdir '${base}/tmp/bpf'
    ip link set lo up
    timeout -s TERM ${WARM_SECONDS} chroot '${base}' /bin/sh ${HOME}/bin/sekisho agent --config ${HOME}/build/warm.yaml
    rmdir '${base}/tmp/bpf'`
  execFileSync('unshare', ['--mount', '--net', 'sh', '-c', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/bin:/bin` },
  })
}
