/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Keys, values and maps. The layouts of ipcache, lxc, policy, ct* and metrics are those of Cilium 1.20, byte for byte;
 * src/bpf/layout-*.ts encodes the same bytes and test/kernel/datapath-verdicts.test.ts holds the two together.
 * Sizes given here are defaults: the agent makes the maps with the sizes of its configuration and hands them in.
 */
#ifndef SEKISHO_MAPS_H
#define SEKISHO_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FAMILY_IPV4 1
#define FAMILY_IPV6 2

/* Addresses are four words in network order; an IPv4 address is word 0 and the rest is zero. */
struct ipcache_key {
	__u32 prefixlen; /* 32 static bits and those of the address */
	__u16 cluster_id;
	__u8 pad;
	__u8 family;
	__be32 address[4];
};

struct ipcache_value {
	__u32 identity;
	__be32 tunnel_endpoint[4];
	__u16 pad;
	__u8 key;
	__u8 flags;
};

struct lxc_key {
	__be32 address[4];
	__u8 family;
	__u8 key;
	__u16 cluster_id;
};

struct lxc_value {
	__u32 ifindex;
	__u16 unused;
	__u16 endpoint;
	__u32 flags;
	__u32 route_info;
	__u64 mac;
	__u64 node_mac;
	__u32 identity;
	__u32 parent_ifindex;
	__u64 pad;
};

#define POLICY_STATIC_BITS 40
#define POLICY_FULL_BITS 64
#define POLICY_DENY 0x01
#define POLICY_MAX_PRECEDENCE 0xffffffffU

struct policy_key {
	__u32 prefixlen;
	__u32 identity;
	__u8 egress;
	__u8 protocol;
	__be16 dport;
};

struct policy_value {
	__be16 proxy_port;
	__u8 flags; /* bit 0 deny, bits 3..7 length of the matched prefix less the static bits */
	__u8 auth;
	__u32 precedence;
	__u32 cookie;
};

#define CT_OUT 0
#define CT_IN 1

/* Addresses are stored reversed (they read right for the reply), ports are not. */
struct ct4_key {
	__be32 daddr;
	__be32 saddr;
	__be16 dport;
	__be16 sport;
	__u8 protocol;
	__u8 flags;
} __attribute__((packed));

struct ct6_key {
	__be32 daddr[4];
	__be32 saddr[4];
	__be16 dport;
	__be16 sport;
	__u8 protocol;
	__u8 flags;
} __attribute__((packed));

#define CT_RX_CLOSING 0x01
#define CT_TX_CLOSING 0x02
#define CT_CLOSING (CT_RX_CLOSING | CT_TX_CLOSING)
#define CT_SEEN_NON_SYN 0x10
#define CT_PROXY_REDIRECT 0x40

struct ct_value {
	__u64 reserved;
	__u64 backend;
	__u64 packets; /* not counted */
	__u64 bytes;
	__u32 lifetime; /* CLOCK_MONOTONIC, seconds */
	__u16 bits;
	__u16 rev_nat_index;
	__be16 nat_port;
	__u8 tx_flags_seen;
	__u8 rx_flags_seen;
	__u32 source_identity;
	__u32 last_tx_report;
	__u32 last_rx_report;
};

struct interface_value {
	__u32 endpoint;
	__u32 flags;
};
#define INTERFACE_ENFORCED 0x1

struct frag4_key {
	__be32 saddr;
	__be32 daddr;
	__be16 id;
	__u8 protocol;
	__u8 pad;
};

struct frag6_key {
	__be32 saddr[4];
	__be32 daddr[4];
	__be32 id;
	__u8 nexthdr;
	__u8 pad[3];
};

struct frag_value {
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 icmp_type;
	__u16 pad;
};

struct metrics_key {
	__u8 reason;
	__u8 direction;
	__u16 line;
	__u8 file;
	__u8 pad[3];
};

struct metrics_value {
	__u64 count;
	__u64 bytes;
};

struct drop_key {
	__u16 endpoint;
	__u8 reason;
	__u8 direction;
};

struct event {
	__u64 time; /* CLOCK_MONOTONIC, nanoseconds */
	__u16 endpoint;
	__u8 reason;
	__u8 direction;
	__u8 family;
	__u8 protocol;
	__be16 sport;
	__be16 dport;
	__u16 pad;
	__u32 identity; /* of the destination, 0 when not looked up */
	__u32 length;
	__u32 ifindex;
	__be32 saddr[4];
	__be32 daddr[4];
};

struct config_value {
	__u32 tcp_seconds;
	__u32 other_seconds;
	__u32 syn_seconds;
	__u32 close_seconds;
	__u32 events_per_second; /* of each CPU */
	__u32 world4;
	__u32 world6;
	__u32 pad;
};

struct limiter_value {
	__u64 refilled; /* CLOCK_MONOTONIC, nanoseconds */
	__u64 tokens;
	__u64 suppressed;
};

_Static_assert(sizeof(struct ipcache_key) == 24 && sizeof(struct ipcache_value) == 24, "ipcache");
_Static_assert(sizeof(struct lxc_key) == 20 && sizeof(struct lxc_value) == 48, "lxc");
_Static_assert(sizeof(struct policy_key) == 12 && sizeof(struct policy_value) == 12, "policy");
_Static_assert(sizeof(struct ct4_key) == 14 && sizeof(struct ct6_key) == 38, "conntrack keys");
_Static_assert(sizeof(struct ct_value) == 56, "conntrack value");
_Static_assert(sizeof(struct metrics_key) == 8 && sizeof(struct metrics_value) == 16, "metrics");
_Static_assert(sizeof(struct event) == 64 && sizeof(struct config_value) == 32, "event, config");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 512000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ipcache_key);
	__type(value, struct ipcache_value);
} ipcache SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65535);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lxc_key);
	__type(value, struct lxc_value);
} lxc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* ifindex of the host side */
	__type(value, struct interface_value);
} interfaces SEC(".maps");

struct policy_inner {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct policy_key));
	__uint(value_size, sizeof(struct policy_value));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4096);
	__type(key, __u32); /* endpoint id */
	__array(values, struct policy_inner);
} policy SEC(".maps");

#define CT_MAP(name, key_type)                                                                                         \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                                                   \
		__uint(max_entries, 65536);                                                                            \
		__type(key, key_type);                                                                                 \
		__type(value, struct ct_value);                                                                        \
	} name SEC(".maps")

CT_MAP(ct4, struct ct4_key);
CT_MAP(ct_any4, struct ct4_key);
CT_MAP(ct6, struct ct6_key);
CT_MAP(ct_any6, struct ct6_key);

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct frag4_key);
	__type(value, struct frag_value);
} frag4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct frag6_key);
	__type(value, struct frag_value);
} frag6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct metrics_key);
	__type(value, struct metrics_value);
} metrics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct drop_key);
	__type(value, struct metrics_value);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config_value);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct limiter_value);
} limiter SEC(".maps");

#endif
