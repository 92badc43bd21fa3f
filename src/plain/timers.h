/* plain/timers.h -- deadlines of one loop, earliest first.
 *
 * 4-ary min-heap of pointers to timers embedded in their owners (sleeps, TimerHandles).
 * Invariants (timers_check): heap[i]->pos == i; no child is earlier than its parent; an idle timer has pos ==
 * TIMER_IDLE. Equal deadlines keep the order they were pushed in (seq, compared modulo 2^32). Owns nothing: an owner
 * keeps itself alive while scheduled.  Units: seconds of the loop's clock. Errors: -ENOMEM.  Thread: the loop's own.
 * Used by core/loop.c, core/handle.c, task/wait/sleep.c. */
#ifndef ASYNCLOOP_PLAIN_TIMERS_H
#define ASYNCLOOP_PLAIN_TIMERS_H

#include "base/api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMER_IDLE ((1u << 29) - 1)

struct timer {
    double when;
    uint32_t seq;
    uint32_t pos : 29;
    uint32_t kind : 3; /* the owner's, to find its way back; the heap does not look at it */
};

struct timers {
    struct timer **heap;
    uint32_t n, capacity;
    uint32_t next_seq;
};

static void timers_init(struct timers *ts);
static void timers_clear(struct timers *ts); /* frees the heap; the timers in it must be idle or never used again */
static inline void timer_init(struct timer *t, unsigned kind);
static inline bool timer_is_scheduled(const struct timer *t);

static int timers_push(struct timers *ts, struct timer *t, double when) MUST_CHECK; /* t must be idle */
static void timers_remove(struct timers *ts, struct timer *t);                      /* t must be scheduled */
static inline struct timer *timers_first(const struct timers *ts);                  /* NULL when empty */
/* the first with when <= now, or NULL */
static struct timer *timers_pop_due(struct timers *ts, double now);
static void timers_check(const struct timers *ts);

#endif
