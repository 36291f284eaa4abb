import type { Command } from './io.ts'
import type { RootsDoor } from './ports.ts'

export interface CommandEntry {
  /** One or two words: "status", "policy check". */
  readonly name: string
  readonly usage: string
  /** One line of `sekisho help`. */
  readonly summary: string
  /** The rest of `sekisho help NAME`. */
  readonly details: string
  /** Loads the module of the command; none is loaded for another. */
  load(door: RootsDoor): Promise<Command>
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'agent',
    usage: '[--config FILE] [--check]',
    summary: 'Run the agent of this node.',
    details: `  -c, --config FILE   configuration (docs/configuration.md); SEKISHO_* variables win over it
      --check         read the configuration, tell every problem, and stop

Stops on SIGTERM and SIGINT. The kernel goes on enforcing when the agent is gone.
Exit status: 0 stopped, 64 bad configuration (nothing was opened), 77 not root.`,
    load: async (door) => {
      const { agent } = await import('./agent.ts')
      return (args, io) => agent(args, io, door)
    },
  },
  {
    name: 'status',
    usage: '[--config FILE | --url URL] [-o table|json]',
    summary: 'Show what the agent of this node does.',
    details: `  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table or json

Exit status: 0 ready, 1 not ready, 69 no agent answers.`,
    load: async () => (await import('./status.ts')).status,
  },
  {
    name: 'policy check',
    usage: '[--double-star labels|label] [-o text|json] FILE...',
    summary: 'Tell every problem of policy files, with line and column.',
    details: `      --double-star M   what a leading **. means: labels (1.19 and later) or label (1.18 and before)
  -o, --output FORM     text or json

A folder stands for the .yaml, .yml and .json files in it.
Exit status: 0 no errors (warnings do not count), 1 errors.`,
    load: async () => (await import('./policy-check.ts')).policyCheck,
  },
  {
    name: 'policy match',
    usage: '[--dialect D] [--kind K] PATTERN NAME...  |  policy match -',
    summary: 'Tell which names a pattern matches.',
    details: `  -d, --dialect D   cilium (1.19 and later), cilium-1.18, gke, npep-133
  -k, --kind K      which field the pattern stands in: toFQDNs.matchPattern (default), toFQDNs.matchName,
                    dns.matchPattern, dns.matchName; gke: pattern, name; npep-133: domainNames

With "-", rows of dialect, kind, pattern and name, tab-separated, are read from standard input; each comes back with
match, nomatch or "invalid: why" added. A name is presentation form, or hex: and the octets of the wire form.
Exit status: 0 all match, 1 not all match; rows from standard input: 2 when one could not be read.`,
    load: async () => (await import('./policy-match.ts')).policyMatch,
  },
  {
    name: 'why',
    usage: '[--config FILE | --policy PATH... --endpoints FILE] [--server IP] [-o text|json] ENDPOINT NAME',
    summary: 'Tell which rule lets an endpoint look up a name, or what is missing.',
    details: `  -c, --config FILE     take the files from the agent's configuration
  -p, --policy PATH     policy file or folder; may be given more than once
  -e, --endpoints FILE  endpoints file
  -s, --server IP       judge look-ups at this DNS server only
  -o, --output FORM     text or json

ENDPOINT is namespace/name as in the endpoints file, or the name alone where it is the only one.
Exit status: 0 look-up and connection allowed, 1 something is missing.`,
    load: async () => (await import('./why.ts')).why,
  },
  {
    name: 'wg status',
    usage: '[--config FILE | --url URL] [-o table|json|debuginfo]',
    summary: 'Show encryption between nodes: devices, keys, peers, rotation, and what is wrong.',
    details: `  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table, json, or debuginfo: the JSON of "cilium-dbg debuginfo -o json | jq .encryption"

Ends with the lines that "cilium status" and "cilium-dbg encrypt status" print, one device a slot; every device must have
as many peers as there are other nodes. The last line is that of "cilium encrypt status" for the cluster, as this node sees it.
Exit status: 0 every peer is proven and nothing was found, 1 something is wrong or encryption is off, 69 no agent answers.`,
    load: async () => (await import('./wg-status.ts')).wgStatus,
  },
  {
    name: 'wg peers',
    usage: '[--worst] [--config FILE | --url URL] [-o table|json]',
    summary: 'List the peers, with the state of each tunnel.',
    details: `  -w, --worst         those that work least come first, not by name
  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table or json

States: absent, installed (never proven with the present keys), proven, suspect, dead.
Exit status: 0, 1 encryption is off, 69 no agent answers.`,
    load: async () => (await import('./wg-peers.ts')).wgPeers,
  },
  {
    name: 'wg why',
    usage: '[--config FILE | --url URL] [-o table|json] PEER',
    summary: 'Tell why packets to a peer are encrypted or not, and what to do.',
    details: `  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table or json

PEER is the name of a node, or its UID.
Exit status: 0 encrypted, 1 not, 69 no agent answers.`,
    load: async () => (await import('./wg-why.ts')).wgWhy,
  },
  {
    name: 'wg rotate',
    usage: '[--compromised] [--no-wait | --timeout TIME] [--config FILE | --url URL] [-o table|json]',
    summary: 'Change the key of the slot whose turn it is, without losing a packet.',
    details: `      --compromised   somebody else has a key: change both, and wait a minute at most for peers
      --no-wait       return when the agent has taken it on
  -t, --timeout TIME  how long to look on; the agent goes on after that (10m by default)
  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table or json

Exit status: 0 done, 1 refused or not done in time, 69 no agent answers.`,
    load: async () => (await import('./wg-rotate.ts')).wgRotate,
  },
  {
    name: 'wg keys',
    usage: '[--config FILE | --url URL] [-o table|json]',
    summary: 'Show when keys were created, adopted, published, proven and retired.',
    details: `  -c, --config FILE   take the agent's address from its configuration
  -u, --url URL       address of the agent, http://127.0.0.1:9876 by default
  -o, --output FORM   table or json

Public keys appear as fingerprints. The log holds what happened since the agent started; adopted are
keys that it found then.
Exit status: 0, 1 encryption is off, 69 no agent answers.`,
    load: async () => (await import('./wg-keys.ts')).wgKeys,
  },
  {
    name: 'cleanup',
    usage: '[--config FILE] [--force]',
    summary: 'Remove every kernel object of Sekisho: enforcement ends.',
    details: `  -c, --config FILE   configuration of the agent that made them
      --force         also while an agent answers

Exit status: 0 removed, 1 refused, 64 bad configuration, 77 not root.`,
    load: async (door) => {
      const { cleanup } = await import('./cleanup.ts')
      return (args, io) => cleanup(args, io, door)
    },
  },
  {
    name: 'version',
    usage: '',
    summary: 'Print the version.',
    details: '',
    load: async () => (await import('./version.ts')).version,
  },
]
