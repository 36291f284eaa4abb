import { randomBytes } from 'node:crypto'
import { constants, type BigIntStats } from 'node:fs'
import { lstat, open, opendir, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { NAME_PATTERN } from './record.ts'

/*
 * The folder is shared: others write in it, and it may be far away. So nothing is done synchronously, no link is followed,
 * nothing that is no plain file is opened for long, and every length has a limit.
 */

/** A record is about 1 KiB. */
export const MAX_FILE_BYTES = 64 * 1024
/** Names looked at in one listing: records, and what else lies about. */
const MAX_NAMES = 100_000
/** A temporary file that is older belongs to a writer that died, ms. */
const DEBRIS_MS = 60_000

const SUFFIX = '.yaml'
const RECORD_NAME = new RegExp(NAME_PATTERN)

export const fileOf = (folder: string, node: string): string => join(folder, node + SUFFIX)

/** The node whose record the file of this name is; undefined for every other file. */
export function nodeOf(file: string): string | undefined {
  if (!file.endsWith(SUFFIX)) return undefined
  const node = file.slice(0, -SUFFIX.length)
  return RECORD_NAME.test(node) && node.length <= 253 ? node : undefined
}

/** Tells one folder from another that is mounted over it, or that it was mounted over. */
export async function folderIdentity(folder: string): Promise<string> {
  const info = await stat(folder, { bigint: true })
  return `${info.dev}:${info.ino}`
}

/** Nodes that have a file, in no order. @throws what node:fs throws; RangeError when there are too many names. */
export async function listNodes(folder: string): Promise<Set<string>> {
  const nodes = new Set<string>()
  let names = 0
  for await (const entry of await opendir(folder)) {
    if (++names > MAX_NAMES) throw new RangeError(`more than ${MAX_NAMES} names in ${folder}`)
    const node = nodeOf(entry.name)
    if (node !== undefined) nodes.add(node)
  }
  return nodes
}

/** Differs whenever the content may. Undefined when there is no such file. */
export async function stampOf(path: string): Promise<string | undefined> {
  try {
    const info = await lstat(path, { bigint: true })
    return stamp(info)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

const stamp = (info: BigIntStats): string => `${info.ino}:${info.size}:${info.mtimeNs}:${info.ctimeNs}`

/** Errors that say nothing of one file. */
const FOLDER_FAILS = new Set(['EIO', 'ESTALE', 'ETIMEDOUT', 'ENOTCONN', 'EHOSTDOWN', 'EMFILE', 'ENFILE', 'ENOMEM'])

export type FileReading =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'absent' }

/** The text of a plain file of a bearable size. @throws what node:fs throws when the folder fails, EIO and the like */
export async function readRecordFile(path: string): Promise<FileReading> {
  let file: FileHandle
  try {
    // NONBLOCK: a pipe that lies there must not hold us.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const { code = 'error' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return { kind: 'absent' }
    // One bad file must not make the whole folder look lost.
    if (FOLDER_FAILS.has(code)) throw error
    return { kind: 'refused', reason: code === 'ELOOP' ? 'is a link' : code }
  }
  try {
    const info = await file.stat()
    if (!info.isFile()) return { kind: 'refused', reason: 'is no plain file' }
    const bytes = Buffer.alloc(MAX_FILE_BYTES + 1)
    let length = 0
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, length)
      length += bytesRead
      if (length > MAX_FILE_BYTES) return { kind: 'refused', reason: `is larger than ${MAX_FILE_BYTES} octets` }
      if (bytesRead === 0) return { kind: 'text', text: bytes.toString('utf8', 0, length) }
    }
  } finally {
    await file.close()
  }
}

const temporaryStart = (node: string): string => `.${node}${SUFFIX}.`

/**
 * Replaces a file: temporary name in the folder that nobody can have put a link under, fsync, rename, fsync of the folder.
 * Mode 0644: other nodes may read as another user. Leaves no temporary file behind when it fails.
 */
export async function writeRecordFile(folder: string, node: string, text: string): Promise<void> {
  const temporary = join(folder, `${temporaryStart(node)}${randomBytes(8).toString('hex')}`)
  const file = await open(temporary, 'wx', 0o644)
  try {
    try {
      await file.writeFile(text)
      await file.chmod(0o644)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, fileOf(folder, node))
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    throw error
  }
  await syncFolder(folder)
}

/** False when there was none. */
export async function removeRecordFile(folder: string, node: string): Promise<boolean> {
  try {
    await unlink(fileOf(folder, node))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
  await syncFolder(folder)
  return true
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } catch (error) {
    // Some shared file systems know no sync of folders.
    if (!['EINVAL', 'ENOTSUP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  } finally {
    await handle.close()
  }
}

/** Takes away what our own earlier writers left when they died. */
export async function removeDebris(folder: string, node: string, wallMs: number): Promise<void> {
  for await (const { name } of await opendir(folder)) {
    if (!name.startsWith(temporaryStart(node)) || !/\.[0-9a-f]{16}$/.test(name)) continue
    const path = join(folder, name)
    const info = await lstat(path).catch(() => undefined)
    if (info !== undefined && wallMs - info.mtimeMs > DEBRIS_MS) await unlink(path).catch(() => undefined)
  }
}
