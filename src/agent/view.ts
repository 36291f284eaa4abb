import type { Config } from '../config/schema.ts'
import { VERSION } from '../core/version.ts'
import type { AgentView, PolicyStatusView } from '../http/ports.ts'
import type { GateStatus, GateView } from './gate-view.ts'
import type { Seal } from './seal.ts'

export interface ViewDeps {
  readonly config: Config
  readonly node: string
  /** Absent while `datapath.mode` is off. */
  readonly gate: GateView | undefined
  /** Absent while `wireguard.mode` is off. */
  readonly seal: Seal | undefined
}

const NO_GATE: GateStatus = {
  policyGeneration: 0,
  endpoints: { known: 0, enforced: 0 },
  names: { entries: 0, identities: 0 },
  workers: [],
  warnings: [],
}
const NO_POLICY: PolicyStatusView = { generation: 0, appliedAt: null, rules: 0, files: [], problems: [] }

/** What the HTTP server shows, out of memory: of the gate and of the seal, or of the one that runs. */
export function createView({ config, node, gate, seal }: ViewDeps): AgentView {
  const startedAt = new Date()
  return {
    readiness: () => [...(gate?.readiness() ?? []), ...(seal?.readiness() ?? [])],
    status() {
      const { warnings, ...status } = gate?.status() ?? NO_GATE
      return {
        version: VERSION,
        node,
        mode: config.datapath.mode,
        pid: process.pid,
        startedAt: startedAt.toISOString(),
        uptimeSeconds: Math.floor((Date.now() - startedAt.getTime()) / 1000),
        ...status,
        warnings: [...warnings, ...(seal?.warnings() ?? [])],
      }
    },
    endpoints: () => gate?.endpoints() ?? [],
    names: async (endpoint, offset, limit) => gate?.names(endpoint, offset, limit),
    policy: () => gate?.policy() ?? NO_POLICY,
    drops: (limit) => gate?.drops(limit) ?? [],
    wg: () => seal?.view,
  }
}
