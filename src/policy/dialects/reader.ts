import { suggest } from '../../core/suggest.ts'
import type { Position } from '../../core/yaml/text.ts'
import type { Entry, Tree } from '../../core/yaml/tree.ts'
import type { Problem } from '../problem.ts'
import type { Origin } from '../rules.ts'

/** A value inside a document, with its path (`spec.egress[0]`). */
export interface At {
  readonly tree: Tree
  readonly path: string
}

/** What an object may hold: fields that are read, and fields that are known and refused with a reason. */
export interface Shape {
  readonly fields: readonly string[]
  readonly refused?: Readonly<Record<string, string>>
  /** Where a misplaced field belongs. */
  readonly misplaced?: Readonly<Record<string, string>>
}

/** Checks types as it reads, and gathers every problem with its place; nothing here throws. */
export class Reader {
  readonly problems: Problem[] = []
  readonly file: string
  readonly #position: (at: number) => Position

  constructor(file: string, position: (at: number) => Position) {
    this.file = file
    this.#position = position
  }

  error(at: number, message: string, hint?: string): void {
    this.#add(at, 'error', message, hint)
  }

  warn(at: number, message: string, hint?: string): void {
    this.#add(at, 'warning', message, hint)
  }

  #add(at: number, severity: Problem['severity'], message: string, hint: string | undefined): void {
    const problem = { file: this.file, ...this.#position(at), message, severity }
    this.problems.push(hint === undefined ? problem : { ...problem, hint })
  }

  origin({ tree, path }: At): Origin {
    return { file: this.file, ...this.#position(tree.at), path }
  }

  /** Fields of an object by name; unknown and refused fields are problems. Undefined when it is no object. */
  object(value: At, shape: Shape): ReadonlyMap<string, At> | undefined {
    const { tree, path } = value
    if (tree.kind !== 'map') return this.#wrongType(value, 'an object')
    const found = new Map<string, At>()
    for (const entry of tree.entries) {
      const place = path === '' ? entry.key : `${path}.${entry.key}`
      if (shape.fields.includes(entry.key)) {
        if (entry.value.kind === 'null') this.error(entry.at, `${place} is null`, 'give it a value or leave it out')
        else found.set(entry.key, { tree: entry.value, path: place })
      } else {
        this.#unwanted(entry, place, shape)
      }
    }
    return found
  }

  #unwanted(entry: Entry, place: string, shape: Shape): void {
    const reason = Object.hasOwn(shape.refused ?? {}, entry.key) ? shape.refused?.[entry.key] : undefined
    if (reason !== undefined) return this.error(entry.at, `${place}: ${reason}`)
    const home = Object.hasOwn(shape.misplaced ?? {}, entry.key) ? shape.misplaced?.[entry.key] : undefined
    if (home !== undefined) return this.error(entry.at, `${place}: unknown field "${entry.key}"`, home)
    const near = suggest(entry.key, [...shape.fields, ...Object.keys(shape.refused ?? {})])
    this.error(
      entry.at,
      `${place}: unknown field "${entry.key}"`,
      near === undefined ? undefined : `did you mean ${near}?`,
    )
  }

  list(value: At): readonly At[] | undefined {
    const { tree, path } = value
    if (tree.kind !== 'list') return this.#wrongType(value, 'a list')
    const items = tree.items.map((item, i) => ({ tree: item, path: `${path}[${i}]` }))
    for (const item of items) {
      if (item.tree.kind === 'null') this.error(item.tree.at, `${item.path} is null`)
    }
    return items.filter((item) => item.tree.kind !== 'null')
  }

  string(value: At): string | undefined {
    const { tree } = value
    if (tree.kind === 'scalar' && typeof tree.value === 'string') return tree.value
    return this.#wrongType(value, 'a string', tree.kind === 'scalar' ? 'quote it' : undefined)
  }

  boolean(value: At): boolean | undefined {
    const { tree } = value
    if (tree.kind === 'scalar' && typeof tree.value === 'boolean') return tree.value
    return this.#wrongType(value, 'true or false')
  }

  integer(value: At): number | undefined {
    const { tree } = value
    if (tree.kind === 'scalar' && typeof tree.value === 'number' && Number.isInteger(tree.value)) return tree.value
    return this.#wrongType(value, 'an integer')
  }

  #wrongType({ tree, path }: At, wanted: string, hint?: string): undefined {
    this.error(tree.at, `${path === '' ? 'the document' : path} must be ${wanted}, not ${describe(tree)}`, hint)
    return undefined
  }
}

function describe(tree: Tree): string {
  switch (tree.kind) {
    case 'map':
      return 'an object'
    case 'list':
      return 'a list'
    case 'null':
      return 'null'
    case 'scalar':
      return typeof tree.value === 'string' ? `"${tree.value}"` : `the ${typeof tree.value} ${String(tree.value)}`
  }
}
