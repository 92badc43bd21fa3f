/* net/net.h -- what the net layer gives to the loop's type and to the module. */
#ifndef ASYNCLOOP_NET_NET_H
#define ASYNCLOOP_NET_NET_H

#include "net/fd/addrinfo.h"
#include "net/conn/listener.h"
#include "net/pipe/process.h"
#include "net/pipe/pipe.h"
#include "net/conn/server.h"
#include "net/ops/sock_ops.h"
#include "net/stream/stream.h"
#include "net/conn/transport.h"
#include "net/udp/udp.h"

static int net_register(PyObject *module, struct state *st) MUST_CHECK;
/* The loop's life: it is made, closed, cleared before its end (what was still to be flushed is dropped), freed. */
static int net_loop_init(Loop *loop) MUST_CHECK;
static void net_loop_close(Loop *loop);
static void net_loop_clear(Loop *loop);
static void net_loop_free(Loop *loop);
/* Send what waits for the end of a pass or a burst, at once.  0, or -1 with SystemExit or KeyboardInterrupt set. */
static int net_send_all(Loop *loop) MUST_CHECK;

static PyObject *Loop__ensure_fd_no_transport(PyObject *self, PyObject *const *args, Py_ssize_t n_args,
                                              PyObject *kwnames);
static PyObject *Loop__make_socket_transport(PyObject *self, PyObject *args, PyObject *kwargs);
static PyObject *Loop__make_datagram_transport(PyObject *self, PyObject *args, PyObject *kwargs);

#define NET_SOCK_METHOD(name, text)                                                                                          \
    {#name, (PyCFunction)(void (*)(void))Loop_##name, METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(text)}

/* Rows of Loop's method table. */
#define NET_LOOP_METHODS                                                                                                     \
    NET_SOCK_METHOD(sock_recv, "sock_recv($self, sock, n)\n--\n\nReceive up to n bytes.\n\nReturns: a coroutine, of bytes."),   \
    NET_SOCK_METHOD(sock_recv_into, "sock_recv_into($self, sock, buf)\n--\n\nReceive into a writable buffer.\n\nReturns: a coroutine, of the number of bytes."), \
    NET_SOCK_METHOD(sock_recvfrom, "sock_recvfrom($self, sock, bufsize)\n--\n\nReceive a datagram.\n\nReturns: a coroutine, of (bytes, address)."), \
    NET_SOCK_METHOD(sock_recvfrom_into, "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nReceive a datagram into a writable buffer.\n\nReturns: a coroutine, of (number of bytes, address)."), \
    NET_SOCK_METHOD(sock_sendall, "sock_sendall($self, sock, data)\n--\n\nSend all of data.\n\nReturns: a coroutine, of None."), \
    NET_SOCK_METHOD(sock_sendto, "sock_sendto($self, sock, data, address)\n--\n\nSend a datagram.\n\nReturns: a coroutine, of the number of bytes."), \
    NET_SOCK_METHOD(sock_accept, "sock_accept($self, sock)\n--\n\nAccept a connection.\n\nReturns: a coroutine, of (socket, address)."), \
    NET_SOCK_METHOD(_sock_connect, "_sock_connect($self, sock, address)\n--\n\nConnect to a resolved address.\n\nReturns: a coroutine, of None."), \
    NET_SOCK_METHOD(_sock_wait_writable, "_sock_wait_writable($self, sock)\n--\n\nWait until sock can be written to.\n\nReturns: a coroutine, of None."), \
    {"_make_datagram_transport", (PyCFunction)(void (*)(void))Loop__make_datagram_transport, METH_VARARGS | METH_KEYWORDS,   \
     PyDoc_STR("_make_datagram_transport($self, sock, protocol, address=None, waiter=None, extra=None)\n--\n\n"            \
               "A transport on a datagram socket; waiter gets None after connection_made.")},                                \
    {"_make_socket_transport", (PyCFunction)(void (*)(void))Loop__make_socket_transport, METH_VARARGS | METH_KEYWORDS,       \
     PyDoc_STR("_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, server=None, context=None)\n--\n\n" \
               "A transport on a connected socket; waiter gets None after connection_made.")},                               \
    {"_make_read_pipe_transport", (PyCFunction)(void (*)(void))Loop__make_read_pipe_transport, METH_VARARGS | METH_KEYWORDS, \
     PyDoc_STR("_make_read_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport that reads from a pipe.")}, \
    {"_make_write_pipe_transport", (PyCFunction)(void (*)(void))Loop__make_write_pipe_transport, METH_VARARGS | METH_KEYWORDS, \
     PyDoc_STR("_make_write_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport that writes to a pipe.")}, \
    {"_numeric_addrinfo", (PyCFunction)(void (*)(void))Loop__numeric_addrinfo, METH_FASTCALL,                                       \
     PyDoc_STR("_numeric_addrinfo($self, host, port, family, type, proto, flags, /)\n--\n\n"                                \
               "What socket.getaddrinfo says of a host that is a number; None: ask it.")},                                   \
    {ARGS_NAMED_METHOD("_ensure_fd_no_transport", Loop__ensure_fd_no_transport),                                                    \
     PyDoc_STR("_ensure_fd_no_transport($self, fd)\n--\n\nRaise RuntimeError when a transport uses fd, a number or an object with fileno().")}, \
    {"_start_listening", (PyCFunction)(void (*)(void))Loop__start_listening, METH_FASTCALL, Loop__start_listening_doc},      \
    {"_watch_exit", (PyCFunction)(void (*)(void))Loop__watch_exit, METH_FASTCALL, Loop__watch_exit_doc},                              \
    {"_stop_listening", Loop__stop_listening, METH_O,                                                                        \
     PyDoc_STR("_stop_listening($self, listener, /)\n--\n\nAccept no more; the socket stays open.")}

#endif
