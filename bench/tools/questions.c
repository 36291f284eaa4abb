/* SPDX-License-Identifier: Apache-2.0 */
#include "questions.h"
#include "answer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_A 1
#define TYPE_AAAA 28

static uint8_t *wire_of(const char *name, uint16_t type, uint16_t *length)
{
	uint8_t m[12 + 255 + 4] = {0, 0, 1, 0, 0, 1}, *copy;
	size_t at = 12;

	while (*name) {
		size_t label = strcspn(name, ".");

		if (label == 0 || label > 63 || at + label + 1 > 12 + 254)
			return NULL;
		m[at++] = (uint8_t)label;
		memcpy(m + at, name, label);
		at += label;
		name += label + (name[label] == '.');
	}
	m[at++] = 0;
	m[at++] = (uint8_t)(type >> 8);
	m[at++] = (uint8_t)type;
	m[at++] = 0;
	m[at++] = 1;
	copy = malloc(at);
	memcpy(copy, m, at);
	*length = (uint16_t)at;
	return copy;
}

struct questions questions_read(const char *path)
{
	struct questions all = {NULL, 0};
	size_t room = 0;
	char line[512], name[256], type[8];
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		exit(66);
	}
	while (fgets(line, sizeof line, file)) {
		struct question q;
		int fields;

		fields = sscanf(line, "%u %255s %7s", &q.source, name, type);
		q.type = fields == 3 && !strcmp(type, "AAAA") ? TYPE_AAAA : TYPE_A;
		q.wire = fields >= 2 ? wire_of(name, q.type, &q.length) : NULL;
		if (!q.wire) {
			fprintf(stderr, "%s:%zu: not \"SOURCE NAME [A|AAAA]\"\n", path, all.count + 1);
			exit(65);
		}
		q.address = answer_address(q.wire + 12, q.length - 16u);
		if (all.count == room) {
			room = room ? room * 2 : 1024;
			all.list = realloc(all.list, room * sizeof q);
		}
		all.list[all.count++] = q;
	}
	fclose(file);
	return all;
}

enum verdict question_check(const struct question *q, uint16_t id, unsigned rcode, const uint8_t *m, size_t length)
{
	size_t octets = q->type == TYPE_A ? 4 : 16;
	uint32_t address;

	if (length < 12 || !(m[2] & 0x80) || ((uint16_t)(m[0] << 8) | m[1]) != id)
		return ANSWER_STRAY;
	if (length < q->length || m[4] || m[5] != 1 || memcmp(m + 12, q->wire + 12, q->length - 12u))
		return ANSWER_QUESTION;
	if ((m[3] & 15u) != rcode)
		return ANSWER_RCODE;
	if (rcode)
		return ANSWER_OK;
	if (length < q->length + 12 + octets || (!m[6] && !m[7]))
		return ANSWER_ADDRESS;
	memcpy(&address, m + q->length + 8 + octets, 4);
	return ntohl(address) == q->address ? ANSWER_OK : ANSWER_ADDRESS;
}
