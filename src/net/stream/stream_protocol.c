/* net/stream/stream_protocol.c -- StreamReaderProtocol: its callbacks, client_connected_cb, drain's waiters, its Python
 * face. */
#include "net/stream/stream_protocol.h"

#include "core/args.h"
#include "core/ask.h"
#include "core/twin.h"
#include "net/conn/protocol.h"
#include "net/stream/stream_reader.h"
#include "net/stream/stream_writer.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"

#define STREAM_REPORTS_CONNECTED_CB COMPAT_AT_LEAST(3, 14) /* an exception of client_connected_cb itself; before, connection_made() raises it */
#define STREAM_PASSES_CANCELLED_CB (COMPAT_AT_LEAST(3, 12) ? COMPAT_RUNS(3, 12, 2) : COMPAT_RUNS(3, 11, 8)) /* its task may be cancelled */

/* ---- the reader */

/* New reference, or NULL: none (any more), or with the exception set. */
static inline PyObject *
stream_protocol_reader(StreamProtocol *p)
{
    PyObject *reader = NULL;
    if (p->reader_ref == NULL) {
        return NULL;
    }
    if (LIKELY(PyWeakref_CheckRef(p->reader_ref))) {
        (void)compat_weakref_get(p->reader_ref, &reader);
        return reader;
    }
    reader = PyObject_CallNoArgs(p->reader_ref); /* somebody set it */
    if (reader == Py_None) {
        Py_CLEAR(reader);
    }
    return reader;
}

/* feed_data(bytes) of a reader that is not plain. */
static COLD int
stream_protocol_feed_by_name(PyObject *object, PyObject *name, const char *bytes, size_t n)
{
    PyObject *data = PyBytes_FromStringAndSize(bytes, (Py_ssize_t)n);
    int rc = data == NULL ? -1 : stream_call_void(object, name, data);
    Py_XDECREF(data);
    return rc;
}

static int
stream_protocol_on_bytes(PyObject *self, const char *bytes, size_t n)
{
    StreamProtocol *p = (StreamProtocol *)self;
    struct state *st = state_of(self);
    if (UNLIKELY(!stream_protocol_is_plain(st, self))) {
        return stream_protocol_feed_by_name(self, st->str.data_received, bytes, n);
    }
    PyObject *reader = stream_protocol_reader(p);
    if (UNLIKELY(reader == NULL)) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = LIKELY(stream_reader_is_plain(st, reader))
                 ? stream_reader_feed((StreamReader *)reader, st, bytes, n)
                 : stream_protocol_feed_by_name(reader, st->str.feed_data, bytes, n);
    Py_DECREF(reader);
    return rc;
}

/* The plain reader of a plain protocol: new reference, or NULL. */
static inline StreamReader *
stream_protocol_plain_reader(StreamProtocol *p, struct state *st)
{
    if (UNLIKELY(!stream_protocol_is_plain(st, (PyObject *)p) || p->reader_ref == NULL
                 || !PyWeakref_CheckRefExact(p->reader_ref))) {
        return NULL;
    }
    PyObject *reader = stream_protocol_reader(p);
    if (UNLIKELY(reader != NULL && !stream_reader_is_plain(st, reader))) {
        Py_CLEAR(reader);
    }
    return (StreamReader *)reader;
}

/* Into the buffer of a plain reader that has room: a wake-up of our task is the most that follows. */
static int
stream_protocol_try_bytes(PyObject *self, const char *bytes, size_t n)
{
    struct state *st = state_of(self);
    StreamReader *reader = stream_protocol_plain_reader((StreamProtocol *)self, st);
    if (UNLIKELY(reader == NULL)) {
        return 0;
    }
    int rc = stream_reader_try_feed(reader, st, bytes, n);
    Py_DECREF(reader);
    return rc;
}

static int
stream_protocol_hold(PyObject *self, const char *bytes, size_t n)
{
    StreamReader *reader = stream_protocol_plain_reader((StreamProtocol *)self, state_of(self));
    if (UNLIKELY(reader == NULL)) {
        return 0;
    }
    int rc = reader->eof || reader->buffer.shown != NULL           ? 0
             : stream_buffer_append(&reader->buffer, bytes, n) < 0 ? -1
                                                                   : 1;
    Py_DECREF(reader);
    return rc;
}

static int
stream_protocol_tell(PyObject *self)
{
    struct state *st = state_of(self);
    PyObject *reader = stream_protocol_reader((StreamProtocol *)self);
    if (UNLIKELY(reader == NULL || !PyObject_TypeCheck(reader, st->StreamReader_type))) {
        Py_XDECREF(reader);
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = stream_reader_after_feed((StreamReader *)reader, st);
    Py_DECREF(reader);
    return rc;
}

static const struct sink stream_protocol_sink = {
    .on_bytes = stream_protocol_on_bytes,
    .report = "Fatal error: protocol.data_received() call failed.",
    .try_bytes = stream_protocol_try_bytes,
    .hold = stream_protocol_hold,
    .tell = stream_protocol_tell,
};

static int
stream_protocol_feed_eof(StreamProtocol *p, struct state *st)
{
    PyObject *reader = stream_protocol_reader(p);
    if (reader == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = stream_reader_is_plain(st, reader) ? stream_reader_feed_eof((StreamReader *)reader, st)
                                                : stream_call_void(reader, st->str.feed_eof, NULL);
    Py_DECREF(reader);
    return rc;
}

/* ---- a server's connection: client_connected_cb */

/* Report the raised exception, and close the transport. */
static int
stream_protocol_report_connected(struct state *st, PyObject *loop, PyObject *transport, PyObject *exception)
{
    PyObject *context = Py_BuildValue("{s:s,s:O,s:O}", "message", "Unhandled exception in client_connected_cb",
                                      "exception", exception, "transport", transport);
    int rc = context == NULL ? -1 : stream_call_void(loop, st->str.call_exception_handler, context);
    Py_XDECREF(context);
    return rc < 0 ? -1 : stream_call_void(transport, st->str.close, NULL);
}

/* Done-callback of its task. self is (protocol, loop, transport). */
static PyObject *
stream_protocol_on_task_done(PyObject *self, PyObject *task)
{
    PyObject *protocol = PyTuple_GET_ITEM(self, 0), *loop = PyTuple_GET_ITEM(self, 1),
             *transport = PyTuple_GET_ITEM(self, 2);
    struct state *st = state_of(protocol);
    int rc = 0;
    if (STREAM_PASSES_CANCELLED_CB) {
        int is_cancelled = ask_method(task, st->str.cancelled);
        if (is_cancelled != 0) {
            rc = is_cancelled < 0 ? -1 : stream_call_void(transport, st->str.close, NULL);
            return rc < 0 ? NULL : Py_NewRef(Py_None);
        }
    }
    PyObject *exception = PyObject_CallMethodNoArgs(task, st->str.exception);
    if (exception == NULL) {
        return NULL;
    }
    if (exception != Py_None) {
        rc = stream_protocol_report_connected(st, loop, transport, exception);
    }
    Py_DECREF(exception);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef stream_protocol_on_task_done_def = {"callback", stream_protocol_on_task_done, METH_O, NULL};

/* The coroutine that client_connected_cb returned. */
static int
stream_protocol_start_task(StreamProtocol *p, struct state *st, PyObject *loop, PyObject *transport,
                           PyObject *coroutine)
{
    PyObject *task = PyObject_CallMethodOneArg(loop, st->str.create_task, coroutine);
    PyObject *captured = task == NULL ? NULL : PyTuple_Pack(3, (PyObject *)p, loop, transport);
    PyObject *callback = captured == NULL ? NULL : PyCFunction_New(&stream_protocol_on_task_done_def, captured);
    int rc = -1;
    if (task != NULL) {
        Py_XSETREF(p->task, Py_NewRef(task));
    }
    if (callback != NULL) {
        rc = stream_call_void(task, st->str.add_done_callback, callback);
    }
    Py_XDECREF(callback);
    Py_XDECREF(captured);
    Py_XDECREF(task);
    return rc;
}

static COLD int
stream_protocol_on_connected_error(struct state *st, PyObject *loop, PyObject *transport)
{
    if (!STREAM_REPORTS_CONNECTED_CB || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    int rc = stream_protocol_report_connected(st, loop, transport, exception);
    Py_DECREF(exception);
    return rc;
}

/* What client_connected_cb returned: 0/-1. */
static int
stream_protocol_on_connected(StreamProtocol *p, struct state *st, PyObject *loop, PyObject *transport, PyObject *result)
{
    int is_coroutine = PyCoro_CheckExact(result);
    if (!is_coroutine) {
        is_coroutine = ask_truth(PyObject_CallOneArg(st->iscoroutine, result));
    }
    return is_coroutine > 0 ? stream_protocol_start_task(p, st, loop, transport, result) : is_coroutine;
}

static int
stream_protocol_call_connected(StreamProtocol *p, struct state *st, PyObject *transport, PyObject *reader)
{
    PyObject *loop = Py_NewRef(p->loop), *writer = stream_writer_new(st, transport, (PyObject *)p, reader, loop);
    int rc = -1;
    if (writer != NULL) {
        if (st->stream_keeps_writer == Py_True) {
            Py_XSETREF(p->writer, Py_NewRef(writer));
        }
        PyObject *callback = Py_NewRef(p->connected_cb), *args[] = {NULL, reader, writer};
        PyObject *result = PyObject_Vectorcall(callback, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(callback);
        Py_DECREF(writer);
        rc = result == NULL ? stream_protocol_on_connected_error(st, loop, transport)
                            : stream_protocol_on_connected(p, st, loop, transport, result);
        Py_XDECREF(result);
    }
    Py_DECREF(loop);
    if (rc == 0) {
        Py_CLEAR(p->strong_reader);
    }
    return rc;
}

/* ---- from the transport */

/* The reader was dropped before there was a connection. */
static COLD int
stream_protocol_reject(StreamProtocol *p, struct state *st, PyObject *transport)
{
    PyObject *context = Py_BuildValue("{s:s}", "message",
                                      "An open stream was garbage collected prior to establishing network connection; "
                                      "call \"stream.close()\" explicitly.");
    int rc = context == NULL ? -1 : 0;
    if (rc == 0 && p->source_traceback != NULL) {
        rc = PyDict_SetItem(context, st->str.source_traceback, p->source_traceback);
    }
    if (rc == 0) {
        rc = stream_call_void(p->loop, st->str.call_exception_handler, context);
    }
    Py_XDECREF(context);
    return rc < 0 ? -1 : stream_call_void(transport, st->str.abort, NULL);
}

static int
stream_protocol_note_tls(StreamProtocol *p, struct state *st, PyObject *transport)
{
    PyObject *args[] = {transport, st->str.sslcontext};
    PyObject *context =
        PyObject_VectorcallMethod(st->str.get_extra_info, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    p->over_ssl = context != NULL && context != Py_None;
    Py_XDECREF(context);
    return context == NULL ? -1 : 0;
}

static int
stream_protocol_give_transport(struct state *st, PyObject *reader, PyObject *transport)
{
    return stream_reader_is_plain(st, reader) ? stream_reader_set_transport((StreamReader *)reader, transport)
                                              : stream_call_void(reader, st->str.set_transport, transport);
}

static PyObject *
StreamReaderProtocol_connection_made(PyObject *self, PyObject *transport)
{
    StreamProtocol *p = (StreamProtocol *)self;
    struct state *st = state_of(self);
    if (p->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized StreamReaderProtocol object");
        return NULL;
    }
    if (p->reject_connection) {
        return stream_protocol_reject(p, st, transport) < 0 ? NULL : Py_NewRef(Py_None);
    }
    Py_XSETREF(p->transport, Py_NewRef(transport));
    PyObject *reader = stream_protocol_reader(p);
    int rc = reader == NULL && PyErr_Occurred() ? -1 : 0;
    if (rc == 0 && reader != NULL) {
        rc = stream_protocol_give_transport(st, reader, transport);
    }
    if (rc == 0) {
        rc = stream_protocol_note_tls(p, st, transport);
    }
    if (rc == 0 && p->connected_cb != NULL && p->loop != NULL) {
        rc = stream_protocol_call_connected(p, st, transport, reader != NULL ? reader : Py_None);
    }
    Py_XDECREF(reader);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReaderProtocol_data_received(PyObject *self, PyObject *data)
{
    PyObject *reader = stream_protocol_reader((StreamProtocol *)self);
    if (reader == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    struct state *st = state_of(self);
    int rc;
    if (stream_reader_is_plain(st, reader) && PyBytes_CheckExact(data) && PyBytes_GET_SIZE(data) > 0) {
        rc = stream_reader_feed((StreamReader *)reader, st, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    }
    else {
        rc = stream_call_void(reader, st->str.feed_data, data);
    }
    Py_DECREF(reader);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReaderProtocol_eof_received(PyObject *self, PyObject *Py_UNUSED(none))
{
    StreamProtocol *p = (StreamProtocol *)self;
    if (stream_protocol_feed_eof(p, state_of(self)) < 0) {
        return NULL;
    }
    return PyBool_FromLong(!p->over_ssl); /* TLS cannot be half open */
}

/* Those who wait in drain() go on: there is room, or never will be. */
static int
stream_protocol_wake_drains(StreamProtocol *p, struct state *st, PyObject *exception)
{
    PyObject *waiters = p->drain_waiters == NULL ? NULL : PySequence_Tuple(p->drain_waiters);
    int rc = p->drain_waiters != NULL && waiters == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && waiters != NULL && i < PyTuple_GET_SIZE(waiters); i++) {
        rc = future_wake_any(st, PyTuple_GET_ITEM(waiters, i), st->str.done, Py_None, exception) < 0 ? -1 : 0;
    }
    Py_XDECREF(waiters);
    return rc;
}

static PyObject *
StreamReaderProtocol_connection_lost(PyObject *self, PyObject *exception)
{
    StreamProtocol *p = (StreamProtocol *)self;
    struct state *st = state_of(self);
    PyObject *error = exception == Py_None ? NULL : exception;
    int rc = 0;
    if (error == NULL) {
        rc = stream_protocol_feed_eof(p, st);
    }
    else {
        PyObject *reader = stream_protocol_reader(p);
        if (reader != NULL) {
            rc = stream_reader_is_plain(st, reader) ? stream_reader_set_exception((StreamReader *)reader, st, error)
                                                    : stream_call_void(reader, st->str.set_exception, error);
            Py_DECREF(reader);
        }
        else if (PyErr_Occurred()) {
            rc = -1;
        }
    }
    if (rc == 0 && p->closed != NULL) {
        PyObject *closed = Py_NewRef(p->closed);
        rc = future_wake_any(st, closed, st->str.done, Py_None, error) < 0 ? -1 : 0;
        Py_DECREF(closed);
    }
    p->connection_lost = true;
    if (rc == 0 && p->paused) {
        rc = stream_protocol_wake_drains(p, st, error);
    }
    if (rc < 0) {
        return NULL;
    }
    Py_CLEAR(p->reader_ref);
    Py_CLEAR(p->writer);
    Py_CLEAR(p->task);
    Py_CLEAR(p->transport);
    Py_RETURN_NONE;
}

static PyObject *
StreamReaderProtocol_pause_writing(PyObject *self, PyObject *Py_UNUSED(none))
{
    StreamProtocol *p = (StreamProtocol *)self;
    if (p->paused) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    p->paused = true;
    if (p->loop != NULL && stream_log_debug(state_of(self), p->loop, "%r pauses writing", self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
StreamReaderProtocol_resume_writing(PyObject *self, PyObject *Py_UNUSED(none))
{
    StreamProtocol *p = (StreamProtocol *)self;
    struct state *st = state_of(self);
    if (!p->paused) {
        PyErr_SetNone(PyExc_AssertionError);
        return NULL;
    }
    p->paused = false;
    if (p->loop != NULL && stream_log_debug(st, p->loop, "%r resumes writing", self) < 0) {
        return NULL;
    }
    return stream_protocol_wake_drains(p, st, NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- _drain_helper() */

static inline int
stream_protocol_check_drain(StreamProtocol *p)
{
    if (UNLIKELY(p->connection_lost)) {
        PyErr_SetString(PyExc_ConnectionResetError, "Connection lost");
        return -1;
    }
    return !p->paused;
}

static PyObject *
stream_protocol_drain_waiters_borrowed(StreamProtocol *p, struct state *st)
{
    if (p->drain_waiters == NULL) {
        p->drain_waiters = PyObject_CallNoArgs(st->deque_type);
    }
    return p->drain_waiters;
}

/* slots[0] is the waiter while it waits. */
static PySendResult
stream_protocol_drain_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    StreamProtocol *p = (StreamProtocol *)c->self;
    if (c->phase == 0) {
        int is_free = stream_protocol_check_drain(p);
        if (is_free != 0) {
            return is_free < 0 ? PYGEN_ERROR : coro_return(result, Py_None);
        }
        c->phase = 1;
        if (p->loop == NULL) {
            PyErr_SetString(PyExc_RuntimeError, "uninitialized StreamReaderProtocol object");
            return PYGEN_ERROR;
        }
        PyObject *waiters = NULL;
        if ((c->slots[0] = future_new_on(st, p->loop)) == NULL
            || (waiters = stream_protocol_drain_waiters_borrowed(p, st)) == NULL
            || stream_call_void(waiters, st->str.append, c->slots[0]) < 0) {
            return PYGEN_ERROR;
        }
        return coro_await(c, st, c->slots[0]);
    }
    PyObject *raised = value == NULL ? compat_take_raised() : NULL;
    int rc = p->drain_waiters == NULL ? 0 : stream_call_void(p->drain_waiters, st->str.remove, c->slots[0]);
    if (rc < 0) {
        Py_XDECREF(raised);
        return PYGEN_ERROR;
    }
    if (raised != NULL) {
        compat_set_raised(raised);
        return PYGEN_ERROR;
    }
    return coro_return(result, Py_None);
}

static const struct coro_kind stream_protocol_drain_kind = {"StreamReaderProtocol._drain_helper",
                                                            stream_protocol_drain_step};

static PyObject *
StreamReaderProtocol__drain_helper(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"FlowControlMixin._drain_helper", NULL, 0, 0, 0, true};
    if ((n_args > 0 || kwnames != NULL) && args_bind(&signature, args, n_args, kwnames, NULL) < 0) {
        return NULL;
    }
    return (PyObject *)coro_new(state_of(self), &stream_protocol_drain_kind, self);
}

static const struct coro_function stream_protocol_functions[] = {
    {"StreamReaderProtocol._drain_helper", StreamReaderProtocol__drain_helper,
     "_drain_helper($self)\n--\n\nWait until the transport takes more.  Raises: ConnectionResetError."},
    {NULL},
};

/* ---- for StreamWriter and start_tls() */

static PyObject *
StreamReaderProtocol__get_close_waiter(PyObject *self, PyObject *Py_UNUSED(stream))
{
    PyObject *closed = ((StreamProtocol *)self)->closed;
    return Py_NewRef(closed == NULL ? Py_None : closed);
}

static PyObject *
stream_protocol_replace_transport(StreamProtocol *p, PyObject *transport)
{
    struct state *st = state_of((PyObject *)p);
    Py_XSETREF(p->transport, Py_NewRef(transport));
    if (stream_protocol_note_tls(p, st, transport) < 0) {
        return NULL;
    }
    if (st->stream_reader_follows_tls == Py_True) {
        PyObject *reader = stream_protocol_reader(p);
        int rc = reader == NULL ? 0 : stream_call_void(reader, st->str._replace_transport, transport);
        Py_XDECREF(reader);
        if (rc < 0 || PyErr_Occurred()) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
StreamReaderProtocol__replace_transport(PyObject *self, PyObject *transport)
{
    return stream_protocol_replace_transport((StreamProtocol *)self, transport);
}

/* Before it was _replace_transport(). */
static PyObject *
StreamReaderProtocol__replace_writer(PyObject *self, PyObject *writer)
{
    StreamProtocol *p = (StreamProtocol *)self;
    PyObject *transport = PyObject_GetAttr(writer, state_of(self)->str.transport);
    if (transport == NULL) {
        return NULL;
    }
    Py_XSETREF(p->writer, Py_NewRef(writer));
    PyObject *done = stream_protocol_replace_transport(p, transport);
    Py_DECREF(transport);
    return done;
}

/* ---- life */

static int
stream_protocol_init(StreamProtocol *p, struct state *st, PyObject *reader, PyObject *connected_cb,
                     PyObject *loop_or_none)
{
    PyObject *loop = stream_take_loop(st, loop_or_none), *source = NULL, *reference = NULL;
    if (loop == NULL) {
        return -1;
    }
    Py_XSETREF(p->loop, Py_NewRef(loop));
    p->paused = p->connection_lost = p->reject_connection = p->over_ssl = false;
    Py_CLEAR(p->drain_waiters);
    if (reader != Py_None) {
        reference = PyWeakref_NewRef(reader, NULL);
        source = reference == NULL ? NULL : PyObject_GetAttr(reader, st->str._source_traceback);
        if (source == NULL) {
            Py_XDECREF(reference);
            Py_DECREF(loop);
            return -1;
        }
        if (source == Py_None) {
            Py_CLEAR(source);
        }
    }
    Py_XSETREF(p->reader_ref, reference);
    Py_XSETREF(p->source_traceback, source);
    if (connected_cb != Py_None) {
        Py_XSETREF(p->strong_reader, reader == Py_None ? NULL : Py_NewRef(reader));
        Py_XSETREF(p->connected_cb, Py_NewRef(connected_cb));
    }
    else {
        Py_CLEAR(p->connected_cb);
    }
    Py_CLEAR(p->writer);
    Py_CLEAR(p->task);
    Py_CLEAR(p->transport);
    PyObject *closed = future_new_on(st, loop);
    Py_DECREF(loop);
    Py_XSETREF(p->closed, closed);
    return closed == NULL ? -1 : 0;
}

static int
StreamReaderProtocol_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"stream_reader", "client_connected_cb", "loop"};
    static const struct args_signature signature = {"StreamReaderProtocol.__init__", names, 1, 3, 3, true};
    PyObject *out[3];
    if (args_bind_tuple(&signature, args, kwargs, out) < 0) {
        return -1;
    }
    return stream_protocol_init((StreamProtocol *)self, state_of(self), out[0], out[1] == NULL ? Py_None : out[1],
                                out[2] == NULL ? Py_None : out[2]);
}

static PyObject *
stream_protocol_new(struct state *st, PyObject *reader, PyObject *connected_cb, PyObject *loop)
{
    PyTypeObject *type = st->StreamReaderProtocol_type;
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && stream_protocol_init((StreamProtocol *)self, st, reader, connected_cb, loop) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* How the connection ended need not be asked for: no report about that. */
static int
stream_protocol_retrieve_end(struct state *st, PyObject *closed)
{
    if (future_is_exact(st, closed)) {
        ((Future *)closed)->log_traceback = false;
        return 0;
    }
    int is_done = ask_method(closed, st->str.done),
        is_cancelled = is_done <= 0 ? 0 : ask_method(closed, st->str.cancelled);
    if (is_done <= 0 || is_cancelled != 0) {
        return is_done < 0 || is_cancelled < 0 ? -1 : 0;
    }
    return stream_call_void(closed, st->str.exception, NULL);
}

static void
StreamReaderProtocol_finalize(PyObject *self)
{
    PyObject *closed = Py_XNewRef(((StreamProtocol *)self)->closed);
    if (closed == NULL) {
        return;
    }
    PyObject *raised = compat_take_raised();
    if (stream_protocol_retrieve_end(state_of(self), closed) < 0) {
        PyErr_WriteUnraisable(self);
    }
    compat_set_raised(raised);
    Py_DECREF(closed);
}

static int
StreamReaderProtocol_traverse(PyObject *self, visitproc visit, void *arg)
{
    StreamProtocol *p = (StreamProtocol *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(p->loop);
    Py_VISIT(p->reader_ref);
    Py_VISIT(p->strong_reader);
    Py_VISIT(p->writer);
    Py_VISIT(p->connected_cb);
    Py_VISIT(p->task);
    Py_VISIT(p->transport);
    Py_VISIT(p->closed);
    Py_VISIT(p->drain_waiters);
    Py_VISIT(p->source_traceback);
    Py_VISIT(p->dict);
    return 0;
}

static int
StreamReaderProtocol_clear(PyObject *self)
{
    StreamProtocol *p = (StreamProtocol *)self;
    Py_CLEAR(p->loop);
    Py_CLEAR(p->reader_ref);
    Py_CLEAR(p->strong_reader);
    Py_CLEAR(p->writer);
    Py_CLEAR(p->connected_cb);
    Py_CLEAR(p->task);
    Py_CLEAR(p->transport);
    Py_CLEAR(p->closed);
    Py_CLEAR(p->drain_waiters);
    Py_CLEAR(p->source_traceback);
    Py_CLEAR(p->dict);
    return 0;
}

static void
StreamReaderProtocol_dealloc(PyObject *self)
{
    StreamProtocol *p = (StreamProtocol *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (p->closed != NULL && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (p->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, StreamReaderProtocol_dealloc)
    StreamReaderProtocol_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* ---- attributes, the type */

static PyObject *
StreamReaderProtocol_get_reader(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *reader = stream_protocol_reader((StreamProtocol *)self);
    return reader != NULL ? reader : PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReaderProtocol_get_drain_waiters(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(stream_protocol_drain_waiters_borrowed((StreamProtocol *)self, state_of(self)));
}

ARGS_NAMED(StreamReaderProtocol_connection_made_named, StreamReaderProtocol_connection_made,
           "StreamReaderProtocol.connection_made", "transport")
ARGS_NAMED(StreamReaderProtocol_connection_lost_named, StreamReaderProtocol_connection_lost,
           "StreamReaderProtocol.connection_lost", "exc")
ARGS_NAMED(StreamReaderProtocol_data_received_named, StreamReaderProtocol_data_received,
           "StreamReaderProtocol.data_received", "data")
ARGS_NAMED(StreamReaderProtocol__get_close_waiter_named, StreamReaderProtocol__get_close_waiter,
           "StreamReaderProtocol._get_close_waiter", "stream")
ARGS_NAMED(StreamReaderProtocol__replace_transport_named, StreamReaderProtocol__replace_transport,
           "StreamReaderProtocol._replace_transport", "transport")
ARGS_NAMED(StreamReaderProtocol__replace_writer_named, StreamReaderProtocol__replace_writer,
           "StreamReaderProtocol._replace_writer", "writer")

PyDoc_STRVAR(StreamReaderProtocol_doc,
             "StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\n"
             "The protocol that feeds a StreamReader.\n\n"
             "client_connected_cb: called with reader and writer when the connection is made; a coroutine that it "
             "returns becomes a task.\n"
             "Source: asyncio.StreamReaderProtocol.");

static PyMethodDef StreamReaderProtocol_methods[] = {
    {ARGS_NAMED_METHOD("connection_made", StreamReaderProtocol_connection_made_named),
     PyDoc_STR("connection_made($self, transport)\n--\n\nThe transport is there.")},
    {ARGS_NAMED_METHOD("connection_lost", StreamReaderProtocol_connection_lost_named),
     PyDoc_STR("connection_lost($self, exc)\n--\n\nThe reader and all that wait learn of the end.")},
    {ARGS_NAMED_METHOD("data_received", StreamReaderProtocol_data_received_named),
     PyDoc_STR("data_received($self, data)\n--\n\nFeed the reader.")},
    STREAM_METHOD(StreamReaderProtocol, eof_received, METH_NOARGS,
                  PyDoc_STR("eof_received($self, /)\n--\n\nThe reader has all.  Returns: whether the transport stays "
                            "open: not over TLS.")),
    STREAM_METHOD(StreamReaderProtocol, pause_writing, METH_NOARGS,
                  PyDoc_STR("pause_writing($self, /)\n--\n\ndrain() is to wait.")),
    STREAM_METHOD(StreamReaderProtocol, resume_writing, METH_NOARGS,
                  PyDoc_STR("resume_writing($self, /)\n--\n\ndrain() may go on.")),
    {ARGS_NAMED_METHOD("_get_close_waiter", StreamReaderProtocol__get_close_waiter_named), NULL},
    {NULL},
};

/* Where asyncio's class of the running patch release has them. */
static PyMethodDef StreamReaderProtocol_replace_transport_def = {
    ARGS_NAMED_METHOD("_replace_transport", StreamReaderProtocol__replace_transport_named), NULL};
static PyMethodDef StreamReaderProtocol_replace_writer_def = {
    ARGS_NAMED_METHOD("_replace_writer", StreamReaderProtocol__replace_writer_named), NULL};

static PyGetSetDef StreamReaderProtocol_getset[] = {
    {"__class__", twin_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_stream_reader", StreamReaderProtocol_get_reader},
    {"_drain_waiters", StreamReaderProtocol_get_drain_waiters, twin_set_field, NULL,
     (void *)offsetof(StreamProtocol, drain_waiters)},
    STREAM_FIELD(StreamProtocol, "_loop", loop),
    STREAM_FIELD(StreamProtocol, "_stream_reader_wr", reader_ref),
    STREAM_FIELD(StreamProtocol, "_strong_reader", strong_reader),
    STREAM_FIELD(StreamProtocol, "_stream_writer", writer),
    STREAM_FIELD(StreamProtocol, "_client_connected_cb", connected_cb),
    STREAM_FIELD(StreamProtocol, "_task", task),
    STREAM_FIELD(StreamProtocol, "_transport", transport),
    STREAM_FIELD(StreamProtocol, "_closed", closed),
    STREAM_FIELD(StreamProtocol, "_source_traceback", source_traceback),
    {NULL},
};

static PyMemberDef StreamReaderProtocol_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(StreamProtocol, weakrefs), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(StreamProtocol, dict), READONLY},
    {"_paused", T_BOOL, offsetof(StreamProtocol, paused)},
    {"_connection_lost", T_BOOL, offsetof(StreamProtocol, connection_lost)},
    {"_reject_connection", T_BOOL, offsetof(StreamProtocol, reject_connection)},
    {"_over_ssl", T_BOOL, offsetof(StreamProtocol, over_ssl)},
    {NULL},
};

static PyType_Slot StreamReaderProtocol_slots[] = {
    {Py_tp_doc, (void *)StreamReaderProtocol_doc},   {Py_tp_init, StreamReaderProtocol_init},
    {Py_tp_traverse, StreamReaderProtocol_traverse}, {Py_tp_clear, StreamReaderProtocol_clear},
    {Py_tp_finalize, StreamReaderProtocol_finalize}, {Py_tp_dealloc, StreamReaderProtocol_dealloc},
    {Py_tp_methods, StreamReaderProtocol_methods},   {Py_tp_getset, StreamReaderProtocol_getset},
    {Py_tp_members, StreamReaderProtocol_members},   {0, NULL},
};

static PyType_Spec StreamReaderProtocol_spec = {
    .name = "asyncloop.StreamReaderProtocol",
    .basicsize = sizeof(StreamProtocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = StreamReaderProtocol_slots,
};

static int
stream_protocol_add_method(PyTypeObject *type, PyMethodDef *def)
{
    PyObject *method = PyDescr_NewMethod(type, def);
    int rc = method == NULL ? -1 : PyDict_SetItemString(type->tp_dict, def->ml_name, method);
    Py_XDECREF(method);
    PyType_Modified(type);
    return rc;
}

/* Which of its private methods asyncio's class has, in the patch release that runs. */
static int
stream_protocol_ask_asyncio(struct state *st)
{
    PyTypeObject *type = st->StreamReaderProtocol_type;
    PyObject *native = twin_native_borrowed(st, type), *reader = twin_native_borrowed(st, st->StreamReader_type);
    bool has_transport = PyObject_HasAttr(native, st->str._replace_transport);
    st->stream_keeps_writer = Py_NewRef(has_transport ? Py_False : Py_True);
    st->stream_reader_follows_tls =
        Py_NewRef(PyObject_HasAttr(reader, st->str._replace_transport) ? Py_True : Py_False);
    return stream_protocol_add_method(type, has_transport ? &StreamReaderProtocol_replace_transport_def
                                                          : &StreamReaderProtocol_replace_writer_def);
}

static int
stream_protocol_register(PyObject *module, struct state *st)
{
    PyObject *base = NULL;
    if (future_import(&base, "asyncio.protocols", "Protocol") < 0) {
        return -1;
    }
    int rc = state_add_type(module, &st->StreamReaderProtocol_type, &StreamReaderProtocol_spec, (PyTypeObject *)base,
                            true, SECTION_AT(StreamProtocol, loop));
    Py_DECREF(base);
    PyTypeObject *type = st->StreamReaderProtocol_type;
    if (rc < 0 || twin_adopt(st, type, TWIN_STREAMS, "asyncio.streams", "StreamReaderProtocol") < 0
        || stream_protocol_ask_asyncio(st) < 0) {
        return -1;
    }
    protocol_register_sink(st, type, &stream_protocol_sink);
    return coro_function_add_to_type(module, st, type, stream_protocol_functions);
}
