/* net/stream/stream_reader.c -- StreamReader: feeding it, pausing the transport, its Python face. Its coroutines are in
 * stream_read.c. */
#include "net/stream/stream_reader.h"

#include "core/args.h"
#include "core/twin.h"

#include <math.h>

/* ---- the limit */

static Py_ssize_t
stream_reader_clamp(double n)
{
    return n >= (double)PY_SSIZE_T_MAX || isnan(n) ? PY_SSIZE_T_MAX : n <= 0 ? -1 : (Py_ssize_t)floor(n);
}

static int
stream_reader_set_limit(StreamReader *r, PyObject *limit)
{
    Py_ssize_t low, high;
    if (PyLong_Check(limit)) {
        low = PyNumber_AsSsize_t(limit, NULL); /* the nearest that fits */
        if (low == -1 && PyErr_Occurred()) {
            return -1;
        }
        high = low > PY_SSIZE_T_MAX / 2 ? PY_SSIZE_T_MAX : low < 0 ? low : 2 * low;
    }
    else {
        double n = PyFloat_AsDouble(limit);
        if (n == -1.0 && PyErr_Occurred()) {
            return -1;
        }
        low = stream_reader_clamp(n);
        high = stream_reader_clamp(2 * n);
    }
    r->low_bytes = low;
    r->high_bytes = high;
    Py_XSETREF(r->limit, Py_NewRef(limit));
    return 0;
}

/* ---- waking who reads, pausing who sends */

/* _wakeup_waiter() and set_exception()'s half of it. */
static inline int
stream_reader_wake(StreamReader *r, struct state *st, PyObject *exception)
{
    PyObject *waiter = r->waiter;
    if (waiter == NULL) {
        return 0;
    }
    r->waiter = NULL;
    int rc = future_wake_any(st, waiter, st->str.cancelled, Py_None, exception);
    Py_DECREF(waiter);
    return rc < 0 ? -1 : 0;
}

static inline int
stream_reader_call_wakeup(StreamReader *r, struct state *st)
{
    return LIKELY(stream_reader_is_plain(st, (PyObject *)r))
               ? stream_reader_wake(r, st, NULL)
               : stream_call_void((PyObject *)r, st->str._wakeup_waiter, NULL);
}

/* More than twice the limit waits to be read: the transport is to stop.  One that cannot is forgotten. */
static COLD int
stream_reader_pause_transport(StreamReader *r, struct state *st)
{
    PyObject *transport = Py_NewRef(r->transport);
    int rc = stream_call_void(transport, st->str.pause_reading, NULL);
    Py_DECREF(transport);
    if (rc == 0) {
        r->paused = true;
    }
    else if (PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        PyErr_Clear();
        Py_CLEAR(r->transport);
        rc = 0;
    }
    return rc;
}

static inline int
stream_reader_after_feed(StreamReader *r, struct state *st)
{
    if (UNLIKELY(stream_reader_call_wakeup(r, st) < 0)) {
        return -1;
    }
    if (UNLIKELY(r->transport != NULL && !r->paused && (Py_ssize_t)stream_buffer_size(&r->buffer) > r->high_bytes)) {
        return stream_reader_pause_transport(r, st);
    }
    return 0;
}

static COLD int
stream_reader_raise_after_eof(void)
{
    PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
    return -1;
}

static inline int
stream_reader_feed(StreamReader *r, struct state *st, const char *bytes, size_t n)
{
    if (UNLIKELY(r->eof)) {
        return stream_reader_raise_after_eof();
    }
    return UNLIKELY(stream_buffer_append(&r->buffer, bytes, n) < 0) ? -1 : stream_reader_after_feed(r, st);
}

/* Does nothing but our task, if anybody, wait for it? */
static inline bool
stream_reader_wakes_silently(StreamReader *r, struct state *st)
{
    if (r->waiter == NULL) {
        return true;
    }
    Future *f = (Future *)r->waiter;
    return future_is_exact(st, r->waiter) && f->is_own && f->rare == NULL
           && f->first.context == WATCHER_MARK(&task_kind);
}

static inline int
stream_reader_try_feed(StreamReader *r, struct state *st, const char *bytes, size_t n)
{
    Py_ssize_t size = (Py_ssize_t)r->buffer.n;
    if (UNLIKELY(r->eof || r->buffer.shown != NULL || size > r->high_bytes || (size_t)(r->high_bytes - size) < n)
        || !stream_reader_wakes_silently(r, st)) {
        return 0;
    }
    return UNLIKELY(stream_buffer_append(&r->buffer, bytes, n) < 0 || stream_reader_wake(r, st, NULL) < 0) ? -1 : 1;
}

static int
stream_reader_feed_eof(StreamReader *r, struct state *st)
{
    r->eof = true;
    return stream_reader_call_wakeup(r, st);
}

static int
stream_reader_set_exception(StreamReader *r, struct state *st, PyObject *exception)
{
    Py_XSETREF(r->exception, exception == Py_None ? NULL : Py_NewRef(exception));
    return stream_reader_wake(r, st, exception);
}

static int
stream_reader_set_transport(StreamReader *r, PyObject *transport)
{
    if (r->transport != NULL) {
        PyErr_SetString(PyExc_AssertionError, "Transport already set");
        return -1;
    }
    r->transport = transport == Py_None ? NULL : Py_NewRef(transport);
    return 0;
}

static COLD int
stream_reader_resume(StreamReader *r, struct state *st)
{
    r->paused = false;
    PyObject *transport = Py_NewRef(r->transport == NULL ? Py_None : r->transport);
    int rc = stream_call_void(transport, st->str.resume_reading, NULL);
    Py_DECREF(transport);
    return rc;
}

static inline int
stream_reader_maybe_resume(StreamReader *r, struct state *st)
{
    if (LIKELY(stream_reader_is_plain(st, (PyObject *)r))) {
        return UNLIKELY(r->paused && (Py_ssize_t)stream_buffer_size(&r->buffer) <= r->low_bytes)
                   ? stream_reader_resume(r, st)
                   : 0;
    }
    return stream_call_void((PyObject *)r, st->str._maybe_resume_transport, NULL);
}

/* ---- methods */

PyDoc_STRVAR(StreamReader_feed_data_doc,
             "feed_data($self, data)\n--\n\n"
             "Take bytes that came: append them, wake who reads, pause the transport above twice the limit.\n\n"
             "Returns: None.  Raises: AssertionError after feed_eof().  Source: asyncio.StreamReader.");

/* For an object that is not bytes: anything that bytearray.extend() takes. */
static COLD int
stream_reader_feed_other(StreamReader *r, struct state *st, PyObject *data)
{
    int is_true = PyObject_IsTrue(data);
    if (is_true <= 0) {
        return is_true;
    }
    if (PyObject_CheckBuffer(data)) {
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
            return -1;
        }
        int rc = stream_buffer_append(&r->buffer, view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
        return rc < 0 ? -1 : stream_reader_after_feed(r, st);
    }
    PyObject *bytes = Py_XNewRef(stream_buffer_show_borrowed(&r->buffer));
    int rc = bytes == NULL ? -1 : stream_call_void(bytes, st->str.extend, data);
    Py_XDECREF(bytes);
    return rc < 0 ? -1 : stream_reader_after_feed(r, st);
}

static PyObject *
StreamReader_feed_data(PyObject *self, PyObject *data)
{
    StreamReader *r = (StreamReader *)self;
    int rc = 0;
    if (UNLIKELY(r->eof)) {
        rc = stream_reader_raise_after_eof();
    }
    else if (LIKELY(PyBytes_CheckExact(data))) {
        if (PyBytes_GET_SIZE(data) > 0) {
            rc = stream_reader_feed(r, state_of(self), PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
        }
    }
    else {
        rc = stream_reader_feed_other(r, state_of(self), data);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReader_feed_eof(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_reader_feed_eof((StreamReader *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReader_at_eof(PyObject *self, PyObject *Py_UNUSED(none))
{
    StreamReader *r = (StreamReader *)self;
    return PyBool_FromLong(r->eof && stream_buffer_size(&r->buffer) == 0);
}

static PyObject *
StreamReader_exception(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *exception = ((StreamReader *)self)->exception;
    return Py_NewRef(exception == NULL ? Py_None : exception);
}

static PyObject *
StreamReader_set_exception(PyObject *self, PyObject *exception)
{
    if (stream_reader_set_exception((StreamReader *)self, state_of(self), exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
StreamReader_set_transport(PyObject *self, PyObject *transport)
{
    if (stream_reader_set_transport((StreamReader *)self, transport) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _replace_transport(transport), where asyncio's has it: after start_tls(). */
static PyObject *
StreamReader__replace_transport(PyObject *self, PyObject *transport)
{
    StreamReader *r = (StreamReader *)self;
    if (r->transport == NULL) {
        PyErr_SetString(PyExc_AssertionError, "Transport not set");
        return NULL;
    }
    Py_XSETREF(r->transport, transport == Py_None ? NULL : Py_NewRef(transport));
    Py_RETURN_NONE;
}

static PyObject *
StreamReader__wakeup_waiter(PyObject *self, PyObject *Py_UNUSED(none))
{
    return stream_reader_wake((StreamReader *)self, state_of(self), NULL) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
StreamReader__maybe_resume_transport(PyObject *self, PyObject *Py_UNUSED(none))
{
    StreamReader *r = (StreamReader *)self;
    if (r->paused && (Py_ssize_t)stream_buffer_size(&r->buffer) <= r->low_bytes
        && stream_reader_resume(r, state_of(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- attributes */

static PyObject *
StreamReader_get_buffer(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(stream_buffer_show_borrowed(&((StreamReader *)self)->buffer));
}

static int
StreamReader_set_buffer(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_buffer cannot be deleted");
        return -1;
    }
    return stream_buffer_replace(&((StreamReader *)self)->buffer, value);
}

static int
StreamReader_set_limit(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_limit cannot be deleted");
        return -1;
    }
    return stream_reader_set_limit((StreamReader *)self, value);
}

/* ---- repr */

/* Append "name=value" when value counts as true. */
static int
stream_reader_show(PyObject *parts, const char *name, PyObject *value)
{
    int is_true = value == NULL ? 0 : PyObject_IsTrue(value);
    PyObject *part = is_true <= 0 ? NULL : PyUnicode_FromFormat("%s=%R", name, value);
    int rc = part != NULL ? PyList_Append(parts, part) : is_true == 0 ? 0 : -1;
    Py_XDECREF(part);
    return rc;
}

static int
stream_reader_describe(StreamReader *r, PyObject *parts)
{
    size_t n = stream_buffer_size(&r->buffer);
    PyObject *part = n == 0 ? NULL : PyUnicode_FromFormat("%zu bytes", n);
    int rc = part != NULL ? PyList_Append(parts, part) : n == 0 ? 0 : -1;
    Py_XDECREF(part);
    if (rc == 0 && r->eof) {
        rc = PyList_Append(parts, state_of((PyObject *)r)->str.eof);
    }
    if (rc == 0 && r->limit != NULL && r->low_bytes != STREAM_DEFAULT_LIMIT) {
        part = PyUnicode_FromFormat("limit=%S", r->limit);
        rc = part == NULL ? -1 : PyList_Append(parts, part);
        Py_XDECREF(part);
    }
    PyObject *held[] = {Py_XNewRef(r->waiter), Py_XNewRef(r->exception), Py_XNewRef(r->transport)};
    const char *const names[] = {"waiter", "exception", "transport"};
    for (size_t i = 0; i < ARRAY_LENGTH(held); i++) {
        rc = rc == 0 ? stream_reader_show(parts, names[i], held[i]) : rc;
        Py_XDECREF(held[i]);
    }
    return rc == 0 && r->paused ? PyList_Append(parts, state_of((PyObject *)r)->str.paused) : rc;
}

static PyObject *
StreamReader_repr(PyObject *self)
{
    PyObject *parts = Py_BuildValue("[s]", "StreamReader"), *space = PyUnicode_FromString(" "), *text = NULL;
    if (parts != NULL && space != NULL && stream_reader_describe((StreamReader *)self, parts) == 0) {
        PyObject *joined = PyUnicode_Join(space, parts);
        text = joined == NULL ? NULL : PyUnicode_FromFormat("<%U>", joined);
        Py_XDECREF(joined);
    }
    Py_XDECREF(parts);
    Py_XDECREF(space);
    return text;
}

/* ---- life */

/* As __init__, on an object that is fresh or not. */
static int
stream_reader_init(StreamReader *r, struct state *st, PyObject *limit, PyObject *loop_or_none)
{
    PyObject *zero = PyLong_FromLong(0);
    int is_too_small = zero == NULL ? -1 : PyObject_RichCompareBool(limit, zero, Py_LE);
    Py_XDECREF(zero);
    if (is_too_small != 0) {
        if (is_too_small > 0) {
            PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
        }
        return -1;
    }
    if (stream_reader_set_limit(r, limit) < 0) {
        return -1;
    }
    PyObject *loop = stream_take_loop(st, loop_or_none);
    if (loop == NULL) {
        return -1;
    }
    Py_XSETREF(r->loop, Py_NewRef(loop));
    r->eof = r->paused = false;
    stream_buffer_free(&r->buffer);
    Py_CLEAR(r->waiter);
    Py_CLEAR(r->exception);
    Py_CLEAR(r->transport);
    int is_debug = stream_loop_is_debug(st, loop);
    Py_DECREF(loop);
    if (is_debug > 0) {
        PyObject *source = PyObject_CallNoArgs(st->extract_stack);
        Py_XSETREF(r->source_traceback, source);
        is_debug = source == NULL ? -1 : 0;
    }
    return is_debug;
}

static int
StreamReader_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"limit", "loop"};
    static const struct args_signature signature = {"StreamReader.__init__", names, 0, 2, 2, true};
    struct state *st = state_of(self);
    PyObject *given[2];
    if (args_bind_tuple(&signature, args, kwargs, given) < 0) {
        return -1;
    }
    return stream_reader_init((StreamReader *)self, st, given[0] == NULL ? st->stream_limit : given[0],
                              given[1] == NULL ? Py_None : given[1]);
}

static PyObject *
stream_reader_new(struct state *st, PyObject *limit, PyObject *loop)
{
    PyObject *self = st->StreamReader_type->tp_alloc(st->StreamReader_type, 0);
    if (self != NULL && stream_reader_init((StreamReader *)self, st, limit, loop) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int
StreamReader_traverse(PyObject *self, visitproc visit, void *arg)
{
    StreamReader *r = (StreamReader *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(r->buffer.shown);
    Py_VISIT(r->loop);
    Py_VISIT(r->waiter);
    Py_VISIT(r->exception);
    Py_VISIT(r->transport);
    Py_VISIT(r->limit);
    Py_VISIT(r->source_traceback);
    Py_VISIT(r->dict);
    return 0;
}

static int
StreamReader_clear(PyObject *self)
{
    StreamReader *r = (StreamReader *)self;
    stream_buffer_free(&r->buffer);
    Py_CLEAR(r->loop);
    Py_CLEAR(r->waiter);
    Py_CLEAR(r->exception);
    Py_CLEAR(r->transport);
    Py_CLEAR(r->limit);
    Py_CLEAR(r->source_traceback);
    Py_CLEAR(r->dict);
    return 0;
}

static void
StreamReader_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((StreamReader *)self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, StreamReader_dealloc)
    StreamReader_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* ---- the type */

PyDoc_STRVAR(StreamReader_doc,
             "StreamReader(limit=65536, loop=None)\n--\n\n"
             "Bytes that a transport brings, read by coroutines.\n\n"
             "limit: of a line or a message, in bytes; half of what is kept before the transport is paused.  loop: "
             "None is the running one.\n"
             "Raises: ValueError (limit <= 0).  Source: asyncio.StreamReader.  Differs: _buffer must be a bytearray.");

ARGS_NAMED(StreamReader_feed_data_named, StreamReader_feed_data, "StreamReader.feed_data", "data")
ARGS_NAMED(StreamReader_set_exception_named, StreamReader_set_exception, "StreamReader.set_exception", "exc")
ARGS_NAMED(StreamReader_set_transport_named, StreamReader_set_transport, "StreamReader.set_transport", "transport")

static PyMethodDef StreamReader_methods[] = {
    {ARGS_NAMED_METHOD("feed_data", StreamReader_feed_data_named), StreamReader_feed_data_doc},
    STREAM_METHOD(StreamReader, feed_eof, METH_NOARGS, PyDoc_STR("feed_eof($self)\n--\n\nNo more bytes will come.")),
    STREAM_METHOD(StreamReader, at_eof, METH_NOARGS,
                  PyDoc_STR("at_eof($self)\n--\n\nTrue when the end has come and all was read.")),
    STREAM_METHOD(StreamReader, exception, METH_NOARGS,
                  PyDoc_STR("exception($self)\n--\n\nWhat set_exception() was given, or None.")),
    {ARGS_NAMED_METHOD("set_exception", StreamReader_set_exception_named),
     PyDoc_STR("set_exception($self, exc)\n--\n\nEvery read raises exc from now on, the one that waits included.")},
    {ARGS_NAMED_METHOD("set_transport", StreamReader_set_transport_named),
     PyDoc_STR("set_transport($self, transport)\n--\n\nWhom to pause and resume.")},
    STREAM_METHOD(StreamReader, _wakeup_waiter, METH_NOARGS, NULL),
    STREAM_METHOD(StreamReader, _maybe_resume_transport, METH_NOARGS, NULL),
    STREAM_METHOD(StreamReader, _replace_transport, METH_O, NULL),
    {NULL},
};

static const char *const StreamReader_copied[] = {
    "_limit", "_loop", "_buffer", "_eof", "_waiter", "_exception", "_transport", "_paused", "?_source_traceback", NULL,
};

static PyGetSetDef StreamReader_getset[] = {
    {"__class__", twin_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_buffer", StreamReader_get_buffer, StreamReader_set_buffer},
    {"_limit", twin_get_field, StreamReader_set_limit, NULL, (void *)offsetof(StreamReader, limit)},
    STREAM_FIELD(StreamReader, "_loop", loop),
    STREAM_FIELD(StreamReader, "_waiter", waiter),
    STREAM_FIELD(StreamReader, "_exception", exception),
    STREAM_FIELD(StreamReader, "_transport", transport),
    STREAM_FIELD(StreamReader, "_source_traceback", source_traceback),
    {NULL},
};

static PyMemberDef StreamReader_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(StreamReader, weakrefs), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(StreamReader, dict), READONLY},
    {"_eof", T_BOOL, offsetof(StreamReader, eof)},
    {"_paused", T_BOOL, offsetof(StreamReader, paused)},
    {NULL},
};

static PyType_Slot StreamReader_slots[] = {
    {Py_tp_doc, (void *)StreamReader_doc},   {Py_tp_init, StreamReader_init},
    {Py_tp_traverse, StreamReader_traverse}, {Py_tp_clear, StreamReader_clear},
    {Py_tp_dealloc, StreamReader_dealloc},   {Py_tp_repr, StreamReader_repr},
    {Py_tp_methods, StreamReader_methods},   {Py_tp_getset, StreamReader_getset},
    {Py_tp_members, StreamReader_members},   {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, StreamReader_anext},       {0, NULL},
};

static PyType_Spec StreamReader_spec = {
    .name = "asyncloop.StreamReader",
    .basicsize = sizeof(StreamReader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = StreamReader_slots,
};

static int
stream_reader_register(PyObject *module, struct state *st)
{
    if ((st->stream_limit = PyLong_FromLong(STREAM_DEFAULT_LIMIT)) == NULL) {
        return -1;
    }
    if (state_add_type(module, &st->StreamReader_type, &StreamReader_spec, NULL, true, SECTION_AT(StreamReader, loop))
            < 0
        || twin_adopt(st, st->StreamReader_type, TWIN_STREAMS, "asyncio.streams", "StreamReader") < 0
        || twin_add_copying(st, st->StreamReader_type, StreamReader_copied) < 0) {
        return -1;
    }
    return stream_read_register(module, st);
}
