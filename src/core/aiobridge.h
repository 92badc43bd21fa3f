/* core/aiobridge.h -- all contact with the registries of CPython's asyncio: running loop, current task, all_tasks.
 *
 * Current task: asyncio keeps {loop: task} in a dict (3.11-3.13) or the task in the thread state (3.14+).  A step of an
 * own task publishes itself there only when it is not there already, and nobody takes it back until code that is not a
 * step of ours runs (loop_leave_task): a stale entry would make native tasks fail.  all_tasks: asyncio's WeakSet gets a
 * subclass that adds our own tasks when somebody iterates. Errors: 0/-1 with the exception set.  Thread: the running
 * loop's. */
#ifndef ASYNCLOOP_CORE_AIOBRIDGE_H
#define ASYNCLOOP_CORE_AIOBRIDGE_H

#include "core/loop.h"

static int aiobridge_init(struct state *st) MUST_CHECK; /* after the imports */

/* ---- the running loop of this thread, any kind
 *
 * asyncio's Python code asks by names of asyncio.events, which somebody may have bound anew (trio-asyncio, tests); its
 * C code asks the thread itself. Helpers ask as their twins in asyncio do.  New references. */
/* events._get_running_loop(); NULL without exception when there is none */
static PyObject *aiobridge_running_loop(struct state *st);
/* events.get_running_loop(): RuntimeError when there is none */
static PyObject *aiobridge_need_running_loop(struct state *st);
static PyObject *aiobridge_event_loop(struct state *st);        /* events.get_event_loop() */
static int aiobridge_set_running(struct state *st, PyObject *loop_or_none) MUST_CHECK; /* events._set_running_loop() */

/* Are the names above asyncio's own? Without calling anything, as far as known: look (which raises nothing) when it
 * says no. */
static inline bool aiobridge_names_are_known(struct state *st);
static bool aiobridge_names_look(struct state *st);

/* What somebody bound to asyncio.tasks.Task, the name that asyncio's loop makes tasks by (the pure Python class, a
 * class for tests).  NULL: it is asyncio's own class or ours, so that a loop of ours makes our tasks.  Raises nothing.
 * New reference. */
static inline PyObject *aiobridge_foreign_task_class(struct state *st);

/* What this thread's registry of the running loop looks like, as a number: as long as it is the one that was noted in
 * loop->running_mark, this loop is the running one.  AIOBRIDGE_NO_LOOP: none is; AIOBRIDGE_UNKNOWN: ask
 * (aiobridge_find_running), and do not note it. */
#define AIOBRIDGE_NO_LOOP 0
#define AIOBRIDGE_UNKNOWN UINT64_MAX
#define AIOBRIDGE_NOT_NOTED 1 /* in loop->running_mark */
static inline uint64_t aiobridge_running_mark(struct state *st);
/* Which of the own loops that run is it by asyncio's C code?  Notes the mark.  NULL: none of them. Raises nothing.
 * Borrowed. */
static Loop *aiobridge_find_running(struct state *st);

/* What asyncio.current_task(loop) says, without calling it: 1 and *task (new reference, or NULL for none); 0 when it
 * must be called; -1. */
static int aiobridge_current_task(struct state *st, PyObject *loop, PyObject **task) MUST_CHECK;

/* Make task the current one of this own loop (before a step). */
static inline int aiobridge_publish(Loop *loop, PyObject *task) MUST_CHECK;
/* Make no task the current one. Never fails. */
static void aiobridge_unpublish(Loop *loop);

/* For loops that are not ours, and for eager starts on any loop: the previous current task (new reference, or NULL for
 * none) goes to *previous. */
static int aiobridge_swap_current(struct state *st, PyObject *loop, PyObject *task_or_null,
                                  PyObject **previous) MUST_CHECK;

#endif
