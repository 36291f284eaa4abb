import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native/load.ts'
import { thrownBy } from '../native/support.ts'

/** enum bpf_map_type, include/uapi/linux/bpf.h. */
const TYPE = {
  HASH: 1,
  ARRAY: 2,
  PERCPU_HASH: 5,
  LRU_HASH: 9,
  LPM_TRIE: 11,
  ARRAY_OF_MAPS: 12,
  HASH_OF_MAPS: 13,
  DEVMAP_HASH: 25,
  QUEUE: 22,
} as const
const NO_PREALLOC = 1

const native = loadNative()
const opened: number[] = []
const own = (fd: number): number => {
  opened.push(fd)
  return fd
}
afterEach(() => {
  for (const fd of opened.splice(0)) native.close(fd)
})

interface Shape {
  readonly type: number
  readonly keySize?: number
  readonly valueSize?: number
  readonly maxEntries?: number
  readonly flags?: number
  readonly inner?: number
}
const create = (shape: Shape): number =>
  own(native.bpfMapCreate({ keySize: 4, valueSize: 8, maxEntries: 1000, flags: 0, name: 'sekisho_test', ...shape }))

const u32 = (...values: number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer)
const keysOf = (count: number): Uint8Array => u32(...Array.from({ length: count }, (_, i) => i))
const valuesOf = (count: number): Uint8Array =>
  new Uint8Array(new BigUint64Array(Array.from({ length: count }, (_, i) => BigInt(i) * 3n)).buffer)

/** Everything in a map by batches of `max`, as [key, first octet of value ...]. */
function dump(fd: number, max: number, keySize = 4, valueSize = 8): Map<string, string> {
  const cursor = new Uint8Array(64)
  const keys = new Uint8Array(max * keySize)
  const values = new Uint8Array(max * valueSize)
  const all = new Map<string, string>()
  for (;;) {
    const result = native.bpfMapLookupBatch(fd, cursor, keys, values, max)
    const count = result < 0 ? -1 - result : result
    for (let i = 0; i < count; i++) {
      const key = Buffer.from(keys.subarray(i * keySize, (i + 1) * keySize)).toString('hex')
      expect(all.has(key)).toBe(false)
      all.set(key, Buffer.from(values.subarray(i * valueSize, (i + 1) * valueSize)).toString('hex'))
    }
    if (result < 0) return all
  }
}

describe('one entry', () => {
  test.each([
    ['hash', { type: TYPE.HASH }],
    ['LRU hash', { type: TYPE.LRU_HASH }],
    ['hash without preallocation', { type: TYPE.HASH, flags: NO_PREALLOC }],
  ])('%s: update, lookup, delete, and the flags of update', (_, shape) => {
    const map = create(shape)
    const value = new Uint8Array(8)
    expect(native.bpfMapLookup(map, u32(1), value)).toBe(false)
    native.bpfMapUpdate(map, u32(1), u32(7, 8))
    expect(native.bpfMapLookup(map, u32(1), value)).toBe(true)
    expect(value).toEqual(u32(7, 8))
    expect(thrownBy(() => native.bpfMapUpdate(map, u32(1), u32(0, 0), 1))).toMatchObject({
      code: 'SEKISHO_NATIVE_SYSCALL',
      syscall: 'bpf(MAP_UPDATE_ELEM)',
      errno: 17,
      errnoName: 'EEXIST',
      message: 'bpf(MAP_UPDATE_ELEM): EEXIST (File exists)',
    })
    expect(thrownBy(() => native.bpfMapUpdate(map, u32(2), u32(0, 0), 2)).errnoName).toBe('ENOENT')
    expect(native.bpfMapDelete(map, u32(1))).toBe(true)
    expect(native.bpfMapDelete(map, u32(1))).toBe(false)
  })

  test('array: always there, never deleted', () => {
    const map = create({ type: TYPE.ARRAY, maxEntries: 2 })
    const value = new Uint8Array(8).fill(9)
    expect(native.bpfMapLookup(map, u32(1), value)).toBe(true)
    expect(value).toEqual(new Uint8Array(8))
    expect(native.bpfMapLookup(map, u32(2), value)).toBe(false)
    expect(thrownBy(() => native.bpfMapUpdate(map, u32(2), value)).errnoName).toBe('E2BIG')
    expect(thrownBy(() => native.bpfMapDelete(map, u32(1))).errnoName).toBe('EINVAL')
  })

  test('LPM trie: the longest prefix that covers the address', () => {
    const map = create({ type: TYPE.LPM_TRIE, keySize: 8, valueSize: 4, flags: NO_PREALLOC })
    const key = (bits: number, ...octets: number[]): Uint8Array => new Uint8Array([...u32(bits), ...octets])
    native.bpfMapUpdate(map, key(8, 10, 0, 0, 0), u32(1))
    native.bpfMapUpdate(map, key(24, 10, 1, 2, 0), u32(2))
    const value = new Uint8Array(4)
    expect(native.bpfMapLookup(map, key(32, 10, 1, 2, 3), value)).toBe(true)
    expect(value).toEqual(u32(2))
    expect(native.bpfMapLookup(map, key(32, 10, 9, 9, 9), value)).toBe(true)
    expect(value).toEqual(u32(1))
    expect(native.bpfMapLookup(map, key(32, 11, 0, 0, 0), value)).toBe(false)
    expect(thrownBy(() => native.bpfMapUpdate(map, key(33, 0, 0, 0, 0), value)).errnoName).toBe('EINVAL')
  })

  test('per-CPU hash: a value for each possible CPU', () => {
    const map = create({ type: TYPE.PERCPU_HASH, valueSize: 12 })
    const { valueSize, valueOctets } = native.bpfMapInfo(map)
    expect(valueSize).toBe(12)
    expect(valueOctets % 16).toBe(0)
    expect(valueOctets).toBeGreaterThanOrEqual(16 * availableParallelism())
    const value = Uint8Array.from({ length: valueOctets }, (_, i) => (i % 16 < 12 ? i + 1 : 0))
    native.bpfMapUpdate(map, u32(5), value)
    const read = new Uint8Array(valueOctets)
    expect(native.bpfMapLookup(map, u32(5), read)).toBe(true)
    expect(read).toEqual(value)
    expect(thrownBy(() => native.bpfMapLookup(map, u32(5), new Uint8Array(12))).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(dump(map, 8, 4, valueOctets).size).toBe(1)
  })

  test('map of maps: a descriptor goes in, the id of that map comes out', () => {
    const inner = create({ type: TYPE.HASH })
    const second = create({ type: TYPE.HASH })
    const outer = create({ type: TYPE.HASH_OF_MAPS, valueSize: 4, inner })
    native.bpfMapUpdate(outer, u32(1), u32(inner))
    native.bpfMapUpdate(outer, u32(1), u32(second))
    native.bpfMapUpdate(outer, u32(2), u32(inner))
    const id = new Uint8Array(4)
    expect(native.bpfMapLookup(outer, u32(1), id)).toBe(true)
    expect(id).toEqual(u32(native.bpfMapInfo(second).id))
    expect(dump(outer, 10, 4, 4)).toEqual(
      new Map(
        [
          [u32(1), second],
          [u32(2), inner],
        ].map(([key, fd]) => [
          Buffer.from(key as Uint8Array).toString('hex'),
          Buffer.from(u32(native.bpfMapInfo(fd as number).id)).toString('hex'),
        ]),
      ),
    )
    expect(native.bpfMapDeleteBatch(outer, u32(1, 2), 2)).toBe(2)
    expect(native.bpfMapUpdateBatch(outer, u32(3, 4), u32(inner, second), 2)).toBe(2)
    expect(thrownBy(() => native.bpfMapUpdate(outer, u32(1), u32(outer))).code).toBe('SEKISHO_NATIVE_SYSCALL')
  })

  test('next key walks the map and ends', () => {
    const map = create({ type: TYPE.HASH })
    for (const i of [3, 1, 2]) native.bpfMapUpdate(map, u32(i), u32(0, 0))
    const seen: number[] = []
    let key: Uint8Array | null = null
    const next = new Uint8Array(4)
    while (native.bpfMapNextKey(map, key, next)) {
      key = next.slice()
      seen.push(next[0] ?? -1)
    }
    expect(seen.sort()).toEqual([1, 2, 3])
  })

  test('info says what the map is; a descriptor of something else is refused', () => {
    const map = create({ type: TYPE.LPM_TRIE, keySize: 24, valueSize: 24, maxEntries: 512_000, flags: NO_PREALLOC })
    const info = native.bpfMapInfo(map)
    expect(info).toEqual({
      type: TYPE.LPM_TRIE,
      id: info.id,
      keySize: 24,
      valueSize: 24,
      valueOctets: 24,
      maxEntries: 512_000,
      flags: NO_PREALLOC,
      name: 'sekisho_test',
    })
    expect(info.id).toBeGreaterThan(0)
    const event = own(native.openEvent())
    expect(thrownBy(() => native.bpfMapInfo(event)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.bpfMapUpdate(event, u32(1), u32(1))).code).toBe('SEKISHO_NATIVE_SYSCALL')
  })

  test('keys and values of a wrong size are refused', () => {
    const map = create({ type: TYPE.HASH })
    const [key, value] = [u32(1), u32(1, 2)]
    for (const call of [
      () => native.bpfMapUpdate(map, new Uint8Array(3), value),
      () => native.bpfMapUpdate(map, new Uint8Array(5), value),
      () => native.bpfMapUpdate(map, key, new Uint8Array(7)),
      () => native.bpfMapUpdate(map, key, new Uint8Array(9)),
      () => native.bpfMapUpdate(map, key, new Uint8Array(0)),
      () => native.bpfMapLookup(map, key, new Uint8Array(7)),
      () => native.bpfMapLookup(map, value, value),
      () => native.bpfMapDelete(map, value),
      () => native.bpfMapNextKey(map, value, key),
      () => native.bpfMapNextKey(map, null, value),
      () => native.bpfMapUpdateBatch(map, u32(1), valuesOf(2), 2),
      () => native.bpfMapUpdateBatch(map, u32(1, 2), valuesOf(1), 2),
      () => native.bpfMapDeleteBatch(map, u32(1), 2),
      () => native.bpfMapLookupBatch(map, new Uint8Array(63), keysOf(2), valuesOf(2), 2),
      () => native.bpfMapLookupBatch(map, new Uint8Array(64), keysOf(1), valuesOf(2), 2),
      () => native.bpfMapLookupBatch(map, new Uint8Array(64).fill(255), keysOf(2), valuesOf(2), 2),
      () => native.bpfMapLookupBatch(map, new Uint8Array(64), keysOf(2), valuesOf(2), 0),
    ]) {
      expect(thrownBy(call).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    }
    const wide = create({ type: TYPE.HASH, keySize: 64 })
    expect(
      thrownBy(() => native.bpfMapLookupBatch(wide, new Uint8Array(64), new Uint8Array(64), valuesOf(1), 1)).code,
    ).toBe('SEKISHO_NATIVE_ARGUMENT')
  })

  test('options of a map are checked before the kernel sees them', () => {
    const good = { type: 1, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, name: 'x' }
    for (const wrong of [{ name: 'sixteen_letters_' }, { name: 'a b' }, { name: '' }, { type: 0 }, { keySize: -1 }]) {
      expect(thrownBy(() => native.bpfMapCreate({ ...good, ...wrong })).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    }
    expect(thrownBy(() => native.bpfMapCreate({ ...good, type: 255 })).errnoName).toBe('EINVAL')
  })
})

describe('batches', () => {
  test.each([
    ['hash', { type: TYPE.HASH }, 700],
    ['LRU hash', { type: TYPE.LRU_HASH, maxEntries: 100_000 }, 700],
    ['array', { type: TYPE.ARRAY, maxEntries: 700 }, 700],
  ])('%s: what is written is read, whatever the size of the batch', (_, shape, count) => {
    const map = create(shape)
    expect(native.bpfMapUpdateBatch(map, keysOf(count), valuesOf(count), count)).toBe(count)
    const expected = new Map(
      Array.from({ length: count }, (_, i) => [
        Buffer.from(u32(i)).toString('hex'),
        Buffer.from(u32(i * 3, 0)).toString('hex'),
      ]),
    )
    for (const max of [64, 700, 701, 5000]) expect(dump(map, max)).toEqual(expected)
    const none = create(shape)
    if (shape.type !== TYPE.ARRAY) expect(dump(none, 64).size).toBe(0)
  })

  test('LPM trie: written, read and deleted', () => {
    const map = create({ type: TYPE.LPM_TRIE, keySize: 8, valueSize: 8, flags: NO_PREALLOC })
    const count = 300
    const keys = new Uint8Array(count * 8)
    for (let i = 0; i < count; i++) keys.set([32, 0, 0, 0, 10, 0, i >> 8, i & 255], i * 8)
    expect(native.bpfMapUpdateBatch(map, keys, valuesOf(count), count)).toBe(count)
    for (const max of [1, 7, 300, 1000]) expect(dump(map, max, 8).size).toBe(count)
    expect(native.bpfMapDeleteBatch(map, keys.subarray(0, 8 * 100), 100)).toBe(100)
    expect(dump(map, 1000, 8).size).toBe(200)
  })

  test('a type without batches is read and written by a loop, with the same results', () => {
    // DEVMAP_HASH of loopback: ifindex 1 is there in every namespace.
    const map = create({ type: TYPE.DEVMAP_HASH, valueSize: 4 })
    const count = 100
    const values = u32(...Array.from({ length: count }, () => 1))
    expect(native.bpfMapUpdateBatch(map, keysOf(count), values, count)).toBe(count)
    for (const max of [1, 3, 100, 200]) expect(dump(map, max, 4, 4).size).toBe(count)
    expect(native.bpfMapDeleteBatch(map, u32(1000, 1, 2, 3), 4)).toBe(3)
    expect(dump(map, 64, 4, 4).size).toBe(97)
  })

  test('missing keys are passed over, the others deleted', () => {
    const map = create({ type: TYPE.HASH })
    native.bpfMapUpdateBatch(map, keysOf(10), valuesOf(10), 10)
    expect(native.bpfMapDeleteBatch(map, u32(100, 0, 101, 102, 5, 9, 103), 7)).toBe(3)
    expect([...dump(map, 64).keys()].map((k) => parseInt(k.slice(0, 2), 16)).sort()).toEqual([1, 2, 3, 4, 6, 7, 8])
    expect(native.bpfMapDeleteBatch(map, u32(200, 201), 2)).toBe(0)
    expect(native.bpfMapDeleteBatch(map, new Uint8Array(0), 0)).toBe(0)
  })

  test('a full map is an error that says how many were written', () => {
    const map = create({ type: TYPE.HASH, maxEntries: 5 })
    const error = thrownBy(() => native.bpfMapUpdateBatch(map, keysOf(8), valuesOf(8), 8))
    expect(error).toMatchObject({ code: 'SEKISHO_NATIVE_SYSCALL', errnoName: 'E2BIG', written: 5 })
    expect(dump(map, 64).size).toBe(5)
  })

  test('memory shared between threads serves as well', () => {
    const map = create({ type: TYPE.HASH })
    const keys = new Uint8Array(new SharedArrayBuffer(4))
    keys.set(u32(9))
    expect(native.bpfMapUpdateBatch(map, keys, u32(1, 2), 1)).toBe(1)
    const value = new Uint8Array(new SharedArrayBuffer(8))
    expect(native.bpfMapLookup(map, keys, value)).toBe(true)
    expect([...value]).toEqual([...u32(1, 2)])
  })
})

describe('pins', () => {
  test('a path outside bpffs, and one that is not there, are errors of the system call', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sekisho-native-'))
    try {
      const map = create({ type: TYPE.HASH })
      writeFileSync(join(directory, 'file'), '')
      expect(thrownBy(() => native.bpfObjPin(map, join(directory, 'pin'))).errnoName).toBe('EPERM')
      expect(thrownBy(() => native.bpfObjGet(join(directory, 'file'))).code).toBe('SEKISHO_NATIVE_SYSCALL')
      expect(thrownBy(() => native.bpfObjGet(join(directory, 'none')))).toMatchObject({
        errnoName: 'ENOENT',
        syscall: 'bpf(OBJ_GET)',
      })
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
