/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Maps of the guard, and the words of a packet it needs. Layouts: src/wg/guard/layout.ts. */
#ifndef SEKISHO_GUARD_H
#define SEKISHO_GUARD_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_FRAGMENT 44
#define PROTO_ICMPV6 58

#define GUARD_INGRESS 0
#define GUARD_EGRESS 1
#define GUARD_IPV4 0
#define GUARD_IPV6 1

/* Values of the tries. */
#define GUARD_PREFIX 1
/* One address, which may be a node's: the encrypted packets themselves come from there. */
#define GUARD_ADDRESS 2

#define GUARD_MAX_PREFIXES 131072
#define GUARD_MAX_FLOWS 32
#define GUARD_MAX_PORTS 4
/* IEEE 802.1ad has two. */
#define GUARD_MAX_TAGS 3

struct guard_key4 {
	__u32 bits;
	__be32 address;
};

struct guard_key6 {
	__u32 bits;
	__be32 address[4];
};

/* Clear text that may pass to and from what is protected; family 0 ends the list. */
struct guard_flow {
	__be32 address[4];
	__be32 mask[4];
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* 0 any, and then any port */
	__be16 port;
};

struct guard_settings {
	__u32 mark;
	__u32 mark_mask;
	__be16 ports[GUARD_MAX_PORTS]; /* our own WireGuard ports, 0 for none */
	struct guard_flow flows[GUARD_MAX_FLOWS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct guard_key4);
	__type(value, __u32);
	__uint(max_entries, GUARD_MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} guard_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct guard_key6);
	__type(value, __u32);
	__uint(max_entries, GUARD_MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} guard_v6 SEC(".maps");

/* direction * 2 + family */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} guard_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct guard_settings);
	__uint(max_entries, 1);
} guard_settings SEC(".maps");

struct guard_packet {
	__be32 source[4];
	__be32 destination[4];
	__u32 family; /* GUARD_IPV4 or GUARD_IPV6 */
	__u32 l4;
	__u8 protocol;
	__u8 hop_limit;
	__u8 later_fragment;
	__u8 extended; /* IPv6: there is more than the header before the transport */
	__be16 sport;
	__be16 dport;
};

#endif
