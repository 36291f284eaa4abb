import type { Ip } from '../core/ip.ts'

/** What the words of an endpoint may be. Each returns what is wrong, or undefined. */
const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

const isSubdomain = (text: string): boolean =>
  text.length <= 253 && text.split('.').every((part) => DNS_LABEL.test(part))

/** A pod's name (RFC 1123 subdomain). */
export const checkName = (text: string): string | undefined =>
  isSubdomain(text) ? undefined : `${JSON.stringify(text)} is not a name (lower-case letters, digits, "-" and ".")`

export const checkNamespace = (text: string): string | undefined =>
  DNS_LABEL.test(text) ? undefined : `${JSON.stringify(text)} is not a namespace (lower-case letters, digits and "-")`

/** `[prefix/]name`, as Kubernetes has it. */
export function checkLabelKey(text: string): string | undefined {
  const slash = text.indexOf('/')
  const good =
    slash < 0 ? LABEL_NAME.test(text) : isSubdomain(text.slice(0, slash)) && LABEL_NAME.test(text.slice(slash + 1))
  return good ? undefined : `${JSON.stringify(text)} is not a label key`
}

export const checkLabelValue = (text: string): string | undefined =>
  text === '' || LABEL_NAME.test(text) ? undefined : `${JSON.stringify(text)} is not a label value`

/** dev_valid_name() of the kernel, and not the loopback. */
export function checkInterface(text: string): string | undefined {
  const bytes = new TextEncoder().encode(text).length
  if (bytes === 0 || bytes > 15 || text === '.' || text === '..' || /[\s/:\0]/.test(text)) {
    return `${JSON.stringify(text)} is not the name of an interface`
  }
  return text === 'lo' ? 'the loopback interface is no endpoint' : undefined
}

/** An address a pod can have: unicast, and not of the loopback or the link. */
export function checkAddress(ip: Ip): string | undefined {
  const [a = 0, b = 0] = ip.bytes
  if (ip.bytes.every((byte) => byte === 0)) return 'the unspecified address'
  if (ip.family === 4) {
    if (a === 0) return 'an address of "this network"'
    if (a === 127) return 'a loopback address'
    if (a === 169 && b === 254) return 'a link-local address'
    if (a >= 224) return 'not a unicast address'
    return undefined
  }
  if (ip.bytes.subarray(0, 15).every((byte) => byte === 0) && ip.bytes[15] === 1) return 'a loopback address'
  if (a === 0xff) return 'not a unicast address'
  return a === 0xfe && (b & 0xc0) === 0x80 ? 'a link-local address' : undefined
}
