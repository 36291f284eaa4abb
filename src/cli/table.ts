import { paint, type Style } from './style.ts'

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** A cell, painted after it is measured. */
export type Cell = string | { readonly text: string; readonly style: Style }

/** Aligned columns, two spaces apart, no trailing spaces; the header in upper case. Ends with a newline. */
export function table(
  io: { readonly colour: boolean },
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): string {
  const header = columns.map(({ title }): Cell => ({ text: title.toUpperCase(), style: 'dim' }))
  const all = [header, ...rows]
  const widths = columns.map((_, i) => Math.max(...all.map((row) => textOf(row[i]).length)))
  return all.map((row) => line(io, columns, widths, row) + '\n').join('')
}

const textOf = (cell: Cell | undefined): string => (typeof cell === 'object' ? cell.text : (cell ?? ''))

function line(
  io: { readonly colour: boolean },
  columns: readonly Column[],
  widths: readonly number[],
  row: readonly Cell[],
): string {
  const last = columns.length - 1
  return columns
    .map(({ align }, i) => {
      const cell = row[i]
      const text = textOf(cell)
      const fill = ' '.repeat((widths[i] ?? 0) - text.length)
      const painted = typeof cell === 'object' ? paint(io, cell.style, text) : text
      if (align === 'right') return fill + painted
      return i === last ? painted : painted + fill
    })
    .join('  ')
    .trimEnd()
}
