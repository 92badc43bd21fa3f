/* core/aiobridge.h -- all contact with the registries of CPython's asyncio: running loop, current task, all_tasks.
 *
 * Current task: asyncio keeps {loop: task} in a dict (3.11-3.13) or the task in the thread state (3.14+).  A step of an own task publishes itself
 * there only when it is not there already, and nobody takes it back until code that is not a step of ours runs (loop_leave_task): a stale entry would
 * make native tasks fail.  all_tasks: asyncio's WeakSet gets a subclass that adds our own tasks when somebody iterates.
 * Errors: 0/-1 with the exception set.  Thread: the running loop's. */
#ifndef ASYNCLOOP_CORE_AIOBRIDGE_H
#define ASYNCLOOP_CORE_AIOBRIDGE_H

#include "core/loop.h"

static int aiobridge_init(struct state *st) MUST_CHECK; /* after the imports */

/* asyncio's running loop of this thread. */
static int aiobridge_set_running(struct state *st, PyObject *loop_or_none) MUST_CHECK;
/* The running loop of this thread, any kind: new reference; NULL without exception when there is none. */
static PyObject *aiobridge_running_loop(struct state *st);

/* What asyncio.current_task(loop) says, without calling it: 1 and *task (new reference, or NULL for none); 0 when it must be called; -1. */
static int aiobridge_current_task(struct state *st, PyObject *loop, PyObject **task) MUST_CHECK;

/* Make task the current one of this own loop (before a step). */
static inline int aiobridge_publish(Loop *loop, PyObject *task) MUST_CHECK;
/* Make no task the current one. Never fails. */
static void aiobridge_unpublish(Loop *loop);

/* For loops that are not ours, and for eager starts on any loop: the previous current task (new reference, or NULL for none) goes to *previous. */
static int aiobridge_swap_current(struct state *st, PyObject *loop, PyObject *task_or_null, PyObject **previous) MUST_CHECK;

#endif
