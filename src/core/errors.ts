/**
 * The registry of every error an operator can meet. A code is stable for ever and never reused;
 * `docs/errors.md` lists each one, and test/repo/errors.test.ts keeps the two equal.
 */
export const ERRORS = {
  // core
  SEKISHO_CORE_ADDRESS: 'the text is not an IP address',
  SEKISHO_CORE_CIDR: 'the text is not an IP prefix',
  SEKISHO_CORE_NAME: 'the text is not a domain name',
  // native
  SEKISHO_NATIVE_ARGUMENT: 'an argument of the wrong type or range was passed to the native addon',
  SEKISHO_NATIVE_SYSCALL: 'a system call failed',
  SEKISHO_NATIVE_MISSING: 'the native addon is not built',
} as const

export type ErrorCode = keyof typeof ERRORS

/** An error with a stable `code`; callers test `code`, never the message. */
export class SekishoError extends Error {
  readonly code: ErrorCode
  /** What the operator can do about it, one sentence. */
  readonly hint: string | undefined

  constructor(code: ErrorCode, detail?: string, options?: { hint?: string; cause?: unknown }) {
    super(
      detail === undefined ? ERRORS[code] : `${ERRORS[code]}: ${detail}`,
      options?.cause === undefined ? undefined : { cause: options.cause },
    )
    this.name = 'SekishoError'
    this.code = code
    this.hint = options?.hint
  }
}

/** A value, or the reason why there is none. Readers of hostile input return this and never throw. */
export type Result<T, E> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: E }

export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value })
export const err = <E>(error: E): { readonly ok: false; readonly error: E } => ({ ok: false, error })
