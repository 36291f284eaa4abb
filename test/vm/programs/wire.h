// SPDX-License-Identifier: Apache-2.0
// What the instruments share: addresses, time, sockets of other network namespaces, one command a line.
#ifndef VM_WIRE_H
#define VM_WIRE_H
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct address {
	struct sockaddr_storage sa;
	socklen_t length;
	int family;
};

static inline int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int make_address(struct address *out, const char *text, int port)
{
	memset(out, 0, sizeof *out);
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->sa;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		out->length = sizeof *v4;
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		out->length = sizeof *v6;
	} else {
		return 0;
	}
	out->family = out->sa.ss_family;
	return 1;
}

// A non-blocking socket of a namespace that `ip netns add` made ("-": our own). -1 and errno on failure.
static inline int socket_in(const char *name, int family, int type, int protocol)
{
	static int own = -1;
	if (own < 0)
		own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		return -1;
	if (strcmp(name, "-") != 0) {
		char path[256];
		snprintf(path, sizeof path, "/run/netns/%s", name);
		int there = open(path, O_RDONLY | O_CLOEXEC);
		if (there < 0)
			return -1;
		int entered = setns(there, CLONE_NEWNET);
		close(there);
		if (entered < 0)
			return -1;
	}
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), error = errno;
	if (setns(own, CLONE_NEWNET) < 0)
		abort();
	errno = error;
	return fd;
}

// Says why a command was refused: its one line of answer.
static inline void refuse(const char *what)
{
	printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
	fflush(stdout);
}
static inline void accept_command(void)
{
	printf("{\"ok\":true}\n");
	fflush(stdout);
}

// Commands as they come in on standard input, which may bring several at once or a part of one.
struct commands {
	char text[4096];
	size_t have;
};

// 0 at the end of the input; call when it is readable.
static inline int read_commands(struct commands *c)
{
	ssize_t got = read(0, c->text + c->have, sizeof c->text - 1 - c->have);
	if (got <= 0)
		return got < 0 && (errno == EAGAIN || errno == EINTR);
	c->have += (size_t)got;
	return 1;
}

// Copies the next whole line; 0 when there is none.
static inline int next_command(struct commands *c, char *out, size_t room)
{
	char *end = memchr(c->text, '\n', c->have);
	if (!end)
		return 0;
	size_t length = (size_t)(end - c->text);
	snprintf(out, room, "%.*s", (int)length, c->text);
	c->have -= length + 1;
	memmove(c->text, end + 1, c->have);
	return 1;
}
#endif
