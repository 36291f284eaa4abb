import { SekishoError } from '../../core/errors.ts'
import { decodeKey } from '../keys.ts'

/** A public key with a peer of its own for a moment: nobody has the private key to it. */
export const NOBODY = Buffer.alloc(32).toString('base64')

/** The octets of a key that a caller hands in. Throws SekishoError SEKISHO_WG_DEVICE: checked keys never do. */
export function keyBytes(text: string): Uint8Array {
  const bytes = decodeKey(text)
  if (bytes === undefined) throw new SekishoError('SEKISHO_WG_DEVICE', `${JSON.stringify(text)} is not a public key`)
  return bytes
}
