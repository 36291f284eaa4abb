/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Reasons, counters and events. */
#ifndef SEKISHO_DROP_H
#define SEKISHO_DROP_H

#include "maps.h"
#include "parse.h"

/* Numbers as in Cilium's drop reasons; names in src/datapath/reasons.ts, a closed list. */
#define PASS 0
#define DROP_INVALID_SOURCE 132
#define DROP_POLICY 133
#define DROP_INVALID_PACKET 134
#define DROP_CT_CREATE 155
#define DROP_EXTENSION_HEADER 156
#define DROP_FRAGMENT 157
#define DROP_NO_POLICY_MAP 165
#define DROP_UNSUPPORTED_L2 166
#define DROP_NO_PROXY 178
#define DROP_PROXY_ASSIGN 179
#define DROP_PROXY_PROTOCOL 180
#define DROP_POLICY_DENY 181
#define DROP_VLAN 182
/* Not a drop: handed to the agent's socket. */
#define REDIRECTED 1

#define DIRECTION_INGRESS 1
#define DIRECTION_EGRESS 2

static __always_inline void add(struct metrics_value *value, __u32 length)
{
	/* Per CPU, and a tc program does not interrupt another of its CPU in a way that would matter to a counter. */
	value->count += 1;
	value->bytes += length;
}

static __always_inline void count(__u8 reason, __u8 direction, __u32 length)
{
	struct metrics_key key = {.reason = reason, .direction = direction};
	struct metrics_value *value = bpf_map_lookup_elem(&metrics, &key);

	if (value) {
		add(value, length);
	} else {
		struct metrics_value first = {.count = 1, .bytes = length};

		bpf_map_update_elem(&metrics, &key, &first, BPF_NOEXIST);
	}
}

/* One token an event, refilled at events_per_second, at most one second's worth. */
static __always_inline int may_tell(__u64 now)
{
	__u32 zero = 0;
	struct limiter_value *bucket = bpf_map_lookup_elem(&limiter, &zero);
	struct config_value *settings = bpf_map_lookup_elem(&config, &zero);
	__u64 rate, gained;

	if (!bucket || !settings)
		return 0;
	rate = settings->events_per_second;
	if (now - bucket->refilled >= 1000000000ULL) {
		bucket->tokens = rate;
		bucket->refilled = now;
	} else {
		gained = (now - bucket->refilled) * rate / 1000000000ULL;
		if (gained) {
			bucket->tokens += gained;
			bucket->refilled = now;
		}
	}
	if (bucket->tokens > rate)
		bucket->tokens = rate;
	if (!bucket->tokens) {
		bucket->suppressed += 1;
		return 0;
	}
	bucket->tokens -= 1;
	return 1;
}

static __noinline int drop(struct __sk_buff *skb, const struct packet *p, __u32 endpoint, __u8 reason)
{
	struct drop_key key = {.endpoint = endpoint, .reason = reason, .direction = DIRECTION_EGRESS};
	struct metrics_value *value = bpf_map_lookup_elem(&drops, &key);
	__u64 now = bpf_ktime_get_ns();
	struct event *event;

	count(reason, DIRECTION_EGRESS, skb->len);
	if (value) {
		add(value, skb->len);
	} else {
		struct metrics_value first = {.count = 1, .bytes = skb->len};

		bpf_map_update_elem(&drops, &key, &first, BPF_NOEXIST);
	}
	if (!may_tell(now))
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->time = now;
	event->endpoint = endpoint;
	event->reason = reason;
	event->direction = DIRECTION_EGRESS;
	event->family = p->family;
	event->protocol = p->protocol;
	event->sport = p->sport;
	event->dport = p->dport;
	event->pad = 0;
	event->identity = p->identity;
	event->length = skb->len;
	event->ifindex = skb->ifindex;
	__builtin_memcpy(event->saddr, p->saddr, sizeof(event->saddr));
	__builtin_memcpy(event->daddr, p->daddr, sizeof(event->daddr));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif
