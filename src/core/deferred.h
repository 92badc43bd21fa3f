/* core/deferred.h -- the engine's own work as a callback: for the loop's call_soon where that is somebody's; for
 * reports.
 *
 * asyncio's transports schedule through loop.call_soon, which a subclass or a program may have replaced, on the class
 * or the instance.  Ours push a ready entry, which costs no object and no call; where call_soon has been replaced they
 * hand it a Deferred: a callable that runs the entry, once, and is called in tracebacks and reprs what asyncio's
 * callback is called. A replaced call_soon may run any code, and may call the callback at once: the caller reads its
 * own state again afterwards. Ownership: a Deferred owns its loop, self and arg until it has run.  name is a literal.
 * Thread: the loop's. */
#ifndef ASYNCLOOP_CORE_DEFERRED_H
#define ASYNCLOOP_CORE_DEFERRED_H

#include "core/loop.h"

/* loop_ready_push, or call_soon(Deferred).  0, or -1 with what call_soon raised, or MemoryError. */
static inline int deferred_push(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name) MUST_CHECK;
/* The entry has raised: report it as that of a callback with this name, called with args (handle_report_call). */
static int deferred_report(Loop *loop, ready_fn run, PyObject *self, PyObject *arg, const char *name,
                           PyObject *const *args, Py_ssize_t n_args) MUST_CHECK;
/* self.call_soon(callback, argument), whosever method that is. */
static int deferred_call_soon(Loop *loop, PyObject *callback, PyObject *argument_or_null) MUST_CHECK;
static int deferred_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
