import type { FastifyInstance, FastifyReply } from 'fastify'
import { refuseForged } from './forgery.ts'
import { sendProblem } from './problem.ts'
import type { RouteDeps } from './routes.ts'
import { noQuery } from './schemas.ts'
import { debuginfo } from './wg-debuginfo.ts'
import type { SealView } from './wg-ports.ts'
import {
  acceptedSchema,
  debuginfoSchema,
  peersQuery,
  rotateBody,
  sealKeysSchema,
  sealPeerSchema,
  sealPeersSchema,
  sealSchema,
  type PeersQuery,
  type RotateBody,
} from './wg-schemas.ts'
import { worstFirst } from './wg-worst.ts'

/** {"compromised":false} and room for white space. */
const MAX_BODY = 256

export function addSealRoutes(app: FastifyInstance, deps: RouteDeps): void {
  const withSeal = (reply: FastifyReply, answer: (seal: SealView) => unknown): unknown => {
    const seal = deps.view.wg()
    return seal === undefined ? sendProblem(reply, 404, 'SEKISHO_HTTP_WG_OFF') : answer(seal)
  }
  app.get('/v1/wg', { schema: { querystring: noQuery, response: { 200: sealSchema } } }, (_request, reply) =>
    withSeal(reply, (seal) => seal.report()),
  )
  app.get<{ Querystring: PeersQuery }>(
    '/v1/wg/peers',
    { schema: { querystring: peersQuery, response: { 200: sealPeersSchema } } },
    ({ query: { order, offset, limit } }, reply) =>
      withSeal(reply, (seal) => {
        const peers = seal.peers()
        const sorted = order === 'worst' ? worstFirst(peers) : peers.toSorted((a, b) => (a.name < b.name ? -1 : 1))
        return { total: peers.length, offset, peers: sorted.slice(offset, offset + limit) }
      }),
  )
  app.get<{ Params: { name: string } }>(
    '/v1/wg/peers/:name',
    { schema: { querystring: noQuery, response: { 200: sealPeerSchema } } },
    ({ params: { name } }, reply) =>
      withSeal(
        reply,
        (seal) => seal.peer(name) ?? sendProblem(reply, 404, 'SEKISHO_HTTP_NOT_FOUND', `no peer ${name}`),
      ),
  )
  app.get('/v1/wg/keys', { schema: { querystring: noQuery, response: { 200: sealKeysSchema } } }, (_request, reply) =>
    withSeal(reply, (seal) => ({ events: seal.keyEvents() })),
  )
  app.get(
    '/v1/wg/debuginfo',
    { schema: { querystring: noQuery, response: { 200: debuginfoSchema } } },
    (_request, reply) => withSeal(reply, (seal) => debuginfo(seal.report(), seal.peers(), deps.clock.wallMs())),
  )
  // A context of its own: no other route reads a body.
  void app.register(async (scope) => {
    scope.addContentTypeParser('application/json', { parseAs: 'string' }, scope.getDefaultJsonParser('error', 'error'))
    scope.post<{ Body: RotateBody }>(
      '/v1/wg/rotate',
      {
        bodyLimit: MAX_BODY,
        onRequest: refuseForged,
        schema: { querystring: noQuery, body: rotateBody, response: { 202: acceptedSchema } },
      },
      ({ body }, reply) =>
        withSeal(reply, (seal) => {
          if (seal.report().mode === 'observe') return sendProblem(reply, 409, 'SEKISHO_HTTP_WG_OBSERVED')
          const compromised = body.compromised ?? false
          deps.log.info({ compromised }, 'a rotation was asked for')
          seal.rotate(compromised)
          return reply.code(202).send({ accepted: true, compromised })
        }),
    )
  })
}
