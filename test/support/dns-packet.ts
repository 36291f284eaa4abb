import { createRequire } from 'node:module'

/** The part of dns-packet that tests use: it builds good messages and checks ours; it is no judge of bad ones. */
export interface DnsRecord {
  readonly type: string
  readonly name: string
  readonly class?: string
  readonly ttl?: number
  readonly data?: unknown
  readonly udpPayloadSize?: number
  readonly flags?: number
  readonly ednsVersion?: number
  readonly options?: readonly { readonly code: number; readonly data?: Uint8Array }[]
  readonly extendedRcode?: number
}

export interface DnsMessage {
  readonly id?: number
  readonly type?: 'query' | 'response'
  readonly flags?: number
  readonly rcode?: string
  readonly flag_tc?: boolean
  readonly flag_ra?: boolean
  readonly questions?: readonly { readonly type: string; readonly name: string; readonly class?: string }[]
  readonly answers?: readonly DnsRecord[]
  readonly authorities?: readonly DnsRecord[]
  readonly additionals?: readonly DnsRecord[]
}

interface DnsPacket {
  readonly encode: (message: DnsMessage) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Required<DnsMessage>
  readonly DNSSEC_OK: number
  readonly RECURSION_DESIRED: number
  readonly TRUNCATED_RESPONSE: number
}

export const dnsPacket = createRequire(import.meta.url)('dns-packet') as DnsPacket

/** dns-packet needs a Buffer to decode. */
export const decode = (bytes: Uint8Array): Required<DnsMessage> => dnsPacket.decode(Buffer.from(bytes))
