/* task/wait/sleep.h -- asyncloop.sleep: a coroutine in C (task/coro/coro.h) and, for a real delay on an own loop, a
 * future with the timer inside.
 *
 * Nothing is computed before its first step, where asyncio.sleep would raise too.  delay <= 0 yields None once and
 * makes no future. SleepFuture: the heap of timers owns a reference while it is scheduled; however the future ends, its
 * timer goes at once: a sleep that is thrown into drops it.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_SLEEP_H
#define ASYNCLOOP_TASK_SLEEP_H

#include "task/future/future.h"

typedef struct {
    Future future;
    struct timer timer;
    PyObject *value; /* what it will be set to */
} SleepFuture;

static int sleep_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
