/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upstream ADDRESS PORT [TTL]: a DNS server that answers any A or AAAA question with an address made from the name
 * (answer.h), other types with an empty NOERROR. UDP in batches on one thread; TCP, for the few who ask, on another,
 * one connection at a time. Runs until SIGTERM.
 */
#define _GNU_SOURCE
#include "answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BATCH 64
#define QUERY_MAX 512
#define ANSWER_MAX (QUERY_MAX + 28)
#define TYPE_A 1
#define TYPE_AAAA 28

static uint32_t ttl = 300;

/* Turns the query in `m` into its answer, in place; returns the length, 0 for what is not a query. */
static size_t answer(uint8_t *m, size_t length)
{
	size_t name, end;
	unsigned type, octets;
	uint32_t address;
	uint8_t *r;

	if (length < 12 || length > QUERY_MAX || (m[2] & 0xf8) || m[4] || m[5] != 1)
		return 0;
	name = name_length(m, length, 12);
	end = 12 + name + 4;
	if (!name || end > length)
		return 0;
	type = (unsigned)m[12 + name] << 8 | m[13 + name];
	octets = type == TYPE_A ? 4 : type == TYPE_AAAA ? 16 : 0;
	m[2] = 0x84 | (m[2] & 1);
	m[3] = 0x80;
	m[6] = 0;
	m[7] = octets ? 1 : 0;
	memset(m + 8, 0, 4);
	if (!octets)
		return end;
	r = m + end;
	address = htonl(answer_address(m + 12, name));
	memcpy(r, (uint8_t[]){0xc0, 12, (uint8_t)(type >> 8), (uint8_t)type, 0, 1}, 6);
	memcpy(r + 6, (uint8_t[]){ttl >> 24, ttl >> 16 & 255, ttl >> 8 & 255, ttl & 255, 0, (uint8_t)octets}, 6);
	if (octets == 16)
		memcpy(r + 12, (uint8_t[]){0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0}, 12);
	memcpy(r + 12 + octets - 4, &address, 4);
	return end + 12 + octets;
}

static void serve_udp(int fd)
{
	static uint8_t data[BATCH][ANSWER_MAX];
	static struct sockaddr_storage peers[BATCH];
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec iov[BATCH], reply[BATCH];
	int n, i, k, sent;

	memset(in, 0, sizeof in);
	memset(out, 0, sizeof out);
	for (;;) {
		for (i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){data[i], QUERY_MAX};
			in[i].msg_hdr = (struct msghdr){
				.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &iov[i], .msg_iovlen = 1};
		}
		n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0) {
			if (errno == EINTR || errno == ECONNREFUSED)
				continue;
			perror("recvmmsg");
			exit(1);
		}
		for (i = k = 0; i < n; i++) {
			size_t length = answer(data[i], in[i].msg_len);

			if (!length)
				continue;
			reply[k] = (struct iovec){data[i], length};
			out[k].msg_hdr = in[i].msg_hdr;
			out[k].msg_hdr.msg_iov = &reply[k];
			k++;
		}
		/* A refused datagram (full buffer, client gone) is skipped: the client sees it as lost. */
		for (i = 0; i < k; i += sent > 0 ? sent : 1)
			sent = sendmmsg(fd, out + i, (unsigned)(k - i), 0);
	}
}

static int read_all(int fd, uint8_t *to, size_t length)
{
	while (length) {
		ssize_t n = recv(fd, to, length, 0);

		if (n <= 0)
			return 0;
		to += n;
		length -= (size_t)n;
	}
	return 1;
}

static void *serve_tcp(void *listener)
{
	uint8_t m[2 + ANSWER_MAX];
	struct timeval patience = {.tv_sec = 5};

	for (;;) {
		int fd = accept(*(int *)listener, NULL, NULL);

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		while (read_all(fd, m, 2)) {
			size_t length = (size_t)m[0] << 8 | m[1];

			if (length > QUERY_MAX || !read_all(fd, m + 2, length) || !(length = answer(m + 2, length)))
				break;
			m[0] = (uint8_t)(length >> 8);
			m[1] = (uint8_t)length;
			if (send(fd, m, length + 2, MSG_NOSIGNAL) != (ssize_t)length + 2)
				break;
		}
		close(fd);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	int udp, tcp, one = 1, room = 4 << 20;
	pthread_t thread;

	if (argc < 3 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) {
		fprintf(stderr, "usage: upstream ADDRESS PORT [TTL]\n");
		return 64;
	}
	at.sin_port = htons((uint16_t)atoi(argv[2]));
	if (argc > 3)
		ttl = (uint32_t)atoi(argv[3]);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	if (bind(udp, (struct sockaddr *)&at, sizeof at) || bind(tcp, (struct sockaddr *)&at, sizeof at) || listen(tcp, 64)) {
		perror("bind");
		return 1;
	}
	if (pthread_create(&thread, NULL, serve_tcp, &tcp)) {
		perror("pthread_create");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	serve_udp(udp);
}
