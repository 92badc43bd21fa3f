/* sync/event.h -- Event: asyncio.Event's twin: a flag that tasks wait for.
 *
 * set() finishes every waiter's future; each takes it out of the deque when it runs.  Waiting for a set event costs
 * nothing.  Thread: the loop's. */
#ifndef ASYNCLOOP_SYNC_EVENT_H
#define ASYNCLOOP_SYNC_EVENT_H

#include "sync/bound.h"

typedef struct {
    Bound bound;
    bool is_set;
} Event;

static int event_register(PyObject *module, struct state *st) MUST_CHECK;

static PyObject *event_new(struct state *st, bool is_set); /* new reference */
static inline int event_set(Event *e, struct state *st) MUST_CHECK;
/* event.wait(), a coroutine. */
static PyObject *event_wait(PyObject *event, struct state *st);

#endif
