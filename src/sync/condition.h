/* sync/condition.h -- Condition: asyncio.Condition's twin.
 *
 * wait():   releases the lock, waits for its future (notify finishes it), takes the lock again whatever happened, and
 * only then returns or raises.  A cancellation while it takes the lock is kept for the end.  Where the running asyncio
 * does so, a waiter that ends in an exception passes the notification on to the next; patch releases differ,
 * condition_register looks at the one that runs.
 *
 * asyncio puts the lock's locked, acquire and release on the instance; here they are attributes of the class which read
 * the lock's and keep what they have read in methods[], unless the lock is no plain Lock of ours, or somebody has set
 * them: then methods[] holds what was set, and methods_set says so. Invariant: !methods_set and the object plain =>
 * lock is one of our Locks; then no Python code is called.  Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_CONDITION_H
#define ASYNCLOOP_SYNC_CONDITION_H

#include "sync/lock.h"

enum { CONDITION_LOCKED, CONDITION_ACQUIRE, CONDITION_RELEASE, CONDITION_METHODS };

typedef struct {
    Bound bound;
    PyObject *lock;
    PyObject *methods[CONDITION_METHODS]; /* NULL: not read from the lock yet */
    bool methods_set;
} Condition;

static int condition_register(PyObject *module, struct state *st) MUST_CHECK;

static PyObject *condition_new(struct state *st); /* with a Lock of its own. New reference */

/* Its lock is one of ours and nothing is overridden. */
static inline bool condition_is_plain(struct state *st, PyObject *object);
/* condition.wait(), a coroutine. */
static PyObject *condition_wait(PyObject *condition, struct state *st);
/* Wake up to n waiters; the lock is held. */
static inline int condition_notify(Condition *cond, struct state *st, Py_ssize_t n) MUST_CHECK;

#endif
