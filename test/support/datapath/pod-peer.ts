/** A pod's or a server's side: asks and answers over UDP and TCP. */
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { serve } from './in-namespace.ts'

const typeOf = (address: string): 'udp4' | 'udp6' => (address.includes(':') ? 'udp6' : 'udp4')

/** Answers "name" to every datagram and on every connection. */
function answerAs(name: string, address: string, port: number): Promise<void> {
  const socket = createSocket(typeOf(address))
  socket.on('message', (_data, from) => {
    socket.send(name, from.port, from.address)
  })
  socket.on('error', () => undefined)
  const server = createServer((one) => {
    one.on('error', () => undefined)
    one.on('data', () => one.write(name))
  })
  return new Promise((resolve, reject) => {
    server.on('error', reject)
    socket.bind(port, address, () =>
      server.listen(port, address, () => {
        resolve()
      }),
    )
  })
}

/** One datagram over a connected socket: an answer from any other address or port does not count. */
function askUdp(address: string, port: number, timeoutMs: number): Promise<string> {
  const socket = createSocket(typeOf(address))
  return new Promise((resolve) => {
    const end = (value: string): void => {
      clearTimeout(timer)
      socket.close()
      resolve(value)
    }
    const timer = setTimeout(() => {
      end('timeout')
    }, timeoutMs)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      end(error.code ?? 'error')
    })
    socket.on('message', (data) => {
      end(data.toString())
    })
    socket.connect(port, address, () => {
      socket.send('question')
    })
  })
}

function askTcp(address: string, port: number, timeoutMs: number): Promise<string> {
  const socket = connect(port, address)
  return new Promise((resolve) => {
    const end = (value: string): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(value)
    }
    const timer = setTimeout(() => {
      end('timeout')
    }, timeoutMs)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      end(error.code ?? 'error')
    })
    socket.on('connect', () => socket.write('question'))
    socket.on('data', (data) => {
      end(data.toString())
    })
  })
}

const held = new Map<string, ReturnType<typeof connect>>()

/** A connection that stays open. */
function hold(address: string, port: number): Promise<string> {
  const socket = connect(port, address)
  socket.on('error', () => undefined)
  held.set(`${address} ${port}`, socket)
  return new Promise((resolve) =>
    socket.once('connect', () => {
      resolve('open')
    }),
  )
}

function askHeld(address: string, port: number, timeoutMs: number): Promise<string> {
  const socket = held.get(`${address} ${port}`)
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve('timeout')
    }, timeoutMs)
    socket?.once('data', (data) => {
      clearTimeout(timer)
      resolve(data.toString())
    })
    socket?.write('again')
  })
}

let flood:
  { sent: number; received: number; timer: NodeJS.Timeout; socket: ReturnType<typeof createSocket> } | undefined

/** A datagram every `everyMs`, each of which the other side answers. */
function startFlood(address: string, port: number, everyMs: number): Promise<void> {
  const socket = createSocket(typeOf(address))
  return new Promise((resolve) => {
    socket.connect(port, address, () => {
      const one = {
        sent: 0,
        received: 0,
        socket,
        timer: setInterval(() => {
          one.sent += 1
          socket.send('flood')
        }, everyMs),
      }
      socket.on('message', () => (one.received += 1))
      flood = one
      resolve()
    })
  })
}

async function stopFlood(): Promise<{ sent: number; received: number }> {
  if (flood === undefined) return { sent: 0, received: 0 }
  clearInterval(flood.timer)
  await new Promise((resolve) => setTimeout(resolve, 200))
  const { sent, received } = flood
  flood.socket.close()
  return { sent, received }
}

serve({ answerAs, askUdp, askTcp, hold, askHeld, startFlood, stopFlood })
