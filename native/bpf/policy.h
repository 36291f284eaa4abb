/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Identity of an address and the row that decides. */
#ifndef SEKISHO_POLICY_H
#define SEKISHO_POLICY_H

#include "drop.h"
#include "maps.h"
#include "parse.h"

#define IDENTITY_ANY 0
#define IDENTITY_HOST 1
#define IDENTITY_WORLD 2
#define IDENTITY_WORLD_IPV4 9
#define IDENTITY_WORLD_IPV6 10
#define IDENTITY_AGGREGATE_CLUSTER 11
#define IDENTITY_AGGREGATE_WORLD 13
#define IDENTITY_SCOPE(id) ((id) >> 24)
#define IDENTITY_SCOPE_LOCAL 1

static __always_inline __u32 identity_of(const __be32 *address, __u8 family)
{
	struct ipcache_key key = {.family = family};
	const struct ipcache_value *value;
	const struct config_value *settings;
	__u32 zero = 0;

	key.prefixlen = 32 + (family == FAMILY_IPV4 ? 32 : 128);
	__builtin_memcpy(key.address, address, sizeof(key.address));
	value = bpf_map_lookup_elem(&ipcache, &key);
	if (value && value->identity)
		return value->identity;
	settings = bpf_map_lookup_elem(&config, &zero);
	if (!settings)
		return family == FAMILY_IPV4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
	return family == FAMILY_IPV4 ? settings->world4 : settings->world6;
}

/* 0 when the identity is of no aggregate. */
static __always_inline __u32 aggregate_of(__u32 identity)
{
	if (identity >= 256 && identity <= 65535)
		return IDENTITY_AGGREGATE_CLUSTER;
	if (identity == IDENTITY_WORLD || identity == IDENTITY_WORLD_IPV4 || identity == IDENTITY_WORLD_IPV6 ||
	    IDENTITY_SCOPE(identity) == IDENTITY_SCOPE_LOCAL)
		return IDENTITY_AGGREGATE_WORLD;
	return 0;
}

static __always_inline const struct policy_value *stronger(const struct policy_value *a, const struct policy_value *b)
{
	if (!a || !b)
		return a ? a : b;
	if (a->precedence != b->precedence)
		return a->precedence > b->precedence ? a : b;
	/* A tie goes to the longer prefix, then to the more exact identity, which is `a`. */
	return (b->flags >> 3) > (a->flags >> 3) ? b : a;
}

/* Returns PASS with *proxy_port set or 0, or a reason to drop. */
static __noinline int policy_verdict(const struct packet *p, __u32 endpoint, __be16 *proxy_port)
{
	struct policy_key key = {.prefixlen = POLICY_FULL_BITS, .egress = 1};
	const struct policy_value *best, *other;
	__u32 identity = p->identity, aggregate;
	void *rows;

	*proxy_port = 0;
	rows = bpf_map_lookup_elem(&policy, &endpoint);
	if (!rows)
		return DROP_NO_POLICY_MAP;
	key.protocol = p->protocol;
	key.dport = p->dport;
	if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6)
		key.dport = bpf_htons(p->icmp_type);
	key.identity = identity;
	best = bpf_map_lookup_elem(rows, &key);
	aggregate = aggregate_of(identity);
	if (aggregate) {
		key.identity = aggregate;
		other = bpf_map_lookup_elem(rows, &key);
		best = stronger(best, other);
	}
	key.identity = IDENTITY_ANY;
	other = bpf_map_lookup_elem(rows, &key);
	best = stronger(best, other);
	if (!best)
		return DROP_POLICY;
	if (best->flags & POLICY_DENY)
		return DROP_POLICY_DENY;
	*proxy_port = best->proxy_port;
	return PASS;
}

#endif
