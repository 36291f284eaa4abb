import type { Native } from '../../src/native/binding.ts'

/**
 * Every function of the addon with arguments that are right in type and size. Descriptors are numbers that no process
 * has open, so the right call fails in the kernel and touches nothing.
 */
export type Kind =
  | 'fd'
  | 'reply'
  | 'integer'
  | 'boolean'
  | 'bytes'
  | 'words'
  | 'integers'
  | 'doubles'
  | 'text'
  | 'pump'
  | 'ring'
  | 'watch'
  | 'function'
  | 'numbers'
  | 'record'
  | 'options'

export interface Parameter {
  readonly kind: Kind
  readonly good: unknown
  /** undefined is right too. */
  readonly optional?: boolean
  /** null is right too. */
  readonly nullable?: boolean
  /** Properties of an options object. */
  readonly fields?: Readonly<Record<string, Parameter>>
}

export type Name = keyof Native

export const CLOSED_FD = 1_000_000_000

const fd: Parameter = { kind: 'fd', good: CLOSED_FD }
const integer = (good: number): Parameter => ({ kind: 'integer', good })
const bytes = (length: number): Parameter => ({ kind: 'bytes', good: new Uint8Array(length) })
const boolean: Parameter = { kind: 'boolean', good: false }
const optional = (parameter: Parameter): Parameter => ({ ...parameter, optional: true })

function options(fields: Readonly<Record<string, Parameter>>, isOptional = false): Parameter {
  const good = Object.fromEntries(Object.entries(fields).map(([name, parameter]) => [name, parameter.good]))
  return { kind: 'options', good, fields, optional: isOptional }
}

const listen = options({
  address: bytes(4),
  port: integer(0),
  transparent: boolean,
  mark: optional(integer(1)),
  receiveBuffer: optional(integer(4096)),
  reusePort: optional(boolean),
  backlog: optional(integer(1)),
})

const upstream = options({
  server: { kind: 'bytes', good: new Uint8Array([127, 0, 0, 1]) },
  port: integer(9),
  mark: optional(integer(0)),
  source: options({ address: { kind: 'bytes', good: new Uint8Array([127, 0, 0, 1]) }, port: integer(0) }, true),
})

const pumpOptions = options({
  buffer: bytes(4 * 512),
  slots: integer(4),
  stride: integer(512),
  rx: { kind: 'words', good: new Uint32Array(64) },
  out: { kind: 'words', good: new Uint32Array(64) },
  header: { kind: 'integers', good: new Int32Array(16) },
  now: { kind: 'doubles', good: new Float64Array(1) },
  reply4: { kind: 'reply', good: -1 },
  reply6: { kind: 'reply', good: -1 },
})

const mapOptions = options({
  type: integer(1),
  keySize: integer(4),
  valueSize: integer(4),
  maxEntries: integer(1),
  flags: integer(0),
  name: { kind: 'text', good: 'sekisho_test' },
  inner: optional(fd),
})

const text: Parameter = { kind: 'text', good: '/nonexistent/sekisho' }

/** `pump` is filled in by the test, which owns a real one; `ring` and `watch` are wrong always. */
export const SURFACE: Readonly<Record<Name, readonly Parameter[]>> = {
  openUdpListener: [listen],
  openTcpListener: [listen],
  openUdpReply: [integer(4), optional(integer(1))],
  openUdpUpstream: [upstream],
  openTcpUpstream: [upstream],
  localPort: [fd],
  close: [fd],
  openEvent: [],
  kick: [fd],
  monotonicMs: [],
  liveHandles: [],
  pumpCreate: [pumpOptions],
  pumpAdd: [{ kind: 'pump', good: undefined }, fd, integer(1), integer(1)],
  pumpRemove: [{ kind: 'pump', good: undefined }, integer(1)],
  pumpStep: [{ kind: 'pump', good: undefined }, integer(0), integer(0)],
  pumpDestroy: [{ kind: 'pump', good: undefined }],
  bpfObjGet: [text, optional(boolean)],
  bpfObjPin: [fd, text],
  bpfMapCreate: [mapOptions],
  bpfMapInfo: [fd],
  bpfMapUpdate: [fd, bytes(4), bytes(4), optional(integer(0))],
  bpfMapLookup: [fd, bytes(4), bytes(4)],
  bpfMapDelete: [fd, bytes(4)],
  bpfMapNextKey: [fd, { ...bytes(4), nullable: true }, bytes(4)],
  bpfMapUpdateBatch: [fd, bytes(4), bytes(4), integer(1)],
  bpfMapDeleteBatch: [fd, bytes(4), integer(1)],
  bpfMapLookupBatch: [fd, bytes(64), bytes(4), bytes(4), integer(1)],
  bpfObjectLoad: [text, { kind: 'record', good: {} }],
  bpfProgTestRun: [fd, bytes(64), optional(bytes(192)), integer(1)],
  bpfLinkCreateTcx: [fd, integer(2_000_000_000), integer(46), optional(boolean)],
  bpfLinkUpdate: [fd, fd],
  bpfLinkDetach: [fd],
  bpfTcAttach: [integer(2_000_000_000), boolean, fd, integer(1), integer(1)],
  bpfTcQuery: [integer(2_000_000_000), boolean, integer(1), integer(1)],
  bpfTcDetach: [integer(2_000_000_000), boolean, integer(1), integer(1)],
  bpfRingOpen: [fd],
  bpfRingRead: [{ kind: 'ring', good: undefined }, bytes(64)],
  bpfRingClose: [{ kind: 'ring', good: undefined }],
  netlinkOpen: [integer(0), { kind: 'numbers', good: [] }],
  netlinkPort: [fd],
  netlinkSend: [fd, bytes(16)],
  netlinkReceive: [fd, bytes(64), integer(0)],
  netlinkSendAsync: [fd, bytes(16)],
  netlinkReceiveAsync: [fd, integer(0)],
  wgSetNewKey: [
    fd,
    { kind: 'bytes', good: Uint8Array.of(20, 0, 0, 0, 30, 0, 5, ...Array<number>(13).fill(0)) },
    integer(0),
  ],
  wgReceive: [fd, integer(0), optional(integer(1))],
  wgExchange: [fd, bytes(16), integer(0)],
  wgBlank: [{ kind: 'bytes', good: new Uint8Array(64) }],
  wgUapi: [text, bytes(8), integer(0)],
  wgUapiSetNewKey: [text, bytes(8), integer(0)],
  openProbeSocket: [
    options({
      device: { kind: 'text', good: 'sekisho-none' },
      address: bytes(4),
      port: integer(1),
      buffer: integer(4096),
    }),
  ],
  probeReceive: [fd, bytes(64), integer(64), { kind: 'words', good: new Uint32Array(8) }],
  probeSend: [fd, bytes(64), integer(64), { kind: 'words', good: Uint32Array.of(8, 1, 0, 0, 0, 0, 0, 0) }, integer(1)],
  openPacketCounter: [{ kind: 'text', good: 'sekisho-none' }, integer(4), integer(1)],
  packetCount: [fd],
  watchOpen: [fd, { kind: 'function', good: () => undefined }],
  watchArm: [{ kind: 'watch', good: undefined }],
  watchClose: [{ kind: 'watch', good: undefined }],
}
