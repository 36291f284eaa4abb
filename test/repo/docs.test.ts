import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { COMMANDS } from '../../src/cli/commands.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ROUTES } from '../../src/http/metrics.ts'
import { blocks, files, read, ROOT } from './tree.ts'

const pages = files(/\.md$/)

test.each(pages)('the links of %s lead somewhere', (page) => {
  const links = [...read(page).matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map(([, link]) => link ?? '')
  expect(links.filter((link) => !existsSync(join(ROOT, dirname(page), link)))).toEqual([])
})

test('blocks of YAML are YAML, and those tagged config are good configurations', () => {
  let configurations = 0
  for (const page of pages.filter((path) => path !== 'docs/architecture.md')) {
    for (const { tag, text } of blocks(read(page)).filter((block) => block.tag.startsWith('yaml'))) {
      for (const document of parseAllDocuments(text))
        expect('errors' in document ? document.errors : [], page).toEqual([])
      if (tag !== 'yaml config') continue
      configurations++
      expect(loadConfig(text, {}), page).toMatchObject({ ok: true })
    }
  }
  expect(configurations).toBeGreaterThan(0)
})

test('the configuration keys of docs/architecture.md are those of the schema, with the same defaults', () => {
  const section = read('docs/architecture.md').split('## Configuration keys')[1] ?? ''
  const sample = blocks(section)[0]?.text ?? ''
  // Placeholders and alternatives of the sample become values: <hostname> is the empty name, a | b is a.
  const text = sample
    .replaceAll('<hostname>', '""')
    .replaceAll('[FILE-or-DIR]', '[/p]')
    .replaceAll('FILE', '/e')
    .replaceAll(/(\w+)( \| \w+)+/g, '$1')
  const written = loadConfig(text, {})
  const least = loadConfig('datapath: { endpoints: /e }\npolicy: { paths: [/p] }', {})
  expect(written).toEqual(least)
})

test('the commands that pages show exist', () => {
  const shown = pages.flatMap((page) =>
    blocks(read(page))
      .filter(({ tag }) => tag === 'sh')
      .flatMap(({ text }) =>
        [...text.matchAll(/^(?:bin\/)?sekisho ([a-z]+(?: [a-z]+)?)/gm)].map(([, words]) => words ?? ''),
      ),
  )
  expect(shown.length).toBeGreaterThan(4)
  expect(
    shown.filter(
      (words) =>
        !COMMANDS.some(({ name }) => words === name || words.startsWith(`${name} `) || words.split(' ')[0] === name),
    ),
  ).toEqual([])
})

test('the paths that pages ask of the API exist', () => {
  const asked = pages.flatMap((page) =>
    [...read(page).matchAll(/(?:GET |:9876)(\/[a-z0-9/]+)/g)].map(([, path]) => path),
  )
  expect(asked.length).toBeGreaterThan(5)
  expect(asked.filter((path) => !ROUTES.some((route) => route === path))).toEqual([])
})

test('every decision is listed, numbered without a gap, and has its three parts', () => {
  const decisions = files(/^docs\/adr\/\d{4}-.*\.md$/)
  const index = read('docs/adr/README.md')
  decisions.forEach((path, i) => {
    expect(path).toContain(`/${String(i + 1).padStart(4, '0')}-`)
    expect(index).toContain(`(${path.slice('docs/adr/'.length)})`)
    expect(read(path)).toMatch(
      /^# \d+\. .+\n\nStatus: .+\n\n## Context\n[^]+\n## Decision\n[^]+\n## Consequences\n[^]+/,
    )
  })
  expect(decisions.length).toBeGreaterThan(10)
})
