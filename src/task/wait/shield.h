/* task/wait/shield.h -- asyncloop.shield: a future that ends as another does, but whose cancellation stays its own.
 *
 * ShieldFuture (outer) is itself the callback of what it shields (inner).  When outer ends first, its callback is taken
 * back in the next pass, where asyncio's outer callback would do it: shield_outer_finished pushes that entry before
 * outer's own callbacks. Ownership: outer owns inner until either is done with; inner's callbacks own outer.  Thread:
 * the loop's. */
#ifndef ASYNCLOOP_TASK_SHIELD_H
#define ASYNCLOOP_TASK_SHIELD_H

#include "task/future/future.h"

typedef struct {
    Future future;
    PyObject *inner;  /* NULL when there is nothing to take back any more */
    PyObject *waiter; /* 3.14+: the task that shields, or NULL */
} ShieldFuture;

static int shield_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
