/** RFC 1035 section 4.1.1. */
export const HEADER_BYTES = 12

/** Octet 2 of the header: QR, opcode (4 bits), AA, TC, RD. */
export const FLAG_QR = 0x80
export const MASK_OPCODE = 0x78
export const FLAG_TC = 0x02
export const FLAG_RD = 0x01
/** Octet 3 of the header: RA, Z, AD, CD, rcode (4 bits). */
export const FLAG_RA = 0x80
export const FLAG_CD = 0x10
export const MASK_RCODE = 0x0f

export const OPCODE_QUERY = 0

export const RCODE_NOERROR = 0
export const RCODE_FORMERR = 1
export const RCODE_SERVFAIL = 2
export const RCODE_NXDOMAIN = 3
export const RCODE_NOTIMP = 4
export const RCODE_REFUSED = 5
/** RFC 6891 section 6.1.3: the upper eight bits travel in the OPT record. */
export const RCODE_BADVERS = 16

export const TYPE_A = 1
export const TYPE_CNAME = 5
export const TYPE_AAAA = 28
export const TYPE_OPT = 41
export const CLASS_IN = 1

/** RFC 8914 section 4: why an answer is what it is. */
export const EDE_NONE = -1
/** The local policy took the question but had no room to serve it. */
export const EDE_OTHER = 0
/** 4.16: the name is on no list of this client. */
export const EDE_BLOCKED = 15
/** 4.19: the client may not ask this server at all. */
export const EDE_PROHIBITED = 18
/** 4.23 */
export const EDE_NO_REACHABLE_AUTHORITY = 22
/** 4.24 */
export const EDE_NETWORK_ERROR = 23
/** 4.25 */
export const EDE_INVALID_DATA = 24

/** Room for the largest question: a name of 255 octets, type and class. */
export const MAX_QUESTION_BYTES = 259
/** OPT record (11 octets) with one EDE option (4 + 2). */
export const MAX_OPT_BYTES = 17
/** What a reply of our own can take at most. */
export const MAX_OWN_REPLY_BYTES = HEADER_BYTES + MAX_QUESTION_BYTES + MAX_OPT_BYTES
/** RFC 9715: what we say we take, in an OPT of our own. */
export const OWN_UDP_SIZE = 1232
