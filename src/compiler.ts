import { parentPort } from 'node:worker_threads'
import { compilePolicy } from './policy/compile.ts'
import type { CompileReply, CompileRequest, SourceFile } from './policy/compiler-protocol.ts'
import { parseCilium } from './policy/dialects/cilium.ts'
import { learningProblems } from './policy/lint.ts'
import type { Problem } from './policy/problem.ts'
import type { Policy } from './policy/rules.ts'
import { openSnapshot } from './policy/snapshot.ts'
import { giveWay } from './threads/priority.ts'
import { trimHeap } from './threads/trim-heap.ts'

/** Without work for so long, the thread gives back what its parses left behind, ms. */
const REST_MS = 2000

interface Parsed {
  readonly text: string
  readonly policies: readonly Policy[]
  readonly problems: readonly Problem[]
  readonly good: boolean
}

/** Parses are kept by path, so that a change of one file of many costs that file only. */
class Compiler {
  readonly #current = new Map<string, Parsed>()
  readonly #good = new Map<string, Parsed>()

  #parse(path: string, text: string, doubleStar: CompileRequest['doubleStar']): Parsed {
    const known = [this.#current.get(path), this.#good.get(path)].find((parsed) => parsed?.text === text)
    if (known !== undefined) return known
    const { policies, problems } = parseCilium(text, path, { doubleStar })
    return { text, policies, problems, good: problems.every(({ severity }) => severity !== 'error') }
  }

  /** The version of a file that is in force: this one, or the last good one. */
  #choose(file: SourceFile, request: CompileRequest, problems: Problem[]): Parsed | undefined {
    const { path } = file
    if ('text' in file) {
      const parsed = this.#parse(path, file.text, request.doubleStar)
      this.#current.set(path, parsed)
      problems.push(...parsed.problems)
      if (parsed.good) return parsed
    } else {
      problems.push({ file: path, line: 1, column: 1, severity: 'error', message: file.unreadable })
    }
    const kept = this.#good.get(path)
    if (kept !== undefined) return kept
    const before = request.lastGood[path]
    if (before === undefined) return undefined
    const parsed = this.#parse(path, before, request.doubleStar)
    return parsed.good ? parsed : undefined
  }

  compile(request: CompileRequest): CompileReply {
    const started = performance.now()
    const problems: Problem[] = []
    const chosen = new Map<string, Parsed>()
    let missing = false
    for (const file of request.files) {
      const parsed = this.#choose(file, request, problems)
      if (parsed === undefined) missing = true
      else chosen.set(file.path, parsed)
    }
    const policies = [...chosen.values()].flatMap((parsed) => parsed.policies)
    const { endpoints, hostAddresses, generation, sequence } = request
    // A broken file that never was in force adds nothing; but without any policy in force before, leaving it out
    // would leave its endpoints open, and so there is no snapshot.
    const first = this.#good.size === 0 && Object.keys(request.lastGood).length === 0
    const compiled = missing && first ? undefined : compilePolicy({ generation, policies, endpoints, hostAddresses })
    for (const { message } of compiled?.problems ?? []) {
      problems.push({ file: 'endpoints', line: 1, column: 1, severity: 'error', message })
    }
    problems.push(...learningProblems(policies, endpoints))
    const buffer = compiled?.buffer
    if (buffer !== undefined) {
      this.#good.clear()
      for (const [path, parsed] of chosen) this.#good.set(path, parsed)
      for (const path of this.#current.keys()) if (!chosen.has(path)) this.#current.delete(path)
    }
    const snapshot = buffer === undefined ? undefined : openSnapshot(buffer)
    return {
      sequence,
      generation,
      ...(buffer === undefined ? {} : { buffer }),
      problems,
      inForce: [...chosen].map(([path, parsed]) => ({ path, text: parsed.text, policies: parsed.policies.length })),
      rules: policies.reduce((sum, policy) => sum + policy.rules.length, 0),
      selectorCount: snapshot?.selectorCount ?? 0,
      shapeCount: snapshot?.shapeCount ?? 0,
      seconds: (performance.now() - started) / 1000,
    }
  }
}

const port = parentPort
if (port !== null && import.meta.main) {
  giveWay()
  const compiler = new Compiler()
  let rest: NodeJS.Timeout | undefined
  port.on('message', (request: CompileRequest) => {
    clearTimeout(rest)
    port.postMessage(compiler.compile(request))
    rest = setTimeout(trimHeap, REST_MS).unref()
  })
}

export { Compiler }
