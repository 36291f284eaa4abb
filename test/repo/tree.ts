import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '../..')

/** Files of the tree as git sees them: tracked, or new and not ignored; those deleted on disk left out. */
export function files(pattern = /./): readonly string[] {
  const list = (args: string[]): string[] =>
    execFileSync('git', ['-c', 'safe.directory=*', 'ls-files', '-z', ...args], { cwd: ROOT, encoding: 'utf8' }).split(
      '\0',
    )
  const gone = new Set(list(['--deleted']))
  const all = list(['--cached', '--others', '--exclude-standard'])
  return [...new Set(all)].filter((path) => path !== '' && !gone.has(path) && pattern.test(path)).sort()
}

export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** First cells of the rows of every table of a page, without the backquotes. */
export const firstCells = (page: string): readonly string[] =>
  [...page.matchAll(/^\| `([^`]+)` \|/gm)].map(([, cell]) => cell ?? '')

/** Fenced blocks of a page with the words behind the fence. */
export const blocks = (page: string): readonly { readonly tag: string; readonly text: string }[] =>
  [...page.matchAll(/^```([^\n]*)\n([^]*?)^```/gm)].map(([, tag, text]) => ({
    tag: (tag ?? '').trim(),
    text: text ?? '',
  }))
