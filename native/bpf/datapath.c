/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The standalone datapath: two programs on the host side of a pod's interface.
 *   from_pod  tc/tcx ingress: what the pod sends. Policy is asked for every packet, also of established connections.
 *   to_pod    tc/tcx egress: what the pod gets. Drops nothing; remembers who opened a connection.
 * An interface without an entry in `interfaces` is not touched. Any doubt about a packet of an enforced endpoint is a
 * drop with a reason.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parse.h"
#include "drop.h"
#include "conntrack.h"
#include "policy.h"
#include "redirect.h"

char dual_license[] SEC("license") = "Dual BSD/GPL";

/* Means "go on with the next program" to tcx (TCX_NEXT) and to a direct-action classifier (TC_ACT_UNSPEC) alike. */
#define NEXT TC_ACT_UNSPEC

static __always_inline __u32 seconds_now(void)
{
	return bpf_ktime_get_ns() / 1000000000ULL;
}

static __always_inline int parse(struct __sk_buff *skb, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, p, ETH_HLEN, 0);
	return parse_ipv6(skb, p, ETH_HLEN, 0);
}

static __always_inline const struct lxc_value *endpoint_of(const __be32 *address, __u8 family)
{
	struct lxc_key key = {.family = family};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&lxc, &key);
}

static __noinline int own_source(const struct packet *p, __u32 ifindex)
{
	const struct lxc_value *owner = endpoint_of(p->saddr, p->family);

	return owner && owner->ifindex == ifindex;
}

#define is_unspecified6(a) (((a)[0] | (a)[1] | (a)[2] | (a)[3]) == 0)
#define is_link_local6(a) (((a)[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
#define is_link_multicast6(a) (((a)[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000))

/*
 * What IPv6 needs on the link itself: neighbour and router solicitation (RFC 4861) and multicast listener reports
 * (RFC 3810). None of it can leave the link: the destination is of the link, or is the node or a pod beside this one.
 */
static __noinline int is_link_traffic(const struct packet *p, __u32 ifindex)
{
	int link_destination = is_link_local6(p->daddr) || is_link_multicast6(p->daddr);

	if (p->family != FAMILY_IPV6 || p->protocol != PROTO_ICMPV6 || p->icmp_code != 0)
		return 0;
	if (p->flags & (PKT_FIRST_FRAGMENT | PKT_LATER_FRAGMENT))
		return 0;
	if (!is_unspecified6(p->saddr) && !is_link_local6(p->saddr) && !own_source(p, ifindex))
		return 0;
	switch (p->icmp_type) {
	case 131: /* listener report, v1 */
	case 132: /* listener done, v1 */
	case 143: /* listener report, v2 */
		return p->hop_limit == 1 && is_link_multicast6(p->daddr);
	case 133: /* router solicitation */
		return p->hop_limit == 255 && !(p->flags & PKT_EXTENSION_HEADERS) && link_destination;
	case 135: /* neighbour solicitation */
	case 136: /* neighbour advertisement */
		if (p->hop_limit != 255 || p->flags & PKT_EXTENSION_HEADERS)
			return 0;
		return link_destination || identity_of(p->daddr, FAMILY_IPV6) == IDENTITY_HOST ||
		       endpoint_of(p->daddr, FAMILY_IPV6) != 0;
	default:
		return 0;
	}
}

static __noinline int resolve_fragment(struct packet *p)
{
	struct frag_value *known, first = {};

	if (p->flags & PKT_FIRST_FRAGMENT) {
		first.sport = p->sport;
		first.dport = p->dport;
		first.protocol = p->protocol;
		first.icmp_type = p->icmp_type;
	}
	if (p->family == FAMILY_IPV4) {
		struct frag4_key key = {
			.saddr = p->saddr[0], .daddr = p->daddr[0], .id = p->fragment_id, .protocol = p->protocol};

		if (p->flags & PKT_FIRST_FRAGMENT)
			return bpf_map_update_elem(&frag4, &key, &first, BPF_ANY) ? DROP_FRAGMENT : PASS;
		known = bpf_map_lookup_elem(&frag4, &key);
	} else {
		struct frag6_key key = {.id = p->fragment_id, .nexthdr = p->fragment_nexthdr};

		__builtin_memcpy(key.saddr, p->saddr, sizeof(key.saddr));
		__builtin_memcpy(key.daddr, p->daddr, sizeof(key.daddr));
		if (p->flags & PKT_FIRST_FRAGMENT)
			return bpf_map_update_elem(&frag6, &key, &first, BPF_ANY) ? DROP_FRAGMENT : PASS;
		known = bpf_map_lookup_elem(&frag6, &key);
	}
	if (!known)
		return DROP_FRAGMENT;
	p->sport = known->sport;
	p->dport = known->dport;
	p->protocol = known->protocol;
	p->icmp_type = known->icmp_type;
	return PASS;
}

/*
 * An error about a packet that came in. PASS when that packet belongs to a connection opened to the pod; when it answers
 * a connection the pod opened, `p` becomes that connection so that policy is asked about it; otherwise unchanged.
 * Returns 1 for pass, 0 for "ask policy".
 */
static __noinline int judge_icmp_error(struct __sk_buff *skb, struct packet *p, __u32 now)
{
	struct packet quoted = {};
	struct ct6_key tuple;
	int problem;

	if (p->family == FAMILY_IPV4)
		problem = parse_ipv4(skb, &quoted, p->l4 + 8, 1);
	else
		problem = parse_ipv6(skb, &quoted, p->l4 + 8, 1);
	if (problem || quoted.flags & PKT_LATER_FRAGMENT)
		return 0;
	/* It goes to the sender of the packet it is about, and from where that packet went. */
	for (int i = 0; i < 4; i++)
		if (quoted.saddr[i] != p->daddr[i] || quoted.daddr[i] != p->saddr[i])
			return 0;
	ct_original(&tuple, &quoted, CT_IN);
	if (ct_find(&tuple, p->family, now))
		return 1;
	ct_answered(&tuple, &quoted, CT_OUT);
	if (!ct_find(&tuple, p->family, now))
		return 0;
	p->protocol = quoted.protocol;
	p->dport = quoted.sport;
	p->sport = quoted.dport;
	p->icmp_type = p->family == FAMILY_IPV4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST;
	return 0;
}

/* Connections of an endpoint without policy are remembered for the day it gets one. */
static __always_inline void watch(struct __sk_buff *skb, struct packet *p)
{
	struct ct6_key tuple;
	struct ct_value *entry;
	__u32 now = seconds_now();

	if (p->flags & (PKT_LATER_FRAGMENT | PKT_ICMP_ERROR) || !own_source(p, skb->ifindex))
		return;
	ct_answered(&tuple, p, CT_IN);
	entry = ct_find(&tuple, p->family, now);
	if (!entry) {
		ct_original(&tuple, p, CT_OUT);
		entry = ct_find(&tuple, p->family, now);
	}
	if (entry && !tcp_opens(p))
		ct_refresh(entry, p, CT_TX_CLOSING, now);
	else
		ct_create(&tuple, p, CT_TX_CLOSING, 0, now);
}

static __noinline int judge(struct __sk_buff *skb, struct packet *p, __u32 endpoint)
{
	struct ct6_key tuple;
	struct ct_value *entry, *inbound = 0;
	__u32 now = seconds_now();
	__be16 proxy_port = 0;
	__u16 bits = 0;
	int verdict, about = 0;

	if (!own_source(p, skb->ifindex))
		return DROP_INVALID_SOURCE;
	if (p->flags & (PKT_FIRST_FRAGMENT | PKT_LATER_FRAGMENT)) {
		verdict = resolve_fragment(p);
		if (verdict)
			return verdict;
	}
	if (p->flags & PKT_ICMP_ERROR) {
		if (judge_icmp_error(skb, p, now))
			return PASS;
		about = 1;
	} else if (!tcp_opens(p)) {
		/* A SYN opens a connection and is no answer, whatever ports it uses. */
		ct_answered(&tuple, p, CT_IN);
		inbound = ct_find(&tuple, p->family, now);
		if (inbound && p->protocol != PROTO_UDP)
			goto answers;
	}
	p->identity = identity_of(p->daddr, p->family);
	verdict = policy_verdict(p, endpoint, &proxy_port);
	/*
	 * Who spoke first over UDP is a guess: an answer looks like an opening once the pod has crowded its own entry
	 * out of the map. What is redirected is redirected all the same, so that no name goes by unread.
	 */
	if (inbound && (verdict || !proxy_port))
		goto answers;
	if (verdict)
		return verdict;
	if (about)
		return PASS;
	ct_original(&tuple, p, CT_OUT);
	entry = ct_find(&tuple, p->family, now);
	if (proxy_port) {
		/* A socket cannot be assigned to fragments: reassembly would lose it. */
		if (p->flags & (PKT_FIRST_FRAGMENT | PKT_LATER_FRAGMENT))
			return DROP_FRAGMENT;
		if (p->protocol == PROTO_UDP)
			verdict = redirect_udp(skb, p, proxy_port);
		else if (p->protocol == PROTO_TCP)
			verdict = redirect_tcp(skb, p, proxy_port, entry && entry->bits & CT_PROXY_REDIRECT);
		else
			return DROP_PROXY_PROTOCOL;
		if (verdict != REDIRECTED)
			return verdict;
		bits = CT_PROXY_REDIRECT;
	}
	if (p->flags & PKT_LATER_FRAGMENT)
		return verdict;
	if (entry && !tcp_opens(p)) {
		if (p->protocol != PROTO_TCP && (entry->bits & CT_PROXY_REDIRECT) != bits)
			entry->bits = (entry->bits & ~CT_PROXY_REDIRECT) | bits;
		ct_refresh(entry, p, CT_TX_CLOSING, now);
		return verdict;
	}
	if (ct_create(&tuple, p, CT_TX_CLOSING, bits, now))
		return DROP_CT_CREATE;
	return verdict;
answers:
	if (!(p->flags & PKT_LATER_FRAGMENT))
		ct_refresh(inbound, p, CT_TX_CLOSING, now);
	return PASS;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	const struct interface_value *interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	struct packet p = {};
	__u32 endpoint;
	int enforced, verdict;

	if (!interface)
		return NEXT;
	endpoint = interface->endpoint;
	enforced = interface->flags & INTERFACE_ENFORCED;
	if (skb->vlan_present || skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD)) {
		verdict = DROP_VLAN;
	} else if (skb->protocol == bpf_htons(ETH_P_ARP)) {
		verdict = PASS;
	} else if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) {
		verdict = DROP_UNSUPPORTED_L2;
	} else {
		verdict = parse(skb, &p);
		if (!verdict && !is_link_traffic(&p, ifindex)) {
			if (enforced)
				verdict = judge(skb, &p, endpoint);
			else
				watch(skb, &p);
		}
	}
	if (verdict == REDIRECTED) {
		count(0, DIRECTION_EGRESS, skb->len);
		return TC_ACT_OK;
	}
	if (verdict == PASS || !enforced) {
		count(0, DIRECTION_EGRESS, skb->len);
		return NEXT;
	}
	drop(skb, &p, endpoint, verdict);
	return TC_ACT_SHOT;
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	const struct interface_value *interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	struct packet p = {};
	struct ct6_key tuple;
	struct ct_value *entry;
	__u32 now;

	if (!interface)
		return NEXT;
	count(0, DIRECTION_INGRESS, skb->len);
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return NEXT;
	if (parse(skb, &p) || p.flags & (PKT_LATER_FRAGMENT | PKT_ICMP_ERROR) || is_link_traffic(&p, ifindex))
		return NEXT;
	now = seconds_now();
	if (!tcp_opens(&p)) {
		ct_answered(&tuple, &p, CT_OUT);
		entry = ct_find(&tuple, p.family, now);
		if (entry) {
			ct_refresh(entry, &p, CT_RX_CLOSING, now);
			return NEXT;
		}
	}
	ct_original(&tuple, &p, CT_IN);
	entry = ct_find(&tuple, p.family, now);
	if (entry && !tcp_opens(&p)) {
		ct_refresh(entry, &p, CT_RX_CLOSING, now);
		return NEXT;
	}
	/*
	 * Under policy only a SYN opens a TCP connection: an endpoint that makes its own entry be evicted must not get
	 * the right to answer by what its peer sends next.
	 */
	if (p.protocol == PROTO_TCP && !tcp_opens(&p) && interface->flags & INTERFACE_ENFORCED)
		return NEXT;
	ct_create(&tuple, &p, CT_RX_CLOSING, 0, now);
	return NEXT;
}
