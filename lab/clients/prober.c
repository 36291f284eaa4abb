// SPDX-License-Identifier: Apache-2.0
// Knocks at addresses without pause until its standard input ends (or SIGTERM), then prints one JSON line:
//   prober [-t MS] [-n ROUNDS] ADDRESS PORT [ADDRESS PORT]...
// With -n it ends after so many rounds and leaves standard input alone.
// A forbidden address must never show `connected` above 0; an allowed one shows when it was shut.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include "wire.h"

static volatile sig_atomic_t stop;
static void on_signal(int n) { stop = n; }

int main(int argc, char **argv)
{
	int timeout = 150, rounds = 0, option;
	while ((option = getopt(argc, argv, "t:n:")) != -1) {
		if (option == 't')
			timeout = atoi(optarg);
		else if (option == 'n')
			rounds = atoi(optarg);
		else
			return 2;
	}
	enum { MAX = 4096 };
	static struct target to[MAX];
	int n = 0;
	for (int i = optind; i + 1 < argc && n < MAX; i += 2)
		must_target(&to[n++], argv[i], atoi(argv[i + 1]));
	if (n == 0)
		return 2;
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	unsigned long attempts = 0, connected = 0, refused = 0;
	double first_ok = -1, longest_gap = 0, last_ok = now_ms(), start = last_ok;
	char first[64] = "";
	for (int round = 0; !stop && (rounds == 0 || round < rounds); round++) {
		struct pollfd end = { rounds ? -1 : 0, POLLIN, 0 };
		char discard;
		if (poll(&end, 1, 0) == 1 && read(0, &discard, 1) <= 0)
			break;
		for (int i = 0; i < n && !stop; i++) {
			struct linger reset = { 1, 0 };
			int error = 0;
			socklen_t size = sizeof error;
			int fd = socket(to[i].family, SOCK_STREAM | SOCK_NONBLOCK, 0);
			if (fd < 0)
				die("socket");
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
			attempts++;
			if (connect(fd, (struct sockaddr *)&to[i].sa, to[i].length) == 0 || errno == EINPROGRESS) {
				struct pollfd wait = { fd, POLLOUT, 0 };
				if (poll(&wait, 1, timeout) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) {
					if (error) {
						refused++;
					} else {
						double at = now_ms();
						if (!connected++) {
							first_ok = at - start;
							snprintf(first, sizeof first, "%s", argv[optind + 2 * i]);
						}
						if (at - last_ok > longest_gap)
							longest_gap = at - last_ok;
						last_ok = at;
						if (n == 1)
							usleep(2000);
					}
				}
			}
			close(fd);
		}
	}
	if (now_ms() - last_ok > longest_gap)
		longest_gap = now_ms() - last_ok;
	printf("{\"attempts\":%lu,\"connected\":%lu,\"refused\":%lu,\"firstConnected\":\"%s\",\"firstConnectedMs\":%.0f,\"longestGapMs\":%.0f}\n",
	       attempts, connected, refused, first, first_ok, longest_gap);
	return 0;
}
