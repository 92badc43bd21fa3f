/* task/bridge/executor.h -- calls in another thread: run_in_executor, to_thread.
 *
 * A thread pool of the standard library (a concurrent.futures.ThreadPoolExecutor exactly, with its own submit) gets a
 * WorkItem put into its queue in place of its own work item with a concurrent.futures.Future: what asyncio does with
 * that future (a condition and its lock, two closures, four callbacks) all falls away.  The worker thread calls run(),
 * which runs the function, keeps what came of it, and puts the item into the loop's ring; the loop is woken by one
 * write to its eventfd if it sleeps.  There the item finishes the future.  asyncloop/_executor.py says which pools are
 * known; any other gets the call by submit().
 *
 *     QUEUED -> RUNNING -> RETURNED | RAISED -> DELIVERED         QUEUED -> CANCELLED -> DELIVERED: the pool is shut
 * down with cancel_futures
 *
 * A future that is cancelled while its item is queued is not called; one that is cancelled later changes nothing for
 * the function. Ownership: an item owns its future until it is delivered, and with it the loop; the call's objects
 * until it has run. Errors: of the call, all kinds: they are the future's.  Threads: an item is one thread's at a time,
 * the GIL passes it on. */
#ifndef ASYNCLOOP_TASK_EXECUTOR_H
#define ASYNCLOOP_TASK_EXECUTOR_H

#include "core/loop.h"

struct executor_call {
    PyObject *function;
    PyObject *const *args; /* n_args of them, then the values of kwnames */
    Py_ssize_t n_args;
    PyObject *kwnames; /* a tuple, or NULL */
    PyObject *context; /* to run it in, or NULL */
};

/* loop.run_in_executor(executor or None, function, *args): a future.  The loop is open. */
static PyObject *executor_run(Loop *loop, PyObject *executor, PyObject *function, PyObject *const *args,
                              Py_ssize_t n_args);

static int executor_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
