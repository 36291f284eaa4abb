// SPDX-License-Identifier: Apache-2.0
// Looks a name up and connects to what came back at once, over and over with names never asked before:
//   fresh [-l LOOKUP_MS] [-c CONNECT_MS] [-v] SERVER PATTERN FIRST COUNT [WORKERS] [4|6|both] [PORT]
// PATTERN has one %d-like directive (n%06d.fresh.test). -v prints each address to standard error as soon as its answer
// has come. Prints one JSON line. TCP_INFO of each connected socket says
// whether a SYN had to be sent twice: 1 s is what a lost first packet costs.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "wire.h"

static int lookup_ms = 3000, connect_ms = 4000, tell;

struct tally {
	unsigned lookups, answered, connected, retransmitted, failed;
	double worst_lookup, worst_connect;
};

static int look_up(struct target *server, const char *name, uint16_t type, struct target *out, int port)
{
	static uint16_t id;
	uint8_t p[1500];
	int fd = socket(server->family, SOCK_DGRAM, 0), found = 0;
	if (fd < 0 || connect(fd, (struct sockaddr *)&server->sa, server->length) < 0)
		die("socket");
	int length = make_query(p, ++id, name, type);
	if (send(fd, p, (size_t)length, 0) < 0)
		die("send");
	struct pollfd wait = { fd, POLLIN, 0 };
	if (poll(&wait, 1, lookup_ms) == 1) {
		int got = (int)recv(fd, p, sizeof p, 0);
		uint8_t address[16];
		char text[64];
		if (got > 12 && (p[0] << 8 | p[1]) == id && first_address(p, got, type, address)) {
			inet_ntop(type == 1 ? AF_INET : AF_INET6, address, text, sizeof text);
			found = make_target(out, text, port);
			if (tell && found)
				dprintf(2, "%s\n", text);
		}
	}
	close(fd);
	return found;
}

// 1 connected, 2 connected after a retransmission, 0 not.
static int try_connect(struct target *to)
{
	struct linger reset = { 1, 0 };
	int result = 0, error = 0;
	socklen_t size = sizeof error;
	int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket");
	// Closing with a reset leaves no TIME_WAIT: ten thousand of them are no part of what is measured.
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	if (connect(fd, (struct sockaddr *)&to->sa, to->length) == 0 || errno == EINPROGRESS) {
		struct pollfd wait = { fd, POLLOUT, 0 };
		if (poll(&wait, 1, connect_ms) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && !error) {
			struct tcp_info info;
			socklen_t length = sizeof info;
			memset(&info, 0, sizeof info);
			getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
			result = info.tcpi_total_retrans ? 2 : 1;
		}
	}
	close(fd);
	return result;
}

static void work(struct tally *t, struct target *server, char **argv, int first, int count, int step, const char *family, int port)
{
	for (int i = first; count > 0; i += step, count--) {
		char name[256];
		snprintf(name, sizeof name, argv[2], i);
		for (int type = 1; type <= 28; type += 27) {
			if ((type == 1 && *family == '6') || (type == 28 && *family == '4'))
				continue;
			struct target to;
			double start = now_ms();
			t->lookups++;
			if (!look_up(server, name, (uint16_t)type, &to, port))
				continue;
			t->answered++;
			double answered = now_ms();
			int how = try_connect(&to);
			double done = now_ms();
			if (answered - start > t->worst_lookup)
				t->worst_lookup = answered - start;
			if (done - answered > t->worst_connect)
				t->worst_connect = done - answered;
			t->connected += how > 0;
			t->retransmitted += how == 2;
			t->failed += how == 0;
		}
	}
}

int main(int argc, char **argv)
{
	int option;
	while ((option = getopt(argc, argv, "l:c:v")) != -1) {
		if (option == 'l')
			lookup_ms = atoi(optarg);
		else if (option == 'c')
			connect_ms = atoi(optarg);
		else if (option == 'v')
			tell = 1;
		else
			return 2;
	}
	argc -= optind - 1;
	argv += optind - 1;
	if (argc < 5)
		return 2;
	int first = atoi(argv[3]), count = atoi(argv[4]), workers = argc > 5 ? atoi(argv[5]) : 1, port = argc > 7 ? atoi(argv[7]) : 80;
	const char *family = argc > 6 ? argv[6] : "4";
	struct target server;
	must_target(&server, argv[1], 53);
	struct tally *all = mmap(NULL, sizeof *all * (size_t)workers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		die("mmap");
	double start = now_ms();
	for (int w = 0; w < workers; w++) {
		if (fork() == 0) {
			work(&all[w], &server, argv, first + w, (count - w + workers - 1) / workers, workers, family, port);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	struct tally s = all[0];
	for (int w = 1; w < workers; w++) {
		s.lookups += all[w].lookups, s.answered += all[w].answered, s.connected += all[w].connected;
		s.retransmitted += all[w].retransmitted, s.failed += all[w].failed;
		if (all[w].worst_lookup > s.worst_lookup)
			s.worst_lookup = all[w].worst_lookup;
		if (all[w].worst_connect > s.worst_connect)
			s.worst_connect = all[w].worst_connect;
	}
	printf("{\"lookups\":%u,\"answered\":%u,\"connected\":%u,\"retransmitted\":%u,\"failed\":%u,\"worstLookupMs\":%.1f,\"worstConnectMs\":%.1f,\"ms\":%.0f}\n",
	       s.lookups, s.answered, s.connected, s.retransmitted, s.failed, s.worst_lookup, s.worst_connect, now_ms() - start);
	return 0;
}
