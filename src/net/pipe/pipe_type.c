/* net/pipe/pipe_type.c -- the Python faces of Pipe: asyncio's methods of a read pipe's and of a write pipe's transport.
 */
#include "net/pipe/pipe.h"

#include "core/raise.h"

/* ---- both */

PyDoc_STRVAR(Pipe_get_extra_info_doc, "get_extra_info($self, name, default=None)\n--\n\n"
                                      "Facts about the transport: 'pipe', the object it was made of.\n\n"
                                      "Returns: the value, or default.  Source: asyncio's transports.");

static PyObject *
Pipe_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *fallback;
    if (transport_parse_get_extra("BaseTransport.get_extra_info", args, kwargs, &name, &fallback) < 0) {
        return NULL;
    }
    PyObject *extra = Py_XNewRef(((Transport *)self)->extra); /* held, as the name's __eq__ may set another one */
    PyObject *value = extra == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(extra, name));
    Py_XDECREF(extra);
    return value != NULL || PyErr_Occurred() ? value : Py_NewRef(fallback);
}

static PyObject *
Pipe_close(PyObject *self, PyObject *unused)
{
    Pipe *p = (Pipe *)self;
    int rc = p->base.closing ? 0 : p->is_writer ? pipe_write_eof(p) : pipe_lose_soon(p, NULL);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What asyncio's _read_ready does; here for the name of a handle in a report. */
static PyObject *
Pipe__read_ready(PyObject *self, PyObject *unused)
{
    Transport *t = (Transport *)self;
    if (t->ops->on_readable(t->loop, self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- writing */

PyDoc_STRVAR(Pipe_write_doc,
             "write($self, data)\n--\n\n"
             "Write data; never blocks.\n\n"
             "data: bytes, bytearray or memoryview; what the pipe does not take now is kept (a copy, unless bytes).\n"
             "Returns: None.  Raises: AssertionError (data is none of these).  Source: asyncio's transports.");

static PyObject *
Pipe_write(PyObject *self, PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_AssertionError, "%R", data);
        return NULL;
    }
    if (pipe_write((Pipe *)self, data) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Pipe_writelines(PyObject *self, PyObject *lines)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *data = empty == NULL ? NULL : PyObject_CallMethod(empty, "join", "(O)", lines);
    int rc = data == NULL ? -1 : pipe_write((Pipe *)self, data);
    Py_XDECREF(empty);
    Py_XDECREF(data);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Pipe_write_eof(PyObject *self, PyObject *unused)
{
    if (pipe_write_eof((Pipe *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Pipe_abort(PyObject *self, PyObject *unused)
{
    if (pipe_lose_soon((Pipe *)self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Pipe_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    return PyLong_FromSize_t(((Transport *)self)->out.n_bytes);
}

static PyObject *
Pipe_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Pipe *p = (Pipe *)self;
    if (limits_parse(&p->base.limits, "_FlowControlMixin.set_write_buffer_limits", args, kwargs, TRANSPORT_HIGH_DEFAULT,
                     false)
            < 0
        || transport_maybe_pause_protocol(&p->base, p->base.out.n_bytes) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* _fatal_error(exc, message): what asyncio's transports call for an error that ends them. */
static PyObject *
Pipe__fatal_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"exc", "message", NULL};
    PyObject *exception;
    const char *message = "Fatal error on pipe transport";
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|s:_fatal_error", (char **)names, PyExc_BaseException, &exception,
                                     &message)) {
        return NULL;
    }
    compat_set_raised(Py_NewRef(exception));
    if (pipe_fatal_error((Pipe *)self, message) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

ARGS_NAMED(Pipe_write_named, Pipe_write, "_UnixWritePipeTransport.write", "data")
ARGS_NAMED(Pipe_writelines_named, Pipe_writelines, "WriteTransport.writelines", "list_of_data")
ARGS_NAMED(ReadPipe_set_protocol, Transport_set_protocol, "_UnixReadPipeTransport.set_protocol", "protocol")
ARGS_NAMED(WritePipe_set_protocol, Transport_set_protocol, "_UnixWritePipeTransport.set_protocol", "protocol")

#define PIPE_METHODS                                                                                                         \
    {"get_extra_info", (PyCFunction)(void (*)(void))Pipe_get_extra_info, METH_VARARGS | METH_KEYWORDS, Pipe_get_extra_info_doc}, \
    {"get_protocol", Transport_get_protocol, METH_NOARGS, PyDoc_STR("get_protocol($self, /)\n--\n\nWho gets the events; None in the end.")}, \
    {"is_closing", Transport_is_closing, METH_NOARGS, PyDoc_STR("is_closing($self, /)\n--\n\nTrue once closing or closed.")},     \
    {"_read_ready", Pipe__read_ready, METH_NOARGS, NULL},                                                                    \
    {"_fatal_error", (PyCFunction)(void (*)(void))Pipe__fatal_error, METH_VARARGS | METH_KEYWORDS, NULL}

PyDoc_STRVAR(Pipe_set_protocol_doc, "set_protocol($self, protocol)\n--\n\nWho gets the events from now on.");

static PyMethodDef ReadPipe_methods[] = {
    PIPE_METHODS,
    {ARGS_NAMED_METHOD("set_protocol", ReadPipe_set_protocol), Pipe_set_protocol_doc},
    {"pause_reading", Transport_pause_reading, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nRead nothing until resume_reading().")},
    {"resume_reading", Transport_resume_reading, METH_NOARGS, PyDoc_STR("resume_reading($self, /)\n--\n\nRead again.")},
    {"is_reading", Transport_is_reading, METH_NOARGS,
     PyDoc_STR("is_reading($self, /)\n--\n\nFalse while paused, and once closing.")},
    {"close", Pipe_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nRead no more; connection_lost(None) comes from the loop.")},
    {NULL},
};

static PyMethodDef WritePipe_methods[] = {
    PIPE_METHODS,
    {ARGS_NAMED_METHOD("set_protocol", WritePipe_set_protocol), Pipe_set_protocol_doc},
    {ARGS_NAMED_METHOD("write", Pipe_write_named), Pipe_write_doc},
    {ARGS_NAMED_METHOD("writelines", Pipe_writelines_named),
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nwrite(b''.join(list_of_data)).")},
    {"can_write_eof", Transport_can_write_eof, METH_NOARGS, PyDoc_STR("can_write_eof($self, /)\n--\n\nReturns: True.")},
    {"pause_reading", Transport_raise_not_implemented, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"resume_reading", Transport_raise_not_implemented, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"is_reading", Transport_raise_not_implemented, METH_NOARGS,
     PyDoc_STR("is_reading($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"write_eof", Pipe_write_eof, METH_NOARGS, PyDoc_STR("write_eof($self, /)\n--\n\nThe same as close().")},
    {"get_write_buffer_size", Pipe_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nBytes that the pipe has not taken.")},
    {"get_write_buffer_limits", Transport_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes.")},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))Pipe_set_write_buffer_limits, METH_VARARGS | METH_KEYWORDS,
     Transport_set_write_buffer_limits_doc},
    {"close", Pipe_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nWrite what is queued, then call connection_lost(None) from the loop.")},
    {"abort", Pipe_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nWhat is queued is lost; connection_lost(None) comes from the loop.")},
    {NULL},
};

/* ---- attributes */

static PyObject *
ReadPipe_get_class(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->asyncio_read_pipe);
}

/* A Transport, though it reads nothing: asyncio's takes its flow control from there. */
static PyObject *
WritePipe_get_class(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->asyncio_write_pipe);
}

static PyObject *
Pipe_get_loop(PyObject *self, void *unused)
{
    Pipe *p = (Pipe *)self;
    return Py_NewRef(p->file == NULL ? Py_None : (PyObject *)p->base.loop);
}

static PyObject *
Pipe_get_file(PyObject *self, void *unused)
{
    PyObject *file = ((Pipe *)self)->file;
    return Py_NewRef(file != NULL ? file : Py_None);
}

/* transport._pipe = None: from now on the program closes the file. */
static int
Pipe_set_file(PyObject *self, PyObject *value, void *unused)
{
    Py_XSETREF(((Pipe *)self)->file, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *
Pipe_get_buffer(PyObject *self, void *unused)
{
    return outq_to_bytearray(&((Transport *)self)->out);
}

static PyObject *
Pipe_get_extra(PyObject *self, void *unused)
{
    PyObject *extra = ((Transport *)self)->extra;
    return Py_NewRef(extra != NULL ? extra : Py_None);
}

#define PIPE_GETSET(get_class)                                                                                               \
    {"__class__", get_class, NULL, NULL, NULL},                                                                              \
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},                                              \
    {"_loop", Pipe_get_loop, NULL, NULL, NULL},                                                                              \
    {"_pipe", Pipe_get_file, Pipe_set_file, NULL, NULL},                                                                          \
    {"_protocol", Transport_get_protocol_attr, Transport_set_protocol_attr, NULL, NULL},                                               \
    {"_protocol_paused", Transport_get_paused, NULL, NULL, NULL},                                                            \
    TRANSPORT_LIMITS_GETSET,                                                                                                 \
    {"_extra", Pipe_get_extra, Transport_set_extra_attr, NULL, NULL}

static PyGetSetDef ReadPipe_getset[] = {
    PIPE_GETSET(ReadPipe_get_class), {"max_size", Transport_get_max_size, NULL, NULL, NULL}, {NULL}};
static PyGetSetDef WritePipe_getset[] = {
    PIPE_GETSET(WritePipe_get_class), {"_buffer", Pipe_get_buffer, NULL, NULL, NULL}, {NULL}};

static PyMemberDef Pipe_members[] = {
    TRANSPORT_MEMBERS,
    {"_fileno", T_INT, offsetof(Transport, fd), READONLY, NULL},
    {NULL},
};

static PyObject *
Pipe_repr(PyObject *self)
{
    Pipe *p = (Pipe *)self;
    const char *name = p->is_writer ? "_UnixWritePipeTransport" : "_UnixReadPipeTransport";
    const char *state = p->file == NULL ? " closed" : p->base.closing ? " closing" : "";
    if (p->file == NULL || p->base.loop->state == LOOP_CLOSED) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, p->base.fd, p->file == NULL ? "closed" : "open");
    }
    if (p->is_writer) {
        return PyUnicode_FromFormat("<%s%s fd=%d %s bufsize=%zu>", name, state, p->base.fd,
                                    p->base.write_watched ? "polling" : "idle", p->base.out.n_bytes);
    }
    return PyUnicode_FromFormat("<%s%s fd=%d %s>", name, state, p->base.fd, p->base.read_watched ? "polling" : "idle");
}

/* ---- life and death */

static int
Pipe_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Pipe *)self)->file);
    return Transport_traverse(self, visit, arg);
}

/* The loop stays for dealloc; the file was closed by the finalizer. */
static int
Pipe_clear(PyObject *self)
{
    Py_CLEAR(((Pipe *)self)->file);
    return Transport_clear(self);
}

static void
Pipe_finalize(PyObject *self)
{
    Pipe *p = (Pipe *)self;
    if (p->file == NULL) {
        return;
    }
    PyObject *raised = compat_take_raised();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0) {
        PyErr_WriteUnraisable(self);
    }
    compat_set_raised(raised);
    p->base.closing = p->losing = true;
    pipe_release(p);
}

static void
Pipe_dealloc(PyObject *self)
{
    Pipe *p = (Pipe *)self;
    if (p->file != NULL && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* resurrected */
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (p->base.weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, Pipe_dealloc)
    outq_clear(&p->base.out);
    Pipe_clear(self);
    Py_CLEAR(p->base.loop);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

#define PIPE_SLOTS(methods, getset, doc)                                                                                     \
    {Py_tp_doc, doc}, {Py_tp_methods, methods}, {Py_tp_getset, getset}, {Py_tp_members, Pipe_members}, {Py_tp_repr, Pipe_repr}, \
    {Py_tp_traverse, Pipe_traverse}, {Py_tp_clear, Pipe_clear}, {Py_tp_finalize, Pipe_finalize}, {Py_tp_dealloc, Pipe_dealloc}, {0, NULL},

static PyType_Slot ReadPipe_slots[] = {
    PIPE_SLOTS(ReadPipe_methods, ReadPipe_getset, "Reads from a pipe; isinstance of asyncio.ReadTransport.")};
static PyType_Slot WritePipe_slots[] = {PIPE_SLOTS(WritePipe_methods, WritePipe_getset,
                                                   "Writes to a pipe; isinstance of asyncio.Transport, as asyncio's.")};

static PyType_Spec ReadPipe_spec = {
    .name = "asyncloop._asyncloop._UnixReadPipeTransport",
    .basicsize = sizeof(Pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = ReadPipe_slots,
};

static PyType_Spec WritePipe_spec = {
    .name = "asyncloop._asyncloop._UnixWritePipeTransport",
    .basicsize = sizeof(Pipe),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = WritePipe_slots,
};

static int
pipe_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->ReadPipeTransport_type, &ReadPipe_spec, NULL, true, SECTION_AT(Transport, loop))
        < 0) {
        return -1;
    }
    return state_add_type(module, &st->WritePipeTransport_type, &WritePipe_spec, NULL, true,
                          SECTION_AT(Transport, loop));
}

/* ---- the loop's methods */

static PyObject *
pipe_parse_and_open(PyObject *self, PyObject *args, PyObject *kwargs, bool is_writer)
{
    static const char *const names[] = {"pipe", "protocol", "waiter", "extra", NULL};
    PyObject *file, *protocol, *waiter = Py_None, *extra = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs,
                                     is_writer ? "OO|OO:_make_write_pipe_transport" : "OO|OO:_make_read_pipe_transport",
                                     (char **)names, &file, &protocol, &waiter, &extra)) {
        return NULL;
    }
    if (extra != Py_None && !PyDict_Check(extra)) {
        PyErr_Format(PyExc_TypeError, "extra must be a dict or None, not %R", extra);
        return NULL;
    }
    return (PyObject *)pipe_open((Loop *)self, file, protocol, waiter == Py_None ? NULL : waiter, extra, is_writer);
}

static PyObject *
Loop__make_read_pipe_transport(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return pipe_parse_and_open(self, args, kwargs, false);
}

static PyObject *
Loop__make_write_pipe_transport(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return pipe_parse_and_open(self, args, kwargs, true);
}
