/* net/ops/sock_ops.h -- loop.sock_recv and its sisters: awaitables that try the system call first.
 *
 * A SockOp is what an `async def` would give: nothing happens before it is first stepped; it has send, throw, close and
 * __await__, so tasks, gather and wait_for take it as a coroutine.  What can be done at once costs no future. Otherwise
 * a one-shot watch and a future of ours:
 *
 *   new --step--> done                     (result at once, or an error)
 *       \--would block--> waiting --ready, done--> done
 *                            \---throw, close (cancellation): the watch is gone--/
 *
 * A plain socket.socket's data calls are made on its descriptor (recv, send, MSG_DONTWAIT); anything else is asked by
 * its own methods. Trap: while it waits the socket may be closed and its number re-used: before each try the socket is
 * asked for its descriptor again, and a new waiter on the number fails the stale one (EBADF).
 *
 * Ownership: the loop's watch owns the operation while it waits.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_SOCK_OPS_H
#define ASYNCLOOP_NET_SOCK_OPS_H

#include "net/conn/transport.h"
#include "task/future/future.h"

static int sock_ops_register(PyObject *module, struct state *st) MUST_CHECK;

/* Call it before fd is closed. An operation that waits to write to it fails with ConnectionError.  Never raises. */
static void sock_ops_evict_writer(Loop *loop, int fd);

static PyObject *Loop_sock_recv(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_recvfrom(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_sendall(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_sendto(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop_sock_accept(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop__sock_connect(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);
static PyObject *Loop__sock_wait_writable(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names);

#endif
