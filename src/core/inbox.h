/* core/inbox.h -- what other threads hand to a loop, where there is no GIL: ready entries, in the order in which each
 * thread pushed them.
 *
 * The inbox has a mutex of its own, held for a few instructions, so that nobody waits for what the loop does.  The loop
 * takes the entries over into its ring at the beginning of a pass and after the poll; one that is about to sleep looks
 * again, after it has said so (asleep), and who pushes looks at asleep after the push: one of the two sees the other.
 * With a GIL other threads push into the ring itself, and the functions here are the little that is left. */
#ifndef ASYNCLOOP_CORE_INBOX_H
#define ASYNCLOOP_CORE_INBOX_H

#include "core/loop.h"

#include "plain/wakeup.h"

#include <unistd.h>

#if COMPAT_FREE_THREADED

/* loop_ready_push where the loop's section is not on top. RuntimeError when the loop is closed. */
static int inbox_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg) MUST_CHECK;
static void inbox_wake(Loop *loop); /* end the wait of a sleeping loop */
static void inbox_fall_asleep(Loop *loop, double *timeout_s); /* before the poll; 0 when something has come */
static int inbox_take_all(Loop *loop) MUST_CHECK;
static void inbox_close(Loop *loop);        /* nothing comes in from now on; may run any code */
static void inbox_close_wakeup(Loop *loop); /* the eventfd */
static void inbox_clear(Loop *loop);
static void inbox_free(Loop *loop);
static int inbox_visit(Loop *loop, visitproc visit, void *arg);

static inline int
inbox_take(Loop *loop)
{
    return LIKELY(__atomic_load_n(&loop->inbox.ring.n, __ATOMIC_RELAXED) == 0) ? 0 : inbox_take_all(loop);
}

/* Between two entries: threads that wait for the loop's section get it. */
static inline void
inbox_let_in(Loop *loop)
{
    if (UNLIKELY(section_is_wanted((PyObject *)loop))) {
        section_yield();
    }
}

#  define INBOX_CROWD(loop) __atomic_load_n(&(loop)->inbox.ring.n, __ATOMIC_RELAXED)
#  define INBOX_ASLEEP(loop) __atomic_load_n(&(loop)->asleep, __ATOMIC_SEQ_CST)
#  define INBOX_IS_AWAKE(loop) __atomic_store_n(&(loop)->asleep, false, __ATOMIC_RELAXED)
#  define LOOP_IS_HERE(loop) (COMPAT_LOAD(&(loop)->thread_id) == PyThread_get_thread_ident())

#else

#  define inbox_push(loop, run, self, arg) (-1) /* never asked */
#  define inbox_take(loop) 0
#  define inbox_let_in(loop) ((void)0)
#  define inbox_close(loop) ((void)0)
#  define inbox_clear(loop) ((void)0)
#  define inbox_free(loop) ((void)0)
#  define inbox_visit(loop, visit, arg) 0
#  define INBOX_CROWD(loop) ((loop)->ready.n)
#  define INBOX_ASLEEP(loop) ((loop)->asleep)
#  define INBOX_IS_AWAKE(loop) ((void)((loop)->asleep = false))
#  define LOOP_IS_HERE(loop) true

static inline void
inbox_wake(Loop *loop)
{
    loop->asleep = false;
    wakeup_signal(loop->wakeup_fd);
}

static inline void
inbox_fall_asleep(Loop *loop, double *timeout_s)
{
    loop->asleep = *timeout_s != 0;
}

static inline void
inbox_close_wakeup(Loop *loop)
{
    if (loop->wakeup_fd >= 0) {
        close(loop->wakeup_fd);
        loop->wakeup_fd = -1;
    }
}

#endif

#endif
