// SPDX-License-Identifier: Apache-2.0
// door PORT FIRST NS...: a way to what listens on 127.0.0.1:PORT of each namespace: 127.0.0.1:FIRST of our own leads to the
// first namespace, FIRST+1 to the second, and so on. Says {"ok":true} once it listens; ends with its standard input.
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include "wire.h"

enum { MAX_DOORS = 64, MAX_PAIRS = 256, BUFFER = 65536 };

static struct pollfd fds[1 + MAX_DOORS + 2 * MAX_PAIRS];
static int pairs; // their descriptors lie side by side behind the doors

static void send_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			struct pollfd one = { fd, POLLOUT, 0 };
			if (poll(&one, 1, 2000) > 0)
				continue;
		}
		if (sent <= 0)
			return;
		data += sent;
		length -= (size_t)sent;
	}
}

int main(int argc, char **argv)
{
	static char buffer[BUFFER];
	int doors = argc - 3;
	if (doors < 1 || doors > MAX_DOORS)
		return 2;
	struct address inner, outer;
	if (!make_address(&inner, "127.0.0.1", atoi(argv[1])))
		return 2;
	signal(SIGPIPE, SIG_IGN);
	fds[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
	for (int i = 0; i < doors; i++) {
		int fd = socket_in("-", AF_INET, SOCK_STREAM, 0), one = 1;
		make_address(&outer, "127.0.0.1", atoi(argv[2]) + i);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (fd < 0 || bind(fd, (struct sockaddr *)&outer.sa, outer.length) < 0 || listen(fd, 64) < 0) {
			refuse("listen");
			return 2;
		}
		fds[1 + i] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	accept_command();
	for (;;) {
		int first = 1 + doors;
		if (poll(fds, (nfds_t)(first + 2 * pairs), -1) < 0)
			continue;
		if (fds[0].revents && read(0, buffer, sizeof buffer) <= 0)
			return 0;
		for (int i = 0; i < pairs; i++) {
			struct pollfd *two = &fds[first + 2 * i];
			int over = 0;
			for (int side = 0; side < 2; side++) {
				if (!two[side].revents)
					continue;
				ssize_t got = recv(two[side].fd, buffer, sizeof buffer, 0);
				if (got > 0)
					send_all(two[1 - side].fd, buffer, (size_t)got);
				else if (got == 0 || errno != EAGAIN)
					over = 1;
			}
			if (!over)
				continue;
			close(two[0].fd);
			close(two[1].fd);
			pairs--;
			memmove(two, two + 2, sizeof *two * 2 * (size_t)(pairs - i));
			i--;
		}
		for (int i = 0; i < doors && pairs < MAX_PAIRS; i++) {
			if (!fds[1 + i].revents)
				continue;
			int fd = accept4(fds[1 + i].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
			int there = fd < 0 ? -1 : socket_in(argv[3 + i], AF_INET, SOCK_STREAM, 0);
			// Loopback connects at once or not at all.
			if (there < 0 || (connect(there, (struct sockaddr *)&inner.sa, inner.length) < 0 && errno != EINPROGRESS)) {
				close(fd);
				if (there >= 0)
					close(there);
				continue;
			}
			fds[first + 2 * pairs] = (struct pollfd){ .fd = fd, .events = POLLIN };
			fds[first + 2 * pairs + 1] = (struct pollfd){ .fd = there, .events = POLLIN };
			pairs++;
		}
	}
}
