/* SPDX-License-Identifier: Apache-2.0 */
/* The questions of a load, read from a file and kept in wire form, and the check of what comes back. */
#ifndef BENCH_QUESTIONS_H
#define BENCH_QUESTIONS_H

#include <stddef.h>
#include <stdint.h>

struct question {
	uint32_t source;  /* line of the sources file */
	uint32_t address; /* what the answer must hold, host order */
	uint16_t type, length;
	uint8_t *wire; /* a whole message, id zero */
};

struct questions {
	struct question *list;
	size_t count;
};

/* Lines "SOURCE NAME [A|AAAA]"; ends the program with a message when a line is not that. */
struct questions questions_read(const char *path);

enum verdict {
	ANSWER_OK,
	ANSWER_STRAY,   /* not an answer, or another id: left over from a query given up */
	ANSWER_QUESTION, /* the question differs in any octet */
	ANSWER_RCODE,
	ANSWER_ADDRESS
};

enum verdict question_check(const struct question *q, uint16_t id, unsigned rcode, const uint8_t *m, size_t length);

#endif
