/* plain/clock.h -- the monotonic clock, as time.monotonic() reads it.
 *
 * Units: seconds as a double (what asyncio's API speaks) or whole nanoseconds.  No state, cannot fail on Linux. */
#ifndef ASYNCLOOP_PLAIN_CLOCK_H
#define ASYNCLOOP_PLAIN_CLOCK_H

#include <stdint.h>

static inline uint64_t clock_now_ns(void);

/* Same value as time.monotonic(): nanoseconds rounded once to a double. */
static inline double clock_now(void);

/* A cheap reading that moves only with the kernel's tick (1 to 10 ms); for bounding how long something may be put off.
 */
static inline uint64_t clock_coarse_ns(void);

/* Let another thread run: the shortest sleep there is, some 50 us on Linux. */
static void clock_rest(void);

#endif
