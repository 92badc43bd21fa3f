/* sync/lock.h -- Lock: asyncio.Lock's twin.
 *
 * Waiters are served in order: a free lock with waiters that were not cancelled is not free for who comes now.
 * release() finishes the first waiter's future; the lock is taken only when that waiter runs, so in between it is free
 * but promised. Invariant: free and promised to nobody => no waiter that is not cancelled. Taking a free lock costs a
 * coroutine object from the free list and nothing else; `async with` adds the interpreter's bound methods.  Thread: the
 * loop's. */
#ifndef ASYNCLOOP_SYNC_LOCK_H
#define ASYNCLOOP_SYNC_LOCK_H

#include "sync/bound.h"

typedef struct {
    Bound bound;
    bool is_locked;
} Lock;

static int lock_register(PyObject *module, struct state *st) MUST_CHECK;

/* A new Lock: new reference. */
static PyObject *lock_new(struct state *st);

/* Nothing of its class is overridden: the functions below are what its methods do. */
static inline bool lock_is_plain(struct state *st, PyObject *object);

/* Take it if it is free: 1, 0, -1. */
static inline int lock_try(Lock *l, struct state *st);
/* lock.acquire(), a coroutine. */
static PyObject *lock_acquire(PyObject *lock, struct state *st);
static inline int lock_release(Lock *l, struct state *st) MUST_CHECK;

/* ---- `async with` of anything that has acquire() and release(): asyncio's _ContextManagerMixin */

static PyObject *Lock_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames);
static PyObject *Lock_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames);

#define LOCK_CONTEXT_FUNCTIONS(Type)                                                                                         \
    {"_ContextManagerMixin.__aenter__", Type##_aenter, "__aenter__(self)\n--\n\nAcquire it."},                               \
    {"_ContextManagerMixin.__aexit__", Type##_aexit, "__aexit__(self, exc_type, exc, tb)\n--\n\nRelease it."}

#endif
