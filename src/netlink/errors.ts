import { constants } from 'node:os'
import { SekishoError } from '../core/errors.ts'

const names = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]))

/** The kernel refused a request. `errno` is positive; callers test `errnoName`. */
export class NetlinkError extends SekishoError {
  readonly errno: number
  readonly errnoName: string

  constructor(request: string, errno: number, text: string | undefined) {
    const errnoName = names.get(errno) ?? `errno ${errno}`
    super('SEKISHO_NETLINK_REFUSED', `${request}: ${text === undefined ? errnoName : `${errnoName} (${text})`}`)
    this.name = 'NetlinkError'
    this.errno = errno
    this.errnoName = errnoName
  }
}

/** True for a NetlinkError with one of these names. */
export const isRefusal = (error: unknown, ...errnoNames: readonly string[]): boolean =>
  error instanceof NetlinkError && errnoNames.includes(error.errnoName)
