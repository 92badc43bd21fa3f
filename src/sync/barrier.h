/* sync/barrier.h -- Barrier: asyncio.Barrier's twin: tasks wait until so many of them do.
 *
 *     FILLING --the last of them comes--> DRAINING --all of them have left--> FILLING
 *        |  \--reset() while some wait--> RESETTING --all of them have left, with BrokenBarrierError--/
 *        \--abort()--> BROKEN --reset()--> as above
 *
 * Built on a Condition, whose lock is held while anything changes; the states are asyncio's own enum members.
 * The private steps (_block, _release, _wait, _exit) of asyncio's class are part of wait() here; a subclass cannot
 * override them.  Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_BARRIER_H
#define ASYNCLOOP_SYNC_BARRIER_H

#include "sync/condition.h"

typedef struct {
    Bound bound; /* without waiters: they are the condition's */
    PyObject *condition;
    PyObject *parties;
    PyObject *state; /* of st->barrier_states */
    Py_ssize_t count; /* tasks inside */
} Barrier;

static int barrier_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
