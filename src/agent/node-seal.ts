import type { WgView } from '../wg/report.ts'
import { createCpuSampler } from '../wg/cpu-sampler.ts'
import { wgMetrics } from '../wg/metrics.ts'
import { deviceNames } from './node-facts.ts'
import { openManager, type SealPartsDeps } from './seal-parts.ts'
import { openObserver } from './seal-observe.ts'
import { createSeal, type Seal } from './seal.ts'

/** The seal of this node, made of its real parts. */
export function createNodeSeal(deps: SealPartsDeps): Seal {
  const { config, node, part } = deps
  const { wireguard } = config
  const observes = wireguard.mode === 'observe'
  const names = observes ? [wireguard.observe.device] : deviceNames(wireguard.devicePrefix)
  const cpu = createCpuSampler({
    command: wireguard.command,
    devices: names.map((device, i) => ({ device, slot: i === 0 ? 0 : 1 })),
  })
  return createSeal({
    config,
    node,
    log: part('wg'),
    async open() {
      const work = await (observes ? openObserver(deps) : openManager(deps))
      // Nobody waits for figures.
      const sampling = cpu.start()
      return {
        ...work,
        async stop() {
          await cpu.stop()
          await sampling
          await work.stop()
        },
      }
    },
    metrics: (view: WgView) => [wgMetrics(view, { perPeer: wireguard.metrics.perPeer, cpu })],
  })
}
