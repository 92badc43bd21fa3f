/* sync/deque.h -- collections.deque from C, at the cost of a function call.
 *
 * Locks and queues keep their waiters and items in the very deques that asyncio has (`_waiters`, `_getters`, `_queue`),
 * so a program that looks at or changes them finds what it expects.  The methods of an exact deque are called through
 * their definitions; anything else that Python code has put in such a place goes by method name.
 *
 * deque may be NULL for an empty one not made yet.  Errors: what the methods raise (IndexError, ValueError).  Thread:
 * any, under the GIL. */
#ifndef ASYNCLOOP_SYNC_DEQUE_H
#define ASYNCLOOP_SYNC_DEQUE_H

#include "core/state.h"

static int deque_register(struct state *st) MUST_CHECK;

static inline PyObject *deque_new(struct state *st);
static inline int deque_append(struct state *st, PyObject *deque, PyObject *item) MUST_CHECK;
static inline int deque_remove(struct state *st, PyObject *deque, PyObject *item) MUST_CHECK;
static inline PyObject *deque_popleft(struct state *st, PyObject *deque);
static inline Py_ssize_t deque_length(struct state *st, PyObject *deque); /* -1: error */
/* The item at the left, new reference; NULL without exception when there is none. */
static inline PyObject *deque_first(struct state *st, PyObject *deque);
/* bool(deque): 1, 0, -1 */
static inline int deque_is_true(struct state *st, PyObject *deque);

#endif
