import type { Refusal } from './directory/read-record.ts'

/** What to do about a record that is refused. */
export const REFUSAL_REMEDY: Readonly<Record<Refusal, string>> = {
  malformed: 'the record is not one that an agent writes: who else writes to the directory?',
  domain: 'nodes of one mesh need the same wireguard.domain',
  writer: 'a node may write only the record of its own name: who wrote this one?',
  'own-key': 'another node publishes a key of ours: treat it as an attack, or as a copied machine; sekisho wg rotate',
  'bad-key': 'no tunnel can come of the key: restart the agent there, and ask who wrote it',
  'key-taken': 'two nodes publish one key: one is a copy of the other; sekisho wg rotate on the younger',
  'bad-address': 'wireguard.endpoints of that node holds an address that no host can have',
  'bad-prefix': 'the node claims a prefix that is too wide, or none: look at its pod CIDRs',
  'own-prefix': 'the node claims our pods: look at the pod CIDRs of both',
  'prefix-taken':
    'two nodes claim overlapping prefixes: look at their pod CIDRs, and for a record of a node that is gone',
  slots: 'the node publishes slots that do not fit: it runs a version that this one does not understand',
}
