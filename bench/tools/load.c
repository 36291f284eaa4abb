/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load --server ADDRESS:PORT --names FILE --sources FILE (--rate N | --window W) [--seconds S] [--count N]
 *      [--timeout-ms T] [--rcode R]
 *
 * Asks the questions of FILE in order, round and round, each from a NEW source port as libc does: a connected socket is
 * dissolved and connected again for every query, so the kernel picks a fresh random port and lets through only what
 * comes from the server's address and port. A line of the sources file is "ADDRESS [DEVICE]": with a device the
 * socket is bound to it (and takes its address), without one to the address.
 *   --rate    open loop: a query is due every 1/N s, whether or not the ones before were answered
 *   --window  closed loop: W queries in flight, as fast as it goes
 * Ends after S seconds (default 4) or N queries, and T ms (default 2000) for the answers still out. Prints one JSON
 * object; `latency` is counted from the send, `wait` from when the query was due, both in microseconds.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include "questions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS_MAX 16384
#define FLIGHT_MAX (1u << 19)
#define EVENTS 256
#define WINDOW_START 16
#define NONE UINT32_MAX

struct source {
	struct sockaddr_in address;
	int ifindex;   /* 0: the socket is bound to the address instead */
	uint32_t idle; /* first of the sockets at rest */
};

struct endpoint {
	int fd;
	uint32_t source, next, question, serial;
	uint16_t id, busy;
	uint64_t due, sent;
};

static struct {
	uint64_t sent, answered, in_time, lost, unsent, stray, bad_question, bad_rcode, bad_address, send_errors;
} counts;

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct source *sources;
static struct questions questions;
static struct endpoint endpoints[SOCKETS_MAX];
/* Queries in the order they were sent: the head is the first to be given up. */
static struct { uint32_t endpoint, serial; } flight[FLIGHT_MAX];
static uint32_t source_count, endpoint_count, flight_head, flight_tail, cursor, in_flight, serial;
static struct histogram latency, waited;
static unsigned expected_rcode;
static uint64_t timeout_ns = 2000000000ull, random_state, stop_at;
static int poller;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint16_t random_id(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint16_t)(random_state >> 24);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void read_sources(const char *path)
{
	char line[128], address[64], device[16];
	FILE *file = fopen(path, "r");

	if (!file)
		fail(path);
	while (fgets(line, sizeof line, file)) {
		struct source s = {.address = {.sin_family = AF_INET}, .idle = NONE};

		int fields = sscanf(line, "%63s %15s", address, device);

		if (fields == 2)
			s.ifindex = (int)if_nametoindex(device);
		if (fields < 1 || (fields == 2 && !s.ifindex) || inet_pton(AF_INET, address, &s.address.sin_addr) != 1) {
			fprintf(stderr, "%s: bad line %s", path, line);
			exit(65);
		}
		sources = realloc(sources, (source_count + 1) * sizeof s);
		sources[source_count++] = s;
	}
	fclose(file);
}

static uint32_t open_endpoint(uint32_t source)
{
	struct source *s = &sources[source];
	struct endpoint *e;
	int fd;

	if (endpoint_count == SOCKETS_MAX)
		return NONE;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	if (!s->ifindex && bind(fd, (struct sockaddr *)&s->address, sizeof s->address))
		fail("bind");
	e = &endpoints[endpoint_count];
	*e = (struct endpoint){.fd = fd, .source = source};
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = endpoint_count}))
		fail("epoll_ctl");
	return endpoint_count++;
}

static void rest(struct endpoint *e)
{
	e->busy = 0;
	in_flight--;
	e->next = sources[e->source].idle;
	sources[e->source].idle = (uint32_t)(e - endpoints);
}

/*
 * Dissolves the old association (which frees the port, and forgets the device) and makes a new one: the port is the
 * kernel's random choice.
 */
static void renew_port(struct endpoint *e)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};
	int ifindex = sources[e->source].ifindex;

	connect(e->fd, &nobody, sizeof nobody);
	if (ifindex && setsockopt(e->fd, SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, sizeof ifindex))
		fail("setsockopt(SO_BINDTOIFINDEX)");
	if (connect(e->fd, (struct sockaddr *)&server, sizeof server))
		fail("connect");
}

static void ask(uint64_t due)
{
	uint32_t question = cursor, at, tries;
	struct question *q = &questions.list[question];
	struct endpoint *e;

	cursor = cursor + 1 == questions.count ? 0 : cursor + 1;
	at = sources[q->source].idle;
	if (at == NONE)
		at = open_endpoint(q->source);
	else
		sources[q->source].idle = endpoints[at].next;
	if (at == NONE || flight_tail - flight_head == FLIGHT_MAX) {
		counts.unsent++;
		return;
	}
	e = &endpoints[at];
	renew_port(e);
	e->busy = 1;
	e->id = random_id();
	e->question = question;
	e->serial = ++serial;
	e->due = due;
	q->wire[0] = (uint8_t)(e->id >> 8);
	q->wire[1] = (uint8_t)e->id;
	e->sent = now_ns();
	/* The first try may only collect the error (ICMP) of the query before. */
	for (tries = 0; tries < 2 && send(e->fd, q->wire, q->length, 0) < 0; tries++)
		;
	in_flight++;
	counts.sent++;
	if (tries == 2) {
		counts.send_errors++;
		counts.lost++;
		rest(e);
		return;
	}
	flight[flight_tail % FLIGHT_MAX].endpoint = at;
	flight[flight_tail++ % FLIGHT_MAX].serial = e->serial;
}

/* Reads one answer; true when the query is over. */
static int hear(struct endpoint *e)
{
	uint8_t m[1500];
	ssize_t n = recv(e->fd, m, sizeof m, 0);
	uint64_t now;

	if (n < 0 || !e->busy) {
		counts.stray += n >= 0;
		return 0;
	}
	switch (question_check(&questions.list[e->question], e->id, expected_rcode, m, (size_t)n)) {
	case ANSWER_STRAY:
		counts.stray++;
		return 0;
	case ANSWER_QUESTION:
		counts.bad_question++;
		break;
	case ANSWER_RCODE:
		counts.bad_rcode++;
		break;
	case ANSWER_ADDRESS:
		counts.bad_address++;
		break;
	case ANSWER_OK:
		now = now_ns();
		counts.answered++;
		counts.in_time += now <= stop_at;
		histogram_add(&latency, now - e->sent);
		histogram_add(&waited, now - e->due);
	}
	rest(e);
	return 1;
}

/* Gives up what is older than the time-out; returns how many, and when the next one is up (0 none). */
static uint32_t expire(uint64_t now, uint64_t *next)
{
	uint32_t lost = 0;

	for (*next = 0; flight_head != flight_tail; flight_head++) {
		struct endpoint *e = &endpoints[flight[flight_head % FLIGHT_MAX].endpoint];

		if (!e->busy || e->serial != flight[flight_head % FLIGHT_MAX].serial)
			continue;
		if (now < e->sent + timeout_ns) {
			*next = e->sent + timeout_ns;
			break;
		}
		counts.lost++;
		lost++;
		rest(e);
	}
	return lost;
}

static void report(uint64_t elapsed, uint64_t late_max)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	printf("{\"sent\":%lu,\"answered\":%lu,\"lost\":%lu,\"unsent\":%lu,\"stray\":%lu,\"badQuestion\":%lu,\"badRcode\":%lu,"
	       "\"badAddress\":%lu,\"sendErrors\":%lu,\"sockets\":%u,\"seconds\":%.3f,\"rate\":%.1f,\"cpuUs\":%lu,\"lateMaxUs\":%.1f,",
	       counts.sent, counts.answered, counts.lost, counts.unsent, counts.stray, counts.bad_question, counts.bad_rcode,
	       counts.bad_address, counts.send_errors, endpoint_count, (double)elapsed / 1e9,
	       (double)counts.in_time * 1e9 / (double)(elapsed ? elapsed : 1),
	       (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000ul + (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec),
	       (double)late_max / 1e3);
	printf("\"latency\":");
	histogram_print(&latency);
	printf(",\"wait\":");
	histogram_print(&waited);
	printf("}\n");
}

static void run(uint64_t interval, uint32_t window, uint64_t duration, uint64_t count)
{
	struct epoll_event events[EVENTS];
	uint64_t start = now_ns(), now = start, due = start, next, late_max = 0, stopped = 0;
	uint32_t i, burst;

	stop_at = start + duration;
	/* The window opens by two queries an answer: a first burst would only measure the subject's socket buffer. */
	for (i = 0; i < window && i < WINDOW_START && counts.sent < count; i++)
		ask(start);
	for (;;) {
		struct timespec patience;
		uint64_t until;
		uint32_t over;
		int n;

		now = now_ns();
		over = expire(now, &next);
		if (!stopped && (now >= stop_at || counts.sent >= count)) {
			stopped = now;
			stop_at = now < stop_at ? UINT64_MAX : stop_at;
		}
		if (stopped && !in_flight)
			break;
		/* At most 64 at a time: a late burst must not keep answers waiting in the sockets. */
		for (burst = 0; !stopped && interval && due <= now && burst < 64 && counts.sent < count; burst++, due += interval) {
			late_max = now - due > late_max ? now - due : late_max;
			ask(due);
		}
		for (i = 0; !stopped && window && i < over; i++)
			ask(now);
		until = next ? next : now + timeout_ns;
		if (!stopped && interval && due < until)
			until = due;
		if (!stopped && stop_at < until)
			until = stop_at;
		now = burst ? now_ns() : now;
		until = until > now ? until - now : 0;
		patience = (struct timespec){(time_t)(until / 1000000000ull), (long)(until % 1000000000ull)};
		n = epoll_pwait2(poller, events, EVENTS, &patience, NULL);
		if (n < 0 && errno != EINTR)
			fail("epoll_pwait2");
		for (i = 0; n > 0 && i < (uint32_t)n; i++)
			if (hear(&endpoints[events[i].data.u32]) && window && !stopped)
				for (burst = 0; burst < 2 && in_flight < window && counts.sent < count; burst++)
					ask(now_ns());
	}
	report((stop_at == UINT64_MAX ? stopped : stop_at) - start, late_max);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"server", 1, NULL, 's'}, {"names", 1, NULL, 'n'}, {"sources", 1, NULL, 'f'}, {"rate", 1, NULL, 'r'},
		{"window", 1, NULL, 'w'}, {"seconds", 1, NULL, 't'}, {"count", 1, NULL, 'c'}, {"timeout-ms", 1, NULL, 'x'},
		{"rcode", 1, NULL, 'e'}, {NULL, 0, NULL, 0}};
	double rate = 0, seconds = 4;
	uint64_t count = UINT64_MAX;
	uint32_t window = 0;
	char *colon;
	int option;
	size_t i;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			colon = strchr(optarg, ':');
			if (colon)
				*colon = 0;
			server.sin_port = htons((uint16_t)(colon ? atoi(colon + 1) : 53));
			if (inet_pton(AF_INET, optarg, &server.sin_addr) != 1)
				return 64;
			break;
		case 'n': questions = questions_read(optarg); break;
		case 'f': read_sources(optarg); break;
		case 'r': rate = atof(optarg); break;
		case 'w': window = (uint32_t)atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'c': count = strtoull(optarg, NULL, 10); break;
		case 'x': timeout_ns = strtoull(optarg, NULL, 10) * 1000000ull; break;
		case 'e': expected_rcode = (unsigned)atoi(optarg); break;
		default: return 64;
		}
	}
	if (!questions.count || !source_count || !server.sin_port || (rate > 0) == (window > 0)) {
		fprintf(stderr, "load: --server, --names, --sources and one of --rate and --window are needed\n");
		return 64;
	}
	for (i = 0; i < questions.count; i++)
		if (questions.list[i].source >= source_count) {
			fprintf(stderr, "load: question %zu wants source %u of %u\n", i + 1, questions.list[i].source, source_count);
			return 65;
		}
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){SOCKETS_MAX + 64, SOCKETS_MAX + 64});
	/* Timers to the nanosecond: the default slack is 50 us, half of the interval at 10,000/s. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (getrandom(&random_state, sizeof random_state, 0) != sizeof random_state || !random_state)
		random_state = 1;
	poller = epoll_create1(EPOLL_CLOEXEC);
	run(rate > 0 ? (uint64_t)(1e9 / rate) : 0, window, (uint64_t)(seconds * 1e9), count);
	return 0;
}
