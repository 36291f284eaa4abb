/* SPDX-License-Identifier: Apache-2.0 */
/* Log-linear histogram of nanoseconds: 64 buckets an octave, so a quantile is at most 1.6 % above the true value. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_SUB 64
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 40)

struct histogram {
	uint64_t count, max, buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned shift;

	if (ns < HISTOGRAM_SUB)
		return (unsigned)ns;
	shift = 63u - (unsigned)__builtin_clzll(ns) - 6u;
	shift = shift > 38 ? 38 : shift;
	return (shift + 1) * HISTOGRAM_SUB + (unsigned)((ns >> shift) & (HISTOGRAM_SUB - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->max = ns > h->max ? ns : h->max;
	h->buckets[histogram_bucket(ns)]++;
}

/* Upper edge of the bucket that holds the q-quantile, never above the largest value seen. */
static inline uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0, edge;
	unsigned i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > rank)
			break;
	}
	if (i >= HISTOGRAM_BUCKETS)
		return h->max;
	if (i < HISTOGRAM_SUB)
		return i;
	edge = ((uint64_t)(i % HISTOGRAM_SUB) + HISTOGRAM_SUB + 1) << (i / HISTOGRAM_SUB - 1);
	return edge < h->max ? edge : h->max;
}

/* Microseconds, as one JSON object. */
static inline void histogram_print(const struct histogram *h)
{
	printf("{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
	       (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.9) / 1e3,
	       (double)histogram_quantile(h, 0.99) / 1e3, (double)histogram_quantile(h, 0.999) / 1e3,
	       (double)h->max / 1e3);
}

#endif
