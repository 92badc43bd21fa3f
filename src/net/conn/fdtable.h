/* net/conn/fdtable.h -- which transport uses a file descriptor: asyncio refuses add_reader and sock_* on such a one.
 *
 * One table for the interpreter: descriptor numbers are the process's, so two loops cannot use one at the same time.
 * Entries are borrowed; a transport takes itself out before its descriptor is closed.  A failed allocation only means
 * that the check is not made. */
#ifndef ASYNCLOOP_NET_FDTABLE_H
#define ASYNCLOOP_NET_FDTABLE_H

#include "core/state.h"

struct Transport;

static int fdtable_register(struct state *st) MUST_CHECK;
static void fdtable_set(struct state *st, int fd, struct Transport *t, struct Loop *loop);
static void fdtable_unset(struct state *st, int fd, struct Transport *t);
/* The transport of this loop that uses it, or NULL. */
static struct Transport *fdtable_get_borrowed(struct state *st, int fd, const struct Loop *loop);

#endif
