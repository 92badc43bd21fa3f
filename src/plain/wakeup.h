/* plain/wakeup.h -- an eventfd that ends a wait in the poller from another thread.
 *
 * Writing is async-signal-safe and never blocks; many writes before a drain are one event.  Errors: -errno. */
#ifndef ASYNCLOOP_PLAIN_WAKEUP_H
#define ASYNCLOOP_PLAIN_WAKEUP_H

#include "base/api.h"

static int wakeup_open(void) MUST_CHECK; /* the descriptor */
static void wakeup_signal(int fd);
static void wakeup_drain(int fd);

#endif
