import { Environment } from '@marcbachmann/cel-js'
import { Ajv } from 'ajv'
import { parseAllDocuments, type Document } from 'yaml'

/**
 * What the API server does with the manifests of deploy/, as far as it can be done without one: structural schemas by a validator
 * of JSON schema, rules by an evaluator of CEL. Neither is the API server's own (Go): its type checks of expressions and
 * its limits of their cost are not here.
 */

export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
}

export const manifestsOf = <T extends object>(text: string): readonly (Manifest & T)[] =>
  parseAllDocuments(text).map((document) => (document as Document).toJS() as Manifest & T)

// Kubernetes has optional types since 1.29; types of `object` are not known to the parser here, so variables are dynamic.
const cel = new Environment({ enableOptionalTypes: true, unlistedVariablesAreDyn: true })

/** Evaluates one expression. Whole numbers are `int`, as they are to the API server. @throws when CEL has an error there */
export const evaluate = (expression: string, variables: Readonly<Record<string, unknown>>): unknown =>
  cel.evaluate(expression, asCel(variables) as Record<string, unknown>)

function asCel(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(asCel)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, asCel(child)]))
}

interface Rule {
  readonly rule: string
  readonly message: string
}
interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly 'x-kubernetes-validations'?: readonly Rule[]
}
export interface Definition {
  readonly spec: {
    readonly names: { readonly kind: string; readonly plural: string }
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Schema } }[]
  }
}

/** A resource of a CustomResourceDefinition: gives why an object is refused, undefined when it is taken. */
export function resourceOf(definition: Definition): (object: unknown, old?: unknown) => string | undefined {
  const schema = definition.spec.versions[0]?.schema.openAPIV3Schema ?? {}
  const ajv = new Ajv({ strict: true, allErrors: false, formats: { int64: { type: 'number', validate: isInt64 } } })
  ajv.addVocabulary(['x-kubernetes-validations'])
  const fits = ajv.compile(schema)
  return (object, old) => {
    if (!fits(object)) return ajv.errorsText(fits.errors)
    return broken(schema, object, old)
  }
}

const isInt64 = (value: number): boolean => Number.isInteger(value) && Math.abs(value) < 2 ** 63

/** The first rule that does not hold. One that names `oldSelf` is for updates only. */
function broken(schema: Schema, self: unknown, oldSelf: unknown): string | undefined {
  for (const { rule, message } of schema['x-kubernetes-validations'] ?? []) {
    const compares = /\boldSelf\b/.test(rule)
    if (compares && oldSelf === undefined) continue
    if (evaluate(rule, compares ? { self, oldSelf } : { self }) !== true) return message
  }
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const at = (value: unknown): unknown => (value as Readonly<Record<string, unknown>> | undefined)?.[name]
    const fault = at(self) === undefined ? undefined : broken(child, at(self), at(oldSelf))
    if (fault !== undefined) return fault
  }
  return undefined
}

export interface AdmissionPolicy {
  readonly spec: {
    readonly failurePolicy: 'Fail' | 'Ignore'
    readonly matchConstraints: {
      readonly resourceRules: readonly {
        readonly apiGroups: readonly string[]
        readonly resources: readonly string[]
        readonly operations: readonly string[]
      }[]
    }
    readonly matchConditions: readonly { readonly expression: string }[]
    readonly variables: readonly { readonly name: string; readonly expression: string }[]
    readonly validations: readonly {
      readonly expression: string
      readonly message?: string
      readonly messageExpression?: string
    }[]
  }
}

export interface AdmissionRequest {
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE'
  readonly resource: { readonly group: string; readonly resource: string }
  readonly userInfo: { readonly username: string; readonly extra?: Readonly<Record<string, readonly string[]>> }
}

/** Why a ValidatingAdmissionPolicy denies; undefined when it does not, or does not look. An error of an expression denies. */
export function denial(
  { spec }: AdmissionPolicy,
  request: AdmissionRequest,
  object: unknown,
  oldObject: unknown,
): string | undefined {
  const { group, resource } = request.resource
  const looks = spec.matchConstraints.resourceRules.some(
    ({ apiGroups, resources, operations }) =>
      apiGroups.includes(group) && resources.includes(resource) && operations.includes(request.operation),
  )
  const base = { request, object, oldObject }
  try {
    if (!looks || !spec.matchConditions.every(({ expression }) => evaluate(expression, base) === true)) return undefined
    const variables: Record<string, unknown> = {}
    for (const { name, expression } of spec.variables) variables[name] = evaluate(expression, { ...base, variables })
    const all = { ...base, variables }
    for (const { expression, message, messageExpression } of spec.validations) {
      if (evaluate(expression, all) === true) continue
      return String(messageExpression === undefined ? message : evaluate(messageExpression, all))
    }
    return undefined
  } catch (error) {
    return spec.failurePolicy === 'Fail' ? `error: ${(error as Error).message.split('\n')[0]}` : undefined
  }
}
