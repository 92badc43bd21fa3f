/* core/signals.h -- the pipe through which the interpreter's C signal handler wakes the loop with signal numbers.
 *
 * signal.set_wakeup_fd wants a descriptor that takes single bytes, so an eventfd will not do.  The numbers read in a
 * pass go one by one to self._handle_signal(signum), a Python method, as signals are rare. Trap: several loops of one
 * process each have their own pipe, but the process has one wake-up descriptor: the last loop to add a handler gets the
 * bytes. Thread: the main thread's loop (signal.set_wakeup_fd insists). */
#ifndef ASYNCLOOP_CORE_SIGNALS_H
#define ASYNCLOOP_CORE_SIGNALS_H

#include "core/loop.h"

static int signals_open(Loop *loop) MUST_CHECK; /* the write end, opened now if it was not; -1 with OSError */
static void signals_close(Loop *loop);
static int signals_on_readable(Loop *loop, PyObject *self, PyObject *arg);

#endif
