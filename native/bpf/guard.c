/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The guard of the underlay: clear text to or from a protected prefix does not pass. Ingress looks at the source, egress
 * at the destination, of every IPv4 and IPv6 packet, also of every fragment. What carries another protocol inside (VXLAN,
 * GRE, IP in IP) is judged by its outer addresses alone.
 *
 * What passes nevertheless:
 *   ARP, and IPv6 neighbour solicitation and advertisement (hop limit 255: it cannot have crossed a router);
 *   WireGuard's own UDP, where one single address is protected, as of a node whose own traffic is sealed;
 *   the flows of the bypass list.
 * Programs `*_frame` are for devices with an Ethernet header, `*_packet` for those without.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include "guard.h"

char guard_license[] SEC("license") = "Dual BSD/GPL";

/* Means "go on with the next program" to tcx (TCX_NEXT) and to a direct-action classifier (TC_ACT_UNSPEC) alike. */
#define NEXT TC_ACT_UNSPEC

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Where the IP header of a frame begins; 0 when it carries no IP. The type is read from the frame itself. */
static __always_inline __u32 ip_in_frame(struct __sk_buff *skb)
{
	__u32 at = ETH_HLEN;
	__be16 type;

	for (int i = 0; i <= GUARD_MAX_TAGS; i++) {
		if (bpf_skb_load_bytes(skb, at - 2, &type, sizeof(type)) < 0)
			return 0;
		if (type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6))
			return at;
		if (!is_tag(type))
			return 0;
		at += 4;
	}
	return 0;
}

/* False for what is no IP header; the kernel throws that away itself. */
static __always_inline int read_header(struct __sk_buff *skb, struct guard_packet *p, __u32 at)
{
	__u8 version;

	if (bpf_skb_load_bytes(skb, at, &version, 1) < 0)
		return 0;
	if (version >> 4 == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
			return 0;
		p->family = GUARD_IPV4;
		p->source[0] = ip.saddr;
		p->destination[0] = ip.daddr;
		p->protocol = ip.protocol;
		p->hop_limit = ip.ttl;
		p->later_fragment = (ip.frag_off & bpf_htons(0x1fff)) != 0;
		p->l4 = at + (version & 15) * 4;
		return 1;
	}
	if (version >> 4 == 6) {
		struct ipv6hdr ip;
		__u8 head[8];

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
			return 0;
		p->family = GUARD_IPV6;
		__builtin_memcpy(p->source, &ip.saddr, sizeof(p->source));
		__builtin_memcpy(p->destination, &ip.daddr, sizeof(p->destination));
		p->protocol = ip.nexthdr;
		p->hop_limit = ip.hop_limit;
		p->l4 = at + sizeof(ip);
		/* A fragment header is looked behind; any other extension leaves a protocol that no exception is for. */
		if (ip.nexthdr == PROTO_FRAGMENT && bpf_skb_load_bytes(skb, p->l4, head, sizeof(head)) == 0) {
			p->protocol = head[0];
			p->later_fragment = head[2] != 0 || (head[3] & 0xf8) != 0;
			p->extended = 1;
			p->l4 += sizeof(head);
		}
		return 1;
	}
	return 0;
}

static __always_inline __u32 protection_of(const __be32 *address, __u32 family)
{
	const __u32 *found;

	if (family == GUARD_IPV4) {
		struct guard_key4 key = {.bits = 32, .address = address[0]};

		found = bpf_map_lookup_elem(&guard_v4, &key);
	} else {
		struct guard_key6 key = {.bits = 128};

		__builtin_memcpy(key.address, address, sizeof(key.address));
		found = bpf_map_lookup_elem(&guard_v6, &key);
	}
	return found ? *found : 0;
}

static __always_inline int is_own_port(const struct guard_settings *settings, __be16 port)
{
	for (int i = 0; i < GUARD_MAX_PORTS; i++)
		if (settings->ports[i] && settings->ports[i] == port)
			return 1;
	return 0;
}

/*
 * The packets of our own devices: they leave with the mark of the device and from its port, and come in to it. A fragment
 * without ports gets nowhere by itself: it is delivered with the first one, which has them, or not at all.
 */
static __always_inline int is_wireguard(struct __sk_buff *skb, const struct guard_packet *p,
					const struct guard_settings *settings, __u32 direction)
{
	if (p->protocol != PROTO_UDP)
		return 0;
	if (direction == GUARD_EGRESS && (skb->mark & settings->mark_mask) != settings->mark)
		return 0;
	if (p->later_fragment)
		return 1;
	return is_own_port(settings, direction == GUARD_EGRESS ? p->sport : p->dport);
}

static __always_inline int covers(const struct guard_flow *flow, const struct guard_packet *p, const __be32 *address,
				  __be16 port)
{
	for (int i = 0; i < 4; i++)
		if ((address[i] & flow->mask[i]) != flow->address[i])
			return 0;
	if (flow->protocol == 0)
		return 1;
	return flow->protocol == p->protocol && !p->later_fragment && flow->port == port;
}

struct bypass_search {
	const struct guard_packet *packet;
	const struct guard_settings *settings;
	int found;
};

/* 1 ends the search. */
static long try_flow(__u32 i, struct bypass_search *search)
{
	const struct guard_packet *p = search->packet;
	const struct guard_flow *flow;

	if (i >= GUARD_MAX_FLOWS)
		return 1;
	flow = &search->settings->flows[i];
	if (flow->family == 0)
		return 1;
	if (flow->family != (p->family == GUARD_IPV4 ? 4 : 6))
		return 0;
	search->found = covers(flow, p, p->destination, p->dport) || covers(flow, p, p->source, p->sport);
	return search->found;
}

/* The verifier walks through every turn of a plain loop: twelve times as much work at each start of the agent. */
static __noinline int is_bypass(const struct guard_packet *p, const struct guard_settings *settings)
{
	struct bypass_search search = {.packet = p, .settings = settings};

	if (!settings)
		return 0;
	bpf_loop(GUARD_MAX_FLOWS, try_flow, &search, 0);
	return search.found;
}

static __always_inline int is_neighbour(struct __sk_buff *skb, const struct guard_packet *p)
{
	__u8 type[2];

	if (p->family != GUARD_IPV6 || p->protocol != PROTO_ICMPV6 || p->hop_limit != 255 || p->extended)
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4, type, sizeof(type)) < 0)
		return 0;
	return (type[0] == 135 || type[0] == 136) && type[1] == 0;
}

static __noinline int excepted(struct __sk_buff *skb, struct guard_packet *p, __u32 direction, __u32 protection)
{
	const struct guard_settings *settings;
	__u32 zero = 0;
	__be16 ports[2];

	if (is_neighbour(skb, p))
		return 1;
	settings = bpf_map_lookup_elem(&guard_settings, &zero);
	if (!settings)
		return 0;
	if ((p->protocol == PROTO_UDP || p->protocol == PROTO_TCP) && !p->later_fragment) {
		if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports)) < 0)
			return 0;
		p->sport = ports[0];
		p->dport = ports[1];
	}
	if (protection == GUARD_ADDRESS && is_wireguard(skb, p, settings, direction))
		return 1;
	return is_bypass(p, settings);
}

static __always_inline int judge(struct __sk_buff *skb, __u32 at, __u32 direction)
{
	struct guard_packet p = {};
	__u32 protection, key;
	__u64 *count;

	if (!read_header(skb, &p, at))
		return NEXT;
	protection = protection_of(direction == GUARD_INGRESS ? p.source : p.destination, p.family);
	if (!protection || excepted(skb, &p, direction, protection))
		return NEXT;
	key = direction * 2 + p.family;
	count = bpf_map_lookup_elem(&guard_counts, &key);
	if (count)
		*count += 1;
	return TC_ACT_SHOT;
}

static __always_inline int judge_frame(struct __sk_buff *skb, __u32 direction)
{
	__u32 at = ip_in_frame(skb);

	return at ? judge(skb, at, direction) : NEXT;
}

SEC("tc")
int ingress_frame(struct __sk_buff *skb)
{
	return judge_frame(skb, GUARD_INGRESS);
}

SEC("tc")
int egress_frame(struct __sk_buff *skb)
{
	return judge_frame(skb, GUARD_EGRESS);
}

SEC("tc")
int ingress_packet(struct __sk_buff *skb)
{
	return judge(skb, 0, GUARD_INGRESS);
}

SEC("tc")
int egress_packet(struct __sk_buff *skb)
{
	return judge(skb, 0, GUARD_EGRESS);
}
