/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers NAME NAME: makes tun devices that stand for slots, and is every peer behind them: answers each question of a probe
 * (src/wg/probe/codec.ts), in its size, and asks one back with the halves of its number swapped. Looks every few milliseconds, so
 * that who sends need not wake it. Says "ready"; ends when its input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 10
#define DEVICES 2
#define PROBE 64
#define UDP 17
#define ASK 1
#define ANSWER 2
#define ACTIVE 2

static int open_tun(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	return fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ? -1 : fd;
}

static uint32_t sum(const uint8_t *octets, size_t length, uint32_t total)
{
	for (size_t i = 0; i + 1 < length; i += 2)
		total += (uint32_t)octets[i] << 8 | octets[i + 1];
	return length & 1 ? total + ((uint32_t)octets[length - 1] << 8) : total;
}

static void swap(uint8_t *a, uint8_t *b, size_t length)
{
	uint8_t kept[16];

	memcpy(kept, a, length);
	memcpy(a, b, length);
	memcpy(b, kept, length);
}

static void put_double(uint8_t *to, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits = __builtin_bswap64(bits);
	memcpy(to, &bits, sizeof(bits));
}

/* Where the probe begins in an IP packet without options; 0 for anything else. */
static size_t find(const uint8_t *packet, size_t length)
{
	size_t at = length > 0 && packet[0] == 0x45 ? 20 : length > 0 && packet[0] >> 4 == 6 ? 40 : 0;

	if (at == 0 || length < at + 8 + PROBE || packet[at == 20 ? 9 : 6] != UDP || memcmp(packet + at + 8, "SKPB", 4) != 0)
		return 0;
	return at + 8;
}

/* The way back; of its own length, with a checksum (none for IPv4). */
static bool send_back(int fd, uint8_t *packet, size_t probe, size_t length)
{
	uint8_t *udp = packet + probe - 8;
	uint16_t size = htons((uint16_t)(length - probe + 8));
	uint32_t total;

	memcpy(udp + 4, &size, 2);
	memset(udp + 6, 0, 2);
	if (probe == 28) {
		uint16_t whole = htons((uint16_t)length), check;

		memcpy(packet + 2, &whole, 2);
		memset(packet + 10, 0, 2);
		for (total = sum(packet, 20, 0); total >> 16;)
			total = (total & 0xffff) + (total >> 16);
		check = htons((uint16_t)~total);
		memcpy(packet + 10, &check, 2);
	} else {
		uint16_t check;

		memcpy(packet + 4, &size, 2);
		for (total = sum(udp, length - probe + 8, sum(packet + 8, 32, UDP + ntohs(size))); total >> 16;)
			total = (total & 0xffff) + (total >> 16);
		check = htons((uint16_t)~total);
		memcpy(udp + 6, &check, 2);
	}
	return write(fd, packet, length) == (ssize_t)length;
}

static void answer(int fd, uint8_t *packet, size_t probe, size_t length)
{
	uint8_t *message = packet + probe;
	struct timespec now;
	double ms;

	if (message[5] != ASK)
		return;
	if (probe == 28)
		swap(packet + 12, packet + 16, 4);
	else
		swap(packet + 8, packet + 24, 16);
	swap(packet + probe - 8, packet + probe - 6, 2);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
	message[5] = ANSWER;
	message[20] = ACTIVE;
	put_double(message + 24, ms);
	put_double(message + 32, ms);
	if (!send_back(fd, packet, probe, length))
		perror("peers: an answer");
	message[5] = ASK;
	memset(message + 16, 0, PROBE - 16);
	swap(message + 8, message + 12, 4);
	if (!send_back(fd, packet, probe, probe + PROBE))
		perror("peers: a question");
}

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	int devices[DEVICES];
	uint8_t packet[2048];

	if (argc != DEVICES + 1)
		return 64;
	for (int i = 0; i < DEVICES; i++) {
		devices[i] = open_tun(argv[i + 1]);
		if (devices[i] < 0) {
			perror(argv[i + 1]);
			return 1;
		}
	}
	printf("ready\n");
	fflush(stdout);
	/* Nobody writes to the input: it is readable when it has ended. */
	while (poll(&input, 1, LOOK_MS) == 0) {
		for (int i = 0; i < DEVICES; i++) {
			for (ssize_t got; (got = read(devices[i], packet, sizeof(packet))) > 0;) {
				size_t probe = find(packet, (size_t)got);

				if (probe != 0)
					answer(devices[i], packet, probe, (size_t)got);
			}
		}
	}
	return 0;
}
