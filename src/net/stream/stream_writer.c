/* net/stream/stream_writer.c -- StreamWriter: its methods, the coroutines drain(), wait_closed() and start_tls(). */
#include "net/stream/stream_writer.h"

#include "core/args.h"
#include "core/ask.h"
#include "core/twin.h"
#include "net/stream/stream_protocol.h"
#include "net/stream/stream_reader.h"
#include "net/conn/transport.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"

/* The transport, when it is exactly ours and nothing of it was replaced. */
static inline Transport *
stream_writer_own_transport(StreamWriter *w, struct state *st)
{
    if (UNLIKELY(w->transport == NULL || !Py_IS_TYPE(w->transport, st->Transport_type))) {
        return NULL;
    }
    Transport *t = (Transport *)w->transport;
    return LIKELY(t->dict == NULL || PyDict_GET_SIZE(t->dict) == 0) ? t : NULL;
}

static COLD PyObject *
stream_writer_raise_uninitialized(void)
{
    PyErr_SetString(PyExc_RuntimeError, "uninitialized StreamWriter object");
    return NULL;
}

/* self._transport.name(argument), or () when argument is NULL. */
static PyObject *
stream_writer_call_transport(PyObject *self, PyObject *name, PyObject *argument)
{
    PyObject *transport = ((StreamWriter *)self)->transport;
    if (transport == NULL) {
        return stream_writer_raise_uninitialized();
    }
    PyObject *args[] = {Py_NewRef(transport), argument};
    PyObject *result =
        PyObject_VectorcallMethod(name, args, (argument != NULL ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(transport);
    return result;
}

static int
stream_writer_is_closing(StreamWriter *w, struct state *st)
{
    Transport *t = stream_writer_own_transport(w, st);
    if (LIKELY(t != NULL)) {
        return t->closing;
    }
    return ask_truth(stream_writer_call_transport((PyObject *)w, st->str.is_closing, NULL));
}

/* ---- methods of the transport */

PyDoc_STRVAR(StreamWriter_write_doc, "write($self, data)\n--\n\n"
                                     "Send data; never blocks.\n\n"
                                     "data: bytes, bytearray or memoryview.  Returns: None.  Raises: TypeError, "
                                     "RuntimeError (after write_eof).  Source: asyncio.StreamWriter.");

static PyObject *
stream_writer_write(PyObject *self, PyObject *data)
{
    StreamWriter *w = (StreamWriter *)self;
    struct state *st = state_of(self);
    Transport *t = stream_writer_own_transport(w, st);
    if (LIKELY(t != NULL)) {
        Py_INCREF(t); /* an error ends the connection, which may run code */
        PyObject *result = Transport_write((PyObject *)t, data);
        Py_DECREF(t);
        return result;
    }
    PyObject *result = stream_writer_call_transport(self, st->str.write, data);
    Py_XDECREF(result);
    return result == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *
stream_writer_writelines(PyObject *self, PyObject *lines)
{
    PyObject *result = stream_writer_call_transport(self, state_of(self)->str.writelines, lines);
    Py_XDECREF(result);
    return result == NULL ? NULL : Py_NewRef(Py_None);
}

ARGS_NAMED(StreamWriter_write, stream_writer_write, "StreamWriter.write", "data")
ARGS_NAMED(StreamWriter_writelines, stream_writer_writelines, "StreamWriter.writelines", "data")

static PyObject *
StreamWriter_write_eof(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_writer_call_transport(self, state_of(self)->str.write_eof, NULL);
}

static PyObject *
StreamWriter_can_write_eof(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_writer_call_transport(self, state_of(self)->str.can_write_eof, NULL);
}

static PyObject *
StreamWriter_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_writer_call_transport(self, state_of(self)->str.close, NULL);
}

static PyObject *
StreamWriter_is_closing(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_writer_call_transport(self, state_of(self)->str.is_closing, NULL);
}

static PyObject *
StreamWriter_get_extra_info(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"name", "default"};
    static const struct args_signature signature = {"StreamWriter.get_extra_info", names, 1, 2, 2, true};
    PyObject *out[2], *transport = Py_XNewRef(((StreamWriter *)self)->transport);
    if (args_bind(&signature, args, n_args, kwnames, out) < 0 || transport == NULL) {
        Py_XDECREF(transport);
        return PyErr_Occurred() ? NULL : stream_writer_raise_uninitialized();
    }
    PyObject *call[] = {transport, out[0], out[1] == NULL ? Py_None : out[1]};
    PyObject *result =
        PyObject_VectorcallMethod(state_of(self)->str.get_extra_info, call, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(transport);
    return result;
}

/* ---- drain() */

enum { STREAM_DRAIN_START, STREAM_DRAIN_YIELDED, STREAM_DRAIN_HELPER };

/* await self._protocol._drain_helper() */
static PySendResult
stream_drain_help(Coro *c, struct state *st, PyObject **result)
{
    PyObject *protocol = ((StreamWriter *)c->self)->protocol;
    protocol = LIKELY(protocol != NULL) ? protocol : Py_None;
    c->phase = STREAM_DRAIN_HELPER;
    if (LIKELY(stream_protocol_is_plain(st, protocol))) {
        int is_free = stream_protocol_check_drain((StreamProtocol *)protocol);
        if (LIKELY(is_free != 0)) {
            return is_free < 0 ? PYGEN_ERROR : coro_return(result, Py_None);
        }
    }
    Py_INCREF(protocol);
    PyObject *helper = PyObject_CallMethodNoArgs(protocol, st->str._drain_helper);
    Py_DECREF(protocol);
    PySendResult status = helper == NULL ? PYGEN_ERROR : coro_await(c, st, helper);
    Py_XDECREF(helper);
    return status;
}

/* raise self._reader.exception() if there is one */
static int
stream_drain_check_reader(StreamWriter *w, struct state *st)
{
    if (w->reader == NULL) {
        return 0;
    }
    PyObject *exception;
    if (LIKELY(stream_reader_is_plain(st, w->reader))) {
        exception = ((StreamReader *)w->reader)->exception;
        if (LIKELY(exception == NULL)) {
            return 0;
        }
        Py_INCREF(exception);
    }
    else {
        PyObject *reader = Py_NewRef(w->reader);
        exception = PyObject_CallMethodNoArgs(reader, st->str.exception);
        Py_DECREF(reader);
    }
    if (exception != NULL && exception != Py_None) {
        stream_raise(exception);
    }
    Py_XDECREF(exception);
    return PyErr_Occurred() ? -1 : 0;
}

static PySendResult
stream_drain_begin(Coro *c, struct state *st, PyObject **result)
{
    StreamWriter *w = (StreamWriter *)c->self;
    if (UNLIKELY(w->transport == NULL)) {
        stream_writer_raise_uninitialized();
        return PYGEN_ERROR;
    }
    if (UNLIKELY(stream_drain_check_reader(w, st) < 0)) {
        return PYGEN_ERROR;
    }
    int is_closing = stream_writer_is_closing(w, st);
    if (UNLIKELY(is_closing != 0)) {
        /* connection_lost() is on its way: without this, a loop of write() and drain() would never see it */
        c->phase = STREAM_DRAIN_YIELDED;
        return is_closing < 0 ? PYGEN_ERROR : coro_yield(c);
    }
    return stream_drain_help(c, st, result);
}

static PySendResult
stream_drain_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    switch (c->phase) {
    case STREAM_DRAIN_START:
        return stream_drain_begin(c, st, result);
    case STREAM_DRAIN_YIELDED:
        return value == NULL ? PYGEN_ERROR : stream_drain_help(c, st, result);
    default:
        return value == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
    }
}

static const struct coro_kind stream_drain_kind = {"StreamWriter.drain", stream_drain_step};

static PyObject *
stream_writer_coroutine(PyObject *self, const struct coro_kind *kind, PyObject *const *args, Py_ssize_t n_args,
                        PyObject *kwnames)
{
    if (UNLIKELY(n_args > 0 || kwnames != NULL)) {
        const struct args_signature signature = {kind->qualname, NULL, 0, 0, 0, true};
        if (args_bind(&signature, args, n_args, kwnames, NULL) < 0) {
            return NULL;
        }
    }
    return (PyObject *)coro_new(state_of(self), kind, self);
}

static PyObject *
StreamWriter_drain(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return stream_writer_coroutine(self, &stream_drain_kind, args, n_args, kwnames);
}

/* ---- wait_closed(): await self._protocol._get_close_waiter(self) */

static PySendResult
stream_wait_closed_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase > 0) {
        return value == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
    }
    c->phase = 1;
    PyObject *protocol = ((StreamWriter *)c->self)->protocol;
    if (protocol == NULL) {
        stream_writer_raise_uninitialized();
        return PYGEN_ERROR;
    }
    Py_INCREF(protocol);
    PyObject *waiter = PyObject_CallMethodOneArg(protocol, st->str._get_close_waiter, c->self);
    Py_DECREF(protocol);
    PySendResult status = waiter == NULL ? PYGEN_ERROR : coro_await(c, st, waiter);
    Py_XDECREF(waiter);
    return status;
}

static const struct coro_kind stream_wait_closed_kind = {"StreamWriter.wait_closed", stream_wait_closed_step};

static PyObject *
StreamWriter_wait_closed(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return stream_writer_coroutine(self, &stream_wait_closed_kind, args, n_args, kwnames);
}

/* ---- start_tls(): once per connection, so in Python */

static PyObject *
StreamWriter_start_tls(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *function = NULL;
    if (future_import(&function, "asyncloop._streams", "start_tls") < 0) {
        return NULL;
    }
    Py_ssize_t n = n_args + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_New(PyObject *, n + 1), *result = NULL;
    if (stack == NULL) {
        PyErr_NoMemory();
    }
    else {
        stack[0] = self;
        for (Py_ssize_t i = 0; i < n; i++) {
            stack[i + 1] = args[i];
        }
        result = PyObject_Vectorcall(function, stack, (size_t)n_args + 1, kwnames);
    }
    PyMem_Free(stack);
    Py_DECREF(function);
    return result;
}

static const struct coro_function stream_writer_functions[] = {
    {"StreamWriter.drain", StreamWriter_drain,
     "drain($self)\n--\n\n"
     "Wait until the transport takes more, if it does not now.\n\n"
     "Raises: ConnectionResetError (the connection is lost), what the reader was given.  Source: "
     "asyncio.StreamWriter."},
    {"StreamWriter.wait_closed", StreamWriter_wait_closed,
     "wait_closed($self)\n--\n\nWait for the end of the connection.\n\nRaises: what ended it.  Source: "
     "asyncio.StreamWriter."},
    {"StreamWriter.start_tls", StreamWriter_start_tls,
#if COMPAT_AT_LEAST(3, 12)
     "start_tls($self, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)"
#else
     "start_tls($self, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None)"
#endif
     "\n--\n\nMake it a TLS connection; on the server's side for a writer that start_server made.\n\nSource: "
     "asyncio.StreamWriter."},
    {NULL},
};

/* ---- repr, attributes */

static PyObject *
StreamWriter_repr(PyObject *self)
{
    StreamWriter *w = (StreamWriter *)self;
    PyObject *name = PyType_GetName(Py_TYPE(self)),
             *transport = Py_NewRef(w->transport == NULL ? Py_None : w->transport);
    PyObject *reader = Py_XNewRef(w->reader), *text = NULL;
    if (name != NULL) {
        text = reader == NULL ? PyUnicode_FromFormat("<%U transport=%R>", name, transport)
                              : PyUnicode_FromFormat("<%U transport=%R reader=%R>", name, transport, reader);
    }
    Py_XDECREF(name);
    Py_DECREF(transport);
    Py_XDECREF(reader);
    return text;
}

/* _complete_fut: nobody in asyncio waits for it, but it is there. */
static PyObject *
StreamWriter_get_complete(PyObject *self, void *Py_UNUSED(closure))
{
    StreamWriter *w = (StreamWriter *)self;
    struct state *st = state_of(self);
    if (w->complete == NULL) {
        if (w->loop == NULL) {
            return stream_writer_raise_uninitialized();
        }
        PyObject *future = future_new_on(st, w->loop);
        if (future == NULL || future_wake_any(st, future, st->str.cancelled, Py_None, NULL) < 0) {
            Py_XDECREF(future);
            return NULL;
        }
        Py_XSETREF(w->complete, future);
    }
    return Py_NewRef(w->complete);
}

/* ---- life */

static int
stream_writer_init(StreamWriter *w, struct state *st, PyObject *transport, PyObject *protocol, PyObject *reader,
                   PyObject *loop)
{
    if (reader != Py_None && !PyObject_TypeCheck(reader, st->StreamReader_type)) {
        int is_reader = PyObject_IsInstance(reader, (PyObject *)st->StreamReader_type);
        if (is_reader <= 0) {
            if (is_reader == 0) {
                PyErr_SetNone(PyExc_AssertionError);
            }
            return -1;
        }
    }
    Py_XSETREF(w->transport, Py_NewRef(transport));
    Py_XSETREF(w->protocol, Py_NewRef(protocol));
    Py_XSETREF(w->reader, reader == Py_None ? NULL : Py_NewRef(reader));
    Py_XSETREF(w->loop, Py_NewRef(loop));
    Py_CLEAR(w->complete);
    return 0;
}

static int
StreamWriter_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"transport", "protocol", "reader", "loop"};
    static const struct args_signature signature = {"StreamWriter.__init__", names, 4, 4, 4, true};
    PyObject *out[4];
    if (args_bind_tuple(&signature, args, kwargs, out) < 0) {
        return -1;
    }
    return stream_writer_init((StreamWriter *)self, state_of(self), out[0], out[1], out[2], out[3]);
}

static PyObject *
stream_writer_new(struct state *st, PyObject *transport, PyObject *protocol, PyObject *reader, PyObject *loop)
{
    PyObject *self = st->StreamWriter_type->tp_alloc(st->StreamWriter_type, 0);
    if (self != NULL && stream_writer_init((StreamWriter *)self, st, transport, protocol, reader, loop) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* __del__: 0, or -1 with the exception set. */
static int
stream_writer_on_dropped(StreamWriter *w, struct state *st)
{
    int is_closing = stream_writer_is_closing(w, st);
    if (is_closing != 0) {
        return is_closing < 0 ? -1 : 0;
    }
    PyObject *loop = Py_NewRef(w->loop == NULL ? Py_None : w->loop);
    int is_closed = ask_method(loop, st->str.is_closed);
    Py_DECREF(loop);
    if (is_closed < 0) {
        return -1;
    }
    if (is_closed) {
        return PyErr_WarnEx(PyExc_ResourceWarning, "loop is closed", 1);
    }
    if (stream_call_void((PyObject *)w, st->str.close, NULL) < 0) {
        return -1;
    }
    return PyErr_WarnFormat(PyExc_ResourceWarning, 1, "unclosed %R", (PyObject *)w);
}

static void
StreamWriter_finalize(PyObject *self)
{
    StreamWriter *w = (StreamWriter *)self;
    if (w->transport == NULL) {
        return;
    }
    PyObject *raised = compat_take_raised();
    if (stream_writer_on_dropped(w, state_of(self)) < 0) {
        PyErr_WriteUnraisable(self);
    }
    compat_set_raised(raised);
}

static int
StreamWriter_traverse(PyObject *self, visitproc visit, void *arg)
{
    StreamWriter *w = (StreamWriter *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(w->transport);
    Py_VISIT(w->protocol);
    Py_VISIT(w->reader);
    Py_VISIT(w->loop);
    Py_VISIT(w->complete);
    Py_VISIT(w->dict);
    return 0;
}

static int
StreamWriter_clear(PyObject *self)
{
    StreamWriter *w = (StreamWriter *)self;
    Py_CLEAR(w->transport);
    Py_CLEAR(w->protocol);
    Py_CLEAR(w->reader);
    Py_CLEAR(w->loop);
    Py_CLEAR(w->complete);
    Py_CLEAR(w->dict);
    return 0;
}

static void
StreamWriter_dealloc(PyObject *self)
{
    StreamWriter *w = (StreamWriter *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (w->transport != NULL && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (w->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, StreamWriter_dealloc)
    StreamWriter_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* ---- the type */

PyDoc_STRVAR(StreamWriter_doc, "StreamWriter(transport, protocol, reader, loop)\n--\n\n"
                               "Writes to a transport; made by open_connection and start_server.\n\n"
                               "Source: asyncio.StreamWriter.");

static PyMethodDef StreamWriter_methods[] = {
    STREAM_METHOD(StreamWriter, write, STREAM_FASTCALL, StreamWriter_write_doc),
    STREAM_METHOD(StreamWriter, writelines, STREAM_FASTCALL,
                  PyDoc_STR("writelines($self, data)\n--\n\nSend several pieces of data.")),
    STREAM_METHOD(StreamWriter, write_eof, METH_NOARGS,
                  PyDoc_STR("write_eof($self)\n--\n\nClose the sending direction once everything queued has gone.")),
    STREAM_METHOD(StreamWriter, can_write_eof, METH_NOARGS,
                  PyDoc_STR("can_write_eof($self)\n--\n\nWhether write_eof() works.")),
    STREAM_METHOD(StreamWriter, close, METH_NOARGS,
                  PyDoc_STR("close($self)\n--\n\nClose the transport; see wait_closed().")),
    STREAM_METHOD(StreamWriter, is_closing, METH_NOARGS,
                  PyDoc_STR("is_closing($self)\n--\n\nTrue once closing or closed.")),
    STREAM_METHOD(StreamWriter, get_extra_info, STREAM_FASTCALL,
                  PyDoc_STR("get_extra_info($self, name, default=None)\n--\n\nFacts about the connection.")),
    {NULL},
};

static PyGetSetDef StreamWriter_getset[] = {
    {"__class__", twin_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"transport", twin_get_field, NULL, NULL, (void *)offsetof(StreamWriter, transport)},
    {"_complete_fut", StreamWriter_get_complete, twin_set_field, NULL, (void *)offsetof(StreamWriter, complete)},
    STREAM_FIELD(StreamWriter, "_transport", transport),
    STREAM_FIELD(StreamWriter, "_protocol", protocol),
    STREAM_FIELD(StreamWriter, "_reader", reader),
    STREAM_FIELD(StreamWriter, "_loop", loop),
    {NULL},
};

static PyMemberDef StreamWriter_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(StreamWriter, weakrefs), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(StreamWriter, dict), READONLY},
    {NULL},
};

static PyType_Slot StreamWriter_slots[] = {
    {Py_tp_doc, (void *)StreamWriter_doc},
    {Py_tp_init, StreamWriter_init},
    {Py_tp_traverse, StreamWriter_traverse},
    {Py_tp_clear, StreamWriter_clear},
    {Py_tp_finalize, StreamWriter_finalize},
    {Py_tp_dealloc, StreamWriter_dealloc},
    {Py_tp_repr, StreamWriter_repr},
    {Py_tp_methods, StreamWriter_methods},
    {Py_tp_getset, StreamWriter_getset},
    {Py_tp_members, StreamWriter_members},
    {0, NULL},
};

static PyType_Spec StreamWriter_spec = {
    .name = "asyncloop.StreamWriter",
    .basicsize = sizeof(StreamWriter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = StreamWriter_slots,
};

static int
stream_writer_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->StreamWriter_type, &StreamWriter_spec, NULL, true, SECTION_AT(StreamWriter, loop))
            < 0
        || twin_adopt(st, st->StreamWriter_type, TWIN_STREAMS, "asyncio.streams", "StreamWriter") < 0) {
        return -1;
    }
    return coro_function_add_to_type(module, st, st->StreamWriter_type, stream_writer_functions);
}
