import util from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import type { NativeError } from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { Bench, openDescriptors, thrownBy } from './support.ts'
import { CLOSED_FD, SURFACE } from './surface.ts'
import type { Kind, Name, Parameter } from './surface.ts'

const native = loadNative()
const bench = new Bench(native, { slots: 4, stride: 512, maxOut: 4 })
afterAll(() => native.pumpDestroy(bench.pump))

function detached(): Uint8Array {
  const view = new Uint8Array(64)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

/** Values, and the kinds that take them. What is listed for no kind is wrong for each. */
const JUNK: readonly (readonly [label: string, value: unknown, ...kinds: Kind[]])[] = [
  ['undefined', undefined],
  ['null', null],
  ['true', true, 'boolean'],
  ['a string', 'x', 'text'],
  ['an empty string', ''],
  ['a string with NUL', 'a\0b'],
  ['a long string', 'x'.repeat(5000)],
  ['a fraction', 1.5],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-1', -1, 'reply'],
  ['-2', -2],
  ['2^53', 2 ** 53],
  ['-2^53', -(2 ** 53)],
  ['1e300', 1e300],
  ['a BigInt', 1n],
  ['a symbol', Symbol('x')],
  ['a function', () => 1, 'function'],
  ['an object', {}, 'record'],
  ['an object with a null prototype', Object.create(null) as unknown, 'record'],
  ['an array', [], 'numbers', 'record'],
  ['an array of text', ['x']],
  ['a boxed number', Object(4) as unknown],
  ['a date', new Date(0), 'record'],
  ['an ArrayBuffer', new ArrayBuffer(64), 'record'],
  ['a DataView', new DataView(new ArrayBuffer(64)), 'record'],
  ['a Uint16Array', new Uint16Array(64)],
  ['an Int8Array', new Int8Array(64)],
  ['a Uint8ClampedArray', new Uint8ClampedArray(64)],
  ['a Float32Array', new Float32Array(64)],
  ['a BigUint64Array', new BigUint64Array(64)],
  ['detached octets', detached()],
  ['a proxy of octets', new Proxy(new Uint8Array(64), {})],
]

const filled = (parameter: Parameter): unknown => (parameter.kind === 'pump' ? bench.pump : parameter.good)

function call(name: Name, args: readonly unknown[]): unknown {
  return (native[name] as (...args: unknown[]) => unknown)(...args)
}

const admits = (parameter: Parameter, value: unknown, kinds: readonly Kind[]): boolean =>
  kinds.includes(parameter.kind) ||
  (parameter.optional === true && value === undefined) ||
  (parameter.nullable === true && value === null) ||
  // Names of maps are looked up in the object, and its file does not exist: the file is what is complained of.
  (parameter.kind === 'record' && typeof value === 'object' && value !== null) ||
  // Its own getters throw, which comes through.
  (parameter.kind === 'options' && util.types.isProxy(value)) ||
  // A timeout is clamped, whatever its sign.
  (parameter.kind === 'integer' && parameter.good === 0 && (value === -1 || value === -2))

/** The argument lists of `name` with one value wrong, in an argument or in a field of an options object. */
function* wrongCalls(name: Name): Generator<readonly [label: string, args: unknown[]]> {
  const parameters = SURFACE[name]
  const good = parameters.map(filled)
  const replaced = function* (
    parameter: Parameter,
    path: string,
    build: (value: unknown) => unknown[],
  ): Generator<readonly [string, unknown[]]> {
    for (const [label, value, ...kinds] of JUNK) {
      const timeout = name === 'pumpStep' && path === '2'
      if (!timeout && parameter.kind === 'integer' && (value === -1 || value === -2))
        yield [`${path}: ${label}`, build(value)]
      else if (!admits(parameter, value, kinds)) yield [`${path}: ${label}`, build(value)]
    }
    for (const [field, inner] of Object.entries(parameter.fields ?? {})) {
      const whole = parameter.good as Record<string, unknown>
      yield* replaced(inner, `${path}.${field}`, (value) => build({ ...whole, [field]: value }))
    }
  }
  for (const [i, parameter] of parameters.entries()) {
    yield* replaced(parameter, String(i), (value) => good.with(i, value))
  }
  const required = parameters.filter((p) => p.optional !== true).length
  for (let length = 0; length < required; length++) yield [`only ${length} arguments`, good.slice(0, length)]
}

describe('wrong arguments', () => {
  test('every function of the addon is in the table, and nothing else', () => {
    expect(Object.keys(native).sort()).toEqual(Object.keys(SURFACE).sort())
  })

  for (const name of Object.keys(SURFACE) as Name[]) {
    if (SURFACE[name].length === 0) continue
    test(`${name} throws SEKISHO_NATIVE_ARGUMENT for each`, () => {
      const before = openDescriptors()
      let count = 0
      for (const [label, args] of wrongCalls(name)) {
        const error = thrownBy(() => call(name, args))
        expect(`${label} -> ${error.code}: ${error.message}`).toContain(' -> SEKISHO_NATIVE_ARGUMENT: ')
        count++
      }
      expect(count).toBeGreaterThan(20)
      expect(openDescriptors()).toBe(before)
    })
  }

  test('a closed descriptor is an error of the system call, with errno and its name', () => {
    for (const name of ['close', 'kick', 'localPort', 'netlinkPort', 'bpfMapInfo'] as const) {
      const error = thrownBy(() => native[name](CLOSED_FD))
      expect(error).toMatchObject({ code: 'SEKISHO_NATIVE_SYSCALL', errno: 9, errnoName: 'EBADF' })
      expect(error).toBeInstanceOf(Error)
      expect(error.message).toBe(`${error.syscall}: EBADF (Bad file descriptor)`)
    }
  })

  test('the standard streams are never closed or written to', () => {
    for (const fd of [0, 1, 2]) {
      expect(thrownBy(() => native.close(fd)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      expect(thrownBy(() => native.kick(fd)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    }
  })

  test('what a getter throws comes through, and opens nothing', () => {
    const before = openDescriptors()
    const trap = {
      get port(): number {
        throw new RangeError('mine')
      },
    }
    for (const name of ['openUdpListener', 'openTcpListener', 'openUdpUpstream', 'openTcpUpstream'] as const) {
      expect(() => call(name, [trap])).toThrow('mine')
    }
    expect(() => call('pumpCreate', [new Proxy({}, { get: () => expect.fail('mine') })])).toThrow('mine')
    expect(openDescriptors()).toBe(before)
  })

  test('a getter that detaches the address it follows is caught', () => {
    const address = new Uint8Array(4)
    const options = {
      address,
      transparent: false,
      get port() {
        structuredClone(address.buffer, { transfer: [address.buffer] })
        return 0
      },
    }
    expect(thrownBy(() => native.openUdpListener(options)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
  })
})

const failureOf = (error: unknown): string => (error as NativeError).code

describe('any arguments', () => {
  /** Mulberry32: the same calls in every run. */
  function random(seed: number): () => number {
    let state = seed
    return () => {
      state = (state + 0x6d2b79f5) | 0
      let t = Math.imul(state ^ (state >>> 15), 1 | state)
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296
    }
  }

  test('20,000 mixed calls throw one of the two codes, or a JavaScript error of the value itself', async () => {
    const next = random(20260801)
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T
    // pumpDestroy would end the pump the others are tried on; the openers would open.
    const names = (Object.keys(SURFACE) as Name[]).filter((n) => SURFACE[n].length > 0 && n !== 'pumpDestroy')
    const before = openDescriptors()
    let thrown = 0
    const promised: (readonly [name: Name, promise: Promise<unknown>])[] = []
    for (let i = 0; i < 20_000; i++) {
      const name = pick(names)
      const args = SURFACE[name].map((parameter) => (next() < 0.5 ? filled(parameter) : pick(JUNK)[1]))
      try {
        const result = call(name, args)
        if (result instanceof Promise) promised.push([name, result.then(() => undefined, failureOf)])
        if (name.startsWith('open') || name === 'bpfMapCreate' || name === 'netlinkOpen') native.close(result as number)
        if (name === 'pumpCreate') native.pumpDestroy(result as typeof bench.pump)
      } catch (error) {
        thrown++
        const { code, message } = error as NativeError
        // From the getters of the proxy.
        if (error instanceof TypeError && message.includes('incompatible receiver')) continue
        expect(`${name}: ${code}: ${message}`).toMatch(/: SEKISHO_NATIVE_(ARGUMENT|SYSCALL): /)
      }
    }
    expect(promised.length).toBeGreaterThan(100)
    for (const [name, promise] of promised)
      expect(`${name}: ${String(await promise)}`).toMatch(/: SEKISHO_NATIVE_SYSCALL$/)
    expect(thrown).toBeGreaterThan(10_000)
    expect(openDescriptors()).toBe(before)
    expect(native.liveHandles()).toBe(1)
  })
})
