/* net/net.c -- registering the layer's types, and Loop's private methods that make transports. */
#include "net/net.h"

#include "core/context.h"
#include "net/conn/fdtable.h"
#include "net/fd/python_socket.h"
#include "net/conn/sock_transport.h"
#include "net/ops/sock_ops.h"
#include "net/tls/tls.h"
#include "net/udp/udp_batch.h"

static int
net_loop_init(Loop *loop)
{
    loop->flush = (struct flush_list){.flush = transport_flush_all};
    loop->net = PyMem_Calloc(1, sizeof *loop->net);
    if (loop->net == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    loop->net->evict_writer = sock_ops_evict_writer;
    return 0;
}

static void
net_loop_close(Loop *loop)
{
    if (loop->net != NULL) {
        PyMem_Free(loop->net->datagrams);
        loop->net->datagrams = NULL;
    }
}

static int
net_send_all(Loop *loop)
{
    const struct udp_batch *b = loop->net->datagrams;
    DatagramTransport *u = b == NULL ? NULL : b->owner;
    int rc = 0;
    if (u != NULL) {
        Py_INCREF(u);
        rc = udp_batch_flush(u);
        Py_DECREF(u);
    }
    return rc < 0 ? -1 : transport_flush_all(loop);
}

static void
net_loop_clear(Loop *loop)
{
    for (struct flush_link *last; (last = loop->flush.first) != NULL;) {
        struct flush_link *link = last->next;
        if (link == last) {
            loop->flush.first = NULL;
        }
        else {
            last->next = link->next;
        }
        link->next = NULL;
        Py_DECREF(CONTAINER_OF(link, Transport, flush));
    }
    if (loop->net != NULL) {
        tls_loop_clear(loop);
    }
    net_loop_close(loop);
}

static void
net_loop_free(Loop *loop)
{
    PyMem_Free(loop->net);
}

static PyObject *
net_ensure_fd_no_transport(PyObject *self, PyObject *file)
{
    Loop *loop = (Loop *)self;
    PyObject *number = PyLong_Check(file) ? Py_NewRef(file) : PyObject_CallMethodNoArgs(file, loop->st->str.fileno);
    int fd = number == NULL ? -1 : (int)PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
        }
        return NULL;
    }
    if (transport_check_fd_free(loop, fd, file) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

ARGS_NAMED(Loop__ensure_fd_no_transport, net_ensure_fd_no_transport, "BaseSelectorEventLoop._ensure_fd_no_transport",
           "fd")

/* The context in which a connection's callbacks run: the given one, or a copy of the current one. 0 and *context is a
 * slot, or -1. */
static int
net_take_context(PyObject *given, PyObject **context)
{
    if (given == Py_None) {
        return context_copy_current(context);
    }
    if (!PyContext_CheckExact(given)) {
        PyErr_Format(PyExc_TypeError, "context must be a Context or None, not %R", given);
        return -1;
    }
    *context = Py_NewRef(given);
    return 0;
}

/* What the caller knows better than the socket. */
static int
net_fill_extra(Transport *t, PyObject *extra)
{
    PyObject *key, *value;
    Py_ssize_t i = 0;
    if (extra == Py_None) {
        return 0;
    }
    if (!PyDict_Check(extra)) {
        PyErr_Format(PyExc_TypeError, "extra must be a dict or None, not %R", extra);
        return -1;
    }
    while (PyDict_Next(extra, &i, &key, &value)) {
        if (transport_set_extra(t, key, value) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
net_keep_peer_name(Transport *t)
{
    struct sockaddr_storage address;
    socklen_t n_bytes = sizeof(address);
    if (sock_peer_name(t->fd, &address, &n_bytes) < 0) {
        return 0;
    }
    return transport_keep_name(t, &t->peer_name, t->loop->st->str.peername, &address, n_bytes);
}

/* A transport that cannot be given to anybody: it ends, its descriptor with it.  Keeps the raised exception. */
static COLD void
net_give_up(Transport *t)
{
    PyObject *raised = compat_take_raised();
    if (transport_force_close(t, raised) < 0) {
        PyErr_Clear();
    }
    compat_set_raised(raised);
    Py_DECREF(t);
}

static PyObject *
Loop__make_socket_transport(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"sock", "protocol", "waiter", "extra", "server", "context", NULL};
    Loop *loop = (Loop *)self;
    struct state *st = loop->st;
    PyObject *sock, *protocol, *waiter = Py_None, *extra = Py_None, *server = Py_None, *given = Py_None,
                               *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$OOO:_make_socket_transport", (char **)names, &sock, &protocol,
                                     &waiter, &extra, &server, &given)) {
        return NULL;
    }
    if (server != Py_None && !PyObject_TypeCheck(server, st->Server_type)) {
        PyErr_Format(PyExc_TypeError, "server must be a Server or None, not %R", server);
        return NULL;
    }
    int fd = python_socket_fd(st, sock);
    if (PyErr_Occurred() || transport_check_fd_free(loop, fd, sock) < 0 || loop_check_closed(loop) < 0
        || net_take_context(given, &context) < 0) {
        return NULL;
    }
    Transport *t = sock_transport_open(loop, fd, sock, protocol, context, waiter == Py_None ? NULL : waiter);
    if (t == NULL) {
        return NULL;
    }
    sock_set_nodelay(fd);
    if (net_keep_peer_name(t) < 0 || net_fill_extra(t, extra) < 0) {
        net_give_up(t);
        return NULL;
    }
    if (server != Py_None) {
        server_attach((Server *)server, t);
    }
    return (PyObject *)t;
}

static PyObject *
Loop__make_datagram_transport(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"sock", "protocol", "address", "waiter", "extra", NULL};
    Loop *loop = (Loop *)self;
    PyObject *sock, *protocol, *address = Py_None, *waiter = Py_None, *extra = Py_None, *context = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:_make_datagram_transport", (char **)names, &sock, &protocol,
                                     &address, &waiter, &extra)) {
        return NULL;
    }
    int fd = python_socket_fd(loop->st, sock);
    if (PyErr_Occurred() || transport_check_fd_free(loop, fd, sock) < 0 || loop_check_closed(loop) < 0
        || net_take_context(Py_None, &context) < 0) {
        return NULL;
    }
    Transport *t = udp_open(loop, fd, sock, protocol, address, context, waiter == Py_None ? NULL : waiter);
    if (t != NULL && net_fill_extra(t, extra) < 0) {
        net_give_up(t);
        return NULL;
    }
    return (PyObject *)t;
}

static int
net_import(PyObject **slot, const char *module_name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(module_name);
    *slot = module == NULL ? NULL : PyObject_GetAttrString(module, attribute);
    Py_XDECREF(module);
    return *slot == NULL ? -1 : 0;
}

static int
net_register(PyObject *module, struct state *st)
{
    PyObject *modes = NULL;
    if (net_import(&st->TransportSocket, "asyncio.trsock", "TransportSocket") < 0
        || net_import(&st->BufferedProtocol, "asyncio.protocols", "BufferedProtocol") < 0
        || net_import(&st->asyncio_stream_transport, "asyncio.selector_events", "_SelectorSocketTransport") < 0
        || net_import(&st->asyncio_read_pipe, "asyncio.unix_events", "_UnixReadPipeTransport") < 0
        || net_import(&st->asyncio_write_pipe, "asyncio.unix_events", "_UnixWritePipeTransport") < 0
        || net_import(&modes, "asyncio.constants", "_SendfileMode") < 0) {
        return -1;
    }
    st->sendfile_mode = PyObject_GetAttrString(modes, "TRY_NATIVE");
    st->sendfile_fallback = PyObject_GetAttrString(modes, "FALLBACK");
    Py_DECREF(modes);
    if (st->sendfile_mode == NULL || st->sendfile_fallback == NULL || python_socket_register(st) < 0
        || fdtable_register(st) < 0) {
        return -1;
    }
    if (transport_register(module, st) < 0 || server_register(module, st) < 0 || listener_register(module, st) < 0
        || process_register(module, st) < 0 || pipe_register(module, st) < 0 || udp_register(module, st) < 0
        || tls_register(module, st) < 0) {
        return -1;
    }
    if (sock_ops_register(module, st) < 0) {
        return -1;
    }
    return stream_register(module, st);
}
