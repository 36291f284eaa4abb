/**
 * The typed door to the addon (native/addon.c). The addon makes system calls and nothing else.
 *
 * Every function throws a SekishoError-shaped error: `code` SEKISHO_NATIVE_ARGUMENT for wrong arguments, or
 * SEKISHO_NATIVE_SYSCALL with `syscall`, `errno` (positive) and `errnoName` ("ENOENT"). A descriptor is a plain
 * number owned by the caller until `close`; descriptors are process-wide and may be handed to another thread.
 * Addresses are 4 or 16 octets in network order, ports are host-order numbers.
 */
export type Fd = number

export interface NativeError extends Error {
  readonly code: 'SEKISHO_NATIVE_ARGUMENT' | 'SEKISHO_NATIVE_SYSCALL'
  readonly syscall?: string
  readonly errno?: number
  readonly errnoName?: string
  /** bpfMapUpdateBatch: entries written before the one that failed. */
  readonly written?: number
  /** bpfMapDeleteBatch: entries deleted before the one that failed. */
  readonly deleted?: number
}

export interface ListenOptions {
  readonly address: Uint8Array
  /** 0 lets the kernel choose; read it back with `localPort`. */
  readonly port: number
  /** IP_TRANSPARENT / IPV6_TRANSPARENT; UDP also gets IP_RECVORIGDSTADDR / IPV6_RECVORIGDSTADDR. v6 sockets are V6ONLY. */
  readonly transparent: boolean
  readonly mark?: number
  readonly receiveBuffer?: number
  readonly reusePort?: boolean
  /** TCP only. */
  readonly backlog?: number
}

export interface UpstreamOptions {
  readonly server: Uint8Array
  readonly port: number
  readonly mark?: number
  /** Transparent source: bind to this address and port (IP_TRANSPARENT) before connect. */
  readonly source?: { readonly address: Uint8Array; readonly port: number }
}

export interface SocketCalls {
  /** Non-blocking, close-on-exec. */
  openUdpListener(options: ListenOptions): Fd
  openTcpListener(options: ListenOptions): Fd
  /** Raw IPPROTO_UDP socket for replies from any source address and port; receives nothing. Fragments, never sets DF. */
  openUdpReply(family: 4 | 6, mark?: number): Fd
  /** Connected UDP socket with a kernel-chosen random port (or the transparent source). */
  openUdpUpstream(options: UpstreamOptions): Fd
  /** TCP socket whose non-blocking connect has been started (EINPROGRESS is success). */
  openTcpUpstream(options: UpstreamOptions): Fd
  localPort(fd: Fd): number
  /** 0, 1 and 2 are refused: they are never ours. */
  close(fd: Fd): void
  /** Non-blocking eventfd. */
  openEvent(): Fd
  /** Adds 1 to an eventfd: wakes a pump, from any thread. */
  kick(fd: Fd): void
  /** CLOCK_MONOTONIC, milliseconds with fraction. */
  monotonicMs(): number
}

/** Kinds for `pumpAdd`. */
export const PUMP_LISTENER = 1
export const PUMP_UPSTREAM = 2
export const PUMP_KICK = 3

/** Kinds of an outgoing datagram, out[OUT_KIND]. */
export const OUT_CONNECTED = 1
export const OUT_REPLY = 2

/** Words (u32) of a receive record; one record a received datagram, in order, from word 0 of `rx`. */
export const RX_WORDS = 16
export const RX_TAG = 0
export const RX_LENGTH = 1
export const RX_FLAGS = 2
export const RX_FAMILY = 3
/**
 * Octets 16..31 of the record: source addr16 (of an upstream socket: its server); 32..47: original destination addr16
 * (listeners; else zero).
 */
export const RX_SOURCE = 4
export const RX_DESTINATION = 8
export const RX_SOURCE_PORT = 12
export const RX_DESTINATION_PORT = 13
/** Octet offset of the payload in `buffer`. */
export const RX_OFFSET = 14

/** The datagram was longer than the stride; RX_LENGTH is what was kept. */
export const RX_FLAG_TRUNCATED = 1
/** A listener's datagram came without an original destination. */
export const RX_FLAG_NO_DESTINATION = 2
/** Not a datagram: a pending error of the socket with RX_TAG (ECONNREFUSED, ...); RX_LENGTH is the errno. */
export const RX_FLAG_ERROR = 4

/** Words (u32) of an outgoing record. */
export const OUT_WORDS = 16
export const OUT_KIND = 0
/** Tag given to `pumpAdd` (OUT_CONNECTED); family 4 or 6 (OUT_REPLY). */
export const OUT_TAG = 1
export const OUT_OFFSET = 2
export const OUT_LENGTH = 3
/** Octets 16..31: destination addr16; 32..47: source addr16 (OUT_REPLY only). */
export const OUT_DESTINATION = 4
export const OUT_SOURCE = 8
export const OUT_DESTINATION_PORT = 12
export const OUT_SOURCE_PORT = 13
/** Written by `pumpStep`: 0 when the kernel took the datagram, else its errno. */
export const OUT_ERRNO = 14

/** Words (i32) of `header`, written by `pumpStep`. */
export const HEADER_WORDS = 16
/** Non-zero when the eventfd was kicked. */
export const HEADER_KICKED = 0
/** Datagrams the kernel refused in the last send. */
export const HEADER_SEND_ERRORS = 1
/** PATH_EPOLL or PATH_IO_URING, written by `pumpCreate`. */
export const HEADER_PATH = 2

/** How a pump waits. PATH_AUTO: io_uring where the kernel gives it (6.1 and later, and not forbidden), else epoll. */
export const PATH_AUTO = 0
export const PATH_EPOLL = 1
export const PATH_IO_URING = 2

/**
 * The arrays must be on ArrayBuffers of fixed size that are not shared; the pump keeps them alive. A step on detached
 * memory is SEKISHO_NATIVE_ARGUMENT. A step looks at each distinct ArrayBuffer once, so views on one are cheapest.
 */
export interface PumpOptions {
  /** Payload memory: `slots` receive slots of `stride` octets first, then whatever else the caller sends from. */
  readonly buffer: Uint8Array
  readonly slots: number
  readonly stride: number
  /** slots * RX_WORDS words. */
  readonly rx: Uint32Array
  /** maxOut * OUT_WORDS words. */
  readonly out: Uint32Array
  /** HEADER_WORDS words. */
  readonly header: Int32Array
  /** One double: CLOCK_MONOTONIC in ms, written at the end of each step. */
  readonly now: Float64Array
  /** From `openUdpReply`, -1 where a family is off. */
  readonly reply4: Fd
  readonly reply6: Fd
  /** PATH_AUTO when left out. PATH_IO_URING throws where the kernel does not give it. */
  readonly path?: number
}

declare const pumpBrand: unique symbol
/** Opaque; belongs to the thread that made it. Descriptors added to it stay the caller's to close. */
export interface Pump {
  readonly [pumpBrand]: true
}

export interface PumpCalls {
  pumpCreate(options: PumpOptions): Pump
  /** `tag` is any u32 the caller knows the socket by; unique within the pump. */
  pumpAdd(pump: Pump, fd: Fd, kind: number, tag: number): void
  /** Remove a socket before its descriptor is closed: a number that is used again would be sent to. */
  pumpRemove(pump: Pump, tag: number): void
  /**
   * One turn: sends the first `outgoing` records of `out` (epoll: runs of one socket in one sendmmsg; io_uring: all with
   * the wait), then waits at most `timeoutMs` (0 polls, more than 1000 is 1000; io_uring: less when an earlier turn was to end
   * sooner) and receives. Returns the number of `rx` records, 0 to slots. Sockets are served in turn
   * so that one cannot starve the rest. Never throws once created with good arguments, save for a fatal epoll or io_uring error.
   * Records of one socket leave in their order; sockets may overtake each other. A datagram that runs into the refusal
   * (ECONNREFUSED) of an earlier one is sent again, and the refusal comes as an error record.
   */
  pumpStep(this: void, pump: Pump, outgoing: number, timeoutMs: number): number
  pumpDestroy(pump: Pump): void
}

export interface MapInfo {
  readonly type: number
  readonly id: number
  readonly keySize: number
  readonly valueSize: number
  /** Octets of one value in the calls below: `valueSize`, for per-CPU types that rounded up to 8 times the possible CPUs. */
  readonly valueOctets: number
  readonly maxEntries: number
  readonly flags: number
  readonly name: string
}

export interface MapCreateOptions {
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
  readonly name: string
  /** Template for *_OF_MAPS. */
  readonly inner?: Fd
}

export interface LoadedObject {
  readonly programs: Readonly<Record<string, Fd>>
  readonly maps: Readonly<Record<string, Fd>>
}

declare const ringBrand: unique symbol
export interface Ring {
  readonly [ringBrand]: true
}

/** bpf(2). Keys and values are exact byte images; a wrong size is SEKISHO_NATIVE_ARGUMENT. */
export interface BpfCalls {
  bpfObjGet(path: string, readOnly?: boolean): Fd
  bpfObjPin(fd: Fd, path: string): void
  bpfMapCreate(options: MapCreateOptions): Fd
  bpfMapInfo(fd: Fd): MapInfo
  /** flags: 0 any, 1 NOEXIST, 2 EXIST. */
  bpfMapUpdate(fd: Fd, key: Uint8Array, value: Uint8Array, flags?: number): void
  /** Fills `value`; false when there is no entry. */
  bpfMapLookup(fd: Fd, key: Uint8Array, value: Uint8Array): boolean
  /** False when there was no entry. */
  bpfMapDelete(fd: Fd, key: Uint8Array): boolean
  /** Fills `next`; false at the end. `key` null starts. */
  bpfMapNextKey(fd: Fd, key: Uint8Array | null, next: Uint8Array): boolean
  /**
   * `count` entries packed one after the other (the arrays may be longer); one system call where the kernel has it, else a
   * loop in C. Returns `count`; an entry that cannot be written throws, with `written`.
   */
  bpfMapUpdateBatch(fd: Fd, keys: Uint8Array, values: Uint8Array, count: number): number
  /** Missing keys are no error. Returns how many were there; one that cannot be deleted throws, with `deleted`. */
  bpfMapDeleteBatch(fd: Fd, keys: Uint8Array, count: number): number
  /**
   * Reads up to `max` entries; `cursor` (at least 64 octets, all zero to start) carries the kernel's position.
   * Returns the number read, or -1 - n at the end of the map when n were read in this last call. Keys of at most 60
   * octets. Hash maps are read by whole buckets: ENOSPC when `max` is less than the next one has, so take 64 or more.
   * A map that is changed meanwhile may give an entry twice (LPM tries, when the entry at the cursor is deleted).
   */
  bpfMapLookupBatch(fd: Fd, cursor: Uint8Array, keys: Uint8Array, values: Uint8Array, max: number): number
  /**
   * Loads an ELF object through libbpf; maps named in `reuse` take that descriptor (which stays the caller's) instead of a new
   * map: type, key and value size must be the object's, the number of entries is free. Results go by the names in the
   * object and belong to the caller. A program the verifier refuses: its last words are in the message.
   */
  bpfObjectLoad(path: string, reuse: Readonly<Record<string, Fd>>): LoadedObject
  /** BPF_PROG_TEST_RUN. `data` the frame, `context` a struct __sk_buff image or undefined. */
  bpfProgTestRun(
    fd: Fd,
    data: Uint8Array,
    context: Uint8Array | undefined,
    repeat: number,
  ): {
    readonly returnValue: number
    readonly data: Uint8Array
    readonly context: Uint8Array
    readonly nanoseconds: number
  }
  /**
   * BPF_LINK_CREATE with attach type 46 (BPF_TCX_INGRESS) or 47 (BPF_TCX_EGRESS), after the programs that are there or, with
   * `first`, before them; ENOTSUP/EINVAL where the kernel has no tcx.
   */
  bpfLinkCreateTcx(program: Fd, ifindex: number, attachType: number, first?: boolean): Fd
  bpfLinkUpdate(link: Fd, program: Fd): void
  /** Takes the program off when it returns; to drop the last reference does so some time later. ENOLINK: the interface is gone. */
  bpfLinkDetach(link: Fd): void
  /** clsact filter, direct action, replaced in place; `egress` false is ingress. */
  bpfTcAttach(ifindex: number, egress: boolean, program: Fd, handle: number, priority: number): void
  /** Id of the program in this filter, 0 where there is none. */
  bpfTcQuery(ifindex: number, egress: boolean, handle: number, priority: number): number
  /** ENOENT where there is no such filter. */
  bpfTcDetach(ifindex: number, egress: boolean, handle: number, priority: number): void
  bpfRingOpen(map: Fd): Ring
  /**
   * Copies whole records (u32 length, then the octets, padded to 8) into `out` and consumes them; returns octets written. Never blocks.
   * An `out` that is too small for the next record alone is SEKISHO_NATIVE_ARGUMENT. One reader a map.
   */
  bpfRingRead(ring: Ring, out: Uint8Array): number
  bpfRingClose(ring: Ring): void
}

/** AF_NETLINK. The protocol is TypeScript in src/netlink. */
export interface NetlinkCalls {
  /** protocol: 0 NETLINK_ROUTE, 16 NETLINK_GENERIC; EXT_ACK and strict checking on; groups are numbers to join. */
  netlinkOpen(protocol: number, groups: readonly number[]): Fd
  /** The kernel's port id of this socket. */
  netlinkPort(fd: Fd): number
  /** To the kernel (port 0). */
  netlinkSend(fd: Fd, message: Uint8Array): void
  /** One datagram of the kernel into `out`; octets, 0 on time-out (at most 60,000 ms), throws ENOBUFS after an overrun. MSG_TRUNC is ENOSPC. */
  netlinkReceive(fd: Fd, out: Uint8Array, timeoutMs: number): number
}

/**
 * The same off the event loop, on a thread of the pool: the kernel does a request within the send, and some take a second.
 * Wrong arguments throw, failed system calls reject. The descriptor must stay open until the promise is settled.
 */
export interface NetlinkAsyncCalls {
  netlinkSendAsync(fd: Fd, message: Uint8Array): Promise<void>
  /** One datagram of at most 64 KiB, empty on time-out (at most 60,000 ms); rejects as `netlinkReceive` throws. */
  netlinkReceiveAsync(fd: Fd, timeoutMs: number): Promise<Uint8Array>
}

/** What meets private keys of WireGuard: they are made, sent and blanked in C, in locked memory that no core file holds. */
export interface WgKeyCalls {
  /**
   * Sends WG_CMD_SET_DEVICE with a private key made for it and waits for the acknowledgement. `prefix` is the whole message
   * (REQUEST and ACK) without that attribute; its length is put right. Rejects with the errno of the kernel, ETIMEDOUT
   * without an answer.
   */
  wgSetNewKey(fd: Fd, prefix: Uint8Array, timeoutMs: number): Promise<void>
  /**
   * `netlinkReceiveAsync` with private and preshared keys zeroed, and with what cannot be parsed zeroed too. `most` (1 to 8,
   * default 1): so many datagrams one behind the other, of those that are there without waiting after the first.
   */
  wgReceive(fd: Fd, timeoutMs: number, most?: number): Promise<Uint8Array>
  /** `netlinkSendAsync`, then `wgReceive` of one datagram, in one trip to the pool. */
  wgExchange(fd: Fd, message: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /** What `wgReceive` does to a datagram, in place: for tests. */
  wgBlank(datagram: Uint8Array): void
  /**
   * One request (it ends with an empty line) on a UAPI socket, and its reply: digits of secret keys are 0, and the line
   * `private_key=` of the device is replaced by `public_self=` with the public key that belongs to it.
   */
  wgUapi(path: string, request: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /** The same with `private_key=` of a new key and the empty line written after `prefix`, which ends with a line. */
  wgUapiSetNewKey(path: string, prefix: Uint8Array, timeoutMs: number): Promise<Uint8Array>
}

/** Words (u32) of a record of `probeReceive` and `probeSend`: native/wgsock.h. */
export const PROBE_WORDS = 8
/** Octets of the datagram; of a received one all of them, also those that were not kept. */
export const PROBE_LENGTH = 0
export const PROBE_PORT = 1
/** Microseconds since the kernel received it, by a wall clock that nobody sets meanwhile. */
export const PROBE_AGE = 2
/** Written by `probeSend`: 0 when the kernel took the datagram, else its errno. */
export const PROBE_ERRNO = 3
/** Octets 16..31: addr16 of the other end. */
export const PROBE_ADDRESS = 4

export interface ProbeSocketOptions {
  readonly device: string
  readonly address: Uint8Array
  readonly port: number
  /** Octets, for receiving and for sending. */
  readonly buffer: number
}

/** Sockets on the device of a slot of the seal. */
export interface WgSocketCalls {
  /**
   * UDP, non-blocking, close-on-exec, bound to the device and to an address that need not be there (yet). What it sends is
   * never split and never shrunk by what an ICMP error says. ENODEV without the device.
   */
  openProbeSocket(options: ProbeSocketOptions): Fd
  /**
   * Datagrams that wait, as many as `data` and `records` have room for: the first `stride` octets of each, and its record.
   * Returns how many; 0 when none waits.
   */
  probeReceive(fd: Fd, data: Uint8Array, stride: number, records: Uint32Array): number
  /**
   * Sends `count` datagrams of PROBE_LENGTH octets: what lies in `data` at `stride` times its number, and zeros behind. Returns
   * how many the kernel refused.
   */
  probeSend(fd: Fd, data: Uint8Array, stride: number, records: Uint32Array, count: number): number
  /** Counts packets of a family (4, 6) that the device receives, save UDP from and to this port at once; reads none. */
  openPacketCounter(device: string, family: number, withoutPort: number): Fd
  /** Packets since the last call. Counts to 2^32 between two. */
  packetCount(fd: Fd): number
}

declare const watchBrand: unique symbol
/** Opaque; belongs to the thread that made it, and does not keep its event loop alive. */
export interface Watch {
  readonly [watchBrand]: true
}

/** What is readable wakes the event loop. */
export interface WatchCalls {
  /**
   * `ready` is called once, from the event loop, for each `watchArm` after which the descriptor is readable or broken. The
   * descriptor becomes non-blocking, stays the caller's, and is closed after its watch. EPERM where it cannot be waited for,
   * EEXIST where the thread has a watch of it.
   */
  watchOpen(fd: Fd, ready: () => void): Watch
  watchArm(watch: Watch): void
  watchClose(watch: Watch): void
}

export interface Native
  extends SocketCalls, PumpCalls, BpfCalls, NetlinkCalls, NetlinkAsyncCalls, WgKeyCalls, WgSocketCalls, WatchCalls {
  /** Pumps, rings and watches of this thread that are open: for tests of leaks. */
  liveHandles(): number
}
