/* task/wait/gather.h -- asyncloop.gather: asyncio.gather with the children counted in C.
 *
 * The future that gather returns is itself the callback of each child on an own loop; elsewhere a callable bound to it
 * is. Its cancel() cancels the children and leaves the rest to them, as asyncio's _GatheringFuture does.  Thread: the
 * loop's. */
#ifndef ASYNCLOOP_TASK_GATHER_H
#define ASYNCLOOP_TASK_GATHER_H

#include "task/future/future.h"

typedef struct {
    Future future;
    PyObject *children;    /* a tuple, in the order of the arguments; an argument given twice is in it twice */
    PyObject *waiter;      /* the task that gathers (3.14+: an edge of the call graph), or NULL */
    uint32_t n_distinct;   /* children to wait for */
    uint32_t n_done;
    bool is_built; /* gather returned it: before, a finished child only has its exception marked as retrieved */
    bool return_exceptions;
    bool cancel_requested;
} GatherFuture;

static int gather_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
