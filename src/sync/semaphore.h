/* sync/semaphore.h -- Semaphore and BoundedSemaphore: the twins of asyncio's.
 *
 * release() to a waiter takes the unit for it at once (the value goes down again) and finishes its future; a waiter
 * that is cancelled after that gives the unit back.  How many are woken then differs between asyncio's patch releases:
 * semaphore_register asks the one that runs. The value is what the user gave: `value` while it is a plain int of the
 * machine's size, else `object` (math.inf, a large int, …) by Python's rules. Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_SEMAPHORE_H
#define ASYNCLOOP_SYNC_SEMAPHORE_H

#include "sync/bound.h"

typedef struct {
    Bound bound;
    Py_ssize_t value;
    PyObject *object; /* the value, when not NULL */
    PyObject *limit;  /* of a BoundedSemaphore */
} Semaphore;

static int semaphore_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
