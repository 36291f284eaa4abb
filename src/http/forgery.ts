import { isIP } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { sendProblem } from './problem.ts'

/** Says that a program sent this on purpose. */
export const REQUEST_HEADER = 'x-sekisho-request'

/**
 * Refuses what a web page in the browser of an operator can send to a forwarded port. A page of another site cannot set a
 * header of its own without asking first (CORS preflight), which is never answered; a page that made its name resolve to this
 * address can, and is known by what every browser adds to a POST.
 */
export async function refuseForged(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
  const { headers } = request
  const fromBrowser = headers.origin !== undefined || headers['sec-fetch-site'] !== undefined
  if (headers[REQUEST_HEADER] === '1' && !fromBrowser) return undefined
  const detail = fromBrowser ? 'browsers may not send this' : 'X-Sekisho-Request: 1 is missing'
  return sendProblem(reply, 403, 'SEKISHO_HTTP_FORGED', detail)
}

/** The host of a `Host` header (RFC 9110 section 7.2) without its port. */
const hostOf = (header: string): string => header.replace(/:[0-9]*$/, '').replace(/^\[(.*)\]$/, '$1')

/**
 * On loopback only: refuses a request to a name. A page whose own name was made to resolve to this machine (DNS rebinding) could
 * read the answers; whoever means this server says an address or `localhost`.
 */
export async function refuseNames(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> {
  const host = hostOf(request.headers.host ?? '')
  if (host === 'localhost' || isIP(host) !== 0) return undefined
  return sendProblem(reply, 403, 'SEKISHO_HTTP_FORGED', 'on loopback, Host must be an address or localhost')
}
