/* task/wait/wait_for.h -- asyncloop.wait_for: awaits one thing, at most for a time.
 *
 * From 3.12 on it is `async with timeout(…): return await fut`: no task, no future, the Timeout from its free
 * list.  3.11's makes a task, waits on a Waiter and, where time is up or it is cancelled, cancels the task and waits
 * for its end.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_WAIT_FOR_H
#define ASYNCLOOP_TASK_WAIT_FOR_H

#include "task/future/future.h"

static int wait_for_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
