/* task/future/current.h -- current_task and all_tasks as module functions.
 *
 * Both tell what asyncio's own registries know (core/aiobridge.h): asyncio's tasks and ours, on any loop.  all_tasks
 * reads the registries itself up to 3.13; from 3.14 on they are hidden in asyncio's C, which is asked, and knows our
 * tasks (asyncloop/_registry.py). Errors: RuntimeError where no loop runs.  Thread: any, under the GIL. */
#ifndef ASYNCLOOP_TASK_CURRENT_H
#define ASYNCLOOP_TASK_CURRENT_H

#include "core/state.h"

static int current_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
