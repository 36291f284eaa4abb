import { spawnSync } from 'node:child_process'
import { mkdirSync, statfsSync } from 'node:fs'
import { SekishoError } from '../core/errors.ts'

/** BPF_FS_MAGIC of <linux/magic.h>. */
const BPF_FS_MAGIC = 0xcafe4a11

export function isBpffs(path: string): boolean {
  try {
    // Signed on some architectures.
    return statfsSync(path).type >>> 0 === BPF_FS_MAGIC
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

/** Mounts bpffs at `path` when it is not there. Returns whether it had to. */
export function ensureBpffs(path: string): boolean {
  if (isBpffs(path)) return false
  mkdirSync(path, { recursive: true })
  const mount = spawnSync('mount', ['-t', 'bpf', 'bpf', path], { encoding: 'utf8', timeout: 10_000 })
  if (mount.status === 0 && isBpffs(path)) return true
  const why = mount.error?.message ?? mount.stderr.trim()
  throw new SekishoError('SEKISHO_DATAPATH_BPFFS', `${path}: ${why}`, {
    hint: `Mount it before the agent starts: mount -t bpf bpf ${path}`,
  })
}

export function unmountBpffs(path: string): void {
  spawnSync('umount', [path], { timeout: 10_000 })
}
