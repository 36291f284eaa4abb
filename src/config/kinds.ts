import Type from 'typebox'
import { parseDuration, parseSize } from './units.ts'

/** How a text of the configuration is read; `kind` in a schema leaf. */
export type Kind =
  | 'text'
  | 'path'
  | 'address'
  | 'prefix'
  | 'flow'
  | 'device'
  | 'name'
  | 'count'
  | 'duration'
  | 'size'
  | 'choice'
  | 'toggle'
  | 'list'

/** A leaf of the schema as the loader and the documentation see it. Numbers are in base units (ms, octets). */
export interface Leaf {
  readonly kind: Kind
  readonly description: string
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly except?: readonly number[]
  readonly pattern?: string
  readonly enum?: readonly string[]
  readonly itemKind?: Kind
}

export interface Section {
  readonly type: 'object'
  readonly description: string
  readonly properties: Readonly<Record<string, Leaf | Section>>
}

export const isSection = (node: Leaf | Section): node is Section => 'properties' in node

export const section = <P extends Type.TProperties>(description: string, properties: P): Type.TObject<P> =>
  Type.Object(properties, { description, additionalProperties: false })

export const text = (
  description: string,
  options: { default?: string; pattern?: string; kind?: 'path' | 'address' } = {},
): Type.TString => Type.String({ kind: 'text', description, ...options })

export const count = (
  description: string,
  options: { default: number; minimum: number; maximum: number; except?: readonly number[] },
): Type.TInteger => Type.Integer({ kind: 'count', description, ...options })

export const choice = <V extends string[]>(
  description: string,
  values: readonly [...V],
  preset: V[number],
): Type.TEnum<V> => Type.Enum<V>(values, { kind: 'choice', description, default: preset })

export const toggle = (description: string, preset: boolean): Type.TBoolean =>
  Type.Boolean({ kind: 'toggle', description, default: preset })

interface Range {
  readonly default: string
  readonly minimum: string
  readonly maximum: string
}

export const duration = (description: string, range: Range): Type.TInteger =>
  Type.Integer({ kind: 'duration', description, ...inBaseUnits(range, parseDuration) })

export const size = (description: string, range: Range): Type.TInteger =>
  Type.Integer({ kind: 'size', description, ...inBaseUnits(range, parseSize) })

export const list = (
  description: string,
  itemKind: 'path' | 'address' | 'name' | 'prefix' | 'flow' | 'device',
  options: { default?: string[] } = {},
): Type.TArray<Type.TString> => Type.Array(Type.String(), { kind: 'list', itemKind, description, ...options })

function inBaseUnits(
  range: Range,
  parse: (text: string) => number | undefined,
): { default: number; minimum: number; maximum: number } {
  const read = (text: string): number => {
    const value = parse(text)
    if (value === undefined) throw new TypeError(`the schema holds a bad value: ${text}`)
    return value
  }
  return { default: read(range.default), minimum: read(range.minimum), maximum: read(range.maximum) }
}
