import { expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'
import { files, firstCells, read } from './tree.ts'

const codes = Object.keys(ERRORS)
const page = read('docs/errors.md')

test('docs/errors.md explains every code once, and no other', () => {
  const explained = firstCells(page)
  expect(codes.filter((code) => !explained.includes(code))).toEqual([])
  expect(explained.filter((code) => !codes.includes(code))).toEqual([])
  expect(new Set(explained).size).toBe(explained.length)
})

test('every code has a cause and a remedy', () => {
  for (const code of codes) {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${code}\` |`)) ?? ''
    const cells = row.split(' | ').map((cell) => cell.replaceAll('|', '').trim())
    expect(cells).toHaveLength(3)
    for (const cell of cells) expect(cell.length, code).toBeGreaterThan(10)
  }
})

test('codes are named by the room that raises them, and each is raised somewhere', () => {
  const rooms = new Set(files(/^src\/[^/]+\//).map((path) => path.split('/')[1]))
  const text = files(/^(src|native)\/.*\.(ts|c|h)$/)
    .filter((path) => path !== 'src/core/errors.ts')
    .map(read)
    .join('\n')
  for (const code of codes) {
    expect(code).toMatch(/^SEKISHO(_[A-Z0-9]+){2,}$/)
    expect(rooms).toContain(code.split('_')[1]?.toLowerCase())
    expect(text.includes(code), `${code} is raised nowhere`).toBe(true)
  }
})
