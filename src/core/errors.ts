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
  // config
  SEKISHO_CONFIG_FILE: 'the configuration file cannot be read',
  SEKISHO_CONFIG_SYNTAX: 'the configuration is not well-formed YAML',
  SEKISHO_CONFIG_UNKNOWN: 'a setting or variable is unknown',
  SEKISHO_CONFIG_TYPE: 'a setting has a value of the wrong kind',
  SEKISHO_CONFIG_RANGE: 'a setting is out of its range',
  SEKISHO_CONFIG_VALUE: 'a setting has a value that is not allowed',
  SEKISHO_CONFIG_MISSING: 'a setting without a default is not given',
  SEKISHO_CONFIG_CONFLICT: 'two settings do not fit together',
  // metrics
  SEKISHO_METRICS_DECLARATION: 'a metric is declared wrongly, or a sample does not fit its declaration',
  // http
  SEKISHO_HTTP_LISTEN: 'the HTTP server cannot listen on its address',
  SEKISHO_HTTP_NOT_FOUND: 'there is nothing at this address',
  SEKISHO_HTTP_METHOD: 'the method is not allowed here',
  SEKISHO_HTTP_PARAMETER: 'a query parameter is missing or not allowed',
  SEKISHO_HTTP_REQUEST: 'the request is not well-formed',
  SEKISHO_HTTP_FORGED: 'the request could have been sent by a web page',
  SEKISHO_HTTP_WG_OFF: 'encryption is off on this node',
  SEKISHO_HTTP_WG_OBSERVED: 'the WireGuard device belongs to another manager and is only watched',
  SEKISHO_HTTP_UNAVAILABLE: 'the part of the agent that knows the answer did not give one in time',
  SEKISHO_HTTP_INTERNAL: 'the agent failed to answer',
  // cli
  SEKISHO_CLI_UNREACHABLE: 'the agent does not answer on its HTTP address',
  SEKISHO_CLI_ROOT: 'the command needs root',
  // policy
  SEKISHO_POLICY_SNAPSHOT: 'the compiled policy in shared memory is damaged',
  // netlink
  SEKISHO_NETLINK_REFUSED: 'the kernel refused a netlink request',
  SEKISHO_NETLINK_PROTOCOL: 'the kernel sent a netlink message that is not well-formed',
  SEKISHO_NETLINK_INTERRUPTED: 'a netlink table changed each time it was read',
  SEKISHO_NETLINK_TIMEOUT: 'the kernel did not answer a netlink request',
  // wg
  SEKISHO_WG_UNSUPPORTED: 'there is no WireGuard to use',
  SEKISHO_WG_DEVICE: 'a WireGuard device cannot be used',
  SEKISHO_WG_PROTOCOL: 'the answer about a WireGuard device is not well-formed',
  SEKISHO_WG_GUARD: 'clear text to and from peers cannot be held off',
  SEKISHO_WG_PROBE: 'the sockets of a WireGuard device cannot be opened',
  SEKISHO_WG_DIRECTORY: 'the record of this node cannot be published',
  // datapath
  SEKISHO_DATAPATH_BPFFS: 'the BPF file system cannot be used',
  SEKISHO_DATAPATH_LAYOUT: 'a pinned map has another layout than this version needs',
  SEKISHO_DATAPATH_OBJECT: 'the BPF object cannot be loaded',
  SEKISHO_DATAPATH_ATTACH: 'a program cannot be attached to an interface',
  SEKISHO_DATAPATH_ROUTING: 'the routing rules of the redirect cannot be set',
  SEKISHO_DATAPATH_IDS: 'there is no endpoint id left, or the file of ids is damaged',
  // dns
  SEKISHO_DNS_LISTEN: 'the ports of the DNS gate cannot be taken',
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
