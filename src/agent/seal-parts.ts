import type { Config } from '../config/schema.ts'
import { SekishoError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Native } from '../native/binding.ts'
import { createSeal, type Seal } from './seal.ts'

export interface NodeSealDeps {
  readonly config: Config
  readonly node: string
  readonly native: Native
  readonly part: (name: string) => Log
}

/** The seal of this node, of its real parts. */
export function createNodeSeal({ config, node, part }: NodeSealDeps): Seal {
  return createSeal({
    config,
    node,
    log: part('wg'),
    open: () => Promise.reject(new SekishoError('SEKISHO_WG_UNSUPPORTED', 'the engine is not in this version')),
    metrics: () => [],
  })
}
