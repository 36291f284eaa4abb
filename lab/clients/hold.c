// SPDX-License-Identifier: Apache-2.0
// Keeps one connection to the lab's echo port alive: hold ADDRESS [PORT]. Sends an octet each 20 ms until its standard
// input ends (or SIGTERM), then prints one JSON line. "ready" goes to standard error once the connection stands.
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include "wire.h"

static volatile sig_atomic_t stop;
static void on_signal(int n) { stop = n; }

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	struct target to;
	must_target(&to, argv[1], argc > 2 ? atoi(argv[2]) : 7);
	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	int fd = socket(to.family, SOCK_STREAM, 0), one = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to.sa, to.length) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fprintf(stderr, "ready\n");
	unsigned long sent = 0, echoed = 0;
	double last = now_ms(), gap = 0;
	const char *end = "";
	while (!stop && !*end) {
		struct pollfd wait[2] = { { fd, POLLIN, 0 }, { 0, POLLIN, 0 } };
		char buffer[512];
		if (send(fd, "x", 1, 0) == 1)
			sent++;
		else
			end = strerror(errno);
		poll(wait, 2, 20);
		if (wait[1].revents && read(0, buffer, 1) <= 0)
			break;
		if (wait[0].revents) {
			ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
			if (got > 0) {
				double at = now_ms();
				if (at - last > gap)
					gap = at - last;
				last = at;
				echoed += (unsigned long)got;
			} else if (got == 0 || errno != EAGAIN) {
				end = got == 0 ? "closed" : strerror(errno);
			}
			usleep(20000);
		}
	}
	if (now_ms() - last > gap)
		gap = now_ms() - last;
	printf("{\"sent\":%lu,\"echoed\":%lu,\"longestGapMs\":%.0f,\"end\":\"%s\"}\n", sent, echoed, gap, end);
	return 0;
}
