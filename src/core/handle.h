/* core/handle.h -- Handle and TimerHandle: what call_soon, call_later, add_reader return; isinstance of asyncio's.
 *
 * Variable-sized: the arguments, then the context unless it is empty (core/context.h), then in debug mode the source
 * traceback, lie in slots[]. A pending timer without arguments takes 80 bytes and 8 in the heap. A handle in the ring
 * of a running loop is not tracked by the collector, which would look through a long backlog time and again: a running
 * loop is no garbage, nor is what it will run.  It is tracked when it leaves the ring while somebody else keeps it, and
 * when the run ends before (loop_finish). Ownership: owns its loop, callback and slots; cancel() drops callback and
 * arguments at once, as asyncio's does. Thread: the loop's, but cancel() of a handle made by call_soon_threadsafe may
 * come from any thread holding the GIL. */
#ifndef ASYNCLOOP_CORE_HANDLE_H
#define ASYNCLOOP_CORE_HANDLE_H

#include "core/loop.h"

/* callback(*args) in the next pass.  context: NULL takes a copy of the current one, else that very context.  New
 * reference to the Handle. */
static PyObject *handle_call_soon(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args,
                                  PyObject *context);

/* A Handle that is not in the ring (add_reader). handle_run is the ready_fn that runs it, with self the Handle. */
static PyObject *handle_new(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args,
                            PyObject *context);
/* The same for call_soon_threadsafe: on 3.14+ another thread that cancels the handle, or asks whether it is cancelled,
 * waits while it runs. */
static PyObject *handle_call_soon_threadsafe(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args,
                                             PyObject *context);
static int handle_run(Loop *loop, PyObject *self, PyObject *arg);
static void handle_cancel(PyObject *self);
static inline bool handle_is_cancelled(PyObject *self);

/* For the engine: let the collector see it; the same, if somebody keeps a handle that has left the ring, the caller
 * still holding it. */
static void handle_track(PyObject *self);
static inline void handle_left_ring(PyObject *self);

/* callback(*args) at when, in seconds of the loop's time; the same for the rest.  given: what when() returns, or NULL:
 * when as a float. */
static PyObject *handle_call_at(Loop *loop, double when, PyObject *given, PyObject *callback, PyObject *const *args,
                                Py_ssize_t n_args, PyObject *context);

/* For ready entries that stand for a callback of asyncio's: report the raised exception as that of a Handle of
 * callback(*args), as asyncio does, context["handle"] and all.  callback: NULL if there was no memory for it; context:
 * as above.  0, or -1 with SystemExit or KeyboardInterrupt still raised. Where there is no such callable:
 * deferred_report. */
static int handle_report_call(Loop *loop, PyObject *callback_or_null, PyObject *const *args, Py_ssize_t n_args,
                              PyObject *context) MUST_CHECK;
/* The same of a Handle that the callback itself has cancelled, by taking a watch away: it is called None then. */
static int handle_report_cancelled(Loop *loop) MUST_CHECK;
/* The same of object.method(argument); argument: NULL, none. */
static int handle_report_method(Loop *loop, PyObject *object, const char *method, PyObject *argument) MUST_CHECK;

static int handle_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
