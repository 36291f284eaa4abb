// SPDX-License-Identifier: Apache-2.0
// scan PID: how often each needle stands in the memory of a process. Needles come on standard input, hex, one a line. Says one
// line of JSON: octets searched, and hits in the order of the needles. Searched is what has content and can have been written by
// the process: what is a file and cannot be written holds the file. As test/support/wg/key-scan.ts, in one pass for all needles.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 1 << 20, MAX_NEEDLES = 1024, MAX_LENGTH = 256, ENTRIES = 512 };

struct needle {
	uint8_t octets[MAX_LENGTH];
	size_t length;
	unsigned long hits;
	int next; // of those that begin with the same two octets
};

static struct needle needles[MAX_NEEDLES];
static int count, first[1 << 16];
static size_t overlap;
static unsigned long bytes;

static _Noreturn void fail(const char *what)
{
	printf("{\"error\":\"%s: %s\"}\n", what, strerror(errno));
	exit(1);
}

static uint16_t start_of(const uint8_t *at)
{
	uint16_t two;
	memcpy(&two, at, sizeof two);
	return two;
}

static void read_needles(void)
{
	char line[2 * MAX_LENGTH + 2];
	errno = EINVAL;
	for (int i = 0; i < 1 << 16; i++)
		first[i] = -1;
	while (fgets(line, sizeof line, stdin)) {
		struct needle *n = &needles[count];
		size_t digits = strcspn(line, "\n");
		if (count == MAX_NEEDLES || digits < 4 || digits % 2 || line[digits] != '\n')
			fail("needle");
		for (n->length = 0; 2 * n->length < digits; n->length++)
			if (sscanf(line + 2 * n->length, "%2hhx", &n->octets[n->length]) != 1)
				fail("needle");
		n->next = first[start_of(n->octets)];
		first[start_of(n->octets)] = count++;
		if (n->length - 1 > overlap)
			overlap = n->length - 1;
	}
	if (!count)
		fail("no needle");
}

// Counts what begins before `end`; what is there goes on to `have`.
static void search(const uint8_t *data, size_t end, size_t have)
{
	uint64_t eight;
	for (size_t at = 0; at < end; at++) {
		if (first[0] < 0 && at + sizeof eight <= have) {
			memcpy(&eight, data + at, sizeof eight);
			if (eight == 0) {
				at += sizeof eight - 2;
				continue;
			}
		}
		if (at + 2 > have)
			return;
		for (int i = first[start_of(data + at)]; i >= 0; i = needles[i].next)
			if (at + needles[i].length <= have && !memcmp(data + at, needles[i].octets, needles[i].length))
				needles[i].hits++;
	}
}

static void search_pages(int memory, uint64_t from, uint64_t to)
{
	static uint8_t buffer[CHUNK + MAX_LENGTH];
	while (from < to) {
		size_t wanted = to - from < CHUNK + overlap ? to - from : CHUNK + overlap;
		ssize_t got = pread(memory, buffer, wanted, (off_t)from);
		// Unmapped since the list was read.
		if (got <= 0)
			return;
		size_t fresh = (size_t)got < CHUNK ? (size_t)got : CHUNK;
		search(buffer, fresh, (size_t)got);
		bytes += fresh;
		from += fresh;
	}
}

// Runs of pages that are present, or in swap (Documentation/admin-guide/mm/pagemap.rst).
static void search_mapping(int memory, int pagemap, uint64_t start, uint64_t end)
{
	static uint64_t entries[ENTRIES];
	uint64_t run = 0;
	for (uint64_t at = start; at < end;) {
		uint64_t left = (end - at) / PAGE;
		ssize_t got = pread(pagemap, entries, 8 * (left < ENTRIES ? left : ENTRIES), (off_t)(at / PAGE * 8));
		if (got < 8)
			break;
		for (ssize_t i = 0; i < got / 8; i++, at += PAGE) {
			int has = entries[i] >> 62 != 0;
			if (has && !run)
				run = at;
			if (has || !run)
				continue;
			search_pages(memory, run, at);
			run = 0;
		}
		if (at >= end && run)
			search_pages(memory, run, at);
	}
}

int main(int argc, char **argv)
{
	char path[64], line[4096];
	if (argc != 2)
		return 2;
	read_needles();
	snprintf(path, sizeof path, "/proc/%d/mem", atoi(argv[1]));
	int memory = open(path, O_RDONLY);
	snprintf(path, sizeof path, "/proc/%d/pagemap", atoi(argv[1]));
	int pagemap = open(path, O_RDONLY);
	snprintf(path, sizeof path, "/proc/%d/maps", atoi(argv[1]));
	FILE *maps = fopen(path, "r");
	if (memory < 0 || pagemap < 0 || !maps)
		fail(path);
	while (fgets(line, sizeof line, maps)) {
		unsigned long start, end;
		char rights[8] = "", name[64] = "";
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %63s", &start, &end, rights, name) < 3 || rights[0] != 'r')
			continue;
		if ((rights[1] == '-' && name[0]) || !strncmp(name, "[v", 2))
			continue;
		search_mapping(memory, pagemap, start, end);
	}
	printf("{\"bytes\":%lu,\"hits\":[", bytes);
	for (int i = 0; i < count; i++)
		printf("%s%lu", i ? "," : "", needles[i].hits);
	printf("]}\n");
	return 0;
}
