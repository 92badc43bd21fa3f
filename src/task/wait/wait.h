/* task/wait/wait.h -- asyncloop.wait: asyncio.wait with the children counted in C.
 *
 * A Coro that blocks on a Waiter (waiter.h); the sets it returns are made when it is released, from what is done then.
 * Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_WAIT_H
#define ASYNCLOOP_TASK_WAIT_H

#include "task/future/future.h"

static int wait_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
