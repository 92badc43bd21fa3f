/* net/conn/sock_transport.h -- reading from and writing to a stream socket (TCP; AF_UNIX as well).
 *
 * Reads go through a buffer of the loop as large as asyncio's reads: from there into a bytes object, or to a sink
 * (net/conn/protocol.h).  Where the last reads were large they go straight into a bytes object of the size that these
 * suggest, shrunk in place; when that comes back full the rest is read too.  A BufferedProtocol's go into its own
 * buffer.  One read per event, as on asyncio: what the peer has sent at once arrives at once, and as the poller is
 * level-triggered nobody waits behind a fast peer. The first entry of a connection (sock_transport_on_start) calls
 * connection_made, then starts reading, then wakes who waits for the connection: what asyncio does in three callbacks
 * of one pass. */
#ifndef ASYNCLOOP_NET_SOCK_TRANSPORT_H
#define ASYNCLOOP_NET_SOCK_TRANSPORT_H

#include "net/conn/transport.h"

#define SOCK_READ_SMALL (16 * 1024)
#define SOCK_READ_MAX LOOP_READ_BUFFER /* asyncio's max_size */

/* As transport_new, and start it in the next pass.  waiter: a future to be given None then, or NULL. */
static Transport *sock_transport_open(Loop *loop, int fd, PyObject *sock, PyObject *protocol, PyObject *context,
                                      PyObject *waiter);

/* Ready entry: the first one of a connection. */
/* the first entry, or what a replaced call_soon gets in its place */
static int sock_start_soon(Transport *t, PyObject *waiter) MUST_CHECK;
static int sock_transport_on_start(Loop *loop, PyObject *self, PyObject *waiter);

#endif
