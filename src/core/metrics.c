/* core/metrics.c -- the sums that are not made where the loop runs: time, lag, passes. */
#include "core/metrics.h"

#include "core/inbox.h"
#include "core/loop.h"
#include "plain/clock.h"

static inline uint64_t
metrics_n_passes(const Loop *loop)
{
    return loop->metrics.passes - loop->passes_to_yield;
}

static inline uint64_t
metrics_n_callbacks(const Loop *loop)
{
    return loop->ready.head - loop->metrics.dropped;
}

/* The clock that counts now.  -1: what an overridden time() raised. */
static int
metrics_read(Loop *loop, enum metrics_clock *clock, double *now)
{
    *clock = METRICS_KERNEL_CLOCK;
    if (LIKELY(!loop->timed)) {
        *now = (double)clock_coarse_ns() / 1e9;
        return 0;
    }
    if (loop->has_own_time) {
        *clock = METRICS_OWN_CLOCK;
    }
    return loop_now(loop, now);
}

/* What has passed since the last reading goes to *sum. */
static inline int
metrics_add(Loop *loop, double *sum)
{
    enum metrics_clock clock;
    double now;
    if (metrics_read(loop, &clock, &now) < 0) {
        return -1;
    }
    struct metrics *m = &loop->metrics;
    /* the coarse clock is somewhat behind the exact one */
    if (LIKELY(clock == m->mark_clock) && now > m->mark) {
        *sum += now - m->mark;
    }
    m->mark_clock = clock;
    m->mark = now;
    return 0;
}

static int
metrics_times(Loop *loop, double *polling, double *working)
{
    enum metrics_clock clock;
    double now;
    if (metrics_read(loop, &clock, &now) < 0) {
        return -1;
    }
    const struct metrics *m = &loop->metrics; /* read now: time() may have run anything */
    double since = clock == m->mark_clock && now > m->mark ? now - m->mark : 0;
    bool is_asleep = INBOX_ASLEEP(loop);
    *polling = m->polling + (is_asleep ? since : 0);
    *working = m->working + (is_asleep ? 0 : since);
    return 0;
}

static int
metrics_begin_wait(Loop *loop)
{
    return metrics_add(loop, &loop->metrics.working);
}

static int
metrics_end_wait(Loop *loop, int rc)
{
    PyObject *raised = UNLIKELY(rc < 0) ? compat_take_raised() : NULL;
    if (metrics_add(loop, &loop->metrics.polling) < 0) {
        if (raised == NULL) {
            return -1;
        }
        PyErr_Clear();
    }
    if (UNLIKELY(raised != NULL)) {
        compat_set_raised(raised);
    }
    return rc;
}

static int
metrics_begin_run(Loop *loop)
{
    double ignored = 0;
    return metrics_add(loop, &ignored);
}

static void
metrics_end_run(Loop *loop)
{
    if (loop->metrics.mark_clock == METRICS_NO_CLOCK) { /* it never began */
        return;
    }
    PyObject *raised = compat_take_raised();
    if (metrics_add(loop, &loop->metrics.working) < 0) {
        PyErr_Clear(); /* what has ended the run, as a rule */
    }
    loop->metrics.mark_clock = METRICS_NO_CLOCK;
    compat_set_raised(raised);
}

/* Nobody could have known of it before the loop looked for due timers the last time, or before its last wait ended: a
 * timer may be made when its time is over. */
static void
metrics_note_due(Loop *loop, double when, double now)
{
    struct metrics *m = &loop->metrics;
    double since = m->timers_looked;
    if (m->mark_clock == (loop->has_own_time ? METRICS_OWN_CLOCK : METRICS_KERNEL_CLOCK) && m->mark > since) {
        since = m->mark;
    }
    if (when > since) { /* not, if it is no number */
        since = when;
    }
    m->lag = now > since ? now - since : 0;
    if (m->lag > m->lag_max) {
        m->lag_max = m->lag;
    }
}
