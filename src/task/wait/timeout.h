/* task/wait/timeout.h -- Timeout: a block of a task that is cancelled at a time; what timeout(), timeout_at() and
 * wait_for (3.12+) are made of.
 *
 *     CREATED --enter--> ENTERED --on_due--> EXPIRING --exit--> EXPIRED        (the task was cancelled; exit turns that
 * into TimeoutError)
 *                           |---------------exit--------------> EXITED
 *
 * On an own loop the timer is in here and a deadline that passed already is a ready entry, so nothing is allocated; on
 * any other loop it is that loop's TimerHandle.  An entry that is in the ready ring cannot be taken out: it is counted
 * in n_stale and does nothing when its turn comes (they run in the order they were pushed).  While there are such, all
 * in the ring of `loop`, an alarm on a second own loop is a TimerHandle too. Ownership: the loop's heap, and the ring,
 * own the Timeout while is_armed or n_stale.  Units: seconds of the loop's clock.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_TIMEOUT_H
#define ASYNCLOOP_TASK_TIMEOUT_H

#include "task/wait/deadline.h"
#include "task/future/future.h"

enum timeout_state { TIMEOUT_CREATED, TIMEOUT_ENTERED, TIMEOUT_EXPIRING, TIMEOUT_EXPIRED, TIMEOUT_EXITED };

typedef struct {
    PyObject_HEAD
    Loop *loop;       /* ours, on which it was armed last, or NULL */
    PyObject *when;   /* as it was given, None for never; NULL: a float that is not made yet */
    double seconds;   /* the same, if is_number */
    PyObject *task;   /* that entered */
    PyObject *dict, *weakrefs;
    struct deadline deadline;
    long n_cancelling; /* of the task when it entered */
    uint32_t n_stale;
    uint8_t state; /* enum timeout_state */
    bool is_number;
    bool is_armed; /* timer, entry or handle is to come */
} Timeout;

static int timeout_register(PyObject *module, struct state *st) MUST_CHECK;

/* timeout(delay), with the running loop's time; NULL with RuntimeError where none runs. New reference. */
static Timeout *timeout_in(struct state *st, PyObject *delay);
static int timeout_enter(Timeout *t, struct state *st) MUST_CHECK;
/* The block is left: with exception, or NULL when it ended well.  0: what was raised goes on as it was; -1: something
 * else is raised in its place. is_handled: Python code of the caller's is handling the exception, as in __aexit__; in
 * wait_for it is only in our hands. */
static int timeout_exit(Timeout *t, struct state *st, PyObject *exception_type, PyObject *exception,
                        bool is_handled) MUST_CHECK;
static int timeout_reschedule(Timeout *t, struct state *st, PyObject *when) MUST_CHECK;

/* TimeoutError from exception. New reference. */
static PyObject *timeout_error_from(PyObject *exception);

/* ---- for timeout_type.c */
static PyObject *timeout_when(Timeout *t);
static Timeout *timeout_alloc(struct state *st);
static int timeout_set_when(Timeout *t, PyObject *when) MUST_CHECK;
static void timeout_disarm(Timeout *t, struct state *st);
static void timeout_clear(Timeout *t);
static int timeout_on_due(Loop *loop, PyObject *self, PyObject *arg);

#endif
