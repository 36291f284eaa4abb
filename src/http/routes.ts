import type { FastifyInstance } from 'fastify'
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { AgentView, ReadinessLatch } from './ports.ts'
import { sendProblem } from './problem.ts'
import {
  dropsQuery,
  dropsSchema,
  endpointsSchema,
  livenessSchema,
  namesQuery,
  namesSchema,
  noQuery,
  policySchema,
  readinessSchema,
  statusSchema,
  type DropsQuery,
  type NamesQuery,
} from './schemas.ts'

/** The exposition of the metrics registry. */
export interface Exposition {
  readonly contentType: string
  render(): Promise<string>
}

export interface RouteDeps {
  readonly view: AgentView
  readonly exposition: Exposition
  readonly log: Log
  readonly clock: Pick<Clock, 'wallMs'>
  /** True once the agent is about to stop. */
  lameduck(): boolean
}

export function addHealthRoutes(app: FastifyInstance, deps: RouteDeps): void {
  // That it answers at all says that the main thread turns; the rest is readiness.
  app.get('/livez', { schema: { response: { 200: livenessSchema } } }, () => ({ alive: true }))
  app.get('/readyz', { schema: { response: { 200: readinessSchema, 503: readinessSchema } } }, (_request, reply) => {
    const latches = latchesOf(deps)
    const ready = latches.every((latch) => latch.ready)
    return reply.code(ready ? 200 : 503).send({ ready, latches })
  })
  app.get('/metrics', async (_request, reply) =>
    reply.type(deps.exposition.contentType).send(await deps.exposition.render()),
  )
}

export function addApiRoutes(app: FastifyInstance, deps: RouteDeps): void {
  const { view } = deps
  app.get('/v1/status', { schema: { querystring: noQuery, response: { 200: statusSchema } } }, () => ({
    ...view.status(),
    ready: latchesOf(deps).every((latch) => latch.ready),
  }))
  app.get('/v1/endpoints', { schema: { querystring: noQuery, response: { 200: endpointsSchema } } }, () => ({
    endpoints: view.endpoints(),
  }))
  app.get('/v1/policy', { schema: { querystring: noQuery, response: { 200: policySchema } } }, () => view.policy())
  app.get<{ Querystring: DropsQuery }>(
    '/v1/drops',
    { schema: { querystring: dropsQuery, response: { 200: dropsSchema } } },
    (request) => ({ drops: view.drops(request.query.limit) }),
  )
  app.get<{ Querystring: NamesQuery }>(
    '/v1/names',
    { schema: { querystring: namesQuery, response: { 200: namesSchema } } },
    async ({ query }, reply) => {
      const { endpoint, offset, limit } = query
      const page = await view.names(endpoint, offset, limit).catch((error: unknown) => {
        deps.log.warn({ err: error, endpoint }, 'the ledger gave no names')
        return null
      })
      if (page === null) return sendProblem(reply, 503, 'SEKISHO_HTTP_UNAVAILABLE')
      if (page === undefined) return sendProblem(reply, 404, 'SEKISHO_HTTP_NOT_FOUND', `no endpoint ${endpoint}`)
      return { endpoint, offset, ...page }
    },
  )
}

function latchesOf(deps: RouteDeps): readonly ReadinessLatch[] {
  const latches = deps.view.readiness()
  return deps.lameduck() ? [...latches, { name: 'lameduck', ready: false, reason: 'the agent is stopping' }] : latches
}
