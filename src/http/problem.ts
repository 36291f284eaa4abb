import type { FastifyReply } from 'fastify'
import { ERRORS, type ErrorCode } from '../core/errors.ts'

export interface Problem {
  readonly type: 'about:blank'
  readonly title: string
  readonly status: number
  readonly detail?: string
  readonly code: ErrorCode
}

/** An answer that says what is wrong (RFC 9457). Details tell of the request, never of the inside of the agent. */
export function sendProblem(reply: FastifyReply, status: number, code: ErrorCode, detail?: string): FastifyReply {
  const problem: Problem = {
    type: 'about:blank',
    title: ERRORS[code],
    status,
    ...(detail === undefined ? {} : { detail }),
    code,
  }
  return reply
    .code(status)
    .type('application/problem+json')
    .serializer((body: Problem) => JSON.stringify(body))
    .send(problem)
}
