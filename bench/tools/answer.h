/* SPDX-License-Identifier: Apache-2.0 */
/* The address the bench's upstream gives a name, shared so that the load generator can check each answer. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include <stddef.h>
#include <stdint.h>

/*
 * By the first label of the name (wire form, lower case):
 *   u<digits>  10.0.0.0 + digits (22 bits): an address of its own for each name
 *   s<digits>  10.128.0.(digits % 20): twenty addresses shared by all such names
 *   otherwise  10.64.0.0 + a 22-bit FNV-1a hash of the whole name
 * No packet is ever sent to these addresses. Host order.
 */
static inline uint32_t answer_address(const uint8_t *name, size_t length)
{
	uint32_t digits = 0, hash = 2166136261u;
	size_t label = length ? name[0] : 0, i;

	if (label > 1 && label < length && (name[1] == 'u' || name[1] == 's')) {
		for (i = 2; i <= label && name[i] >= '0' && name[i] <= '9'; i++)
			digits = digits * 10 + (uint32_t)(name[i] - '0');
		if (i == label + 1 && label > 1)
			return name[1] == 'u' ? 0x0a000000u + (digits & 0x3fffffu) : 0x0a800000u + digits % 20u;
	}
	for (i = 0; i < length; i++)
		hash = (hash ^ name[i]) * 16777619u;
	return 0x0a400000u + ((hash ^ (hash >> 22)) & 0x3fffffu);
}

/* Octets of the name at `at` with its final zero, 0 when it is cut off, compressed or longer than 255. */
static inline size_t name_length(const uint8_t *message, size_t length, size_t at)
{
	size_t start = at;

	while (at < length && message[at] != 0) {
		if (message[at] > 63)
			return 0;
		at += message[at] + 1u;
		if (at - start > 254)
			return 0;
	}
	return at < length ? at - start + 1 : 0;
}

#endif
