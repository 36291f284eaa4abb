import type { AgentView, ReadinessLatch } from '../../src/http/ports.ts'

/** An agent with one endpoint; tests override what they are about. */
export function fakeAgent(over: Partial<AgentView> = {}): AgentView {
  const latches: ReadinessLatch[] = [{ name: 'datapath', ready: true }]
  return {
    readiness: () => latches,
    status: () => ({
      version: '0.1.0',
      node: 'n1',
      mode: 'standalone',
      pid: 7,
      startedAt: '2026-01-02T03:04:05.000Z',
      uptimeSeconds: 61.5,
      policyGeneration: 3,
      endpoints: { known: 2, enforced: 1 },
      names: { entries: 5, identities: 2 },
      workers: [{ name: 'dns-0', state: 'running', restarts: 0, generation: 3, pump: 'io_uring' }],
      warnings: [],
    }),
    endpoints: () => [
      {
        id: 1,
        name: 'shop/cart',
        labels: { app: 'cart' },
        addresses: ['10.0.0.2', 'fd00::2'],
        interface: 'veth1',
        enforced: true,
        attached: true,
        drops: 4,
      },
    ],
    names: async (endpoint, offset, limit) =>
      endpoint === 'shop/cart'
        ? {
            total: 2,
            names: [
              { name: 'a.example.', address: '192.0.2.1', secondsLeft: 9, identity: 16777217 },
              { name: 'b.example.', address: '192.0.2.2', secondsLeft: 8, identity: 16777218 },
            ].slice(offset, offset + limit),
          }
        : undefined,
    policy: () => ({
      generation: 3,
      appliedAt: null,
      rules: 2,
      files: [{ file: 'p.yaml', documents: 1 }],
      problems: [],
    }),
    drops: (limit) =>
      [
        {
          time: '2026-01-02T03:04:05.000Z',
          endpoint: 'shop/cart',
          direction: 'egress' as const,
          reason: 'policy',
          source: '10.0.0.2',
          destination: '192.0.2.9',
          protocol: 6,
          sourcePort: 40000,
          destinationPort: 443,
          identity: 9,
        },
      ].slice(0, limit),
    wg: () => undefined,
    ...over,
  }
}
