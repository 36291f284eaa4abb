/**
 * Security identities in Cilium's numbering (pkg/identity/numericidentity.go): bits 24..31 are the
 * scope, local-scope numbers (CIDR, FQDN) never leave the node.
 */
export type Identity = number

export const IDENTITY_UNKNOWN = 0
export const IDENTITY_HOST = 1
export const IDENTITY_WORLD = 2
export const IDENTITY_HEALTH = 4
export const IDENTITY_INIT = 5
export const IDENTITY_REMOTE_NODE = 6
export const IDENTITY_KUBE_APISERVER = 7
export const IDENTITY_WORLD_IPV4 = 9
export const IDENTITY_WORLD_IPV6 = 10
/** Aggregates of the 1.20 policy map: a row under one of these covers every identity of the class. */
export const IDENTITY_AGGREGATE_CLUSTER = 11
export const IDENTITY_AGGREGATE_WORLD = 13

export const IDENTITY_CLUSTER_MIN = 256
export const IDENTITY_CLUSTER_MAX = 65535

export const IDENTITY_LOCAL_SCOPE = 0x0100_0000
export const IDENTITY_SCOPE_MASK = 0xff00_0000
export const IDENTITY_LOCAL_MIN = IDENTITY_LOCAL_SCOPE + 1
export const IDENTITY_LOCAL_MAX = IDENTITY_LOCAL_SCOPE + 0xff_ffff

export const isLocalIdentity = (id: Identity): boolean => (id & IDENTITY_SCOPE_MASK) >>> 0 === IDENTITY_LOCAL_SCOPE
