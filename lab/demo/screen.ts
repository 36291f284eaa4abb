import { styleText } from 'node:util'

/** One line of the demo, as `DEMO_JSON` has it. */
export interface Line {
  readonly step: string
  readonly ok: boolean
  /** Milliseconds. */
  readonly ms: number
  readonly detail: string
}

const STEP_WIDTH = 62
const MS_WIDTH = 9

/** Lines as they come, then a table. Colour and the moving line only on a terminal; a pipe gets plain lines. */
export class Screen {
  readonly #out: NodeJS.WriteStream
  readonly #live: boolean

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out
    this.#live = out.isTTY && process.env['NO_COLOR'] === undefined && process.env['TERM'] !== 'dumb'
  }

  #paint(format: Parameters<typeof styleText>[0], text: string): string {
    return this.#live ? styleText(format, text, { validateStream: false }) : text
  }

  heading(text: string): void {
    this.#out.write(`\n${this.#paint('bold', text)}\n`)
  }

  note(text: string): void {
    this.#out.write(`${text}\n`)
  }

  begin(step: string): void {
    if (this.#live) this.#out.write(`  ${this.#paint('dim', '..')}    ${this.#paint('dim', step)}`)
  }

  end(line: Line): void {
    if (this.#live) this.#out.write('\r\u001b[2K')
    this.#out.write(`  ${this.#mark(line)}  ${line.step.padEnd(STEP_WIDTH)}${this.#ms(line)}  ${this.#fit(line)}\n`)
  }

  /** What was shown, once more, without what moved. */
  table(lines: readonly Line[]): void {
    const rule = '-'.repeat(STEP_WIDTH + MS_WIDTH + 8)
    this.#out.write(
      `\n${this.#paint('bold', `  ${'mark'.padEnd(6)}${'step'.padEnd(STEP_WIDTH)}${'ms'.padStart(MS_WIDTH)}`)}\n  ${rule}\n`,
    )
    for (const line of lines)
      this.#out.write(`  ${this.#mark(line)}  ${line.step.padEnd(STEP_WIDTH)}${this.#ms(line)}\n`)
    const held = lines.filter((line) => line.ok).length
    const verdict = `${held} of ${lines.length} lines held`
    this.#out.write(
      `  ${rule}\n  ${this.#paint(held === lines.length ? ['bold', 'green'] : ['bold', 'red'], verdict)}\n`,
    )
  }

  #mark(line: Line): string {
    return line.ok ? this.#paint('green', 'ok  ') : this.#paint(['bold', 'red'], 'FAIL')
  }

  #ms(line: Line): string {
    return this.#paint('cyan', (line.ms < 10 ? line.ms.toFixed(1) : line.ms.toFixed(0)).padStart(MS_WIDTH))
  }

  /** A detail stays on its line; a failure is told whole. */
  #fit({ detail, ok }: Line): string {
    const room = this.#live ? this.#out.columns - STEP_WIDTH - MS_WIDTH - 12 : Infinity
    const text = detail.trim().replaceAll('\n', ' | ')
    return this.#paint('dim', ok && text.length > room && room > 20 ? `${text.slice(0, room - 3)}...` : text)
  }
}
