import type { NodeRecord } from './record.ts'

/** What the directory tells. Records are not checked: they were written by other nodes. */
export type DirectoryEvent =
  | { readonly kind: 'record'; readonly name: string; readonly value: unknown }
  /** Positive evidence that the record was removed, not only that it was not seen. */
  | { readonly kind: 'removed'; readonly name: string }
  /** Every record that stood at the start was told. */
  | { readonly kind: 'complete' }
  /** The directory cannot be read at the moment: what is known stays. */
  | { readonly kind: 'lost'; readonly reason: string }

/**
 * Where nodes publish their public keys. Each node writes its own record only, and reads all. A start reads the directory
 * itself, never a cache: a record older than one that was acted on would bring a retired key back.
 */
export interface NodeDirectory {
  /** Calls back in order, from `start` on until `stop`; the node's own record is told too. */
  start(tell: (event: DirectoryEvent) => void): Promise<void>
  /** Replaces the node's own record; resolves when others can see it. @throws SekishoError SEKISHO_WG_DIRECTORY */
  publish(record: NodeRecord): Promise<void>
  /** Removes the node's own record. @throws SekishoError SEKISHO_WG_DIRECTORY */
  withdraw(): Promise<void>
  stop(): Promise<void>
  /** Since it was last read whole, ms; undefined before, or where it is not known. */
  ageMs?(): number | undefined
}
