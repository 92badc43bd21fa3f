/* net/conn/listener.h -- accepting connections on one listening socket.
 *
 * Each connection is accepted, its protocol made and its transport set up in C, with no Python socket and no task;
 * connection_made follows in the next pass.  Accepts until the kernel has no more, at most backlog a time (the poller
 * is level-triggered). Without descriptors or memory (EMFILE and its like) it reports, stops watching, and tries again
 * after a second. TCP_NODELAY is set once, on the listening socket: what it accepts inherits it on Linux. TLS: the
 * factory that Python hands over makes the protocol of a TLS layer; nothing here knows of it.
 *
 * Ownership: the loop's watch (or timer) owns it while it listens, and its Server keeps it for stopping.  It does not
 * own the descriptor: the Python socket does.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_LISTENER_H
#define ASYNCLOOP_NET_LISTENER_H

#include "net/conn/server.h"

static int listener_register(PyObject *module, struct state *st) MUST_CHECK;

/* loop._start_listening(sock, factory, server, backlog, context): a Listener. */
static PyObject *Loop__start_listening(PyObject *self, PyObject *const *args, Py_ssize_t n_args);
/* loop._stop_listening(listener) */
static PyObject *Loop__stop_listening(PyObject *self, PyObject *listener);

#endif
