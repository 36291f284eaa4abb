// SPDX-License-Identifier: Apache-2.0
// The lab's internet: web PORT... answers HTTP on each port and each local address, v4 and v6. Port 7 echoes, TCP and UDP.
// The answer says which address was asked and by whom, so that a client can tell where it landed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include "../clients/wire.h"

enum { ECHO_PORT = 7, BUFFER = 4096 };
enum kind { LISTEN, LISTEN_ECHO, HTTP, ECHO_TCP, ECHO_UDP };

struct peer {
	int fd;
	enum kind kind;
	int length;
	long body; // octets of a request body still to come, -1 while the head is read
	char head[BUFFER];
};

static int poller;

static void watch(int fd, enum kind kind)
{
	struct peer *p = calloc(1, sizeof *p);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = p };
	if (!p)
		die("calloc");
	p->fd = fd;
	p->kind = kind;
	p->body = -1;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void drop(struct peer *p)
{
	close(p->fd);
	free(p);
}

static int open_port(int port, int type)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, zero = 0;
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	if (type == SOCK_DGRAM) {
		// Addresses of a local route stand on no interface; without this the kernel refuses them as a source.
		setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
	}
	if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 8192) < 0)
		die("listen");
	return fd;
}

static void accept_all(struct peer *p)
{
	int fd, one = 1;
	while ((fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		watch(fd, p->kind == LISTEN ? HTTP : ECHO_TCP);
	}
}

// The echo must leave from the address that was asked: the datagram's own packet info goes back with it.
static void echo_datagrams(struct peer *p)
{
	static char data[65536];
	char control[256];
	struct sockaddr_in6 from;
	struct iovec part = { data, sizeof data };
	struct msghdr m = { .msg_name = &from, .msg_iov = &part, .msg_iovlen = 1, .msg_control = control };
	for (;;) {
		m.msg_namelen = sizeof from;
		m.msg_controllen = sizeof control;
		part.iov_len = sizeof data;
		ssize_t got = recvmsg(p->fd, &m, 0);
		if (got < 0)
			return;
		part.iov_len = (size_t)got;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
				((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo *i = (struct in_pktinfo *)CMSG_DATA(c);
				i->ipi_ifindex = 0;
				i->ipi_spec_dst = i->ipi_addr;
			}
		}
		sendmsg(p->fd, &m, 0);
	}
}

static void answer(struct peer *p)
{
	struct sockaddr_in6 local, remote;
	socklen_t a = sizeof local, b = sizeof remote;
	char to[64] = "", from[64] = "", body[192], out[512];
	getsockname(p->fd, (struct sockaddr *)&local, &a);
	getpeername(p->fd, (struct sockaddr *)&remote, &b);
	inet_ntop(AF_INET6, &local.sin6_addr, to, sizeof to);
	inet_ntop(AF_INET6, &remote.sin6_addr, from, sizeof from);
	const char *mapped = "::ffff:";
	int skip = (int)strlen(mapped);
	int n = snprintf(body, sizeof body, "%s port %d greets %s\n", strncmp(to, mapped, 7) ? to : to + skip, ntohs(local.sin6_port),
			 strncmp(from, mapped, 7) ? from : from + skip);
	int m = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", n, body);
	if (write(p->fd, out, (size_t)m) != m)
		return;
	shutdown(p->fd, SHUT_WR);
}

static void serve(struct peer *p)
{
	static char sink[65536];
	if (p->body >= 0) {
		ssize_t got = read(p->fd, sink, sizeof sink);
		if (got == 0 || (got < 0 && errno != EAGAIN)) {
			drop(p);
		} else if (got > 0 && p->body > 0 && (p->body -= got) <= 0) {
			p->body = 0;
			answer(p);
		}
		return;
	}
	ssize_t got = read(p->fd, p->head + p->length, (size_t)(BUFFER - 1 - p->length));
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		drop(p);
		return;
	}
	if (got < 0)
		return;
	p->length += (int)got;
	p->head[p->length] = 0;
	char *end = strstr(p->head, "\r\n\r\n");
	if (!end) {
		if (p->length == BUFFER - 1)
			drop(p);
		return;
	}
	char *field = strcasestr(p->head, "\r\nContent-Length:");
	long want = field && field < end ? atol(field + 17) : 0;
	if (strcasestr(p->head, "\r\nExpect: 100-continue") && write(p->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25) != 25)
		return;
	p->body = want - (p->length - (end + 4 - p->head));
	if (p->body <= 0) {
		p->body = 0;
		answer(p);
	}
}

static void echo_stream(struct peer *p)
{
	char data[BUFFER];
	ssize_t got = read(p->fd, data, sizeof data);
	if (got == 0 || (got < 0 && errno != EAGAIN) || (got > 0 && write(p->fd, data, (size_t)got) != got))
		drop(p);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	poller = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 1; i < argc; i++)
		watch(open_port(atoi(argv[i]), SOCK_STREAM), LISTEN);
	watch(open_port(ECHO_PORT, SOCK_STREAM), LISTEN_ECHO);
	watch(open_port(ECHO_PORT, SOCK_DGRAM), ECHO_UDP);
	for (;;) {
		struct epoll_event events[256];
		int n = epoll_wait(poller, events, 256, -1);
		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;
			if (p->kind == LISTEN || p->kind == LISTEN_ECHO)
				accept_all(p);
			else if (p->kind == HTTP)
				serve(p);
			else if (p->kind == ECHO_TCP)
				echo_stream(p);
			else
				echo_datagrams(p);
		}
	}
}
