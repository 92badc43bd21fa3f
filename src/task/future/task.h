/* task/future/task.h -- Task: a Future that drives a coroutine.
 *
 * A step is the ready entry (task_step_ready, task, exception or NULL); the end of what it awaits is the entry
 * (task_wakeup, task, future).  Both enter the task's context, publish it as asyncio's current task and send to (or
 * throw into) the coroutine.  What the coroutine yields decides what comes next: None (another step), a future (a
 * wake-up), anything else (a RuntimeError thrown in the next step).
 *
 * Invariant while pending: waiting_on is set and the task is among that future's callbacks, or a step is scheduled, or
 * it is running. Unfinished tasks are linked in their loop's list (Loop.tasks; state.foreign_tasks for loops of
 * others), which all_tasks reads. On a loop that is not ours everything goes by its call_soon, with callables that
 * asyncio would use. Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_TASK_H
#define ASYNCLOOP_TASK_TASK_H

#include "task/future/future.h"

typedef struct {
    Future future;
    PyObject *coro;
    PyObject *context;    /* NULL: empty, not made (core/context.h) */
    PyObject *waiting_on; /* the future it awaits, or NULL */
    struct task_link link;
    uintptr_t name;   /* a str, or N << 1 | 1 for "Task-N" */
    uint32_t n_cancels; /* cancel() minus uncancel() */
} Task;

static int task_register(PyObject *module, struct state *st) MUST_CHECK;

/* loop.create_task: TypeError when coro is not a coroutine.  context NULL: a copy of the current one.  is_eager: run
 * the first step now, if the loop runs. */
static PyObject *task_new(Loop *loop, PyObject *coro, PyObject *name_or_null, PyObject *context_or_null, int is_eager);

/* Is it asyncio.eager_task_factory? Always false where there is none. */
static bool task_factory_is_eager(struct state *st, PyObject *factory);

/* May its end run code that is not ours?  See future_may_run_code. */
static inline bool task_may_run_code(const Task *t);

/* Task.cancel(). 1, 0 when it was done already, -1. */
static int task_cancel(Task *t, PyObject *message) MUST_CHECK;

/* asyncio.current_task(loop), whosever task it is: new reference; NULL without exception when there is none. */
static PyObject *task_current(struct state *st, PyObject *loop);

/* asyncio.tasks.current_task(), for helpers: the same on the running loop; RuntimeError when there is none. */
static PyObject *task_current_here(struct state *st);

/* cancelling() and uncancel() of any task, ours or not: -1 with the exception set. */
static long task_cancelling_any(struct state *st, PyObject *task) MUST_CHECK;
static long task_uncancel_any(struct state *st, PyObject *task) MUST_CHECK;

/* Strong references to all unfinished tasks of all loops. */
static PyObject *task_list_own(struct state *st);

/* ---- for the other files of this layer */

static int task_is_coroutine(struct state *st, PyObject *object); /* 1, 0, -1 */
static inline void task_link(Task *t, struct state *st);
static inline void task_unlink(Task *t);
static PyObject *task_name(Task *t); /* new reference */
static int task_set_name(Task *t, PyObject *name) MUST_CHECK;
static int task_init(Task *t, struct state *st, PyObject *coro, PyObject *loop, PyObject *name, PyObject *context,
                     int is_eager) MUST_CHECK;

/* Ready entries. */
static int task_step_ready(Loop *loop, PyObject *self, PyObject *exception_or_null);
static int task_wakeup(Loop *loop, PyObject *self, PyObject *future);
static int task_step_soon(Task *t, PyObject *exception_or_null) MUST_CHECK;
static int task_start_eagerly(Task *t, struct state *st) MUST_CHECK;
/* A task among the callbacks of what it awaits. */
static const struct watcher_kind task_kind;

#endif
