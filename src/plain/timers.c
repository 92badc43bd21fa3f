/* plain/timers.c -- the operations of the heap. */
#include "plain/timers.h"

#include <errno.h>
#include <stdlib.h>

enum { TIMERS_ARITY = 4, TIMERS_FIRST_CAPACITY = 16 };

static void
timers_init(struct timers *ts)
{
    *ts = (struct timers){0};
}

static void
timers_clear(struct timers *ts)
{
    free(ts->heap);
    timers_init(ts);
}

static inline void
timer_init(struct timer *t, unsigned kind)
{
    *t = (struct timer){.pos = TIMER_IDLE, .kind = kind};
}

static inline bool
timer_is_scheduled(const struct timer *t)
{
    return t->pos != TIMER_IDLE;
}

static inline struct timer *
timers_first(const struct timers *ts)
{
    return ts->n > 0 ? ts->heap[0] : NULL;
}

/* A deadline that is NaN is due at once, so it comes before all others. */
static inline bool
timer_is_earlier(const struct timer *a, const struct timer *b)
{
    if (a->when < b->when) {
        return true;
    }
    bool is_equal = a->when == b->when || (a->when != a->when && b->when != b->when);
    return is_equal ? (int32_t)(a->seq - b->seq) < 0 : a->when != a->when;
}

static inline void
timers_place(struct timers *ts, struct timer *t, uint32_t pos)
{
    ts->heap[pos] = t;
    t->pos = pos;
}

/* Move t, whose place is pos, towards the root. */
static void
timers_sift_up(struct timers *ts, struct timer *t, uint32_t pos)
{
    while (pos > 0) {
        uint32_t parent = (pos - 1) / TIMERS_ARITY;
        if (!timer_is_earlier(t, ts->heap[parent])) {
            break;
        }
        timers_place(ts, ts->heap[parent], pos);
        pos = parent;
    }
    timers_place(ts, t, pos);
}

/* Move t, whose place is pos, towards the leaves. */
static void
timers_sift_down(struct timers *ts, struct timer *t, uint32_t pos)
{
    for (;;) {
        uint32_t child = pos * TIMERS_ARITY + 1;
        if (child >= ts->n) {
            break;
        }
        uint32_t end = child + TIMERS_ARITY < ts->n ? child + TIMERS_ARITY : ts->n;
        uint32_t least = child;
        for (uint32_t i = child + 1; i < end; i++) {
            if (timer_is_earlier(ts->heap[i], ts->heap[least])) {
                least = i;
            }
        }
        if (!timer_is_earlier(ts->heap[least], t)) {
            break;
        }
        timers_place(ts, ts->heap[least], pos);
        pos = least;
    }
    timers_place(ts, t, pos);
}

/* Room for one more, in steps of a half: a pending timer must not cost two pointers. */
static int
timers_grow(struct timers *ts)
{
    uint32_t capacity = ts->capacity == 0 ? TIMERS_FIRST_CAPACITY : ts->capacity + ts->capacity / 2;
    if (capacity >= TIMER_IDLE) {
        return -ENOMEM;
    }
    struct timer **heap = realloc(ts->heap, capacity * sizeof *heap);
    if (heap == NULL) {
        return -ENOMEM;
    }
    ts->heap = heap;
    ts->capacity = capacity;
    return 0;
}

/* After a burst the heap gives back what it no longer needs. */
static void
timers_shrink(struct timers *ts)
{
    uint32_t capacity = ts->capacity / 2;
    if (ts->capacity <= 1024 || ts->n > capacity / 2) {
        return;
    }
    struct timer **heap = realloc(ts->heap, capacity * sizeof *heap);
    if (heap != NULL) {
        ts->heap = heap;
        ts->capacity = capacity;
    }
}

static int
timers_push(struct timers *ts, struct timer *t, double when)
{
    INVARIANT(!timer_is_scheduled(t));
    if (ts->n == ts->capacity) {
        int rc = timers_grow(ts);
        if (rc < 0) {
            return rc;
        }
    }
    t->when = when;
    t->seq = ts->next_seq++;
    timers_sift_up(ts, t, ts->n++);
    return 0;
}

static void
timers_remove(struct timers *ts, struct timer *t)
{
    uint32_t pos = t->pos;
    INVARIANT(pos < ts->n && ts->heap[pos] == t);
    struct timer *last = ts->heap[--ts->n];
    t->pos = TIMER_IDLE;
    if (last != t) {
        if (pos > 0 && timer_is_earlier(last, ts->heap[(pos - 1) / TIMERS_ARITY])) {
            timers_sift_up(ts, last, pos);
        }
        else {
            timers_sift_down(ts, last, pos);
        }
    }
    timers_shrink(ts);
}

static struct timer *
timers_pop_due(struct timers *ts, double now)
{
    struct timer *t = timers_first(ts);
    if (t == NULL || t->when > now) { /* a deadline that is no number is due */
        return NULL;
    }
    timers_remove(ts, t);
    return t;
}

static void
timers_check(const struct timers *ts)
{
    for (uint32_t i = 0; i < ts->n; i++) {
        INVARIANT(ts->heap[i]->pos == i);
        INVARIANT(i == 0 || !timer_is_earlier(ts->heap[i], ts->heap[(i - 1) / TIMERS_ARITY]));
    }
    (void)ts;
}
