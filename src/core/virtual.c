/* core/virtual.c -- see virtual.h. */
#include "core/virtual.h"

/* Timers this close are due in the same pass, as on asyncio. */
static const double VIRTUAL_SAME_TIME_S = 1e-9;

static int
virtual_wait(Loop *loop)
{
    const struct timer *first = timers_first(&loop->timers);
    PyObject *when = first == NULL ? Py_NewRef(Py_None) : PyFloat_FromDouble(first->when);
    PyObject *done = when == NULL ? NULL : PyObject_CallMethodOneArg((PyObject *)loop, loop->st->str._wait_until, when);
    Py_XDECREF(when);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
virtual_poll(Loop *loop)
{
    int rc;
    if (loop->ready.n > 0 || loop->stopping) {
        rc = loop_poll_for(loop, 0);
    }
    else {
        rc = metrics_begin_wait(loop) < 0 ? -1 : metrics_end_wait(loop, virtual_wait(loop));
    }
    if (rc == 0 && loop->shuffle != 0) {
        loop_set_passes_to_yield(loop, 0); /* the next pass comes here too */
        virtual_shuffle(loop);
    }
    return rc;
}

/* ---- another order */

/* A number below n, which is not 0 (Marsaglia's xorshift). */
static uint32_t
virtual_random(Loop *loop, uint32_t n)
{
    uint64_t x = loop->shuffle;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    loop->shuffle = x;
    return (uint32_t)((x >> 32) % n);
}

static inline struct ready *
virtual_entry(Loop *loop, uint32_t i)
{
    return &loop->ready.entries[(loop->ready.head + i) & (loop->ready.capacity - 1)];
}

/* The timer that made the entry, or NULL. */
static const struct timer *
virtual_timer_of(struct state *st, const struct ready *e)
{
    for (size_t kind = 0; kind < TIMER_KIND_COUNT; kind++) {
        if (e->run == st->timer_kinds[kind].on_due && e->arg == NULL) {
            return (const struct timer *)((const char *)e->self + st->timer_kinds[kind].offset);
        }
    }
    return NULL;
}

/* May the two run in either order? */
static bool
virtual_are_alike(struct state *st, const struct ready *a, const struct ready *b)
{
    const struct timer *s = virtual_timer_of(st, a), *t = virtual_timer_of(st, b);
    if (s != NULL || t != NULL) {
        return s != NULL && t != NULL && t->when - s->when <= VIRTUAL_SAME_TIME_S;
    }
    return (a->run == st->task_runs[0] || a->run == st->task_runs[1])
           && (b->run == st->task_runs[0] || b->run == st->task_runs[1]);
}

static void
virtual_shuffle(Loop *loop)
{
    for (uint32_t first = 0, end; first < loop->ready.n; first = end) {
        for (end = first + 1; end < loop->ready.n; end++) {
            if (!virtual_are_alike(loop->st, virtual_entry(loop, first), virtual_entry(loop, end))) {
                break;
            }
        }
        for (uint32_t i = end - 1; i > first; i--) {
            struct ready *a = virtual_entry(loop, i),
                         *b = virtual_entry(loop, first + virtual_random(loop, i - first + 1)), e = *a;
            *a = *b;
            *b = e;
        }
    }
}
