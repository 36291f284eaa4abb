// SPDX-License-Identifier: Apache-2.0
// Sends and receives between network namespaces, all in one process, and so knows of each packet whether it came.
// Commands on standard input, one a line, each answered by one line of JSON:
//   udp LABEL NS ADDRESS NS ADDRESS PORT RATE        connected sockets, don't fragment, both ways, packets a second
//   tcp LABEL NS ADDRESS NS ADDRESS PORT RATE SIZE   one connection, numbered records of SIZE octets both ways
//   late MS      how long a window waits for packets sent in it (3000)
//   start        begins to send, and the first window
//   mark NAME    ends the window and begins the next without a pause; answered when late packets were waited for
//   stop NAME    the same, and sends no more
//   clear        closes all
// Every eighth UDP packet is as large as a device MTU of 1408 lets it be (1360 octets of payload over IPv6).
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include "wire.h"

// TICK: packets are sent so much late at most, ms, so that many of them cost one turn.
enum { TICK = 4, MAX_FLOWS = 512, SMALL = 64, LARGE = 1360, MAX_RECORD = 16384, MAGIC = 0x53454b49 };

struct window {
	uint32_t from, to; // sequence numbers sent in it
	uint64_t duplicated, reordered, errors, resets, retransmits;
	int64_t gap, tx_gap;
	int last_errno;
};

// One direction. A TCP connection is two flows that share descriptors crosswise.
struct flow {
	char label[64];
	int tcp, tx, rx, listener, family;
	int64_t interval, next, last_tx, last_rx;
	uint32_t seq, highest, received; // received: records, TCP only
	uint32_t retransmits_before;
	uint8_t *seen;     // UDP: arrivals of each number
	uint32_t *sent_at; // ms since the program began
	uint32_t room;
	struct window open, closed;
	int dead, size;
	uint8_t out[MAX_RECORD], in[MAX_RECORD];
	int out_at, out_have, in_have; // out_at of out_have written
};

struct header {
	uint32_t magic, flow, seq, size;
};

static struct flow *flows[MAX_FLOWS];
static int flow_count, epoll_fd, sending, pending, stopping;
static int64_t began, late = INT64_C(3000000000), due, window_began, window_ended, loop_last, loop_gap, loop_closed;
static char window_name[64];

static void grow(struct flow *f)
{
	if (f->seq < f->room)
		return;
	uint32_t room = f->room ? f->room * 2 : 4096;
	f->seen = realloc(f->seen, room);
	f->sent_at = realloc(f->sent_at, room * sizeof *f->sent_at);
	if (!f->seen || !f->sent_at)
		abort();
	memset(f->seen + f->room, 0, room - f->room);
	f->room = room;
}

static struct window *window_of(struct flow *f, uint32_t seq)
{
	return pending && seq < f->closed.to ? &f->closed : &f->open;
}

static void arrived(struct flow *f, int64_t now)
{
	if (now - f->last_rx > f->open.gap)
		f->open.gap = now - f->last_rx;
	f->last_rx = now;
}

static void watch(int fd, uint32_t events, int index, int operation)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)index };
	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
		abort();
}

static void die_flow(struct flow *f, int error)
{
	if (f->dead)
		return;
	f->dead = 1;
	f->open.resets++;
	f->open.last_errno = error;
}

static void send_udp(struct flow *f, int index, int64_t now)
{
	grow(f);
	int size = f->seq % 8 == 7 ? LARGE : SMALL;
	struct header *h = (struct header *)f->out;
	*h = (struct header){ MAGIC, (uint32_t)index, f->seq, (uint32_t)size };
	// An error of an earlier packet is told here, and the packet not sent: only a second one is this packet's own.
	ssize_t sent = send(f->tx, f->out, (size_t)size, 0);
	if (sent < 0)
		sent = send(f->tx, f->out, (size_t)size, 0);
	if (sent < 0) {
		f->open.errors++;
		f->open.last_errno = errno;
	}
	f->sent_at[f->seq++] = (uint32_t)((now - began) / 1000000);
}

static void flush_tcp(struct flow *f)
{
	while (f->out_at < f->out_have) {
		ssize_t sent = send(f->tx, f->out + f->out_at, (size_t)(f->out_have - f->out_at), MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN && errno != ENOTCONN)
				die_flow(f, errno);
			return;
		}
		f->out_at += (int)sent;
	}
}

static void send_tcp(struct flow *f, int index, int64_t now)
{
	// The record before this one still waits for room: the transfer is as fast as it can be.
	if (f->out_at < f->out_have) {
		flush_tcp(f);
		return;
	}
	grow(f);
	struct header *h = (struct header *)f->out;
	*h = (struct header){ MAGIC, (uint32_t)index, f->seq, (uint32_t)f->size };
	f->sent_at[f->seq++] = (uint32_t)((now - began) / 1000000);
	f->out_at = 0;
	f->out_have = f->size;
	flush_tcp(f);
}

static void receive_udp(struct flow *f, int index, int64_t now)
{
	uint8_t packet[2048];
	ssize_t got;
	while ((got = recv(f->rx, packet, sizeof packet, 0)) >= 0 || errno == ECONNREFUSED || errno == EHOSTUNREACH) {
		struct header h;
		if (got < (ssize_t)sizeof h)
			continue;
		memcpy(&h, packet, sizeof h);
		if (h.magic != MAGIC || h.flow != (uint32_t)index || h.seq >= f->seq || h.size != (uint32_t)got)
			continue;
		struct window *w = window_of(f, h.seq);
		if (f->seen[h.seq]++)
			w->duplicated++;
		else if (h.seq < f->highest)
			w->reordered++;
		if (f->seen[h.seq] > 250)
			f->seen[h.seq] = 250;
		if (h.seq > f->highest)
			f->highest = h.seq;
		arrived(f, now);
	}
}

static void receive_tcp(struct flow *f, int index, int64_t now)
{
	for (;;) {
		ssize_t got = recv(f->rx, f->in + f->in_have, (size_t)(f->size - f->in_have), 0);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != ENOTCONN))
			die_flow(f, got == 0 ? EPIPE : errno);
		if (got <= 0)
			return;
		f->in_have += (int)got;
		if (f->in_have < f->size)
			continue;
		struct header h;
		memcpy(&h, f->in, sizeof h);
		f->in_have = 0;
		if (h.magic != MAGIC || h.flow != (uint32_t)index || h.seq != f->received) {
			die_flow(f, EBADMSG);
			return;
		}
		f->received++;
		arrived(f, now);
	}
}

static struct flow *new_flow(const char *label, const char *from, const char *to, int family, double rate)
{
	if (flow_count == MAX_FLOWS || rate <= 0) {
		errno = EINVAL;
		return NULL;
	}
	struct flow *f = calloc(1, sizeof *f);
	if (!f)
		abort();
	snprintf(f->label, sizeof f->label, "%s %.12s>%.12s/%d", label, from, to, family == AF_INET ? 4 : 6);
	f->tx = f->rx = f->listener = -1;
	f->family = family;
	f->interval = (int64_t)(1e9 / rate);
	flows[flow_count++] = f;
	return f;
}

static int prepare(int fd, const struct address *at, int udp)
{
	int one = 1, discover = IP_PMTUDISC_DO, room = 4 << 20;
	if (at->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0)
		return -1;
	if (udp) {
		if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
			return -1;
		// Same number in both families (IPV6_PMTUDISC_DO); IPv6 has an option of its own for who splits.
		if (at->family == AF_INET && setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover) < 0)
			return -1;
		if (at->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &discover, sizeof discover) < 0)
			return -1;
		if (at->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_DONTFRAG, &one, sizeof one) < 0)
			return -1;
	} else if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
		   setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) {
		return -1;
	}
	return 0;
}

static int add_udp(const char *label, const char *ns[2], const char *text[2], int port, double rate)
{
	struct address at[2];
	int fd[2] = { -1, -1 };
	for (int i = 0; i < 2; i++) {
		errno = EINVAL;
		if (!make_address(&at[i], text[i], port))
			return -1;
		fd[i] = socket_in(ns[i], at[i].family, SOCK_DGRAM, 0);
		if (fd[i] < 0 || prepare(fd[i], &at[i], 1) < 0 || bind(fd[i], (struct sockaddr *)&at[i].sa, at[i].length) < 0)
			return -1;
	}
	for (int i = 0; i < 2; i++) {
		if (connect(fd[i], (struct sockaddr *)&at[1 - i].sa, at[1 - i].length) < 0)
			return -1;
		struct flow *f = new_flow(label, ns[i], ns[1 - i], at[i].family, rate);
		if (!f)
			return -1;
		f->tx = fd[i];
		f->rx = fd[1 - i];
		watch(f->rx, EPOLLIN, flow_count - 1, EPOLL_CTL_ADD);
	}
	return 0;
}

static int add_tcp(const char *label, const char *ns[2], const char *text[2], int port, double rate, int size)
{
	struct address at[2];
	errno = EINVAL;
	if (size < (int)sizeof(struct header) || size > MAX_RECORD || !make_address(&at[0], text[0], 0) ||
	    !make_address(&at[1], text[1], port))
		return -1;
	int listener = socket_in(ns[1], at[1].family, SOCK_STREAM, 0);
	if (listener < 0 || prepare(listener, &at[1], 0) < 0 ||
	    bind(listener, (struct sockaddr *)&at[1].sa, at[1].length) < 0 || listen(listener, 1) < 0)
		return -1;
	int fd = socket_in(ns[0], at[0].family, SOCK_STREAM, 0);
	if (fd < 0 || prepare(fd, &at[0], 0) < 0 || bind(fd, (struct sockaddr *)&at[0].sa, at[0].length) < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&at[1].sa, at[1].length) < 0 && errno != EINPROGRESS)
		return -1;
	struct flow *there = new_flow(label, ns[0], ns[1], at[0].family, rate);
	struct flow *back = new_flow(label, ns[1], ns[0], at[0].family, rate);
	if (!there || !back)
		return -1;
	there->tcp = back->tcp = 1;
	there->size = back->size = size;
	there->tx = back->rx = fd;
	there->listener = listener;
	watch(fd, EPOLLIN, flow_count - 1, EPOLL_CTL_ADD);
	watch(listener, EPOLLIN, flow_count - 2, EPOLL_CTL_ADD);
	return 0;
}

static void accept_tcp(struct flow *there, struct flow *back, int index)
{
	int fd = accept4(there->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	close(there->listener);
	there->listener = -1;
	there->rx = back->tx = fd;
	watch(fd, EPOLLIN, index, EPOLL_CTL_ADD);
}

static void clear(void)
{
	for (int i = 0; i < flow_count; i++) {
		struct flow *f = flows[i];
		// Each descriptor sends for one flow and receives for another.
		if (f->tx >= 0)
			close(f->tx);
		if (f->listener >= 0)
			close(f->listener);
		free(f->seen);
		free(f->sent_at);
		free(f);
	}
	flow_count = sending = 0;
}

static void start(int64_t now)
{
	sending = 1;
	window_began = now;
	loop_gap = 0;
	for (int i = 0; i < flow_count; i++) {
		struct flow *f = flows[i];
		// Spread over the interval, so that not all are sent at once.
		f->next = now + f->interval * i / flow_count;
		f->last_tx = 0;
		f->last_rx = now;
		f->open = (struct window){ .from = f->seq };
	}
}

static void end_window(const char *name, int64_t now)
{
	snprintf(window_name, sizeof window_name, "%s", name);
	for (int i = 0; i < flow_count; i++) {
		struct flow *f = flows[i];
		// Nothing came since: that silence belongs to this window too.
		if (now - f->last_rx > f->open.gap)
			f->open.gap = now - f->last_rx;
		f->open.to = f->seq;
		if (f->tcp && f->tx >= 0) {
			struct tcp_info info;
			socklen_t length = sizeof info;
			if (getsockopt(f->tx, IPPROTO_TCP, TCP_INFO, &info, &length) == 0) {
				f->open.retransmits = info.tcpi_total_retrans - f->retransmits_before;
				f->retransmits_before = info.tcpi_total_retrans;
			}
		}
		f->closed = f->open;
		f->open = (struct window){ .from = f->seq };
	}
	loop_closed = loop_gap;
	loop_gap = 0;
	window_ended = now;
	due = now + late;
	pending = 1;
}

static double ms(int64_t ns) { return (double)ns / 1e6; }

struct totals {
	uint64_t sent, received, lost, duplicated, reordered, errors, resets, retransmits;
	int64_t gap, tx_gap;
};

static void print_totals(const char *name, const struct totals *t)
{
	printf(",\"%s\":{\"sent\":%lu,\"received\":%lu,\"lost\":%lu,\"duplicated\":%lu,\"reordered\":%lu,\"errors\":%lu,"
	       "\"resets\":%lu,\"retransmits\":%lu,\"maxGapMs\":%.1f,\"txMaxGapMs\":%.1f}",
	       name, t->sent, t->received, t->lost, t->duplicated, t->reordered, t->errors, t->resets, t->retransmits,
	       ms(t->gap), ms(t->tx_gap));
}

static void report(void)
{
	struct totals all[2] = { { 0 }, { 0 } };
	printf("{\"window\":\"%s\",\"seconds\":%.3f,\"stallMs\":%.1f,\"flows\":[", window_name,
	       ms(window_ended - window_began) / 1e3, ms(loop_closed));
	for (int i = 0; i < flow_count; i++) {
		struct flow *f = flows[i];
		struct window *w = &f->closed;
		uint32_t sent = w->to - w->from, received = 0, first = 0, last = 0;
		for (uint32_t seq = w->from; seq < w->to; seq++) {
			if (f->tcp ? seq < f->received : f->seen[seq] > 0) {
				received++;
				continue;
			}
			if (!first)
				first = f->sent_at[seq] + 1;
			last = f->sent_at[seq] + 1;
		}
		uint32_t origin = (uint32_t)((window_began - began) / 1000000) + 1;
		printf("%s{\"label\":\"%s\",\"tcp\":%s,\"sent\":%u,\"lost\":%u,\"duplicated\":%lu,\"reordered\":%lu,"
		       "\"errors\":%lu,\"resets\":%lu,\"gapMs\":%.1f,\"txGapMs\":%.1f",
		       i ? "," : "", f->label, f->tcp ? "true" : "false", sent, sent - received, w->duplicated, w->reordered,
		       w->errors, w->resets, ms(w->gap), ms(w->tx_gap));
		if (first)
			printf(",\"lostFromMs\":%d,\"lostToMs\":%d", (int)(first - origin), (int)(last - origin));
		if (w->last_errno)
			printf(",\"errno\":\"%s\"", strerrorname_np(w->last_errno));
		printf("}");
		struct totals *t = &all[f->tcp];
		t->sent += sent;
		t->received += received;
		t->lost += sent - received;
		t->duplicated += w->duplicated;
		t->reordered += w->reordered;
		t->errors += w->errors;
		t->resets += w->resets;
		t->retransmits += w->retransmits;
		t->gap = w->gap > t->gap ? w->gap : t->gap;
		t->tx_gap = w->tx_gap > t->tx_gap ? w->tx_gap : t->tx_gap;
	}
	printf("]");
	print_totals("udp", &all[0]);
	print_totals("tcp", &all[1]);
	printf("}\n");
	fflush(stdout);
	window_began = window_ended;
	pending = 0;
}

static void obey(char *line)
{
	char word[16] = "", label[32] = "", ns[2][32], at[2][64];
	int port = 0, size = 1200;
	double rate = 0;
	int fields = sscanf(line, "%15s %31s %31s %63s %31s %63s %d %lf %d", word, label, ns[0], at[0], ns[1], at[1], &port,
			    &rate, &size);
	const char *names[2] = { ns[0], ns[1] }, *addresses[2] = { at[0], at[1] };
	int64_t now = now_ns();
	if (!strcmp(word, "udp") && fields == 8) {
		if (add_udp(label, names, addresses, port, rate) < 0)
			return refuse("udp");
	} else if (!strcmp(word, "tcp") && fields == 9) {
		if (add_tcp(label, names, addresses, port, rate, size) < 0)
			return refuse("tcp");
	} else if (!strcmp(word, "late") && fields == 2) {
		late = strtoll(label, NULL, 10) * 1000000;
	} else if (!strcmp(word, "start") && !sending) {
		start(now);
	} else if ((!strcmp(word, "mark") || !strcmp(word, "stop")) && sending && fields == 2) {
		stopping = *word == 's';
		sending = !stopping;
		end_window(label, now);
		return;
	} else if (!strcmp(word, "clear")) {
		clear();
	} else {
		errno = EINVAL;
		return refuse("command");
	}
	accept_command();
}

static void send_due(int64_t now)
{
	for (int i = 0; i < flow_count; i++) {
		struct flow *f = flows[i];
		if (f->next > now || f->dead || f->tx < 0)
			continue;
		if (f->last_tx && now - f->last_tx > f->open.tx_gap)
			f->open.tx_gap = now - f->last_tx;
		f->last_tx = now;
		if (f->tcp)
			send_tcp(f, i, now);
		else
			send_udp(f, i, now);
		f->next += f->interval;
		// After a stall of the machine no burst makes up for it.
		if (f->next < now - 20000000)
			f->next = now + f->interval;
	}
}

int main(void)
{
	struct commands commands = { .have = 0 };
	struct epoll_event events[128];
	char line[512];
	signal(SIGPIPE, SIG_IGN);
	began = loop_last = now_ns();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || fcntl(0, F_SETFL, O_NONBLOCK) < 0)
		return 2;
	for (;;) {
		int ready = epoll_wait(epoll_fd, events, 128, TICK);
		int64_t now = now_ns();
		if (now - loop_last > loop_gap)
			loop_gap = now - loop_last;
		loop_last = now;
		for (int i = 0; i < ready; i++) {
			int index = (int)events[i].data.u64;
			struct flow *f = flows[index];
			if (f->listener >= 0)
				accept_tcp(f, flows[index + 1], index);
			else if (f->tcp)
				receive_tcp(f, index, now);
			else
				receive_udp(f, index, now);
			if (f->dead && f->rx >= 0)
				epoll_ctl(epoll_fd, EPOLL_CTL_DEL, f->rx, NULL);
		}
		if (sending)
			send_due(now_ns());
		if (pending && now >= due)
			report();
		if (pending)
			continue;
		errno = 0;
		if (!read_commands(&commands))
			return 0;
		// A command that ends a window is the last until that is told.
		while (!pending && next_command(&commands, line, sizeof line))
			obey(line);
	}
}
