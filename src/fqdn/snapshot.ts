import { NO_PAIR } from './entry-store.ts'
import type { NameState } from './name-state.ts'
import type { RecordWriter, StateHeader, StateIdentity } from './record-codec.ts'

const CHUNK = 262_144
/** A record has to stay below 64 KiB. */
const ADDRESSES_PER_RECORD = 1000

/**
 * The whole state as records, in chunks. Yields between slices; what changes meanwhile may be in or not, the
 * journal since the start of the snapshot has it.
 */
export function* encodeSnapshot(
  state: NameState,
  header: StateHeader,
  identities: Iterable<StateIdentity>,
  writer: RecordWriter,
  chunk: (bytes: ArrayBuffer, last: boolean) => void,
): Generator<void> {
  writer.records = 0
  writer.header(header)
  let n = 0
  for (const identity of identities) {
    writer.identity(identity)
    if (++n % 64 === 0) yield
  }
  for (const owner of state.endpoints) writer.endpoint(owner.id, owner.key)
  const { pairs, entries, names, addresses } = state
  for (let pair = 0; pair < pairs.high; pair++) {
    if (pair % 128 === 127) {
      if (writer.length >= CHUNK) chunk(writer.take(), false)
      yield
    }
    if (!pairs.used(pair)) continue
    const name = pairs.name[pair] as number
    writer.beginLearned(state.ownerOf(pair).id, names.chunk(name), names.offset(name), names.length(name))
    let inRecord = 0
    for (let e = pairs.entries[pair] as number; e !== NO_PAIR; e = entries.nextOfPair[e] as number) {
      if (inRecord++ === ADDRESSES_PER_RECORD) {
        inRecord = 1
        writer.endLearned()
        writer.beginLearned(state.ownerOf(pair).id, names.chunk(name), names.offset(name), names.length(name))
      }
      writer.address(addresses.bytes, (entries.address[e] as number) * 16, state.until(e))
    }
    writer.endLearned()
  }
  writer.end()
  chunk(writer.take(), true)
}
