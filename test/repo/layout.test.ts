import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import { files, firstCells, read } from './tree.ts'

const tree = files()
const folders = [...new Set(tree.flatMap(ancestors))].filter((path) => path !== '.' && !path.startsWith('.git')).sort()

/** A folder of tests that mirrors one of src needs no line of its own. */
const mirrors = (path: string): boolean => path.startsWith('test/') && folders.includes(path.replace(/^test\//, 'src/'))

test('the map of the README has a line for every folder, and no line for a folder that is not there', () => {
  const map = firstCells(read('README.md').split('## The house')[1] ?? '')
  const wanted = folders.filter((path) => !mirrors(path))
  expect(wanted.filter((path) => !map.includes(path))).toEqual([])
  expect(map.filter((path) => !folders.includes(path))).toEqual([])
  expect(new Set(map).size).toBe(map.length)
})

test('source files are kebab-case', () => {
  const names = tree.filter((path) => /^(src|test|lab|bench|tools)\/.*\.ts$/.test(path))
  expect(names.length).toBeGreaterThan(100)
  expect(names.filter((path) => !/\/[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(path))).toEqual([])
})

test('no file is over 600 lines, and the median of src is at most 150', () => {
  const sources = tree.filter((path) => /^(src|native|test|lab|bench|tools)\/.*\.(ts|c|h|sh)$/.test(path))
  const lines = (path: string): number => read(path).split('\n').length - 1
  expect(sources.filter((path) => lines(path) > 600)).toEqual([])
  const sizes = sources
    .filter((path) => path.startsWith('src/'))
    .map(lines)
    .sort((a, b) => a - b)
  expect(sizes[Math.floor(sizes.length / 2)]).toBeLessThanOrEqual(150)
})

test('every test file belongs to a project of vitest', () => {
  const config = read('vitest.config.ts')
  const rooms = /test\/\{([^}]+)\}/.exec(config)?.[1]?.split(',') ?? []
  const stray = tree.filter((path) => {
    const room = /^test\/([^/]+)\/.*\.test\.ts$/.exec(path)?.[1]
    return room !== undefined && !rooms.includes(room) && !config.includes(`'test/${room}/**/*.test.ts'`)
  })
  expect(stray).toEqual([])
  expect(tree.filter((path) => /^(src|lab|bench|tools)\/.*\.test\.ts$|^test\/[^/]*\.test\.ts$/.test(path))).toEqual([])
})

function ancestors(path: string): string[] {
  const parent = dirname(path)
  return parent === '.' ? ['.'] : [parent, ...ancestors(parent)]
}
