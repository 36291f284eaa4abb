// SPDX-License-Identifier: Apache-2.0
// Sends raw DNS messages over a connected socket and prints what comes back, in hex.
//   connected [-t MS] [-T] SERVER PORT      one message in hex a line on standard input, one line out: hex, "-" (nothing
//                                           came), "refused" or "closed". -T: TCP, one connection a line; the line is
//                                           what follows the two length octets, or with a leading "!" the raw stream.
// A connected UDP socket takes datagrams of exactly SERVER:PORT, so an answer from anywhere else is "-".
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/time.h>
#include "wire.h"

static int unhex(const char *text, uint8_t *out, int max)
{
	int n = 0;
	unsigned byte;
	while (n < max && sscanf(text + 2 * n, "%2x", &byte) == 1 && text[2 * n + 1] > ' ')
		out[n++] = (uint8_t)byte;
	return n;
}

static void print_hex(const uint8_t *p, int n)
{
	for (int i = 0; i < n; i++)
		printf("%02x", p[i]);
	putchar('\n');
}

static int read_full(int fd, uint8_t *p, int n)
{
	int got = 0;
	while (got < n) {
		ssize_t r = recv(fd, p + got, (size_t)(n - got), 0);
		if (r == 0)
			return 0;
		if (r < 0)
			return errno == EAGAIN ? -1 : 0;
		got += (int)r;
	}
	return n;
}

int main(int argc, char **argv)
{
	int timeout = 1000, tcp = 0, option;
	while ((option = getopt(argc, argv, "t:T")) != -1) {
		if (option == 't')
			timeout = atoi(optarg);
		else if (option == 'T')
			tcp = 1;
		else
			return 2;
	}
	if (argc - optind < 2)
		return 2;
	struct target to;
	must_target(&to, argv[optind], atoi(argv[optind + 1]));
	static char line[140000];
	static uint8_t out[65538], in[65538];
	struct timeval wait = { timeout / 1000, timeout % 1000 * 1000 };
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof line, stdin)) {
		int raw = line[0] == '!';
		int n = unhex(line + raw, out + 2, 65535), got;
		int fd = socket(to.family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
		if (fd < 0)
			die("socket");
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
		if (connect(fd, (struct sockaddr *)&to.sa, to.length) < 0) {
			puts("refused");
		} else if (!tcp) {
			if (send(fd, out + 2, (size_t)n, 0) < 0)
				die("send");
			got = (int)recv(fd, in, sizeof in, 0);
			if (got < 0)
				puts(errno == EAGAIN ? "-" : "refused");
			else
				print_hex(in, got);
		} else {
			out[0] = (uint8_t)(n >> 8);
			out[1] = (uint8_t)n;
			if (send(fd, raw ? out + 2 : out, (size_t)(raw ? n : n + 2), MSG_NOSIGNAL) < 0)
				puts("closed");
			else if ((got = read_full(fd, in, 2)) <= 0)
				puts(got < 0 ? "-" : "closed");
			else if ((got = read_full(fd, in, in[0] << 8 | in[1])) <= 0)
				puts(got < 0 ? "-" : "closed");
			else
				print_hex(in, got);
		}
		close(fd);
	}
	return 0;
}
