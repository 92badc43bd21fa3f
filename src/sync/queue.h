/* sync/queue.h -- Queue, PriorityQueue and LifoQueue: the twins of asyncio's.
 *
 * put() waits while the queue is full, get() while it is empty; each tries again when it is woken, as somebody may have
 * been faster.  A put wakes the first getter, a get the first putter; who wakes takes the waiter out of its deque.  One
 * that fails after it was woken wakes the next (`_wakeup_next`).
 *
 * Users derive from Queue and override its hooks (_init, _put, _get) and more.  An object of exactly one of the three
 * types with nothing put on the instance is plain: its hooks are known and not looked up.  For any other every call
 * that asyncio's code makes on `self` is made here by name.
 * `_queue` is the deque or list that asyncio has.
 *
 * limit: maxsize as a number, QUEUE_LIMIT_ASK when it is no ordinary int.  finished == NULL: the Event was not needed
 * yet; it is set iff n_unfinished is 0. getters are bound.waiters.  Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_QUEUE_H
#define ASYNCLOOP_SYNC_QUEUE_H

#include "sync/event.h"

enum { QUEUE_LIMIT_ASK = -1 };

typedef struct {
    Bound bound;
    PyObject *putters;
    PyObject *maxsize;
    Py_ssize_t limit; /* 0: none */
    PyObject *items;
    PyObject *finished;
    Py_ssize_t n_unfinished;
    bool is_shutdown;
} Queue;

static int queue_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
