import { readFileSync, writeFileSync } from 'node:fs'

/** Settings of the network namespace, by path below /proc/sys/net. */
export interface Sysctl {
  /** Without white space; undefined when there is no such setting. */
  read(path: string): string | undefined
  /** False when it cannot be written (a read-only /proc/sys). */
  write(path: string, value: string): boolean
}

export const procSysctl: Sysctl = {
  read(path) {
    try {
      return readFileSync(`/proc/sys/net/${path}`, 'utf8').trim()
    } catch {
      return undefined
    }
  },
  write(path, value) {
    try {
      writeFileSync(`/proc/sys/net/${path}`, value)
      return true
    } catch {
      return false
    }
  },
}
