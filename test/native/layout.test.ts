import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as binding from '../../src/native/binding.ts'

const header = ['pump.h', 'wgsock.h']
  .map((name) => readFileSync(new URL(`../../native/${name}`, import.meta.url), 'utf8'))
  .join('')

/** Names and numbers of the enums that are written as `NAME = 1`. */
const inC = new Map(
  [...header.matchAll(/\b((?:PUMP|OUT|RX|HEADER|PATH|PROBE)_[A-Z_]+) = (\d+)/g)].map((m) => [m[1] ?? '', Number(m[2])]),
)
const inTypeScript = new Map(
  Object.entries<unknown>(binding).flatMap(([name, value]) =>
    typeof value === 'number' ? [[name, value] as const] : [],
  ),
)

describe('record layout', () => {
  test('is the same in C and in TypeScript', () => {
    expect(inC.size).toBeGreaterThan(25)
    expect(Object.fromEntries([...inC].sort())).toEqual(Object.fromEntries([...inTypeScript].sort()))
  })
})
