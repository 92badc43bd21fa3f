/* task/wait/deadline.h -- when time is up: now + delay, and the timer of whoever waits that long.
 *
 * On an own loop the timer is in here and nothing is allocated; on any other loop, or one whose call_later is
 * somebody's, it is that loop's TimerHandle. The owner, in which the deadline lies, has a timer kind (core/state.h) for
 * the first and a callable for the other. Ownership: the loop's heap, or the handle's callable, owns the owner while
 * the timer runs.  Units: seconds of the loop's clock.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_DEADLINE_H
#define ASYNCLOOP_TASK_DEADLINE_H

#include "core/loop.h"

struct deadline {
    struct timer timer;
    PyObject *handle; /* another loop's, or NULL */
};

/* after delay: the timer of owner on its loop; due is the callable that another loop calls. */
static int deadline_start(struct deadline *d, struct state *st, PyObject *loop, PyObject *owner, PyObject *delay,
                          PyMethodDef *due) MUST_CHECK;
/* No timer any more.  Keeps a raised exception; an error of another loop's cancel() goes to sys.unraisablehook. */
static inline void deadline_stop(struct deadline *d, struct state *st, PyObject *loop, PyObject *owner);

/* loop.time() + delay of an own loop; NaN means now. */
static int deadline_in(Loop *loop, PyObject *delay, double *when) MUST_CHECK;
/* now + delay by Python's rules. New reference. */
static PyObject *deadline_add(double now, PyObject *delay);
/* A plain number's value; false for what Python's own rules must decide. */
static inline bool deadline_is_number(PyObject *object, double *seconds);

#endif
