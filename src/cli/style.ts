const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const
export type Style = keyof typeof CODES

/** Text in a style where the output shows colours, else as it is. */
export const paint = (io: { readonly colour: boolean }, style: Style, text: string): string =>
  io.colour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text

/** Text from outside without control characters, which a terminal would obey. */
export const printable = (text: string): string =>
  text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`)
