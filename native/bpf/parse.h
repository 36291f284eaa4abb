/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * From a frame to the words a verdict needs. Headers are copied with bpf_skb_load_bytes, so paged and GSO packets need
 * no pull. Checksums are not looked at: those of a packet from a veth may not be filled in yet.
 */
#ifndef SEKISHO_PARSE_H
#define SEKISHO_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "maps.h"

/* RFC 792 and RFC 4443; <linux/icmp.h> would pull in the C library. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_DCCP 33
#define PROTO_ICMPV6 58
#define PROTO_SCTP 132
#define PROTO_UDPLITE 136

#define EXT_HOP_BY_HOP 0
#define EXT_ROUTING 43
#define EXT_FRAGMENT 44
#define EXT_AUTH 51
#define EXT_DESTINATION 60
#define MAX_EXTENSION_HEADERS 8

#define PKT_FIRST_FRAGMENT 0x01
#define PKT_LATER_FRAGMENT 0x02
#define PKT_EXTENSION_HEADERS 0x04
/* An ICMP message about another packet, whose header begins 8 octets after l4. */
#define PKT_ICMP_ERROR 0x08

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct packet {
	__be32 saddr[4];
	__be32 daddr[4];
	/* An ICMP echo has its id as port on the asking side and 0 on the other. */
	__be16 sport;
	__be16 dport;
	__u8 family;
	__u8 protocol;
	__u8 flags;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 hop_limit;
	__u8 fragment_nexthdr;
	__be32 fragment_id;
	__u32 fragment_octets; /* offset of this fragment */
	__u32 l4;	       /* offset in the frame */
	__u32 identity;	       /* of the destination, once looked up */
};

#define PARSE_OK 0
#define PARSE_INVALID 134
#define PARSE_EXTENSION 156

/*
 * `end` is where the IP packet ends. `inner`: the header quoted in an ICMP error, of which only 8 octets after the IP
 * header are sure to be there (RFC 792, RFC 4443 section 2.4).
 */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p, __u32 end, int inner)
{
	__u8 head[20];
	__u32 need = 4;

	switch (p->protocol) {
	case PROTO_TCP:
		need = inner ? 8 : 20;
		break;
	case PROTO_SCTP:
		need = inner ? 8 : 12;
		break;
	case PROTO_DCCP:
		need = inner ? 8 : 12;
		break;
	case PROTO_UDP:
	case PROTO_UDPLITE:
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		need = 8;
		break;
	default:
		return PARSE_OK;
	}
	if (p->l4 + need > end)
		return PARSE_INVALID;
	if (need == 20) {
		if (bpf_skb_load_bytes(skb, p->l4, head, 20) < 0)
			return PARSE_INVALID;
		if ((head[12] >> 4) < 5 || p->l4 + (head[12] >> 4) * 4 > end)
			return PARSE_INVALID;
		p->tcp_flags = head[13];
	} else if (bpf_skb_load_bytes(skb, p->l4, head, 8) < 0) {
		return PARSE_INVALID;
	}
	if (p->protocol == PROTO_ICMP || p->protocol == PROTO_ICMPV6) {
		__be16 id;

		/* An ICMP of the other family is no ICMP. */
		if ((p->protocol == PROTO_ICMP) != (p->family == FAMILY_IPV4))
			return PARSE_INVALID;
		p->icmp_type = head[0];
		p->icmp_code = head[1];
		__builtin_memcpy(&id, head + 4, 2);
		if (p->family == FAMILY_IPV4) {
			if (head[0] == ICMP_ECHO)
				p->sport = id;
			else if (head[0] == ICMP_ECHOREPLY)
				p->dport = id;
			else if (head[0] == ICMP_DEST_UNREACH || head[0] == ICMP_TIME_EXCEEDED ||
				 head[0] == ICMP_PARAMETERPROB)
				p->flags |= PKT_ICMP_ERROR;
		} else {
			if (head[0] == ICMPV6_ECHO_REQUEST)
				p->sport = id;
			else if (head[0] == ICMPV6_ECHO_REPLY)
				p->dport = id;
			else if (head[0] >= ICMPV6_DEST_UNREACH && head[0] <= ICMPV6_PARAMPROB)
				p->flags |= PKT_ICMP_ERROR;
		}
		return PARSE_OK;
	}
	__builtin_memcpy(&p->sport, head, 2);
	__builtin_memcpy(&p->dport, head + 2, 2);
	return PARSE_OK;
}

/* A later fragment that reaches back into the transport header could rewrite what was judged (RFC 1858, RFC 3128). */
static __always_inline int fragment_reaches_back(__u8 protocol, __u32 octets)
{
	return octets < (protocol == PROTO_TCP ? 20 : 8);
}

/* Source routes would take the packet elsewhere than to the address that is judged. */
static __always_inline int check_options(struct __sk_buff *skb, __u32 at, __u32 length)
{
	__u32 i = 0;

	for (int round = 0; round < 40; round++) {
		__u8 option[2];

		if (i >= length)
			return PARSE_OK;
		if (bpf_skb_load_bytes(skb, at + i, option, 1) < 0)
			return PARSE_INVALID;
		if (option[0] == 0)
			return PARSE_OK;
		if (option[0] == 1) {
			i += 1;
			continue;
		}
		if (option[0] == 131 || option[0] == 137 || i + 2 > length)
			return PARSE_INVALID;
		if (bpf_skb_load_bytes(skb, at + i + 1, option + 1, 1) < 0)
			return PARSE_INVALID;
		if (option[1] < 2 || i + option[1] > length)
			return PARSE_INVALID;
		i += option[1];
	}
	return PARSE_INVALID;
}

static __noinline int parse_ipv4(struct __sk_buff *skb, struct packet *p, __u32 at, int inner)
{
	struct iphdr ip;
	__u32 header, total, end, offset;
	int problem;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return PARSE_INVALID;
	if (ip.version != 4 || ip.ihl < 5)
		return PARSE_INVALID;
	header = ip.ihl * 4;
	total = bpf_ntohs(ip.tot_len);
	end = skb->len;
	/* A GSO packet over 64 KiB ("BIG TCP") has length 0. */
	if (!inner && !(total == 0 && skb->gso_size)) {
		if (total < header || at + total > end)
			return PARSE_INVALID;
		end = at + total;
	}
	if (at + header > end)
		return PARSE_INVALID;
	p->family = FAMILY_IPV4;
	p->saddr[0] = ip.saddr;
	p->daddr[0] = ip.daddr;
	p->protocol = ip.protocol;
	p->hop_limit = ip.ttl;
	p->l4 = at + header;
	if (header > 20) {
		problem = check_options(skb, at + 20, header - 20);
		if (problem)
			return problem;
	}
	offset = bpf_ntohs(ip.frag_off);
	p->fragment_id = ip.id;
	if (offset & 0x1fff) {
		p->flags |= PKT_LATER_FRAGMENT;
		p->fragment_octets = (offset & 0x1fff) * 8;
		return fragment_reaches_back(p->protocol, p->fragment_octets) ? PARSE_INVALID : PARSE_OK;
	}
	if (offset & 0x2000)
		p->flags |= PKT_FIRST_FRAGMENT;
	return parse_l4(skb, p, end, inner);
}

static __always_inline int is_extension(__u8 header)
{
	return header == EXT_HOP_BY_HOP || header == EXT_ROUTING || header == EXT_FRAGMENT || header == EXT_AUTH ||
	       header == EXT_DESTINATION;
}

static __noinline int parse_ipv6(struct __sk_buff *skb, struct packet *p, __u32 at, int inner)
{
	struct ipv6hdr ip;
	__u32 end = skb->len, total, offset;
	__u8 next;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return PARSE_INVALID;
	if (ip.version != 6)
		return PARSE_INVALID;
	total = bpf_ntohs(ip.payload_len);
	if (!inner && !(total == 0 && skb->gso_size)) {
		if (at + sizeof(ip) + total > end)
			return PARSE_INVALID;
		end = at + sizeof(ip) + total;
	}
	p->family = FAMILY_IPV6;
	__builtin_memcpy(p->saddr, &ip.saddr, sizeof(p->saddr));
	__builtin_memcpy(p->daddr, &ip.daddr, sizeof(p->daddr));
	p->hop_limit = ip.hop_limit;
	p->l4 = at + sizeof(ip);
	next = ip.nexthdr;
	for (int i = 0; i < MAX_EXTENSION_HEADERS + 1; i++) {
		__u8 head[8];
		__u32 length;

		if (!is_extension(next)) {
			p->protocol = next;
			return parse_l4(skb, p, end, inner);
		}
		if (i == MAX_EXTENSION_HEADERS)
			return PARSE_EXTENSION;
		/* RFC 8200 section 4.1: hop-by-hop options only directly after the IPv6 header. */
		if (next == EXT_HOP_BY_HOP && i != 0)
			return PARSE_EXTENSION;
		if (p->l4 + 8 > end || bpf_skb_load_bytes(skb, p->l4, head, 8) < 0)
			return PARSE_EXTENSION;
		p->flags |= PKT_EXTENSION_HEADERS;
		if (next == EXT_FRAGMENT) {
			if (p->flags & PKT_FIRST_FRAGMENT)
				return PARSE_EXTENSION;
			offset = (head[2] << 8) | head[3];
			__builtin_memcpy(&p->fragment_id, head + 4, 4);
			p->fragment_nexthdr = head[0];
			/*
			 * Further headers would put the transport header where a later fragment could reach it unseen; nobody
			 * sends that (RFC 7112, RFC 9099 section 2.1.3).
			 */
			if (offset & 0xfff9 && is_extension(head[0]))
				return PARSE_EXTENSION;
			if (offset & 0xfff8) {
				p->flags |= PKT_LATER_FRAGMENT;
				p->fragment_octets = offset & 0xfff8;
				p->protocol = head[0];
				return fragment_reaches_back(p->protocol, p->fragment_octets) ? PARSE_INVALID : PARSE_OK;
			}
			if (offset & 1)
				p->flags |= PKT_FIRST_FRAGMENT;
			length = 8;
		} else if (next == EXT_AUTH) {
			length = (head[1] + 2) * 4;
		} else {
			/* Segments left: the address in the header is not where the packet goes in the end. */
			if (next == EXT_ROUTING && head[3] != 0)
				return PARSE_EXTENSION;
			length = (head[1] + 1) * 8;
		}
		next = head[0];
		p->l4 += length;
		if (p->l4 > end)
			return PARSE_EXTENSION;
	}
	return PARSE_EXTENSION;
}

#endif
