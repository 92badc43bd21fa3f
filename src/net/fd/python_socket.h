/* net/fd/python_socket.h -- the descriptor of a Python socket, without a Python call.
 *
 * A socket object's first own field is its descriptor (Modules/socketmodule.c, PySocketSockObject.sock_fd,
 * on 3.11-3.15); checked at import against fileno() of an open and a closed socket, and not used where it does not
 * hold.  A subclass other than socket.socket is asked by fileno(). */
#ifndef ASYNCLOOP_NET_PYTHON_SOCKET_H
#define ASYNCLOOP_NET_PYTHON_SOCKET_H

#include "core/state.h"

static int python_socket_register(struct state *st) MUST_CHECK;
/* Is sock exactly a socket.socket, whose methods nobody has replaced? */
static inline bool python_socket_is_plain(struct state *st, PyObject *sock);
/* The descriptor; -1 for a closed socket (no exception), -1 with an exception when fileno() failed. */
static inline int python_socket_fd(struct state *st, PyObject *sock);

#endif
