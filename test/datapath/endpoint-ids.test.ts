import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MAX_ENDPOINT_ID, openEndpointIds } from '../../src/datapath/endpoint-ids.ts'

let directory: string
let file: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'endpoint-ids-'))
  file = join(directory, 'endpoints.json')
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

describe('endpoint ids', () => {
  it('are distinct, begin at 1 and stay over a restart', () => {
    expect([...openEndpointIds(file).assign(['a/x', 'a/y'])]).toEqual([
      ['a/x', 1],
      ['a/y', 2],
    ])
    const again = openEndpointIds(file).assign(['a/y', 'a/z', 'a/x'])
    expect([again.get('a/x'), again.get('a/y'), again.get('a/z')]).toEqual([1, 2, 3])
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('are not used again as long as others are free', () => {
    const ids = openEndpointIds(file)
    ids.assign(['a/x', 'a/y'])
    ids.assign(['a/y'])
    expect(ids.assign(['a/y', 'a/z']).get('a/z')).toBe(3)
    expect(openEndpointIds(file).assign(['a/y', 'a/z', 'a/x']).get('a/x')).toBe(4)
  })

  it('go round at the end, past those in use', () => {
    writeFileSync(file, JSON.stringify({ version: 1, next: MAX_ENDPOINT_ID, ids: { 'a/x': 1 } }))
    const ids = openEndpointIds(file).assign(['a/x', 'a/y', 'a/z'])
    expect([ids.get('a/y'), ids.get('a/z')]).toEqual([MAX_ENDPOINT_ID, 2])
  })

  it('are not those that the kernel bears and the file does not know', () => {
    expect(
      openEndpointIds(file, new Set([1, 3]))
        .assign(['a/x', 'a/y'])
        .get('a/y'),
    ).toBe(4)
    expect(
      openEndpointIds(file, new Set([2, 4]))
        .assign(['a/x', 'a/y', 'a/z'])
        .get('a/z'),
    ).toBe(5)
  })

  it('stay in memory while the file cannot be written, and are written later', () => {
    const problems: unknown[] = []
    const ids = openEndpointIds(join(directory, 'later', 'endpoints.json'), new Set(), (error) => problems.push(error))
    expect(ids.assign(['a/x']).get('a/x')).toBe(1)
    expect(ids.assign(['a/x', 'a/y']).get('a/y')).toBe(2)
    expect(problems).toHaveLength(2)
    mkdirSync(join(directory, 'later'))
    ids.assign(['a/x', 'a/y'])
    expect(
      openEndpointIds(join(directory, 'later', 'endpoints.json'))
        .assign(['a/y'])
        .get('a/y'),
    ).toBe(2)
  })

  it('run out with a typed error', () => {
    const names = Array.from({ length: MAX_ENDPOINT_ID + 1 }, (_, i) => `a/${i}`)
    expect(openEndpointIds(file).assign(names.slice(1)).size).toBe(MAX_ENDPOINT_ID)
    expect(() => openEndpointIds(file).assign(names)).toThrow(expect.objectContaining({ code: 'SEKISHO_DATAPATH_IDS' }))
  })

  it('are not made up when the file is damaged', () => {
    for (const text of [
      '',
      '{',
      'null',
      '[]',
      '{"version":2,"next":1,"ids":{}}',
      '{"version":1,"next":0,"ids":{}}',
      '{"version":1,"next":1,"ids":{"a/x":0}}',
      '{"version":1,"next":1,"ids":{"a/x":1,"a/y":1}}',
      '{"version":1,"next":1,"ids":{"a/x":"1"}}',
      '{"version":1,"next":1,"ids":null}',
    ]) {
      writeFileSync(file, text)
      expect(() => openEndpointIds(file)).toThrow(expect.objectContaining({ code: 'SEKISHO_DATAPATH_IDS' }))
      expect(readFileSync(file, 'utf8')).toBe(text)
    }
  })

  it('take names that objects have anyway for names', () => {
    expect(openEndpointIds(file).assign(['constructor', 'toString']).get('constructor')).toBe(1)
  })

  it('leave the file alone when nothing changed', () => {
    openEndpointIds(file).assign(['a/x'])
    const before = statSync(file)
    openEndpointIds(file).assign(['a/x', 'a/x'])
    expect(statSync(file).ino).toBe(before.ino)
  })
})
