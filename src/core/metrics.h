/* core/metrics.h -- what a loop counts of itself, for loop.metrics().
 *
 * The counters stand where they cost an instruction or none: ready.head in the ring is how many entries were taken out,
 * passes_to_yield counts the passes between two polls.  Time is made of the coarse clock, read before and after each
 * poll that may wait, which the kernel moves with its tick only: over many polls the sums are right, a single wait
 * shorter than a tick counts as none or as one.  While the loop times its entries (core/timed.h) it is the loop's time,
 * read exactly, as is the longest entry.  An interval between readings of two different clocks is left out.
 *
 * Units: seconds of the clock that was read; entries, passes, polls as numbers.  Owns nothing.  Thread: the loop's;
 * others may read under the GIL. */
#ifndef ASYNCLOOP_CORE_METRICS_H
#define ASYNCLOOP_CORE_METRICS_H

#include "base/api.h"
#include "base/compat.h"

#include <stdbool.h>
#include <stdint.h>

struct Loop;

enum metrics_clock { METRICS_NO_CLOCK, METRICS_KERNEL_CLOCK, METRICS_OWN_CLOCK };

struct metrics {
    uint64_t passes; /* plus what passes_to_yield has come down: metrics_n_passes */
    uint64_t polls, glances;
    uint64_t dropped; /* entries taken out of the ring that were not run */
    uint64_t task_steps;
    uint32_t ready_max; /* entries in the ring when a pass began to run them */
    uint8_t mark_clock; /* enum metrics_clock: what mark was read from; METRICS_NO_CLOCK: the loop does not run */
    double mark; /* when the last wait ended, or the run began, or the wait that is on began */
    double polling, working;
    double longest; /* entry that was timed */
    double lag, lag_max;
    double timers_looked; /* the loop's time when timers were looked at last */
};

static inline uint64_t metrics_n_passes(const struct Loop *loop);
static inline uint64_t metrics_n_callbacks(const struct Loop *loop);

/* A run begins, ends; the poll is about to wait, has waited.  They ask an overridden time() while entries are timed: -1
 * with its exception. */
static int metrics_begin_run(struct Loop *loop) MUST_CHECK;
static void metrics_end_run(struct Loop *loop); /* keeps a raised exception */
static int metrics_begin_wait(struct Loop *loop) MUST_CHECK;
static int metrics_end_wait(struct Loop *loop, int rc) MUST_CHECK; /* rc: what came of it, -1 with an exception */

/* polling and working up to now, where a run is on.  -1: what an overridden time() raised. */
static int metrics_times(struct Loop *loop, double *polling, double *working) MUST_CHECK;

/* A timer that was to come at `when` is due in this pass, at `now` (both the loop's time); it is the earliest one. */
static void metrics_note_due(struct Loop *loop, double when, double now);

#endif
