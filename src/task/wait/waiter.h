/* task/wait/waiter.h -- Waiter: a future that is set when enough children are done, or when time is up. wait, and
 * wait_for where it cancels, block on it.
 *
 * It only releases: who waits looks at the children itself.
 * Ownership: owns its future and children; the children's callbacks own it, and the loop's heap while the timer runs.
 * Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_WAITER_H
#define ASYNCLOOP_TASK_WAITER_H

#include "task/wait/deadline.h"
#include "task/future/future.h"

enum waiter_mode { WAITER_FIRST_COMPLETED, WAITER_FIRST_EXCEPTION, WAITER_ALL_COMPLETED };

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    PyObject *future;
    PyObject *children; /* a tuple */
    PyObject *task;     /* 3.14+: that waits, or NULL */
    struct deadline deadline;
    Py_ssize_t n_left;
    uint8_t mode;
    bool is_own; /* the loop, and the future with it */
} Waiter;

static int waiter_register(PyObject *module, struct state *st) MUST_CHECK;

/* For these children, on the running loop (RuntimeError where there is none). It does not watch them yet.  is_edge: the
 * call graph is to show who waits. */
static Waiter *waiter_new(struct state *st, PyObject *children, enum waiter_mode mode, bool is_edge);
static int waiter_start_timer(Waiter *w, struct state *st, PyObject *delay) MUST_CHECK; /* seconds */
static int waiter_watch(Waiter *w, struct state *st) MUST_CHECK;
/* Take back its timer and its callbacks. Keeps a raised exception, unless this raises another. */
static int waiter_stop(Waiter *w, struct state *st) MUST_CHECK;
static void waiter_stop_timer(Waiter *w, struct state *st);

#endif
