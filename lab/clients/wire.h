// SPDX-License-Identifier: Apache-2.0
// What the lab's programs share: addresses, monotonic time, and just enough DNS to ask and to read an answer.
#ifndef LAB_WIRE_H
#define LAB_WIRE_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct target {
	struct sockaddr_storage sa;
	socklen_t length;
	int family;
};

static inline double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

// Numeric addresses only: no program of the lab but `resolve` asks the system's resolver.
static inline int make_target(struct target *t, const char *address, int port)
{
	memset(t, 0, sizeof *t);
	struct sockaddr_in *v4 = (struct sockaddr_in *)&t->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&t->sa;
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		t->length = sizeof *v4;
		t->family = AF_INET;
		return 1;
	}
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		t->length = sizeof *v6;
		t->family = AF_INET6;
		return 1;
	}
	return 0;
}

static inline void must_target(struct target *t, const char *address, int port)
{
	if (!make_target(t, address, port)) {
		fprintf(stderr, "%s is no address\n", address);
		exit(2);
	}
}

// A query with one question, RD set, no OPT. Labels have no escapes. Returns its length.
static inline int make_query(uint8_t *out, uint16_t id, const char *name, uint16_t type)
{
	static const uint8_t header[12] = { 0, 0, 1, 0, 0, 1 };
	memcpy(out, header, 12);
	out[0] = (uint8_t)(id >> 8);
	out[1] = (uint8_t)id;
	int at = 12;
	while (*name) {
		const char *dot = strchr(name, '.');
		int length = dot ? (int)(dot - name) : (int)strlen(name);
		out[at++] = (uint8_t)length;
		memcpy(out + at, name, (size_t)length);
		at += length;
		name += length + (dot ? 1 : 0);
	}
	out[at++] = 0;
	out[at++] = (uint8_t)(type >> 8);
	out[at++] = (uint8_t)type;
	out[at++] = 0;
	out[at++] = 1;
	return at;
}

static inline int skip_name(const uint8_t *p, int length, int at)
{
	while (at < length) {
		if ((p[at] & 0xc0) == 0xc0)
			return at + 2;
		if (p[at] == 0)
			return at + 1;
		at += p[at] + 1;
	}
	return length;
}

// Copies the first A (type 1) or AAAA (28) address of an answer; 1 when there is one.
static inline int first_address(const uint8_t *p, int length, uint16_t type, void *out)
{
	if (length < 12)
		return 0;
	int questions = p[4] << 8 | p[5], answers = p[6] << 8 | p[7], at = 12;
	while (questions-- > 0)
		at = skip_name(p, length, at) + 4;
	while (answers-- > 0) {
		at = skip_name(p, length, at);
		if (at + 10 > length)
			return 0;
		int t = p[at] << 8 | p[at + 1], size = p[at + 8] << 8 | p[at + 9];
		at += 10;
		if (at + size > length)
			return 0;
		if (t == type && size == (type == 1 ? 4 : 16)) {
			memcpy(out, p + at, (size_t)size);
			return 1;
		}
		at += size;
	}
	return 0;
}
#endif
