/** Programs of ours as one file each, and the agent of the guest so that it starts sooner: with its code compiled (warm.ts). */
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { rolldown } from 'rolldown'

const ROOT = join(import.meta.dirname, '../..')
/** Where the guest has the checkout. */
export const HOME = '/sekisho'
const AGENT = 'build/vm/agent.cjs'
const START = 'build/vm/start.cjs'
/** Compiled code of the agent. */
export const COMPILED = 'build/vm/agent.compiled'
/** In the environment of an agent that writes what it has compiled when it ends. */
export const WRITE_COMPILED = 'VM_WRITE_COMPILED'

const MAIN = join(ROOT, 'src/main.ts')

/** Where a source names a thread or a program that runs by itself. They are files without types in the guest. */
const STARTED = /(here\('\.\.\/\w+|'lab\/servers\/\w+)\.ts'/g

/** A script cannot wait at its top; only a module can. */
function asScript(code: string): string {
  const [, imports, rest] = /^((?:import .*\n)+)([^]*)$/.exec(code) ?? []
  if (imports === undefined || rest === undefined) throw new Error('src/main.ts does not begin with its imports')
  return `${imports}void (async () => {\n${rest}\n})()\n`
}

/**
 * Puts a program of ours into one file. Without KVM the loader of Node needs half a minute for hundreds of modules.
 * Nothing else is changed; `import.meta.url` and `import.meta.dirname` stay those of each module.
 */
export async function bundle(input: string, file: string, format: 'esm' | 'cjs' = 'esm'): Promise<void> {
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
          handler(text, id) {
            const code = (id === MAIN && format === 'cjs' ? asScript(text) : text).replaceAll(STARTED, "$1.mjs'")
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
  // Names stay as they are, for who reads a trace; spaces cost time to read.
  const minify = { compress: false, mangle: false, codegen: { removeWhitespace: true } }
  await made.write({ file, format, codeSplitting: false, minify })
  await made.close()
}

/**
 * No instructions are made at run time: where they are emulated that costs more than it brings, and with two processors QEMU may go
 * on with those that were at their place before (7.2: a program that only compiles WebAssembly, which is how Node takes types out of
 * sources, dies by SIGSEGV or a check of V8 in half of its runs; never with one processor or on this machine). Nor are there threads
 * that look for work. Without the extensions of a processor, compiled code is that of any: Node throws kept code away when they differ.
 */
export const EMULATED = [
  '--jitless',
  '--single-threaded',
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

/**
 * Node's own cache has only what is compiled when a file is read, and each function is compiled again when it is called
 * first. This has what a run of the agent has called.
 */
const STARTER = `'use strict'
const { existsSync, readFileSync, writeFileSync } = require('node:fs')
const { Script } = require('node:vm')
const filename = __dirname + '/${basename(AGENT)}'
const compiled = __dirname + '/${basename(COMPILED)}'
const cachedData = existsSync(compiled) ? readFileSync(compiled) : undefined
const source = readFileSync(filename, 'utf8')
const script = new Script('(function (exports, require, module, __filename, __dirname) {' + source + '\\n})', { filename, cachedData })
if (script.cachedDataRejected) process.stderr.write('the compiled code is refused\\n')
if (process.env.${WRITE_COMPILED}) process.on('exit', () => writeFileSync(compiled, script.createCachedData()))
script.runInThisContext()(exports, require, module, filename, __dirname)
`

const HUGE_PAGES = '--use-largepages=silent'

/** Puts the agent into `home`, and lets the launcher there run it. */
export async function bundleAgent(home: string): Promise<void> {
  await bundle('src/main.ts', join(home, AGENT), 'cjs')
  writeFileSync(join(home, START), STARTER)
  const launcher = readFileSync(join(home, 'bin/sekisho'), 'utf8')
  const changed = launcher
    .replace('exec "$node" ', `exec "$node" ${EMULATED} `)
    // Emulated memory gains nothing by them, and code that is kept was not written with them.
    .replace(HUGE_PAGES, '')
    .replace('$home/src/main.ts', `$home/${START}`)
  if (!changed.includes(EMULATED) || !changed.includes(START) || changed.includes(HUGE_PAGES))
    throw new Error('bin/sekisho starts another program')
  writeFileSync(join(home, 'bin/sekisho'), changed)
}
