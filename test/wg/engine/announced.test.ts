import { describe, expect, it } from 'vitest'
import { EngineWorld, type Agent } from '../../support/wg/engine-world.ts'

const strict = { target: 'strict' } as const

interface Gate {
  readonly opened: Promise<void>
  open(): void
}

function closedGate(): Gate {
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

/** What sends packets of peers into the tunnel is not done until the gate is open. */
function holdRoutes({ routing }: Agent): Gate {
  const gate = closedGate()
  const real = routing.setPeer.bind(routing)
  routing.setPeer = async (routes) => {
    if (routes.mode === 'active') await gate.opened
    await real(routes)
  }
  return gate
}

/** What takes the guard away is not done until the gate is open. */
function holdGuard({ guard }: Agent): Gate {
  const gate = closedGate()
  const real = guard.protect.bind(guard)
  guard.protect = async (prefix, on) => {
    if (!on) await gate.opened
    await real(prefix, on)
  }
  return gate
}

async function pair(prepare: (agent: Agent) => Gate): Promise<{ world: EngineWorld; gate: Gate }> {
  const world = new EngineWorld(2)
  await world.start(0, strict)
  const agent = world.make(1, strict)
  const gate = prepare(agent)
  await world.wait(agent.engine.start())
  return { world, gate }
}

const modeOf = (world: EngineWorld, index: number): string | undefined => world.agent(index).engine.peers()[0]?.mode

describe('an end says what it does, and not what it is about to do', () => {
  it('the other drops no clear text while our packets still are', async () => {
    const { world, gate } = await pair(holdRoutes)
    await world.clock.until(() => modeOf(world, 1) === 'active', 60_000)
    await world.clock.advance(20_000)
    // Node 1 has decided, and its routes are not there yet.
    expect(modeOf(world, 0)).toBe('active')
    expect(world.kernel(0).guarded.size).toBe(0)
    gate.open()
    await world.clock.until(() => modeOf(world, 0) === 'strict' && modeOf(world, 1) === 'strict', 10_000)
    expect(world.kernel(0).guarded.size).toBe(1)
  })

  it('the other drops no clear text that was on its way when our routes came', async () => {
    const { world } = await pair(() => closedGate())
    await world.clock.until(() => world.kernel(1).routes.get(world.kernel(0).prefix) !== undefined, 60_000)
    const took = await world.clock.until(() => world.kernel(0).guarded.size === 1, 60_000)
    expect(took).toBeGreaterThanOrEqual(2_000)
    expect(took).toBeLessThanOrEqual(4_000)
  })

  it('the other sends no clear text while we still drop it', async () => {
    const world = new EngineWorld(2)
    await world.up(strict)
    await world.clock.until(() => modeOf(world, 0) === 'strict' && modeOf(world, 1) === 'strict', 30_000)
    const gate = holdGuard(world.agent(1))
    for (const index of [0, 1]) world.agent(index).engine.setTarget('off')
    await world.clock.advance(30_000)
    // Node 1 has decided, and its guard still stands.
    expect(world.kernel(1).guarded.size).toBe(1)
    expect(modeOf(world, 0)).toBe('active')
    gate.open()
    await world.clock.until(() => [0, 1].every((index) => modeOf(world, index) === 'proven'), 30_000)
    expect(world.kernel(1).guarded.size).toBe(0)
  })
})

it('a pair without traffic is strict within seconds of its second agent', async () => {
  const world = new EngineWorld(2)
  world.net.trying = false
  await world.start(0, strict)
  await world.start(1, strict)
  const took = await world.clock.until(() => [0, 1].every((index) => modeOf(world, index) === 'strict'), 60_000)
  expect(took).toBeLessThanOrEqual(5_000)
})
