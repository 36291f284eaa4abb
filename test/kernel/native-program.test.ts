import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { LoadedObject, Ring } from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { openDescriptors, thrownBy } from '../native/support.ts'
import { compileProgram } from './fixtures/compile.ts'

const native = loadNative()
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))
let directory: string
let object: string

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sekisho-native-'))
  object = compileProgram('native-probe', directory)
})
afterAll(() => rmSync(directory, { recursive: true }))

const held: LoadedObject[] = []
function load(reuse: Record<string, number> = {}): {
  program: (name: string) => number
  map: (name: string) => number
} {
  const loaded = native.bpfObjectLoad(object, reuse)
  held.push(loaded)
  return { program: (name) => loaded.programs[name] ?? -1, map: (name) => loaded.maps[name] ?? -1 }
}
afterEach(() => {
  for (const { programs, maps } of held.splice(0)) {
    for (const fd of [...Object.values(programs), ...Object.values(maps)]) native.close(fd)
  }
})

const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer)

describe('objects', () => {
  test('give a descriptor for each program and map, which outlive the loading', () => {
    const { map } = load()
    expect(Object.keys(held[0]?.programs ?? {}).sort()).toEqual(['emit', 'first', 'second'])
    expect(Object.keys(held[0]?.maps ?? {}).sort()).toEqual(['counts', 'events'])
    expect(native.bpfMapInfo(map('counts'))).toMatchObject({
      type: 2,
      keySize: 4,
      valueSize: 8,
      maxEntries: 4,
      name: 'counts',
    })
    expect(native.bpfMapInfo(map('events'))).toMatchObject({ type: 27, maxEntries: 4096 })
  })

  test('take a map that is there already, of the size its maker chose', () => {
    const mine = native.bpfMapCreate({ type: 2, keySize: 4, valueSize: 8, maxEntries: 9, flags: 0, name: 'mine' })
    const { program, map } = load({ counts: mine })
    expect(native.bpfMapInfo(map('counts'))).toEqual(native.bpfMapInfo(mine))
    native.bpfProgTestRun(program('first'), new Uint8Array(64), undefined, 1)
    const value = new Uint8Array(8)
    native.bpfMapLookup(mine, u32(0), value)
    expect(value[0]).toBe(1)
    native.close(mine)
  })

  test('go by the names in the object, not by those of the maps they are given', () => {
    const counts = native.bpfMapCreate({ type: 2, keySize: 4, valueSize: 8, maxEntries: 4, flags: 0, name: 'events' })
    const events = native.bpfMapCreate({
      type: 27,
      keySize: 0,
      valueSize: 0,
      maxEntries: 8192,
      flags: 0,
      name: 'counts',
    })
    const { map } = load({ counts, events })
    expect(native.bpfMapInfo(map('counts'))).toMatchObject({ type: 2, name: 'events' })
    expect(native.bpfMapInfo(map('events'))).toMatchObject({ type: 27, name: 'counts' })
    native.close(counts)
    native.close(events)
  })

  test('refuse a map that is not of their kind, or that they do not have', () => {
    const before = openDescriptors()
    const other = native.bpfMapCreate({ type: 1, keySize: 4, valueSize: 8, maxEntries: 9, flags: 0, name: 'other' })
    const misfit = thrownBy(() => native.bpfObjectLoad(object, { counts: other }))
    expect(misfit.code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(misfit.message).toContain('map counts has type 1')
    expect(thrownBy(() => native.bpfObjectLoad(object, { no_such: other })).message).toContain('no map no_such')
    expect(thrownBy(() => native.bpfObjectLoad(object, { counts: -1 })).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.bpfObjectLoad(object, { counts: 999_999 })).errnoName).toBe('EBADF')
    native.close(other)
    expect(openDescriptors()).toBe(before)
  })

  test('say in the error what the verifier said', () => {
    const refused = compileProgram('native-refused', directory)
    const before = openDescriptors()
    const error = thrownBy(() => native.bpfObjectLoad(refused, {}))
    expect(error).toMatchObject({ code: 'SEKISHO_NATIVE_SYSCALL', syscall: 'bpf_object__load', errnoName: 'EACCES' })
    expect(error.message).toContain('invalid access to packet')
    expect(openDescriptors()).toBe(before)
  })

  test('that are no objects are errors with a reason', () => {
    expect(thrownBy(() => native.bpfObjectLoad(fixture('native-probe.bpf.c'), {})).message).toContain(
      'native-probe.bpf.c',
    )
    expect(thrownBy(() => native.bpfObjectLoad('/nonexistent', {})).errnoName).toBe('ENOENT')
  })
})

describe('test runs', () => {
  test('give the verdict, the frame and the context back', () => {
    const { program, map } = load()
    const frame = Uint8Array.from({ length: 64 }, (_, i) => i)
    // struct __sk_buff; octets 8..11 are the mark.
    const context = new Uint8Array(192)
    context.set(u32(41), 8)
    const result = native.bpfProgTestRun(program('first'), frame, context, 3)
    expect(result.returnValue).toBe(0)
    expect(result.data).toEqual(frame)
    expect(result.context.length).toBe(192)
    expect(new Uint32Array(result.context.slice().buffer)[2]).toBe(44)
    expect(result.nanoseconds).toBeGreaterThan(0)
    const value = new Uint8Array(8)
    native.bpfMapLookup(map('counts'), u32(0), value)
    expect(value[0]).toBe(3)
    expect(native.bpfProgTestRun(program('second'), frame, undefined, 1).context.length).toBe(0)
  })

  test('of a frame too short, or of a map, are errors of the system call', () => {
    const { program, map } = load()
    expect(thrownBy(() => native.bpfProgTestRun(program('first'), new Uint8Array(5), undefined, 1)).errnoName).toBe(
      'EINVAL',
    )
    expect(thrownBy(() => native.bpfProgTestRun(map('counts'), new Uint8Array(64), undefined, 1)).errnoName).toBe(
      'EINVAL',
    )
    expect(
      thrownBy(() => native.bpfProgTestRun(program('first'), new Uint8Array((1 << 20) + 1), undefined, 1)).code,
    ).toBe('SEKISHO_NATIVE_ARGUMENT')
  })
})

describe('ring buffer', () => {
  const rings: Ring[] = []
  const open = (map: number): Ring => {
    const ring = native.bpfRingOpen(map)
    rings.push(ring)
    return ring
  }
  afterEach(() => {
    for (const ring of rings.splice(0)) native.bpfRingClose(ring)
    expect(native.liveHandles()).toBe(0)
  })

  /** A record of these octets; its first octet is its length. */
  const record = (length: number, seed: number): Uint8Array =>
    Uint8Array.from({ length }, (_, i) => (i === 0 ? length : (seed + i) & 255))
  const emit = (program: number, octets: Uint8Array): number => {
    const frame = new Uint8Array(14 + 64)
    frame.set(octets, 14)
    return native.bpfProgTestRun(program, frame, undefined, 1).returnValue
  }
  const split = (out: Uint8Array, length: number): Uint8Array[] => {
    const view = new DataView(out.buffer, out.byteOffset, length)
    const all: Uint8Array[] = []
    for (let at = 0; at < length;) {
      const size = view.getUint32(at, true)
      all.push(out.slice(at + 4, at + 4 + size))
      at = (at + 4 + size + 7) & ~7
    }
    return all
  }

  test('gives whole records, in order, and leaves out what was discarded', () => {
    const { program, map } = load()
    const ring = open(map('events'))
    const out = new Uint8Array(4096)
    expect(native.bpfRingRead(ring, out)).toBe(0)
    const records = [1, 4, 5, 8, 12, 13, 64].map(record)
    for (const octets of records) {
      emit(program('emit'), octets)
      emit(program('emit'), new Uint8Array(1))
    }
    const length = native.bpfRingRead(ring, out)
    expect(length % 8).toBe(0)
    expect(split(out, length)).toEqual(records)
    expect(native.bpfRingRead(ring, out)).toBe(0)
  })

  test('stops at the record that does not fit and goes on there', () => {
    const { program, map } = load()
    const ring = open(map('events'))
    const records = Array.from({ length: 10 }, (_, i) => record(20, i))
    for (const octets of records) emit(program('emit'), octets)
    // A record of 20 takes 24 octets here: three fit.
    const out = new Uint8Array(80)
    const read: Uint8Array[] = []
    for (let length = 1; length > 0;) {
      length = native.bpfRingRead(ring, out)
      expect(length).toBeLessThanOrEqual(72)
      read.push(...split(out, length))
    }
    expect(read).toEqual(records)
    emit(program('emit'), record(64, 1))
    expect(thrownBy(() => native.bpfRingRead(ring, new Uint8Array(64)))).toMatchObject({
      code: 'SEKISHO_NATIVE_ARGUMENT',
    })
    expect(native.bpfRingRead(ring, new Uint8Array(72))).toBe(72)
  })

  test('goes round many times, full and empty, and loses nothing that the kernel took', () => {
    const { program, map } = load()
    const ring = open(map('events'))
    const out = new Uint8Array(8192)
    let taken = 0
    let read = 0
    for (let i = 0; i < 3000; i++) {
      if (emit(program('emit'), record(1 + (i % 64), i)) === 0) taken++
      if (i % 97 === 0) {
        const records = split(out, native.bpfRingRead(ring, out))
        for (const octets of records) expect(octets.length).toBe(octets[0])
        read += records.length
      }
    }
    read += split(out, native.bpfRingRead(ring, out)).length
    expect(read).toBe(taken)
    expect(taken).toBeGreaterThan(1000)
    expect(taken).toBeLessThan(3000)
  })

  test('is only made of a ring buffer, and only read while open', () => {
    const { map } = load()
    expect(thrownBy(() => native.bpfRingOpen(map('counts'))).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    const ring = native.bpfRingOpen(map('events'))
    native.bpfRingClose(ring)
    expect(thrownBy(() => native.bpfRingRead(ring, new Uint8Array(64))).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.bpfRingClose(ring)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
  })
})

describe('attaching, in a namespace of its own', () => {
  test('tcx links and clsact filters run, are replaced without a gap, pinned, and end', () => {
    const bpffs = join(directory, 'bpffs')
    mkdirSync(bpffs)
    const script = ['--net', '--mount', process.execPath, fixture('native-attach.ts'), object, bpffs]
    const sees = JSON.parse(execFileSync('unshare', script, { encoding: 'utf8' })) as unknown
    expect(sees).toEqual({
      none: [0, 0],
      tcx: [3, 0],
      'tcx updated': [0, 3],
      'tcx pinned, closed': [0, 3],
      'tcx adopted, updated': [3, 0],
      'tcx unpinned': [0, 0],
      'tcx closed': [0, 0],
      'tcx no interface': 'ENODEV',
      'tcx no program': 'EINVAL',
      'clsact without': 0,
      'clsact ids': true,
      'clsact other': [0, 0],
      'clsact asked of no interface': 'ENODEV',
      'clsact ingress': [3, 0],
      'clsact replaced': [0, 3],
      'clsact both': [3, 3],
      'clsact detached': [0, 0],
      'clsact twice': 'ENOENT',
      'clsact no interface': 'ENODEV',
      'pinned map': true,
      'read-only write': 'EPERM',
      'pinned twice': 'EEXIST',
    })
  })
})
