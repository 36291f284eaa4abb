/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * To the agent's socket. The packet keeps its addresses; the socket is assigned to it and the mark makes the routing
 * rule deliver it locally. No socket of ours: dropped, never forwarded unseen.
 */
#ifndef SEKISHO_REDIRECT_H
#define SEKISHO_REDIRECT_H

#include "drop.h"
#include "maps.h"
#include "parse.h"

#define MARK_TO_PROXY 0x200

/* linux/tcp_states.h of the kernel, part of the BPF ABI as BPF_TCP_*. */
#define is_listening(sk) ((sk)->state == BPF_TCP_LISTEN)

static __always_inline __u32 tuple_of(struct bpf_sock_tuple *t, const struct packet *p)
{
	__builtin_memset(t, 0, sizeof(*t));
	if (p->family == FAMILY_IPV4) {
		t->ipv4.saddr = p->saddr[0];
		t->ipv4.daddr = p->daddr[0];
		t->ipv4.sport = p->sport;
		t->ipv4.dport = p->dport;
		return sizeof(t->ipv4);
	}
	__builtin_memcpy(t->ipv6.saddr, p->saddr, sizeof(t->ipv6.saddr));
	__builtin_memcpy(t->ipv6.daddr, p->daddr, sizeof(t->ipv6.daddr));
	t->ipv6.sport = p->sport;
	t->ipv6.dport = p->dport;
	return sizeof(t->ipv6);
}

static __always_inline __u32 listener_tuple(struct bpf_sock_tuple *t, const struct packet *p, __be16 port)
{
	tuple_of(t, p);
	if (p->family == FAMILY_IPV4) {
		t->ipv4.daddr = bpf_htonl(INADDR_LOOPBACK);
		t->ipv4.dport = port;
		return sizeof(t->ipv4);
	}
	t->ipv6.daddr[0] = t->ipv6.daddr[1] = t->ipv6.daddr[2] = 0;
	t->ipv6.daddr[3] = bpf_htonl(1);
	t->ipv6.dport = port;
	return sizeof(t->ipv6);
}

/* A socket of another process that listens on every address is not the agent's. */
static __always_inline int bound_to_loopback(const struct bpf_sock *sk, __u8 family)
{
	if (family == FAMILY_IPV4)
		return sk->src_ip4 == bpf_htonl(INADDR_LOOPBACK);
	return sk->src_ip6[0] == 0 && sk->src_ip6[1] == 0 && sk->src_ip6[2] == 0 && sk->src_ip6[3] == bpf_htonl(1);
}

static __always_inline void deliver(struct __sk_buff *skb, __be16 port)
{
	skb->mark = MARK_TO_PROXY | ((__u32)port << 16);
	bpf_skb_change_type(skb, PACKET_HOST);
}

static __noinline int redirect_udp(struct __sk_buff *skb, const struct packet *p, __be16 port)
{
	struct bpf_sock_tuple tuple;
	__u32 size = listener_tuple(&tuple, p, port);
	struct bpf_sock *sk;
	long failed;

	if (size == sizeof(tuple.ipv4))
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return DROP_NO_PROXY;
	if (!bound_to_loopback(sk, p->family)) {
		bpf_sk_release(sk);
		return DROP_NO_PROXY;
	}
	failed = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	if (failed)
		return DROP_PROXY_ASSIGN;
	deliver(skb, port);
	return REDIRECTED;
}

/*
 * `known`: conntrack says that this connection was opened through the agent, so a socket with its addresses is the
 * agent's. Without that, only a packet that opens a connection may pass, and only to the listener.
 */
static __noinline int redirect_tcp(struct __sk_buff *skb, const struct packet *p, __be16 port, int known)
{
	int opens = (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sk;
	__u32 size;
	long failed;

	if (known) {
		size = tuple_of(&tuple, p);
		if (size == sizeof(tuple.ipv4))
			sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
		else
			sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
		if (sk) {
			/* A connection opened anew on the ports of one in TIME_WAIT belongs to the listener. */
			if (!is_listening(sk) && !(opens && sk->state == BPF_TCP_TIME_WAIT)) {
				failed = bpf_sk_assign(skb, sk, 0);
				bpf_sk_release(sk);
				if (failed)
					return DROP_PROXY_ASSIGN;
				deliver(skb, port);
				return REDIRECTED;
			}
			bpf_sk_release(sk);
		}
	} else if (!opens) {
		return DROP_NO_PROXY;
	}
	/*
	 * Also for packets of a known connection without a socket: the handshake's last ACK under SYN cookies, and
	 * what is late, to which the listener answers with a reset.
	 */
	size = listener_tuple(&tuple, p, port);
	if (size == sizeof(tuple.ipv4))
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return DROP_NO_PROXY;
	if (!is_listening(sk) || !bound_to_loopback(sk, p->family)) {
		bpf_sk_release(sk);
		return DROP_NO_PROXY;
	}
	failed = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	if (failed)
		return DROP_PROXY_ASSIGN;
	deliver(skb, port);
	return REDIRECTED;
}

#endif
