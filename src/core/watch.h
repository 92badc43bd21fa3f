/* core/watch.h -- which file descriptors wake whom.
 *
 * loop->fds is indexed by file descriptor.  A side (read, write) has at most one watcher: a function and an owner,
 * pushed as a ready entry when the descriptor is ready or in error.  Level-triggered; a one-shot watch is gone once its
 * entry was pushed, and costs one epoll_ctl per wait.
 *
 * Trap: the kernel drops a registration when the last descriptor of the open file is closed, tells nobody, and the
 * number is used again.  So a new watch never trusts what fd_slot remembers: it issues epoll_ctl MOD and on ENOENT ADD,
 * and events carry a tag that is checked. Trap: an entry pushed for a watch that is stopped before it runs still runs;
 * its function must look at its owner's own state first.
 *
 * Ownership: a watch owns its owner.  Errors: -1 with OSError set (asyncio's type and text). Thread: the loop's. */
#ifndef ASYNCLOOP_CORE_WATCH_H
#define ASYNCLOOP_CORE_WATCH_H

#include "core/loop.h"

/* Replaces what was watched on that side. */
static int watch_start(Loop *loop, int fd, enum watch_side side, ready_fn on_ready, PyObject *owner,
                       bool oneshot) MUST_CHECK;
/* true if it was watched.  Never fails: an error of the kernel means that the descriptor is gone already. */
static bool watch_stop(Loop *loop, int fd, enum watch_side side);
/* Stop it if it is still this one: the number may have been closed and used again behind the owner's back, or
 * add_reader() has taken the side over. */
static void watch_stop_own(Loop *loop, int fd, enum watch_side side, ready_fn on_ready, PyObject *owner);
/* The descriptor, whose one-shot watch is over, is closed next: closing it takes the disarmed registration away. */
static inline void watch_forget(Loop *loop, int fd);
/* The owner watching that side when its on_ready is this one (NULL: any), else NULL. Borrowed. */
static inline PyObject *watch_owner_borrowed(Loop *loop, int fd, enum watch_side side, ready_fn on_ready);

/* For the engine: the poller's first n events become ready entries; and drop all watches, the poller being closed next.
 */
static int watch_push_events(Loop *loop, int n) MUST_CHECK;
static void watch_clear(Loop *loop);

#endif
