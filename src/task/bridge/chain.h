/* task/bridge/chain.h -- a future of ours and a concurrent.futures.Future that end together: wrap_future,
 * run_coroutine_threadsafe.
 *
 * What asyncio's _chain_future does with two closures over two futures is one object here, a Chain, that both have
 * among their callbacks; called with one of the two it knows which is done.  The result, exception or cancellation of
 * the source is copied to the destination; if the destination is cancelled, so is the source.  Whatever happens to our
 * future happens in its loop's thread: a call from another one goes through the loop's ring.
 *
 *     CHAIN_IN     concurrent -> ours    wrap_future
 *     CHAIN_OUT    ours -> concurrent    run_coroutine_threadsafe, once its task is made: until then the Chain, called
 * without arguments, makes it
 *
 * Only for futures of exactly our types on a loop of ours; any other pair is asyncio's own _chain_future's.
 * Ownership: owns both futures until the end is copied.  Errors: those of a callback.  Threads: any, under the GIL. */
#ifndef ASYNCLOOP_TASK_CHAIN_H
#define ASYNCLOOP_TASK_CHAIN_H

#include "core/loop.h"

static int chain_register(PyObject *module, struct state *st) MUST_CHECK;

/* asyncio.wrap_future: future itself when it is an asyncio future. loop: any kind, or None. New reference. */
static PyObject *chain_wrap_future(struct state *st, PyObject *future, PyObject *loop);

/* Does asyncio say that this loop runs here, in whatever thread?  1, 0, -1; up to 3.13 nobody asks, 0. */
static inline int chain_loop_is_running(struct state *st, Loop *loop) MUST_CHECK;

/* The exception that asyncio raises where concurrent.futures raised this one. New reference. */
static PyObject *chain_convert_exception(struct state *st, PyObject *exception);

#endif
