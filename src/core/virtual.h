/* core/virtual.h -- the wait and the order of loops whose time is not the clock's: what asyncloop.testing builds on.
 *
 * A loop whose class has a method _wait_until does not wait by itself.  When nothing is ready, and it is not to stop,
 * the method is called in place of the poll, with the loop's time at which the first timer is due, or None; there is a
 * poll in it (loop_poll_for), or several until one brings something.  It returns when something is ready or when
 * time() has reached the first timer; the pass goes on in each case.
 *
 * A loop that shuffles (loop->shuffle) runs some of its ready entries in a random order, which is the same each time it
 * begins with the same state: neighbours that are steps of tasks, and neighbours that are timers of the same time.  An
 * entry of another kind between them keeps its place, so what call_soon promises is kept.  Such a loop polls in each
 * pass. Ownership: none.  Errors: -1 with what the method raised, which leaves run_forever.  Thread: the loop's. */
#ifndef ASYNCLOOP_CORE_VIRTUAL_H
#define ASYNCLOOP_CORE_VIRTUAL_H

#include "core/loop.h"

/* The poll of a loop that has a _wait_until. */
static int virtual_poll(Loop *loop) MUST_CHECK;
/* Another order for what is in the ring now. */
static void virtual_shuffle(Loop *loop);

#endif
