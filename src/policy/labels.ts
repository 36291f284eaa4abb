import { NAMESPACE_LABEL } from './rules.ts'
import type { EndpointInput, LabelSelector, Requirement } from './rules.ts'

/** An endpoint's labels without source prefix, its namespace among them. */
export type LabelSet = ReadonlyMap<string, string>

const SOURCE = 'k8s:'

/** Labels may be written `k8s:app` or `app`; the namespace label is always the endpoint's own namespace. */
export function endpointLabels(endpoint: Pick<EndpointInput, 'labels' | 'namespace'>): LabelSet {
  const labels = new Map<string, string>()
  for (const [key, value] of Object.entries(endpoint.labels)) {
    labels.set(key.startsWith(SOURCE) ? key.slice(SOURCE.length) : key, value)
  }
  labels.set(NAMESPACE_LABEL, endpoint.namespace)
  return labels
}

/** Canonical text of a label set: `k8s:app=web;k8s:io.kubernetes.pod.namespace=shop`, sorted; `\`, `;`, `=` escaped. */
export function labelsKey(labels: LabelSet): string {
  return [...labels]
    .map(([key, value]) => `${SOURCE}${escape(key)}=${escape(value)}`)
    .sort()
    .join(';')
}

/** The inverse of `labelsKey`. */
export function parseLabelsKey(text: string): LabelSet {
  const labels = new Map<string, string>()
  for (const part of splitUnescaped(text, ';')) {
    const [key = '', value = ''] = splitUnescaped(part, '=')
    if (key !== '') labels.set(unescape(key).slice(SOURCE.length), unescape(value))
  }
  return labels
}

const escape = (text: string): string => text.replace(/[\\;=]/g, '\\$&')
const unescape = (text: string): string => text.replace(/\\(.)/gs, '$1')

function splitUnescaped(text: string, separator: string): string[] {
  const parts: string[] = []
  let from = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === separator) {
      parts.push(text.slice(from, i))
      from = i + 1
    }
  }
  parts.push(text.slice(from))
  return parts
}

/** Kubernetes' meaning: NotIn holds for an absent label too. */
export function selectorMatches(selector: LabelSelector, labels: LabelSet): boolean {
  return selector.every((requirement) => requirementHolds(requirement, labels))
}

function requirementHolds({ key, operator, values }: Requirement, labels: LabelSet): boolean {
  const value = labels.get(key)
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
  }
}

/** Canonical text of a selector, for content hashes. */
export function selectorText(selector: LabelSelector): string {
  return selector
    .map(({ key, operator, values }) => `${key} ${operator} ${[...values].sort().join('|')}`)
    .sort()
    .join(' && ')
}
