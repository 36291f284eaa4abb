// SPDX-License-Identifier: Apache-2.0
// A constant rate of queries over connected UDP sockets, and what became of each:
//   dnsload [-r PER_SECOND] [-l SECONDS] SERVER NAME[:TYPE]...
// Ends after SECONDS, at the end of standard input when no -l is given, or with SIGTERM; waits 2 s for the last answers.
// Prints one JSON line: {sent, answered, lost, worstMs, meanMs, rcodes: {name: {rcode: count}}, longestSilenceMs}.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include "wire.h"

enum { SOCKETS = 8, IDS = 65536, NAMES = 32, GRACE_MS = 2000 };

static volatile sig_atomic_t stop;
static void on_signal(int n) { stop = n; }

static double sent_at[IDS];
static uint8_t sent_name[IDS];
static unsigned long rcodes[NAMES][16];

int main(int argc, char **argv)
{
	double rate = 1000, seconds = 0;
	int option;
	while ((option = getopt(argc, argv, "r:l:")) != -1) {
		if (option == 'r')
			rate = atof(optarg);
		else if (option == 'l')
			seconds = atof(optarg);
		else
			return 2;
	}
	int names = argc - optind - 1;
	if (names < 1 || names > NAMES)
		return 2;
	struct target server;
	must_target(&server, argv[optind], 53);
	uint8_t query[NAMES][300];
	int length[NAMES];
	for (int i = 0; i < names; i++) {
		char *name = argv[optind + 1 + i], *colon = strchr(name, ':');
		if (colon)
			*colon = 0;
		length[i] = make_query(query[i], 0, name, (uint16_t)(colon ? atoi(colon + 1) : 1));
	}
	struct pollfd wait[SOCKETS + 1] = { 0 };
	for (int i = 0; i < SOCKETS; i++) {
		int fd = socket(server.family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&server.sa, server.length) < 0)
			die("socket");
		wait[i] = (struct pollfd){ fd, POLLIN, 0 };
	}
	wait[SOCKETS] = (struct pollfd){ seconds > 0 ? -1 : 0, POLLIN, 0 };
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	unsigned long sent = 0, answered = 0, errors = 0;
	double start = now_ms(), ended = 0, worst = 0, sum = 0, last = start, silence = 0;
	for (;;) {
		double t = now_ms();
		if (!ended && (stop || (seconds > 0 && t - start > seconds * 1e3)))
			ended = t;
		if (ended && (answered + errors >= sent || t - ended > GRACE_MS))
			break;
		while (!ended && sent < (t - start) * rate / 1e3) {
			int which = (int)(sent % (unsigned)names);
			uint16_t id = (uint16_t)sent;
			query[which][0] = (uint8_t)(id >> 8);
			query[which][1] = (uint8_t)id;
			sent_at[id] = now_ms();
			sent_name[id] = (uint8_t)which;
			if (send(wait[sent % SOCKETS].fd, query[which], (size_t)length[which], 0) < 0)
				errors++;
			sent++;
		}
		poll(wait, SOCKETS + 1, 1);
		if (wait[SOCKETS].revents) {
			char discard;
			if (read(0, &discard, 1) <= 0) {
				stop = 1;
				wait[SOCKETS].fd = -1;
			}
		}
		for (int i = 0; i < SOCKETS; i++) {
			uint8_t p[4096];
			ssize_t got;
			while ((got = recv(wait[i].fd, p, sizeof p, 0)) >= 12) {
				uint16_t id = (uint16_t)(p[0] << 8 | p[1]);
				double at = now_ms();
				if (sent_at[id] == 0)
					continue;
				double took = at - sent_at[id];
				sent_at[id] = 0;
				if (took > worst)
					worst = took;
				if (at - last > silence)
					silence = at - last;
				last = at;
				sum += took;
				rcodes[sent_name[id]][p[3] & 15]++;
				answered++;
			}
		}
	}
	printf("{\"sent\":%lu,\"answered\":%lu,\"lost\":%lu,\"sendErrors\":%lu,\"worstMs\":%.1f,\"meanMs\":%.3f,\"longestSilenceMs\":%.1f,\"rcodes\":{",
	       sent, answered, sent - answered, errors, worst, answered ? sum / (double)answered : 0, silence);
	for (int i = 0; i < names; i++) {
		printf("%s\"%s\":{", i ? "," : "", argv[optind + 1 + i]);
		for (int r = 0, seen = 0; r < 16; r++)
			if (rcodes[i][r])
				printf("%s\"%d\":%lu", seen++ ? "," : "", r, rcodes[i][r]);
		printf("}");
	}
	printf("}}\n");
	return 0;
}
