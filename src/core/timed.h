/* core/timed.h -- running ready entries with a look at the clock before and after: in debug mode, for
 * loop.slow_callback_hook, for loop.time_callbacks, and for who measures tasks (loop._entry_hook).
 *
 * loop->timed is true while one of these wants it, and only then does anything here run.  The time is the loop's own:
 * an overridden time() is asked, as asyncio asks it in debug mode.  Thread: the loop's. */
#ifndef ASYNCLOOP_CORE_TIMED_H
#define ASYNCLOOP_CORE_TIMED_H

#include "core/loop.h"

/* e->run(...), with all that follows from how long it took.  Its result; or -1 with what time(), or comparing with
 * slow_callback_duration, raised. */
static int timed_run_entry(Loop *loop, struct ready *e) MUST_CHECK;

/* After one of the four has changed. */
static void timed_look(Loop *loop);

#endif
