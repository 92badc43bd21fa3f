/* plain/clock.c -- clock_gettime, in the forms that the loop needs. */
#include "plain/clock.h"

#include <time.h>

static inline uint64_t
clock_read_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t
clock_now_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

static inline double
clock_now(void)
{
    return (double)clock_now_ns() / 1e9;
}

static inline uint64_t
clock_coarse_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

static void
clock_rest(void)
{
    struct timespec shortest = {.tv_nsec = 1};
    nanosleep(&shortest, NULL);
}
