/* task/wait/as_completed.h -- asyncloop.as_completed: an iterator of coroutines (from 3.13 on an asynchronous iterator
 * too) in the order in which children end.
 *
 * Each coroutine takes the next of what is done when it runs, waiting its turn among others that wait; the queue and
 * its getters are asyncio.Queue's in behaviour.  Up to 3.12 as_completed is a generator: nothing happens before the
 * first next(). done[n_taken..n_done) is what nobody took yet; a NULL there says that time was up. Ownership: owns the
 * children that are not done (todo) and what is in done; their callbacks own it, and the loop's heap while the timer
 * runs. Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_AS_COMPLETED_H
#define ASYNCLOOP_TASK_AS_COMPLETED_H

#include "task/wait/deadline.h"
#include "task/future/future.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *given;   /* the argument, until it begins */
    PyObject *timeout; /* the other one, or NULL */
    PyObject *todo;    /* a set */
    PyObject **done;
    PyObject *getters;    /* a list of futures that coroutines wait on, or NULL */
    PyObject *queue_loop; /* of the first that waited, or NULL */
    PyObject *task;       /* 3.14+: that waits, or NULL */
    PyObject *weakrefs;
    struct deadline deadline;
    Py_ssize_t n_children, n_done, n_taken, n_left; /* n_left: coroutines still to give */
} AsCompleted;

static int as_completed_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
