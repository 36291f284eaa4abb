import { stringify } from 'yaml'
import type { PodKey } from './topology.ts'

type Egress = Readonly<Record<string, unknown>>

/** A CiliumNetworkPolicy for one pod of the lab, as YAML. */
export function podPolicy(pod: PodKey, spec: { egress?: readonly Egress[]; egressDeny?: readonly Egress[] }): string {
  return stringify({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: pod, namespace: 'default' },
    spec: { endpointSelector: { matchLabels: { app: pod } }, ...spec },
  })
}

const matcher = (name: string): Egress => (name.includes('*') ? { matchPattern: name } : { matchName: name })
const ports = (list: readonly string[]): Egress[] => [
  {
    ports: list.map((text) => {
      const [port = '', protocol = 'TCP'] = text.split('/')
      return { port, protocol }
    }),
  },
]

/** These names may be asked of kube-dns; no pattern at all: DNS is allowed there without a look at names. */
export function dnsRule(names: readonly string[]): Egress {
  const to = { ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: names.map(matcher) } }
  return {
    toEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'kube-system', 'k8s:k8s-app': 'kube-dns' } }],
    toPorts: [to],
  }
}

/** These names may be asked of a server outside. */
export function dnsRuleAt(cidrs: readonly string[], names: readonly string[]): Egress {
  return { toCIDR: cidrs, toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: names.map(matcher) } }] }
}

/** What these names resolved to may be reached; ports are "80" or "7/UDP". */
export const fqdnRule = (names: readonly string[], portList: readonly string[] = ['80', '443']): Egress => ({
  toFQDNs: names.map(matcher),
  toPorts: ports(portList),
})

export const cidrRule = (cidr: string, except: readonly string[], portList: readonly string[]): Egress => ({
  toCIDRSet: [{ cidr, ...(except.length > 0 ? { except } : {}) }],
  toPorts: ports(portList),
})

/** DNS for these names and HTTP(S) to what they resolve to. */
export const namesPolicy = (pod: PodKey, names: readonly string[], portList?: readonly string[]): string =>
  podPolicy(pod, { egress: [dnsRule(names), fqdnRule(names, portList)] })
