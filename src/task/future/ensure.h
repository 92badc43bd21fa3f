/* task/future/ensure.h -- create_task and ensure_future: from a coroutine or any awaitable to a future.
 *
 * The common cases (a future; a coroutine, with a loop of ours running or given) are done here; what asyncio's function
 * does in Python for all others, wrapping an awaitable or asking the policy for a loop, is left to it.  The loop's
 * create_task is called as a method: it may be overridden, there may be a factory. Errors: asyncio's, NULL or -1 with
 * the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_ENSURE_H
#define ASYNCLOOP_TASK_ENSURE_H

#include "core/state.h"

/* asyncio.ensure_future(object, loop=loop); loop: any kind, or None. New reference. */
static PyObject *ensure_future(struct state *st, PyObject *object, PyObject *loop);

static int ensure_is_future(struct state *st, PyObject *object) MUST_CHECK;    /* asyncio.isfuture: 1, 0, -1 */
static int ensure_is_coroutine(struct state *st, PyObject *object) MUST_CHECK; /* asyncio.iscoroutine: 1, 0, -1 */
/* asyncio.get_event_loop(). New reference */
static PyObject *ensure_event_loop(struct state *st);

/* get_loop(), or the attribute of old. New reference */
static PyObject *ensure_loop_of(struct state *st, PyObject *future);

/* task_class(coro, loop=loop, **keywords), as asyncio's loop makes a task of what stands in asyncio.tasks. New
 * reference. */
static PyObject *ensure_call_task_class(Loop *loop, PyObject *task_class, PyObject *coro, PyObject *const *values,
                                        PyObject *kwnames);

static int ensure_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
