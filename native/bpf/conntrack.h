/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Connections. An entry is OUT (opened by a pod) or IN (opened to a pod). TCP and the rest have maps of their own, so
 * that a flood of datagrams evicts no connection.
 */
#ifndef SEKISHO_CONNTRACK_H
#define SEKISHO_CONNTRACK_H

#include "maps.h"
#include "parse.h"

/* The entry this packet would have opened in direction `flags`. An IPv4 address is word 0, as everywhere. */
static __always_inline void ct_original(struct ct6_key *t, const struct packet *p, __u8 flags)
{
	__builtin_memcpy(t->daddr, p->saddr, sizeof(t->daddr));
	__builtin_memcpy(t->saddr, p->daddr, sizeof(t->saddr));
	t->dport = p->dport;
	t->sport = p->sport;
	t->protocol = p->protocol;
	t->flags = flags;
}

/* The entry of direction `flags` that this packet would answer. */
static __always_inline void ct_answered(struct ct6_key *t, const struct packet *p, __u8 flags)
{
	__builtin_memcpy(t->daddr, p->daddr, sizeof(t->daddr));
	__builtin_memcpy(t->saddr, p->saddr, sizeof(t->saddr));
	t->dport = p->sport;
	t->sport = p->dport;
	t->protocol = p->protocol;
	t->flags = flags;
}

static __always_inline void ct_key4(struct ct4_key *key, const struct ct6_key *t)
{
	key->daddr = t->daddr[0];
	key->saddr = t->saddr[0];
	key->dport = t->dport;
	key->sport = t->sport;
	key->protocol = t->protocol;
	key->flags = t->flags;
}

/* The live entry, or NULL. Nothing collects dead entries but the LRU, so the lifetime is what counts. */
static __noinline struct ct_value *ct_find(const struct ct6_key *t, __u8 family, __u32 now)
{
	struct ct_value *value;

	if (family == FAMILY_IPV4) {
		struct ct4_key key;

		ct_key4(&key, t);
		if (t->protocol == PROTO_TCP)
			value = bpf_map_lookup_elem(&ct4, &key);
		else
			value = bpf_map_lookup_elem(&ct_any4, &key);
	} else if (t->protocol == PROTO_TCP) {
		value = bpf_map_lookup_elem(&ct6, t);
	} else {
		value = bpf_map_lookup_elem(&ct_any6, t);
	}
	if (!value || value->lifetime <= now)
		return 0;
	return value;
}

static __always_inline int ct_insert(const struct ct6_key *t, __u8 family, const struct ct_value *value)
{
	if (family == FAMILY_IPV4) {
		struct ct4_key key;

		ct_key4(&key, t);
		if (t->protocol == PROTO_TCP)
			return bpf_map_update_elem(&ct4, &key, value, BPF_ANY);
		return bpf_map_update_elem(&ct_any4, &key, value, BPF_ANY);
	}
	if (t->protocol == PROTO_TCP)
		return bpf_map_update_elem(&ct6, t, value, BPF_ANY);
	return bpf_map_update_elem(&ct_any6, t, value, BPF_ANY);
}

static __always_inline int tcp_opens(const struct packet *p)
{
	return p->protocol == PROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

static __always_inline __u32 ct_seconds(const struct packet *p, __u16 bits)
{
	__u32 zero = 0;
	struct config_value *settings = bpf_map_lookup_elem(&config, &zero);

	if (!settings)
		return 60;
	if (p->protocol != PROTO_TCP)
		return settings->other_seconds;
	if ((bits & CT_CLOSING) == CT_CLOSING)
		return settings->close_seconds;
	return bits & CT_SEEN_NON_SYN ? settings->tcp_seconds : settings->syn_seconds;
}

/* A packet of a known connection. `closing` is the bit of the packet's own direction. */
static __always_inline void ct_refresh(struct ct_value *value, const struct packet *p, __u16 closing, __u32 now)
{
	__u16 before = value->bits, bits = before;
	__u32 lifetime;

	if (p->protocol == PROTO_TCP) {
		if (!(p->tcp_flags & TCP_SYN))
			bits |= CT_SEEN_NON_SYN;
		if (p->tcp_flags & TCP_RST)
			bits |= CT_CLOSING;
		else if (p->tcp_flags & TCP_FIN)
			bits |= closing;
		/* What comes after both ends have closed does not keep the entry. */
		if ((before & CT_CLOSING) == CT_CLOSING)
			return;
		if (closing == CT_TX_CLOSING)
			value->tx_flags_seen |= p->tcp_flags;
		else
			value->rx_flags_seen |= p->tcp_flags;
		if (bits != before)
			value->bits = bits;
	}
	lifetime = now + ct_seconds(p, bits);
	/* Written once a second at most: the line is shared by CPUs. */
	if (value->lifetime != lifetime)
		value->lifetime = lifetime;
}

/* Makes the entry anew. Returns non-zero when the map took it not. */
static __noinline int ct_create(const struct ct6_key *t, const struct packet *p, __u16 closing, __u16 bits, __u32 now)
{
	struct ct_value value = {};

	if (p->protocol == PROTO_TCP) {
		if (!(p->tcp_flags & TCP_SYN))
			bits |= CT_SEEN_NON_SYN;
		if (p->tcp_flags & TCP_RST)
			bits |= CT_CLOSING;
		else if (p->tcp_flags & TCP_FIN)
			bits |= closing;
		if (closing == CT_TX_CLOSING)
			value.tx_flags_seen = p->tcp_flags;
		else
			value.rx_flags_seen = p->tcp_flags;
	}
	value.bits = bits;
	value.lifetime = now + ct_seconds(p, bits);
	return ct_insert(t, p->family, &value);
}

#endif
