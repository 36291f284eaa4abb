// SPDX-License-Identifier: Apache-2.0
// sniff NS INTERFACE... -- PREFIX...: counts frames on the interfaces, as they come and as they leave, whose outer source or
// destination lies in a prefix (10.1.0.0/16, fd10::/16). Says {"ok":true} once it looks; then each line "count" on
// standard input is answered by {"frames":N,"interfaces":{...},"sample":"hex of the first frame"}, counted from the start.
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include "wire.h"

enum { MAX_PREFIXES = 16, MAX_INTERFACES = 64, MAX_PROGRAM = 400, SAMPLE = 96 };

struct prefix {
	struct address address;
	int bits;
};

static struct sock_filter program[MAX_PROGRAM];
static int length;

static void emit(struct sock_filter instruction)
{
	if (length == MAX_PROGRAM)
		abort();
	program[length++] = instruction;
}

// Accepts the frame when the address at the offset lies in the prefix; falls through when not.
static void emit_match(const struct prefix *p, unsigned offset)
{
	const uint8_t *octets = p->address.family == AF_INET ?
		(const uint8_t *)&((const struct sockaddr_in *)&p->address.sa)->sin_addr :
		(const uint8_t *)&((const struct sockaddr_in6 *)&p->address.sa)->sin6_addr;
	int words = (p->bits + 31) / 32;
	for (int i = 0; i < words; i++) {
		int bits = p->bits - 32 * i;
		uint32_t mask = bits >= 32 ? 0xffffffff : ~(0xffffffffu >> bits), value;
		memcpy(&value, octets + 4 * i, 4);
		emit((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset + 4u * (unsigned)i));
		emit((struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
		// Past the rest of this prefix: three instructions a word, and the one that accepts.
		emit((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(value) & mask, 0,
						  (uint8_t)(3 * (words - i - 1) + 1)));
	}
	emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SAMPLE));
}

static void emit_family(const struct prefix *prefixes, int count, int family, uint32_t type, unsigned source, unsigned destination)
{
	emit((struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12));
	emit((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 1, 0));
	int skip = length;
	emit((struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0));
	for (int i = 0; i < count; i++) {
		if (prefixes[i].address.family != family)
			continue;
		emit_match(&prefixes[i], source);
		emit_match(&prefixes[i], destination);
	}
	program[skip].k = (uint32_t)(length - skip - 1);
}

static int read_prefix(struct prefix *out, char *text)
{
	char *slash = strchr(text, '/');
	if (!slash)
		return 0;
	*slash = 0;
	out->bits = atoi(slash + 1);
	return make_address(&out->address, text, 0) && out->bits > 0 && out->bits <= (out->address.family == AF_INET ? 32 : 128);
}

static int open_interface(const char *ns, const char *name)
{
	int fd = socket_in(ns, AF_PACKET, SOCK_RAW, 0);
	if (fd < 0)
		return -1;
	struct ifreq request = { 0 };
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
	struct sock_fprog filter = { (unsigned short)length, program };
	int room = 1 << 20;
	if (ioctl(fd, SIOCGIFINDEX, &request) < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
		return -1;
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = request.ifr_ifindex };
	return bind(fd, (struct sockaddr *)&at, sizeof at) < 0 ? -1 : fd;
}

int main(int argc, char **argv)
{
	struct prefix prefixes[MAX_PREFIXES];
	struct pollfd wait[MAX_INTERFACES + 1] = { { .fd = 0, .events = POLLIN } };
	uint64_t frames[MAX_INTERFACES] = { 0 };
	char sample[2 * SAMPLE + 1] = "", line[64];
	struct commands commands = { .have = 0 };
	int interfaces = 0, count = 0, dashes = 2, first = 1;
	while (dashes < argc && strcmp(argv[dashes], "--") != 0)
		dashes++;
	for (int i = dashes + 1; i < argc && count < MAX_PREFIXES; i++)
		if (!read_prefix(&prefixes[count++], argv[i]))
			return 2;
	if (count == 0 || dashes - 2 < 1 || dashes - 2 > MAX_INTERFACES)
		return 2;
	emit_family(prefixes, count, AF_INET, ETH_P_IP, 26, 30);
	emit_family(prefixes, count, AF_INET6, ETH_P_IPV6, 22, 38);
	emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0));
	for (int i = 2; i < dashes; i++) {
		int fd = open_interface(argv[1], argv[i]);
		if (fd < 0) {
			refuse(argv[i]);
			return 2;
		}
		wait[++interfaces] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	accept_command();
	for (;;) {
		poll(wait, (nfds_t)interfaces + 1, -1);
		for (int i = 1; i <= interfaces; i++) {
			uint8_t frame[SAMPLE];
			ssize_t got;
			while (wait[i].revents && (got = recv(wait[i].fd, frame, sizeof frame, 0)) >= 0) {
				for (ssize_t at = first ? 0 : got; at < got; at++)
					snprintf(sample + 2 * at, 3, "%02x", frame[at]);
				first = 0;
				frames[i - 1]++;
			}
		}
		if (!wait[0].revents)
			continue;
		errno = 0;
		if (!read_commands(&commands))
			return 0;
		while (next_command(&commands, line, sizeof line)) {
			uint64_t all = 0;
			for (int i = 0; i < interfaces; i++) {
				// Frames that the socket had no room for were seen all the same.
				struct tpacket_stats lost = { 0 };
				socklen_t size = sizeof lost;
				if (getsockopt(wait[i + 1].fd, SOL_PACKET, PACKET_STATISTICS, &lost, &size) == 0)
					frames[i] += lost.tp_drops;
				all += frames[i];
			}
			printf("{\"frames\":%lu,\"interfaces\":{", all);
			for (int i = 0; i < interfaces; i++)
				printf("%s\"%s\":%lu", i ? "," : "", argv[i + 2], frames[i]);
			printf("},\"sample\":\"%s\"}\n", sample);
			fflush(stdout);
		}
	}
}
