import { request as requestPlain, type IncomingMessage, type RequestOptions } from 'node:http'

/** The largest answer of an agent, a page of peers, has a thousandth of it, octets. */
const MAX_BODY = 64 << 20

export interface ExchangeOptions {
  readonly method: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** For all of it, to the last octet of the answer, ms. */
  readonly timeoutMs: number
}

export interface Answer {
  readonly status: number
  readonly body: string
}

/**
 * One HTTP exchange. Not by `fetch`: that takes a quarter of the start of a short command, and compiles WebAssembly for it.
 *
 * @throws Error (with `code` ECONNREFUSED and the like) when nothing answers in time, answers with a redirect, or too much
 */
export async function exchange(url: string, options: ExchangeOptions): Promise<Answer> {
  const { method, headers, body, timeoutMs } = options
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await respond(url, { method, headers: { ...headers }, signal }, body)
    const status = response.statusCode ?? 0
    if (status >= 300 && status < 400) {
      response.destroy()
      throw new Error(`the answer is a redirect (${status})`)
    }
    return { status, body: await textOf(response) }
  } catch (error) {
    throw signal.aborted ? new Error(`no answer in ${timeoutMs / 1000} s`, { cause: error }) : error
  }
}

async function respond(url: string, options: RequestOptions, body: string | undefined): Promise<IncomingMessage> {
  // TLS takes as long to load as all the rest, and few agents stand behind it.
  const request = url.startsWith('https:') ? (await import('node:https')).request : requestPlain
  return new Promise((resolve, reject) => {
    request(url, options, resolve).on('error', reject).end(body)
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > MAX_BODY) throw new Error(`the answer is longer than ${MAX_BODY} octets`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
