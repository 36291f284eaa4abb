import { expect, test } from 'vitest'
import { VERSION } from '../../src/core/version.ts'
import { files, firstCells, read } from './tree.ts'

interface Manifest {
  readonly version: string
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

const manifest = JSON.parse(read('package.json')) as Manifest
const all = { ...manifest.dependencies, ...manifest.devDependencies }
const page = read('docs/dependencies.md')

test('the program tells the version of package.json', () => {
  expect(VERSION).toBe(manifest.version)
})

test('versions are exact, in package.json and in the ledger', () => {
  for (const [name, version] of Object.entries(all)) {
    expect(version, name).toMatch(/^\d+\.\d+\.\d+$/)
    expect(page).toContain(`| \`${name}\` | ${version} |`)
  }
})

test('the ledger lists the packages of package.json, each where it belongs', () => {
  const [atRunTime = '', forDevelopment = ''] = page.split('## For development')
  expect(firstCells(atRunTime)).toEqual(Object.keys(manifest.dependencies))
  expect(firstCells(forDevelopment)).toEqual(Object.keys(manifest.devDependencies))
})

test('src imports packages that run, tests and tools may import the others', () => {
  const imported = new Set(
    files(/^src\/.*\.ts$/).flatMap((path) =>
      [...read(path).matchAll(/from '([^.'][^']*)'/g)]
        .map(([, name]) => name ?? '')
        .filter((name) => !name.startsWith('node:')),
    ),
  )
  expect([...imported].sort()).toEqual(Object.keys(manifest.dependencies).sort())
})

test('the lock file names no registry', () => {
  expect(read('package-lock.json')).not.toContain('"resolved"')
})
