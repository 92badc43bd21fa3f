/* net/conn/transport_type.c -- the Python face of Transport: asyncio.Transport's methods, and the attributes that
 * programs look at. */
#include "net/conn/transport.h"

#include "core/args.h"
#include "core/log.h"
#include "core/raise.h"
#include "core/watch.h"

#define NET_WRITELINES_GATHERS COMPAT_AT_LEAST(3, 12) /* before, writelines(list) is write(b''.join(list)) */
#define NET_WRITELINES_COUNTS_FIRST COMPAT_AT_LEAST(3, 14) /* after the end nobody looks at the items (3.12, 3.13: AttributeError) */
#define NET_WRITELINES_SKIPS_FALSE COMPAT_AT_LEAST(3, 14) /* None or 0 in the list is passed over like b'' */
#define NET_BUFFER_IS_DEQUE COMPAT_AT_LEAST(3, 12)        /* transport._buffer; before, a bytearray */
#define NET_WRITE_NAMES_TYPES COMPAT_AT_LEAST(3, 14)  /* the text of write()'s TypeError */

static COLD int
transport_raise_data_type(PyObject *data)
{
#if NET_WRITE_NAMES_TYPES
    const char *format = "data argument must be a bytes, bytearray, or memoryview object, not %R";
#else
    const char *format = "data argument must be a bytes-like object, not %R";
#endif
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, format, name);
        Py_DECREF(name);
    }
    return -1;
}

/* May method() write now? */
static inline int
transport_check_writable(Transport *t, const char *method, const char *verb)
{
    if (UNLIKELY(t->eof_sent)) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (UNLIKELY(t->empty_waiter != NULL)) {
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", verb);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(Transport_write_doc,
             "write($self, data)\n--\n\n"
             "Send data; never blocks.\n\n"
             "data: bytes (kept by reference), bytearray or memoryview (copied: may be changed right after the call).\n"
             "Returns: None.  Raises: TypeError, RuntimeError (after write_eof).\n"
             "Source: asyncio's transports.\n"
             "Differs: what one callback or task step writes leaves in one system call when it returns.");

static PyObject *
Transport_write(PyObject *self, PyObject *data)
{
    Transport *t = (Transport *)self;
    if (UNLIKELY(!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data))) {
        transport_raise_data_type(data);
        return NULL;
    }
    if (transport_check_writable(t, "write", "write") < 0 || transport_write(t, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

#if NET_WRITELINES_GATHERS
/* Every item must be bytes-like before the first is queued. */
static int
transport_check_lines(PyObject *lines)
{
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(lines); i++) {
        PyObject *line = PySequence_Fast_GET_ITEM(lines, i);
        if (!PyObject_CheckBuffer(line)) {
            int is_true = NET_WRITELINES_SKIPS_FALSE ? PyObject_IsTrue(line) : 1;
            if (is_true == 0) {
                continue;
            }
            if (is_true < 0) {
                return -1;
            }
            PyErr_Format(PyExc_TypeError, "memoryview: a bytes-like object is required, not '%.200s'",
                         Py_TYPE(line)->tp_name);
            return -1;
        }
    }
    return 0;
}

static int
transport_write_lines(Transport *t, PyObject *iterable)
{
    if (NET_WRITELINES_COUNTS_FIRST && t->n_lost > 0) {
        return transport_count_lost_write(t);
    }
    PyObject *lines = PySequence_Tuple(iterable); /* a tuple of ours: nobody changes it under us */
    if (lines == NULL) {
        return -1;
    }
    int rc = transport_check_lines(lines);
    if (rc == 0 && t->n_lost > 0) {
        rc = transport_count_lost_write(t);
    }
    /* what follows an item that ends the connection is part of the same write */
    for (Py_ssize_t i = 0; rc == 0 && t->n_lost == 0 && i < PyTuple_GET_SIZE(lines); i++) {
        PyObject *line = PyTuple_GET_ITEM(lines, i);
        rc = PyObject_CheckBuffer(line) ? transport_write(t, line) : 0;
    }
    Py_DECREF(lines);
    return rc;
}
#endif

PyDoc_STRVAR(Transport_writelines_doc,
             "writelines($self, list_of_data)\n--\n\n"
             "Send several pieces of data, in one system call where the socket takes them.\n\n"
             "list_of_data: an iterable of bytes-like objects.\n"
             "Returns: None.  Raises: TypeError, RuntimeError (after write_eof).  Source: asyncio's transports.");

static PyObject *
Transport_writelines(PyObject *self, PyObject *lines)
{
    Transport *t = (Transport *)self;
#if NET_WRITELINES_GATHERS
    if (transport_check_writable(t, "writelines", "writelines") < 0) {
        return NULL;
    }
    int any = PyObject_IsTrue(lines);
    if (any < 0 || (any && transport_write_lines(t, lines) < 0)) {
        return NULL;
    }
#else
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *data = empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", lines);
    Py_XDECREF(empty);
    int rc = data == NULL || transport_check_writable(t, "write", "write") < 0 ? -1 : transport_write(t, data);
    Py_XDECREF(data);
    if (rc < 0) {
        return NULL;
    }
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Transport_write_eof_doc,
             "write_eof($self, /)\n--\n\n"
             "Close the sending direction once everything queued has gone; receiving goes on.\n\n"
             "Returns: None.  Raises: OSError.  Source: asyncio's transports.");

static PyObject *
Transport_write_eof(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (transport_flush(t) < 0) {
        return NULL;
    }
    if (!t->closing && !t->eof_sent) {
        t->eof_sent = true;
        int rc = t->out.n > 0 ? 0 : sock_shutdown_write(t->fd);
        loop_poll_soon(t->loop);
        if (rc < 0) {
            raise_errno(rc);
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_can_write_eof(PyObject *self, PyObject *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
Transport_pause_reading(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (transport_is_reading(t)) {
        t->read_paused = true;
        transport_stop_reading(t);
        if (t->loop->debug && log_line(t->loop->st, "debug", "(sO)", "%r pauses reading", t) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_resume_reading(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (!t->closing && t->read_paused) {
        t->read_paused = false;
        if (loop_check_closed(t->loop) < 0 || transport_start_reading(t) < 0) {
            return NULL;
        }
        if (t->loop->debug && log_line(t->loop->st, "debug", "(sO)", "%r resumes reading", t) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_is_reading(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(transport_is_reading((Transport *)self));
}

static PyObject *
Transport_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (transport_flush(t) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(t->out.n_bytes);
}

static PyObject *
Transport_get_write_buffer_limits(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    return limits_as_tuple(&t->limits);
}

PyDoc_STRVAR(Transport_set_write_buffer_limits_doc,
             "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
             "Set the water marks: pause_writing above high, resume_writing at or below low.\n\n"
             "high, low: bytes; None: high is 64 KiB or 4 * low, low is high // 4.\n"
             "Returns: None.  Raises: ValueError unless high >= low >= 0.  Source: asyncio's transports.");

static PyObject *
Transport_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Transport *t = (Transport *)self;
    if (limits_parse(&t->limits, "_FlowControlMixin.set_write_buffer_limits", args, kwargs, TRANSPORT_HIGH_DEFAULT,
                     false)
            < 0
        || transport_flush(t) < 0 || transport_maybe_pause_protocol(t, t->out.n_bytes) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_set_protocol(PyObject *self, PyObject *protocol)
{
    Transport *t = (Transport *)self;
    if (protocol_set(t->loop->st, &t->protocol, protocol) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_get_protocol(PyObject *self, PyObject *unused)
{
    PyObject *protocol = ((Transport *)self)->protocol.object;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

static PyObject *
Transport_is_closing(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((Transport *)self)->closing);
}

PyDoc_STRVAR(Transport_close_doc,
             "close($self, /)\n--\n\n"
             "Stop reading, send what is queued, then call connection_lost(None) from the loop.\n\n"
             "Returns: None.  Source: asyncio's transports.");

static PyObject *
Transport_close(PyObject *self, PyObject *unused)
{
    if (transport_close((Transport *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Transport_abort(PyObject *self, PyObject *unused)
{
    if (transport_abort((Transport *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _force_close(exc): what asyncio.sslproto calls for abort() and on a fatal error.  What was written before has left,
 * as on asyncio. */
static PyObject *
Transport__force_close(PyObject *self, PyObject *exception)
{
    if (transport_flush((Transport *)self) < 0 || transport_force_close((Transport *)self, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Transport_get_extra_info_doc,
             "get_extra_info($self, name, default=None)\n--\n\n"
             "Facts about the connection: 'socket', 'peername', 'sockname', and what the transport was given.\n\n"
             "Returns: the value, or default.  Source: asyncio's transports.");

static int
transport_parse_get_extra(const char *function, PyObject *args, PyObject *kwargs, PyObject **name, PyObject **fallback)
{
    static const char *const names[] = {"name", "default"};
    const struct args_signature signature = {function, names, 1, 2, 2, true};
    PyObject *given[2];
    if (args_bind_tuple(&signature, args, kwargs, given) < 0) {
        return -1;
    }
    *name = given[0];
    *fallback = given[1] == NULL ? Py_None : given[1];
    return 0;
}

static PyObject *
Transport_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Transport *t = (Transport *)self;
    PyObject *name, *fallback;
    if (transport_parse_get_extra("BaseTransport.get_extra_info", args, kwargs, &name, &fallback) < 0) {
        return NULL;
    }
    if (transport_flush(t) < 0) { /* whoever takes the socket may send by itself */
        return NULL;
    }
    return transport_get_extra(t, name, fallback);
}

/* _fatal_error(exc, message): what asyncio's transports call for an error that ends the connection. */
static PyObject *
Transport__fatal_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"exc", "message", NULL};
    PyObject *exception;
    const char *message = "Fatal error on transport";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|s:_fatal_error", (char **)names, PyExc_BaseException, &exception,
                                     &message)) {
        return NULL;
    }
    compat_set_raised(Py_NewRef(exception));
    if (transport_fatal_error((Transport *)self, message) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Methods that asyncio's transport has from a base class and does not fill. */
static PyObject *
Transport_raise_not_implemented(PyObject *self, PyObject *unused)
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

/* _make_empty_waiter(): a future that is done when the queue is empty; until _reset_empty_waiter() nothing may be
 * written (sendfile). */
static PyObject *
Transport__make_empty_waiter(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (t->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (transport_flush(t) < 0) {
        return NULL;
    }
    t->empty_waiter = PyObject_CallMethodNoArgs((PyObject *)t->loop, t->loop->st->str.create_future);
    if (t->empty_waiter == NULL) {
        return NULL;
    }
    if (t->out.n == 0) {
        transport_settle_empty_waiter(t, NULL);
    }
    return Py_NewRef(t->empty_waiter);
}

static PyObject *
Transport__reset_empty_waiter(PyObject *self, PyObject *unused)
{
    Py_CLEAR(((Transport *)self)->empty_waiter);
    Py_RETURN_NONE;
}

ARGS_NAMED(Transport_write_named, Transport_write, "_SelectorSocketTransport.write", "data")
ARGS_NAMED(Transport_writelines_named, Transport_writelines,
           NET_WRITELINES_GATHERS ? "_SelectorSocketTransport.writelines" : "WriteTransport.writelines", "list_of_data")
ARGS_NAMED(Transport_set_protocol_named, Transport_set_protocol, "_SelectorSocketTransport.set_protocol", "protocol")
PyDoc_STRVAR(Transport__force_close_doc,
             "_force_close($self, exc)\n--\n\nEnd the connection for exc, or None; what is queued is lost.");
ARGS_NAMED(Transport__force_close_named, Transport__force_close, "_SelectorTransport._force_close", "exc")

static PyMethodDef Transport_methods[] = {
    {ARGS_NAMED_METHOD("write", Transport_write_named), Transport_write_doc},
    {ARGS_NAMED_METHOD("writelines", Transport_writelines_named), Transport_writelines_doc},
    {"write_eof", Transport_write_eof, METH_NOARGS, Transport_write_eof_doc},
    {"can_write_eof", Transport_can_write_eof, METH_NOARGS, PyDoc_STR("can_write_eof($self, /)\n--\n\nReturns: True.")},
    {"pause_reading", Transport_pause_reading, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nRead nothing until resume_reading().")},
    {"resume_reading", Transport_resume_reading, METH_NOARGS, PyDoc_STR("resume_reading($self, /)\n--\n\nRead again.")},
    {"is_reading", Transport_is_reading, METH_NOARGS,
     PyDoc_STR("is_reading($self, /)\n--\n\nFalse while paused, and once closing.")},
    {"get_write_buffer_size", Transport_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nBytes that the kernel has not taken.")},
    {"get_write_buffer_limits", Transport_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes.")},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))Transport_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS, Transport_set_write_buffer_limits_doc},
    {ARGS_NAMED_METHOD("set_protocol", Transport_set_protocol_named),
     PyDoc_STR("set_protocol($self, protocol)\n--\n\nWho gets the events from now on.")},
    {"get_protocol", Transport_get_protocol, METH_NOARGS,
     PyDoc_STR("get_protocol($self, /)\n--\n\nWho gets the events; None in the end.")},
    {"is_closing", Transport_is_closing, METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTrue once closing or closed.")},
    {"close", Transport_close, METH_NOARGS, Transport_close_doc},
    {"abort", Transport_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nEnd the connection, what is queued is lost; connection_lost(None) comes from "
               "the loop.")},
    {"get_extra_info", (PyCFunction)(void (*)(void))Transport_get_extra_info, METH_VARARGS | METH_KEYWORDS,
     Transport_get_extra_info_doc},
    {ARGS_NAMED_METHOD("_force_close", Transport__force_close_named), Transport__force_close_doc},
    {"_fatal_error", (PyCFunction)(void (*)(void))Transport__fatal_error, METH_VARARGS | METH_KEYWORDS, NULL},
    {"_make_empty_waiter", Transport__make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", Transport__reset_empty_waiter, METH_NOARGS, NULL},
    {NULL},
};

/* ---- attributes */

static PyObject *
Transport_get_class(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->asyncio_stream_transport);
}

static PyObject *
Transport_get_true(PyObject *self, void *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
Transport_get_sendfile_mode(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->sendfile_mode);
}

static PyObject *
Transport_get_loop(PyObject *self, void *unused)
{
    Transport *t = (Transport *)self;
    return Py_NewRef(t->fd < 0 ? Py_None : (PyObject *)t->loop);
}

static PyObject *
Transport_get_protocol_attr(PyObject *self, void *unused)
{
    return Transport_get_protocol(self, NULL);
}

static PyObject *
Transport_get_fd(PyObject *self, void *unused)
{
    return PyLong_FromLong(((Transport *)self)->shown_fd);
}

/* transport._protocol = x, as set_protocol(). */
static int
Transport_set_protocol_attr(PyObject *self, PyObject *value, void *unused)
{
    Transport *t = (Transport *)self;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_protocol cannot be deleted");
        return -1;
    }
    return protocol_set(t->loop->st, &t->protocol, value);
}

static PyObject *
Transport_get_protocol_connected(PyObject *self, void *unused)
{
    return PyBool_FromLong(((Transport *)self)->protocol.object != NULL);
}

static PyObject *
Transport_get_max_size(PyObject *self, void *unused)
{
    return PyLong_FromLong(256 * 1024);
}

static PyObject *
Transport_get_buffer(PyObject *self, void *unused)
{
    Transport *t = (Transport *)self;
    if (transport_flush(t) < 0) {
        return NULL;
    }
    return NET_BUFFER_IS_DEQUE ? outq_to_deque(t->loop->st, &t->out) : outq_to_bytearray(&t->out);
}

/* The Python socket; None in the end, as in asyncio. */
static PyObject *
Transport_get_sock(PyObject *self, void *unused)
{
    Transport *t = (Transport *)self;
    if (t->fd < 0) {
        Py_RETURN_NONE;
    }
    if (transport_flush(t) < 0) {
        return NULL;
    }
    PyObject *sock = transport_python_socket_borrowed(t);
    return Py_XNewRef(sock);
}

static PyObject *
Transport_get_server(PyObject *self, void *unused)
{
    PyObject *server = (PyObject *)((Transport *)self)->server;
    return Py_NewRef(server != NULL ? server : Py_None);
}

/* The whole dict, everything in it made. */
static PyObject *
Transport_get_extra_attr(PyObject *self, void *unused)
{
    Transport *t = (Transport *)self;
    PyObject *names[] = {t->loop->st->str.socket, t->loop->st->str.sockname, t->loop->st->str.peername};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        PyObject *value = transport_get_extra(t, names[i], Py_None);
        int rc = value == NULL ? -1 : transport_set_extra(t, names[i], value);
        Py_XDECREF(value);
        if (rc < 0) {
            return NULL;
        }
    }
    return Py_NewRef(t->extra);
}

/* What get_extra_info() looks into from now on. */
static int
Transport_set_extra_attr(PyObject *self, PyObject *value, void *unused)
{
    if (value == NULL || !PyDict_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_extra must be a dict");
        return -1;
    }
    Py_XSETREF(((Transport *)self)->extra, Py_NewRef(value));
    return 0;
}

static PyObject *
Transport_get_paused(PyObject *self, void *unused)
{
    return PyBool_FromLong(((Transport *)self)->protocol_paused);
}

static PyObject *
Transport_get_high_water(PyObject *self, void *Py_UNUSED(closure))
{
    return limits_get(&((Transport *)self)->limits, true);
}

static PyObject *
Transport_get_low_water(PyObject *self, void *Py_UNUSED(closure))
{
    return limits_get(&((Transport *)self)->limits, false);
}

#define TRANSPORT_LIMITS_GETSET \
    {"_high_water", Transport_get_high_water, NULL, NULL, NULL}, {"_low_water", Transport_get_low_water, NULL, NULL, NULL}

/* What a datagram transport has as well, and a pipe's has the members. */
#define TRANSPORT_GETSET                                                                                                     \
    TRANSPORT_LIMITS_GETSET, \
    {"_protocol", Transport_get_protocol_attr, Transport_set_protocol_attr, NULL, NULL},                                     \
    {"_protocol_connected", Transport_get_protocol_connected, NULL, NULL, NULL},                                             \
    {"_sock", Transport_get_sock, NULL, NULL, NULL},                                                                         \
    {"_sock_fd", Transport_get_fd, NULL, NULL, NULL},                                                                        \
    {"_extra", Transport_get_extra_attr, Transport_set_extra_attr, NULL, NULL},                                              \
    {"_protocol_paused", Transport_get_paused, NULL, NULL, NULL},                                                            \
    {"max_size", Transport_get_max_size, NULL, NULL, NULL}

#define TRANSPORT_MEMBERS                                                                                                    \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Transport, weakrefs), READONLY, NULL},                                       \
    {"__dictoffset__", T_PYSSIZET, offsetof(Transport, dict), READONLY, NULL},                                               \
    {"_closing", T_BOOL, offsetof(Transport, closing), READONLY, NULL},                                                      \
    {"_paused", T_BOOL, offsetof(Transport, read_paused), READONLY, NULL},                                                   \
    {"_conn_lost", T_UINT, offsetof(Transport, n_lost), READONLY, NULL}

static PyGetSetDef Transport_getset[] = {
    {"__class__", Transport_get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_start_tls_compatible", Transport_get_true, NULL, NULL, NULL},
    {"_sendfile_compatible", Transport_get_sendfile_mode, NULL, NULL, NULL},
    {"_loop", Transport_get_loop, NULL, NULL, NULL},
    {"_server", Transport_get_server, NULL, NULL, NULL},
    {"_buffer", Transport_get_buffer, NULL, NULL, NULL},
    TRANSPORT_GETSET,
    {NULL},
};

static PyMemberDef Transport_members[] = {
    TRANSPORT_MEMBERS,
    {"_empty_waiter", T_OBJECT, offsetof(Transport, empty_waiter), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(Transport, eof_sent), READONLY, NULL},
    {NULL},
};

static PyObject *
Transport_repr(PyObject *self)
{
    Transport *t = (Transport *)self;
    const char *state = t->fd < 0 ? " closed" : t->closing ? " closing" : "";
    if (t->fd < 0 || t->loop->state == LOOP_CLOSED) {
        return PyUnicode_FromFormat("<_SelectorSocketTransport%s fd=%d>", state, t->shown_fd);
    }
    return PyUnicode_FromFormat("<_SelectorSocketTransport%s fd=%d read=%s write=<%s, bufsize=%zu>>", state, t->fd,
                                t->read_watched ? "polling" : "idle", t->write_watched ? "polling" : "idle",
                                t->out.n_bytes);
}

/* ---- life and death */

static int
Transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    Transport *t = (Transport *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->loop);
    Py_VISIT(t->protocol.object);
    Py_VISIT(t->context);
    Py_VISIT(t->sock);
    Py_VISIT(t->shown_sock);
    Py_VISIT(t->extra);
    Py_VISIT(t->limits.given);
    Py_VISIT(t->empty_waiter);
    Py_VISIT(t->server);
    Py_VISIT(t->dict);
    return 0;
}

/* The loop, the server and the descriptor stay for dealloc, which needs them. */
static int
Transport_clear(PyObject *self)
{
    Transport *t = (Transport *)self;
    protocol_clear(&t->protocol);
    Py_CLEAR(t->context);
    Py_CLEAR(t->extra);
    Py_CLEAR(t->limits.given);
    Py_CLEAR(t->shown_sock);
    Py_CLEAR(t->empty_waiter);
    Py_CLEAR(t->dict);
    return 0;
}

static void
Transport_finalize(PyObject *self)
{
    Transport *t = (Transport *)self;
    if (t->fd < 0) {
        return;
    }
    PyObject *raised = compat_take_raised();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0) {
        PyErr_WriteUnraisable(self);
    }
    compat_set_raised(raised);
    transport_release(t);
}

static void
Transport_dealloc(PyObject *self)
{
    Transport *t = (Transport *)self;
    if (t->fd >= 0 && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* resurrected */
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    INVARIANT(t->flush.next == NULL); /* the list owns us */
    if (t->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, Transport_dealloc)
    if (t->loop != NULL) {
        SECTION_ENTER(t->loop);
        transport_release(t);
    }
    Transport_clear(self);
    Py_CLEAR(t->sock);
    Py_CLEAR(t->loop);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot Transport_slots[] = {
    {Py_tp_doc, "A stream transport of asyncloop; isinstance of asyncio.Transport."},
    {Py_tp_methods, Transport_methods},
    {Py_tp_getset, Transport_getset},
    {Py_tp_members, Transport_members},
    {Py_tp_repr, Transport_repr},
    {Py_tp_traverse, Transport_traverse},
    {Py_tp_clear, Transport_clear},
    {Py_tp_finalize, Transport_finalize},
    {Py_tp_dealloc, Transport_dealloc},
    {0, NULL},
};

static PyType_Spec Transport_spec = {
    .name = "asyncloop._asyncloop._SelectorSocketTransport",
    .basicsize = sizeof(Transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Transport_slots,
};

static int
transport_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->Transport_type, &Transport_spec, NULL, true, SECTION_AT(Transport, loop));
}
