/**
 * A DNS server that may do anything: node odd.ts ADDRESS... [--script FILE]
 *
 * Without a script line for a name it is honest and lively: `move.odd.example` has another address at each look-up,
 * `slow-500.*` answers after 500 ms, `silent.*` never, `silent6.*` never when AAAA is asked (RFC 4074 section 4.1),
 * `servfail.*`, `refused.*` and `nxdomain.*` with that code, `servfail6.*` only when AAAA is asked (section 4.3).
 * The script (JSON, read again when it changes) maps a question name to the datagrams sent back instead: see OddAnswer.
 */
import { createSocket } from 'node:dgram'
import type { RemoteInfo, Socket } from 'node:dgram'
import { readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'

/** One datagram of a scripted reply. `hex` follows the two octets of the id. */
export interface OddAnswer {
  readonly hex: string
  /** Added to the id of the query; 0 when missing. */
  readonly idOffset?: number
  /** Sent as it is, without an id in front. */
  readonly raw?: boolean
  /** From another port than the one asked. */
  readonly otherPort?: boolean
  /** Milliseconds to wait before this one. */
  readonly delayMs?: number
}
export type OddScript = Readonly<Record<string, readonly OddAnswer[]>>

const args = process.argv.slice(2)
const scriptAt = args.indexOf('--script')
const scriptFile = scriptAt < 0 ? undefined : args[scriptAt + 1]
const addresses = scriptAt < 0 ? args : args.slice(0, scriptAt)
let script: OddScript = {}
let scriptTime = -1
let moves = 0

function currentScript(): OddScript {
  if (scriptFile === undefined) return script
  try {
    const { mtimeMs } = statSync(scriptFile)
    if (mtimeMs !== scriptTime) {
      script = JSON.parse(readFileSync(scriptFile, 'utf8')) as OddScript
      scriptTime = mtimeMs
    }
  } catch {
    // No script, or one half written: the last good one stays.
  }
  return script
}

interface Question {
  readonly name: string
  readonly type: number
  /** Offset behind the question. */
  readonly end: number
}

function readQuestion(p: Buffer): Question | undefined {
  if (p.length < 17) return undefined
  let at = 12
  const labels: string[] = []
  for (;;) {
    const length = p[at] ?? 255
    if (length === 0) break
    if (length > 63 || at + 1 + length > p.length) return undefined
    labels.push(p.toString('latin1', at + 1, at + 1 + length).toLowerCase())
    at += 1 + length
  }
  return at + 5 > p.length ? undefined : { name: labels.join('.'), type: p.readUInt16BE(at + 1), end: at + 5 }
}

/** A plain answer: the question again, then one record of `type` with `rdata` when there is any. */
function reply(query: Buffer, q: Question, rcode: number, type = 0, rdata = Buffer.alloc(0), ttl = 2): Buffer {
  const out = Buffer.concat([query.subarray(0, q.end), Buffer.alloc(rdata.length > 0 ? 12 : 0), rdata])
  out.writeUInt16BE(0x8580 | rcode, 2)
  out.writeUInt16BE(1, 4)
  out.writeUInt16BE(rdata.length > 0 ? 1 : 0, 6)
  out.writeUInt32BE(0, 8)
  if (rdata.length > 0) {
    out.writeUInt16BE(0xc00c, q.end)
    out.writeUInt16BE(type, q.end + 2)
    out.writeUInt16BE(1, q.end + 4)
    out.writeUInt32BE(ttl, q.end + 6)
    out.writeUInt16BE(rdata.length, q.end + 10)
  }
  return out
}

function honest(query: Buffer, q: Question): { delayMs: number; packet: Buffer } | undefined {
  const first = q.name.split('.')[0] ?? ''
  if (first === 'silent' || (first === 'silent6' && q.type === 28)) return undefined
  const rcode = { servfail: 2, servfail6: q.type === 28 ? 2 : undefined, nxdomain: 3, refused: 5 }[first]
  if (rcode !== undefined) return { delayMs: 0, packet: reply(query, q, rcode) }
  const delayMs = first.startsWith('slow-') ? Number(first.slice(5)) : 0
  const host = first === 'move' ? 1 + (moves++ % 250) : 1
  if (q.type === 1) return { delayMs, packet: reply(query, q, 0, 1, Buffer.from([198, 18, 30, host])) }
  if (q.type === 28) {
    const v6 = Buffer.from('20010db8013000000000000000000000', 'hex')
    v6[15] = host
    return { delayMs, packet: reply(query, q, 0, 28, v6) }
  }
  return { delayMs, packet: reply(query, q, 0) }
}

function datagrams(query: Buffer): { delayMs: number; packet: Buffer; otherPort: boolean }[] {
  const q = readQuestion(query)
  if (q === undefined) return []
  const scripted = currentScript()[q.name]
  if (scripted === undefined) {
    const plain = honest(query, q)
    return plain === undefined ? [] : [{ ...plain, otherPort: false }]
  }
  return scripted.map((one) => {
    const id = Buffer.alloc(2)
    id.writeUInt16BE((query.readUInt16BE(0) + (one.idOffset ?? 0)) & 0xffff)
    const body = Buffer.from(one.hex, 'hex')
    const packet = one.raw === true ? body : Buffer.concat([id, body])
    return { delayMs: one.delayMs ?? 0, packet, otherPort: one.otherPort === true }
  })
}

function onDatagram(socket: Socket, other: Socket, query: Buffer, from: RemoteInfo): void {
  let wait = 0
  for (const one of datagrams(query)) {
    wait += one.delayMs
    const via = one.otherPort ? other : socket
    if (wait === 0) via.send(one.packet, from.port, from.address)
    else setTimeout(() => via.send(one.packet, from.port, from.address), wait)
  }
}

for (const address of addresses) {
  const type = address.includes(':') ? 'udp6' : 'udp4'
  const other = createSocket(type)
  other.bind({ address, port: 0 })
  const socket = createSocket({ type, recvBufferSize: 4 << 20 })
  socket.on('message', (query, from) => {
    onDatagram(socket, other, query, from)
  })
  socket.bind({ address, port: 53 })
  createServer((stream) => {
    let held = Buffer.alloc(0)
    stream.on('error', () => undefined)
    stream.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk])
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE(0)) {
        const query = held.subarray(2, 2 + held.readUInt16BE(0))
        held = held.subarray(2 + query.length)
        for (const one of datagrams(query)) {
          const framed = Buffer.concat([Buffer.from([one.packet.length >> 8, one.packet.length & 255]), one.packet])
          if (one.delayMs === 0) stream.write(framed)
          else setTimeout(() => stream.write(framed), one.delayMs)
        }
      }
    })
  }).listen({ host: address, port: 53 })
}
