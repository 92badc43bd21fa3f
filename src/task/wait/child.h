/* task/wait/child.h -- a child: a future that gather, wait, wait_for, as_completed, shield or a TaskGroup waits for; of
 * ours, asyncio's or anybody's.
 *
 * Reading one and watching one.  To watch an exact future of ours on an own loop puts an entry among its callbacks
 * (struct watcher_kind) that runs as a ready entry; any other child gets a callable bound to the watcher.  Each watcher
 * is told once, in a later pass, of a done child too. Call graph (3.14+): such an entry is the edge itself
 * (awaited_by.c asks the watcher who waits); for other children asyncio's functions note it, and whoever is told that a
 * child is done takes the note back (child_forget_waiter). Ownership: a child's callbacks own the watcher.  Errors:
 * 0/-1 with the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_TASK_CHILD_H
#define ASYNCLOOP_TASK_CHILD_H

#include "task/future/future.h"

/* asyncio.ensure_future(argument, loop=loop); the common cases without a call.  loop NULL: the running one.  New
 * reference. */
static PyObject *child_ensure_future(struct state *st, PyObject *argument, PyObject *loop_or_null);
/* Does loop.create_task(coro) make one of our Tasks, and nothing else? */
static bool child_loop_makes_tasks(struct state *st, Loop *loop);

static inline int child_is_done(struct state *st, PyObject *child) MUST_CHECK; /* 1, 0, -1 */
static inline int child_is_cancelled(struct state *st, PyObject *child) MUST_CHECK; /* 1, 0, -1 */
static inline int child_cancel(struct state *st, PyObject *child) MUST_CHECK; /* 1, 0, -1 */
static inline PyObject *child_result(struct state *st, PyObject *child); /* what result() gives or raises */

enum child_outcome { CHILD_RESULT, CHILD_EXCEPTION, CHILD_CANCELLED };
/* How a done child ended, or -1.  *value: its result or exception, a new reference; untouched when it was cancelled.
 * The exception is retrieved by this. */
static int child_outcome(struct state *st, PyObject *child, PyObject **value) MUST_CHECK;
/* The same for a caller that wants no result: result() is not called, and *value may stay NULL for CHILD_RESULT. */
static int child_failure(struct state *st, PyObject *child, PyObject **value) MUST_CHECK;
/* Is it one of our futures, with none of the methods replaced that tell how it ended? */
static inline bool child_reads_as_usual(struct state *st, PyObject *child);
/* It ended with no exception and was not cancelled, as far as can be told without calling anything. */
static inline bool child_is_plainly_done(struct state *st, PyObject *child);
/* Nobody wants its exception any more, if there is one: it counts as retrieved. */
static int child_ignore(struct state *st, PyObject *child) MUST_CHECK;

static int child_watch(struct state *st, PyObject *child, PyObject *watcher,
                       const struct watcher_kind *kind) MUST_CHECK;
static int child_unwatch(struct state *st, PyObject *child, PyObject *watcher,
                         const struct watcher_kind *kind) MUST_CHECK;
/* child_watch does it */
static inline int child_note_waiter(struct state *st, PyObject *child, PyObject *waiter_or_null) MUST_CHECK;
static inline int child_forget_waiter(struct state *st, PyObject *child, PyObject *waiter_or_null) MUST_CHECK;
/* child.METHOD(callable of the watcher) */
static int child_call_with_callable(PyObject *child, PyObject *method, PyObject *watcher,
                                    const struct watcher_kind *kind) MUST_CHECK;

#endif
