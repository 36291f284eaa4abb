import type { Context } from '../context.ts'
import { endpointsFile, policyFile, rulesOf } from '../policy-set.ts'
import { mapsMiB, memoryOf } from '../process-cost.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'
import { startAgent } from '../subjects.ts'
import { sleep } from '../../lab/run.ts'

/** Memory of an agent that nobody asks, by how many endpoints it has: what a node needs before there is a load. */
export async function footprint(context: Context): Promise<Row[]> {
  const { sizes, stage } = context
  const rows: Row[] = []
  for (const endpoints of [0, sizes.pods]) {
    const rules = Array.from({ length: endpoints }, (_, i) => rulesOf(`ep-${i}`, sizes.patterns))
    const resident: number[] = []
    const own: number[] = []
    const maps: number[] = []
    for (let n = 0; n < sizes.rounds; n++) {
      context.field.progress.step(`${endpoints} endpoints, round ${n + 1} of ${sizes.rounds}`)
      const agent = await startAgent(stage, {
        policies: endpoints === 0 ? {} : { 'all.yaml': policyFile(rules) },
        endpoints: endpoints === 0 ? 'endpoints: []\n' : endpointsFile(rules.map(({ endpoint }) => endpoint)),
      })
      // What the start leaves behind is collected, or not, when it rests.
      await sleep(sizes.seconds * 1000)
      const { residentMiB, ownMiB } = memoryOf(agent.pid)
      resident.push(residentMiB)
      own.push(ownMiB)
      maps.push(mapsMiB(agent.pid))
      await agent.stop()
    }
    const name = endpoints === 0 ? 'no endpoints' : `${endpoints} endpoints of ${sizes.patterns} patterns`
    rows.push(
      row(`resident memory, ${name}`, 'MiB', { subject: 'sekisho', values: resident }),
      row(`the same without files of the disk, ${name}`, 'MiB', { subject: 'sekisho', values: own }),
      row(`maps in the kernel, ${name}`, 'MiB', { subject: 'sekisho', values: maps }),
    )
  }
  return rows
}
