/* net/conn/protocol.c -- the calls of the protocol's methods by name, and of a sink's functions. */
#include "net/conn/protocol.h"

#include "core/ask.h"
#include "core/handle.h"

static inline void
protocol_register_sink(struct state *st, PyTypeObject *type, const struct sink *sink)
{
    for (int i = 0; i < STATE_SINKS_MAX; i++) {
        if (st->sinks[i].type == NULL) {
            st->sinks[i].type = type;
            st->sinks[i].sink = sink;
            return;
        }
    }
    Py_FatalError("asyncloop: more kinds of sink than STATE_SINKS_MAX");
}

static const struct sink *
protocol_find_sink(const struct state *st, const PyTypeObject *type)
{
    for (int i = 0; i < STATE_SINKS_MAX && st->sinks[i].type != NULL; i++) {
        if (st->sinks[i].type == type) {
            return st->sinks[i].sink;
        }
    }
    return NULL;
}

static int
protocol_check(struct state *st, PyObject *object)
{
    PyObject *method = PyObject_GetAttr(object, st->str.connection_made);
    Py_XDECREF(method);
    return method == NULL ? -1 : 0;
}

static int
protocol_set(struct state *st, struct protocol *p, PyObject *object)
{
    int is_buffered = PyObject_IsInstance(object, st->BufferedProtocol);
    if (is_buffered < 0) {
        return -1;
    }
    p->is_buffered = is_buffered;
    p->sink = protocol_find_sink(st, Py_TYPE(object));
    Py_XSETREF(p->object, Py_NewRef(object));
    return 0;
}

static void
protocol_clear(struct protocol *p)
{
    p->sink = NULL;
    Py_CLEAR(p->object);
}

/* object.method([argument]); new reference. */
static inline PyObject *
protocol_call(struct protocol *p, PyObject *method, PyObject *argument)
{
    PyObject *object = Py_NewRef(p->object); /* the method may set another protocol */
    PyObject *args[2] = {object, argument};
    PyObject *result =
        PyObject_VectorcallMethod(method, args, (argument != NULL ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(object);
    return result;
}

static inline int
protocol_call_void(struct protocol *p, PyObject *method, PyObject *argument)
{
    PyObject *result = protocol_call(p, method, argument);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static int
protocol_call_connection_made(struct state *st, struct protocol *p, PyObject *transport)
{
    return protocol_call_void(p, st->str.connection_made, transport);
}

static int
protocol_call_on_bytes(struct protocol *p, const char *bytes, size_t n_bytes)
{
    PyObject *object = Py_NewRef(p->object); /* it may be replaced meanwhile */
    int rc = p->sink->on_bytes(object, bytes, n_bytes);
    Py_DECREF(object);
    return rc;
}

static inline int
protocol_try_bytes(struct protocol *p, const char *bytes, size_t n_bytes)
{
    return p->sink->try_bytes == NULL ? 0 : p->sink->try_bytes(p->object, bytes, n_bytes);
}

static inline int
protocol_call_data_received(struct state *st, struct protocol *p, PyObject *data)
{
    if (p->sink != NULL) {
        return protocol_call_on_bytes(p, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    }
    return protocol_call_void(p, st->str.data_received, data);
}

static int
protocol_call_datagram_received(struct state *st, struct protocol *p, PyObject *data, PyObject *address)
{
    PyObject *object = Py_NewRef(p->object); /* the method may set another protocol */
    PyObject *args[3] = {object, data, address};
    PyObject *result =
        PyObject_VectorcallMethod(st->str.datagram_received, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(object);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
protocol_call_error_received(struct state *st, struct protocol *p, PyObject *exception)
{
    return protocol_call_void(p, st->str.error_received, exception);
}

static int
protocol_call_get_buffer(struct state *st, struct protocol *p, Py_ssize_t size_hint, Py_buffer *view)
{
    PyObject *hint = PyLong_FromSsize_t(size_hint);
    PyObject *buffer = hint == NULL ? NULL : protocol_call(p, st->str.get_buffer, hint);
    Py_XDECREF(hint);
    if (buffer == NULL) {
        return -1;
    }
    int rc = PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE);
    Py_DECREF(buffer);
    if (rc < 0) {
        return -1;
    }
    if (view->len == 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        return -1;
    }
    return 0;
}

static int
protocol_call_buffer_updated(struct state *st, struct protocol *p, Py_ssize_t n_bytes)
{
    PyObject *n = PyLong_FromSsize_t(n_bytes);
    int rc = n == NULL ? -1 : protocol_call_void(p, st->str.buffer_updated, n);
    Py_XDECREF(n);
    return rc;
}

static int
protocol_call_eof_received(struct state *st, struct protocol *p)
{
    return ask_truth(protocol_call(p, st->str.eof_received, NULL));
}

static int
protocol_call_connection_lost(struct state *st, struct protocol *p, PyObject *exception_or_none)
{
    return protocol_call_void(p, st->str.connection_lost, exception_or_none);
}

static int
protocol_call_pause_writing(struct state *st, struct protocol *p)
{
    return protocol_call_void(p, st->str.pause_writing, NULL);
}

static int
protocol_call_resume_writing(struct state *st, struct protocol *p)
{
    return protocol_call_void(p, st->str.resume_writing, NULL);
}

static int
protocol_call_flow(Loop *loop, struct protocol *p, PyObject *transport, int (*call)(struct state *, struct protocol *),
                   const char *message)
{
    if (p->object == NULL || call(loop->st, p) == 0) {
        return 0;
    }
    return loop_report(loop, message, "transport", transport, "protocol", p->object != NULL ? p->object : Py_None,
                       NULL);
}
