import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native/load.ts'
import { thrownBy } from './support.ts'

const saved = process.env['SEKISHO_NATIVE']

describe('loadNative', () => {
  afterEach(() => {
    if (saved === undefined) delete process.env['SEKISHO_NATIVE']
    else process.env['SEKISHO_NATIVE'] = saved
  })

  test('gives the same functions each time', () => {
    expect(loadNative()).toBe(loadNative())
  })

  test('says what to do when the file is not there', () => {
    process.env['SEKISHO_NATIVE'] = '/nonexistent/sekisho.node'
    const error = thrownBy(loadNative)
    expect(error).toMatchObject({ code: 'SEKISHO_NATIVE_MISSING' })
    expect((error as unknown as { hint: string }).hint).toContain('make build')
    expect(error.message).toContain('/nonexistent/sekisho.node')
  })

  test('says so when the file is not an addon', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sekisho-native-'))
    try {
      for (const [name, text] of [
        ['garbage.node', 'not ELF'],
        ['other.json', '{}'],
      ] as const) {
        process.env['SEKISHO_NATIVE'] = join(directory, name)
        writeFileSync(join(directory, name), text)
        expect(thrownBy(loadNative)).toMatchObject({ code: 'SEKISHO_NATIVE_MISSING' })
      }
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
