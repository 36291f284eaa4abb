/*
 * Prints the frequency of this processor's time stamp counter, kHz. An emulated processor shows the counter of the real one, and
 * a kernel that works its frequency out while its emulator is kept waiting is wrong by a factor: its seconds are then none.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define WINDOW_NS 200000000

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Both clocks at one moment: the try that was interrupted least. */
static void sample(uint64_t *ticks, int64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 50; i++) {
		uint64_t before = __rdtsc();
		int64_t at = now_ns();
		uint64_t after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*ticks = before + (after - before) / 2;
			*ns = at;
		}
	}
}

int main(void)
{
	uint64_t ticks[2];
	int64_t ns[2];
	struct timespec rest = { 0, WINDOW_NS };

	sample(&ticks[0], &ns[0]);
	nanosleep(&rest, NULL);
	sample(&ticks[1], &ns[1]);
	printf("%.0f\n", (double)(ticks[1] - ticks[0]) * 1e6 / (double)(ns[1] - ns[0]));
	return 0;
}
