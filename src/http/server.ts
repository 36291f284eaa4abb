import { fastify, type FastifyError, type FastifyInstance } from 'fastify'
import { systemClock, type Clock } from '../core/clock.ts'
import { SekishoError } from '../core/errors.ts'
import type { Startable } from '../core/lifecycle.ts'
import type { Log } from '../core/log.ts'
import type { MetricSource } from '../core/metric.ts'
import { createHttpCounter } from './metrics.ts'
import type { AgentView } from './ports.ts'
import { refuseNames } from './forgery.ts'
import { sendProblem } from './problem.ts'
import { addApiRoutes, addHealthRoutes, type Exposition } from './routes.ts'
import { addSealRoutes } from './wg-routes.ts'

/** Nobody needs more of a loopback API; what is over it is closed at once. */
const MAX_CONNECTIONS = 128
const MAX_HEADER_BYTES = 8192
const REQUEST_TIMEOUT_MS = 10_000
const HEADERS_TIMEOUT_MS = 5_000
const KEEP_ALIVE_MS = 15_000
/** Names of nodes are the longest part of a path. */
const MAX_PARAMETER = 253

export interface HttpServerDeps {
  readonly address: string
  readonly port: number
  readonly view: AgentView
  readonly metrics: Exposition
  readonly log: Log
  readonly clock?: Pick<Clock, 'wallMs'>
}

export interface HttpServer extends Startable {
  /** The port listened on, after `start`; -1 before. */
  readonly port: number
  /** What the server counts about itself. */
  readonly source: MetricSource
  /** Makes /readyz answer 503 from now on: the first step of a stop. */
  lameduck(): void
}

/**
 * Health, metrics and the JSON API. Every answer has a schema. GET only and no body is read, but for the one request that asks for
 * a rotation (`forgery.ts`). `start` rejects with SEKISHO_HTTP_LISTEN when the address is not to be had.
 */
export function createHttpServer(deps: HttpServerDeps): HttpServer {
  const counter = createHttpCounter()
  let leaving = false
  let port = -1
  const app = build(deps.log)
  if (/^127\.|^::1$/.test(deps.address)) app.addHook('onRequest', refuseNames)
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff')
  })
  app.addHook('onResponse', async (request, reply) => counter.count(request.routeOptions.url, reply.statusCode))
  const routeDeps = {
    view: deps.view,
    exposition: deps.metrics,
    log: deps.log,
    clock: deps.clock ?? systemClock,
    lameduck: () => leaving,
  }
  addHealthRoutes(app, routeDeps)
  addApiRoutes(app, routeDeps)
  addSealRoutes(app, routeDeps)

  return {
    get port() {
      return port
    },
    source: counter,
    lameduck() {
      leaving = true
    },
    async start() {
      try {
        await app.listen({ host: deps.address, port: deps.port })
      } catch (error) {
        const { message } = error as Error
        throw new SekishoError('SEKISHO_HTTP_LISTEN', message, { cause: error, hint: 'set http.address and http.port' })
      }
      const bound = app.server.address()
      port = typeof bound === 'object' && bound !== null ? bound.port : -1
    },
    async stop() {
      leaving = true
      await app.close()
    },
  }
}

function build(log: Log): FastifyInstance {
  const app = fastify({
    logger: false,
    // A stop is bounded in time: idle and busy connections are closed.
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    bodyLimit: 1,
    http: { maxHeaderSize: MAX_HEADER_BYTES, headersTimeout: HEADERS_TIMEOUT_MS },
    // The schemas are ours: that they are schemas the tests see, and a start need not compile the schema of schemas.
    ajv: {
      customOptions: {
        removeAdditional: false,
        coerceTypes: true,
        useDefaults: true,
        allErrors: false,
        meta: false,
        validateSchema: false,
      },
    },
    // A path that cannot be decoded never reaches the error handler.
    frameworkErrors: (_error, _request, reply) => void sendProblem(reply, 400, 'SEKISHO_HTTP_REQUEST'),
    routerOptions: { maxParamLength: MAX_PARAMETER },
  })
  app.server.maxConnections = MAX_CONNECTIONS
  app.removeAllContentTypeParsers()
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? ''
    const allowed = app.hasRoute({ method: 'GET', url: path }) ? 'GET, HEAD' : 'POST'
    if (allowed !== 'POST' || app.hasRoute({ method: 'POST', url: path })) {
      return sendProblem(reply.header('allow', allowed), 405, 'SEKISHO_HTTP_METHOD')
    }
    return sendProblem(reply, 404, 'SEKISHO_HTTP_NOT_FOUND')
  })
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error.validation !== undefined) return sendProblem(reply, 400, 'SEKISHO_HTTP_PARAMETER', error.message)
    const status = error.statusCode ?? 500
    if (status < 500) return sendProblem(reply, status, 'SEKISHO_HTTP_REQUEST')
    log.error({ err: error, route: request.routeOptions.url }, 'a request failed')
    return sendProblem(reply, 500, 'SEKISHO_HTTP_INTERNAL')
  })
  return app
}
