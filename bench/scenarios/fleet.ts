import { FleetRun, machineCosts, writesOfADay, type FleetFigures } from '../fleet-subject.ts'
import type { Context } from '../context.ts'
import { row, type Row } from '../rows.ts'

/**
 * A fleet that rotates its keys, on a simulated clock: every node is the machine of `src/wg/machine.ts`, kernels and directory
 * are the models of the property tests. What of it is sampled is told in `fleet-subject.ts`.
 */
export async function fleet({ sizes, field }: Context): Promise<Row[]> {
  const { nodes, controlNodes, windowSeconds } = sizes.fleet
  const text = `${nodes.toLocaleString('en')} nodes`
  const rows: Row[] = []
  const put = (figure: string, unit: string, values: readonly number[], subject = 'sekisho'): void => {
    rows.push(row(figure, unit, { subject, values }))
  }

  field.progress.step(`a day of ${text}`)
  const day = writesOfADay(nodes)
  put(`directory writes, key life 24 h, ${text}`, '/s', [day.perSecond])
  put(`directory writes, busiest minute of a day, ${text}`, '/s', [day.busiestMinute / 60])

  field.progress.step(`${windowSeconds} s of ${text}`)
  const run = new FleetRun(nodes)
  const steady = run.steady(windowSeconds)
  put(`rotation, from its start to settled, in ${windowSeconds} s of the clock, ${text}`, 's', steady.seconds)
  put(`rotation of a node that has all ${(nodes - 1).toLocaleString('en')} peers`, 's', steady.observedSeconds)
  put(`rotations at one time, in ${windowSeconds} s of the clock, ${text}`, 'nodes', [steady.mostAtOnce])
  unproven(put, `in ${windowSeconds} s of the clock, ${text}`, steady)

  field.progress.step(`all ${text} at once`)
  const together = run.together()
  put(`rotation, from its start to settled, all ${text} at once`, 's', together.seconds)
  put(`directory writes, busiest second, all ${text} at once`, '/s', [together.busiestSecond])
  put(`rotations at one time, all ${text} at once`, 'nodes', [together.mostAtOnce])
  unproven(put, `all ${text} at once`, together)

  field.progress.step(`control with ${controlNodes} nodes`)
  const control = new FleetRun(controlNodes, 'new-key-at-once').together()
  if (control.unproven + control.lost === 0) throw new Error('the control, keys changed without a drain, lost nothing')
  unproven(put, `control: keys change without a drain, ${controlNodes} nodes`, control)

  field.progress.step(`step() with ${nodes - 1} peers`)
  for (const { event, microseconds } of machineCosts(run.observed)) {
    put(`step(), ${event}, ${(nodes - 1).toLocaleString('en')} peers`, 'µs', microseconds)
  }
  return rows
}

function unproven(
  put: (figure: string, unit: string, values: readonly number[]) => void,
  of: string,
  figures: FleetFigures,
): void {
  put(`instants of pairs without a proven slot, ${of}`, `of ${figures.looked.toLocaleString('en')}`, [figures.unproven])
  put(`packets that no slot carried, ${of}`, `of ${figures.packets.toLocaleString('en')}`, [figures.lost])
}
