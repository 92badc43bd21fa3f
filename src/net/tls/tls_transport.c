/* net/tls/tls_transport.c -- TLSTransport, what the user's protocol writes to: asyncio.Transport's methods. */
#include "net/tls/tls.h"

#include "core/ask.h"

static TLSTransport *
tls_transport_new(TLSProtocol *p)
{
    PyTypeObject *type = p->loop->st->TLSTransport_type;
    TLSTransport *t = (TLSTransport *)type->tp_alloc(type, 0);
    if (t != NULL) {
        t->tls = (TLSProtocol *)Py_NewRef((PyObject *)p);
    }
    return t;
}

/* ---- writing */

PyDoc_STRVAR(TLSTransport_write_doc,
             "write($self, data)\n--\n\n"
             "Encrypt and send data; never blocks.\n\n"
             "data: bytes (kept by reference), bytearray or memoryview (copied: may be changed right after the call).\n"
             "Returns: None.  Raises: TypeError.  Source: asyncio's transports.\n"
             "Differs: what one callback or task step writes leaves in one system call when it returns.");

static PyObject *
TLSTransport_write(PyObject *self, PyObject *data)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    if (UNLIKELY(!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data))) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %U", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    if (UNLIKELY(!tls_write_is_open(p))) {
        Py_ssize_t length = PyObject_Size(data);
        return length < 0 || (length > 0 && tls_write_count_lost(p) < 0) ? NULL : Py_NewRef(Py_None);
    }
    if (tls_write(p, data) < 0 || (p->backlog.n > 0 && tls_write_soon(p) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(TLSTransport_writelines_doc, "writelines($self, list_of_data)\n--\n\n"
                                          "Encrypt and send several pieces of data.\n\n"
                                          "list_of_data: an iterable of bytes-like objects.\n"
                                          "Returns: None.  Raises: TypeError.  Source: asyncio's transports.");

static PyObject *
TLSTransport_writelines(PyObject *self, PyObject *lines)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    if (!tls_write_is_open(p)) {
        return tls_write_count_lost(p) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *items = PySequence_Tuple(lines);
    int rc = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(items); i++) {
        rc = tls_write(p, PyTuple_GET_ITEM(items, i));
    }
    Py_XDECREF(items);
    if (rc < 0 || (p->backlog.n > 0 && tls_write_soon(p) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
TLSTransport_write_eof(PyObject *self, PyObject *unused)
{
    PyErr_SetNone(PyExc_NotImplementedError); /* TLS has no half-closed connections */
    return NULL;
}

static PyObject *
TLSTransport_can_write_eof(PyObject *self, PyObject *unused)
{
    Py_RETURN_FALSE;
}

/* ---- flow control */

static PyObject *
TLSTransport_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    if (tls_is_pulled(p) && transport_flush(p->raw) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(tls_write_n_above(p));
}

static PyObject *
TLSTransport_get_write_buffer_limits(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    return limits_as_tuple(&p->limits);
}

PyDoc_STRVAR(TLSTransport_set_write_buffer_limits_doc,
             "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
             "Set the water marks: pause_writing at or above high, resume_writing at or below low.\n\n"
             "high, low: bytes; None: high is 512 KiB or 4 * low, low is high // 4.\n"
             "Returns: None.  Raises: ValueError unless high >= low >= 0.  Source: asyncio's transports.");

static PyObject *
TLSTransport_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    if (limits_parse(&p->limits, "_SSLProtocolTransport.set_write_buffer_limits", args, kwargs, TLS_WRITE_HIGH_DEFAULT,
                     true)
            < 0
        || (tls_is_pulled(p) && transport_flush(p->raw) < 0) || tls_write_control(p, true) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(TLSTransport_set_read_buffer_limits_doc,
             "set_read_buffer_limits($self, high=None, low=None)\n--\n\n"
             "Set how much ciphertext may wait while reading is paused, before the transport below is paused too.\n\n"
             "high, low: bytes; None: high is 256 KiB or 4 * low, low is high // 4.\n"
             "Returns: None.  Raises: ValueError unless high >= low >= 0.  Source: asyncio's transports.");

static PyObject *
TLSTransport_set_read_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    if (limits_parse(&p->read_limits, "_SSLProtocolTransport.set_read_buffer_limits", args, kwargs,
                     TLS_READ_HIGH_DEFAULT, true)
            < 0
        || tls_control_reading(p) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
TLSTransport_get_read_buffer_limits(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    return limits_as_tuple(&p->read_limits);
}

static PyObject *
TLSTransport_get_read_buffer_size(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    Py_ssize_t n = p->engine.ops->n_fed(&p->engine);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* ---- reading */

static PyObject *
TLSTransport_pause_reading(PyObject *self, PyObject *unused)
{
    ((TLSTransport *)self)->tls->reading_paused = true;
    Py_RETURN_NONE;
}

static PyObject *
TLSTransport_resume_reading(PyObject *self, PyObject *unused)
{
    return tls_resume_reading(((TLSTransport *)self)->tls) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TLSTransport_is_reading(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(!((TLSTransport *)self)->tls->reading_paused);
}

/* ---- the protocol */

static PyObject *
TLSTransport_set_protocol(PyObject *self, PyObject *protocol)
{
    TLSProtocol *p = ((TLSTransport *)self)->tls;
    return protocol_set(p->loop->st, &p->app, protocol) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TLSTransport_get_protocol(PyObject *self, PyObject *unused)
{
    PyObject *protocol = ((TLSTransport *)self)->tls->app.object;
    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

/* ---- the end */

/* Also while the end that has come waits for reading to be resumed: writes go nowhere from then on, and a sendfile must
 * notice. */
static PyObject *
TLSTransport_is_closing(PyObject *self, PyObject *unused)
{
    TLSTransport *t = (TLSTransport *)self;
    if (t->tls->eof_received && t->tls->reading_paused) {
        Py_RETURN_TRUE;
    }
    if (t->closed || t->tls->transport == NULL) {
        return PyBool_FromLong(t->closed);
    }
    PyObject *below = Py_NewRef(t->tls->transport);
    int is_true = ask_truth(PyObject_CallMethod(below, "is_closing", NULL));
    Py_DECREF(below);
    return is_true < 0 ? NULL : PyBool_FromLong(is_true);
}

PyDoc_STRVAR(
    TLSTransport_close_doc,
    "close($self, /)\n--\n\n"
    "Send what was written and the TLS goodbye, wait for the peer's, then call connection_lost from the loop.\n\n"
    "Returns: None.  Source: asyncio's transports.");

static PyObject *
TLSTransport_close(PyObject *self, PyObject *unused)
{
    TLSTransport *t = (TLSTransport *)self;
    if (!t->closed) {
        t->closed = true;
        if (tls_close(t->tls) < 0) {
            return NULL;
        }
    }
    else {
        tls_forget(t->tls);
    }
    Py_RETURN_NONE;
}

/* _force_close(exc): abort(), with a reason. */
static PyObject *
TLSTransport__force_close(PyObject *self, PyObject *exception)
{
    TLSTransport *t = (TLSTransport *)self;
    t->closed = true;
    return tls_abort(t->tls, exception) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TLSTransport_abort(PyObject *self, PyObject *unused)
{
    return TLSTransport__force_close(self, Py_None);
}

PyDoc_STRVAR(TLSTransport_get_extra_info_doc, "get_extra_info($self, name, default=None)\n--\n\n"
                                              "Facts about the connection: 'ssl_object', 'sslcontext', 'peercert', "
                                              "'cipher', 'compression', and those of the transport below.\n\n"
                                              "Returns: the value, or default.  Source: asyncio's transports.");

static PyObject *
TLSTransport_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *fallback;
    if (transport_parse_get_extra("_SSLProtocolTransport.get_extra_info", args, kwargs, &name, &fallback) < 0) {
        return NULL;
    }
    return tls_get_extra(((TLSTransport *)self)->tls, name, fallback);
}

/* _test__append_write_backlog(data): CPython's test_ssl fills the backlog with it. */
static PyObject *
TLSTransport__test__append_write_backlog(PyObject *self, PyObject *data)
{
    return tls_write(((TLSTransport *)self)->tls, data) < 0 ? NULL : Py_NewRef(Py_None);
}

ARGS_NAMED(TLSTransport_write_named, TLSTransport_write, "_SSLProtocolTransport.write", "data")
ARGS_NAMED(TLSTransport_writelines_named, TLSTransport_writelines, "_SSLProtocolTransport.writelines", "list_of_data")
ARGS_NAMED(TLSTransport_set_protocol_named, TLSTransport_set_protocol, "_SSLProtocolTransport.set_protocol", "protocol")
ARGS_NAMED(TLSTransport__force_close_named, TLSTransport__force_close, "_SSLProtocolTransport._force_close", "exc")
ARGS_NAMED(TLSTransport__test__append_write_backlog_named, TLSTransport__test__append_write_backlog,
           "_SSLProtocolTransport._test__append_write_backlog", "data")

static PyMethodDef TLSTransport_methods[] = {
    {ARGS_NAMED_METHOD("write", TLSTransport_write_named), TLSTransport_write_doc},
    {ARGS_NAMED_METHOD("writelines", TLSTransport_writelines_named), TLSTransport_writelines_doc},
    {"write_eof", TLSTransport_write_eof, METH_NOARGS,
     PyDoc_STR("write_eof($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"can_write_eof", TLSTransport_can_write_eof, METH_NOARGS,
     PyDoc_STR("can_write_eof($self, /)\n--\n\nReturns: False.")},
    {"pause_reading", TLSTransport_pause_reading, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nDeliver nothing until resume_reading().")},
    {"resume_reading", TLSTransport_resume_reading, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nDeliver again.")},
    {"is_reading", TLSTransport_is_reading, METH_NOARGS, PyDoc_STR("is_reading($self, /)\n--\n\nFalse while paused.")},
    {"get_write_buffer_size", TLSTransport_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nBytes that the kernel has not taken.")},
    {"get_write_buffer_limits", TLSTransport_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes.")},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))TLSTransport_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS, TLSTransport_set_write_buffer_limits_doc},
    {"set_read_buffer_limits", (PyCFunction)(void (*)(void))TLSTransport_set_read_buffer_limits,
     METH_VARARGS | METH_KEYWORDS, TLSTransport_set_read_buffer_limits_doc},
    {"get_read_buffer_limits", TLSTransport_get_read_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_read_buffer_limits($self, /)\n--\n\n(low, high), in bytes.")},
    {"get_read_buffer_size", TLSTransport_get_read_buffer_size, METH_NOARGS,
     PyDoc_STR("get_read_buffer_size($self, /)\n--\n\nBytes that have come and were not decrypted yet.")},
    {ARGS_NAMED_METHOD("set_protocol", TLSTransport_set_protocol_named),
     PyDoc_STR("set_protocol($self, protocol)\n--\n\nWho gets the events from now on.")},
    {"get_protocol", TLSTransport_get_protocol, METH_NOARGS,
     PyDoc_STR("get_protocol($self, /)\n--\n\nWho gets the events; None in the end.")},
    {"is_closing", TLSTransport_is_closing, METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTrue once closing or closed.")},
    {"close", TLSTransport_close, METH_NOARGS, TLSTransport_close_doc},
    {"abort", TLSTransport_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nEnd the connection, what is queued is lost; connection_lost(None) comes from "
               "the loop.")},
    {"get_extra_info", (PyCFunction)(void (*)(void))TLSTransport_get_extra_info, METH_VARARGS | METH_KEYWORDS,
     TLSTransport_get_extra_info_doc},
    {ARGS_NAMED_METHOD("_force_close", TLSTransport__force_close_named), Transport__force_close_doc},
    {ARGS_NAMED_METHOD("_test__append_write_backlog", TLSTransport__test__append_write_backlog_named), NULL},
    {NULL},
};

/* ---- attributes */

static PyObject *
TLSTransport_get_class(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->asyncio_tls_transport);
}

static PyObject *
TLSTransport_get_true(PyObject *self, void *unused)
{
    Py_RETURN_TRUE;
}

static PyObject *
TLSTransport_get_sendfile_mode(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->sendfile_fallback);
}

static PyObject *
TLSTransport_get_loop(PyObject *self, void *unused)
{
    return Py_NewRef((PyObject *)((TLSTransport *)self)->tls->loop);
}

static PyObject *
TLSTransport_get_paused(PyObject *self, void *unused)
{
    return PyBool_FromLong(((TLSTransport *)self)->tls->writing_paused);
}

static PyGetSetDef TLSTransport_getset[] = {
    {"__class__", TLSTransport_get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_start_tls_compatible", TLSTransport_get_true, NULL, NULL, NULL},
    {"_sendfile_compatible", TLSTransport_get_sendfile_mode, NULL, NULL, NULL},
    {"_loop", TLSTransport_get_loop, NULL, NULL, NULL},
    {"_protocol_paused", TLSTransport_get_paused, NULL, NULL, NULL},
    {NULL},
};

static PyMemberDef TLSTransport_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TLSTransport, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(TLSTransport, dict), READONLY, NULL},
    {"_ssl_protocol", T_OBJECT, offsetof(TLSTransport, tls), READONLY, NULL},
    {"_closed", T_BOOL, offsetof(TLSTransport, closed), READONLY, NULL},
    {NULL},
};

/* ---- life and death */

static int
TLSTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    TLSTransport *t = (TLSTransport *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->tls);
    Py_VISIT(t->dict);
    return 0;
}

/* The TLSProtocol stays for dealloc: it breaks the cycle, and every method needs it. */
static int
TLSTransport_clear(PyObject *self)
{
    Py_CLEAR(((TLSTransport *)self)->dict);
    return 0;
}

static void
TLSTransport_finalize(PyObject *self)
{
    TLSTransport *t = (TLSTransport *)self;
    if (t->closed) {
        return;
    }
    t->closed = true;
    PyObject *raised = compat_take_raised();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport <asyncio._SSLProtocolTransport object>") < 0) {
        PyErr_WriteUnraisable(self);
    }
    compat_set_raised(raised);
}

static void
TLSTransport_dealloc(PyObject *self)
{
    TLSTransport *t = (TLSTransport *)self;
    if (!t->closed && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* resurrected */
    }
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (t->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, TLSTransport_dealloc)
    Py_CLEAR(t->dict);
    Py_CLEAR(t->tls);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot TLSTransport_slots[] = {
    {Py_tp_doc, "A TLS transport of asyncloop; isinstance of asyncio.Transport."},
    {Py_tp_methods, TLSTransport_methods},
    {Py_tp_getset, TLSTransport_getset},
    {Py_tp_members, TLSTransport_members},
    {Py_tp_traverse, TLSTransport_traverse},
    {Py_tp_clear, TLSTransport_clear},
    {Py_tp_finalize, TLSTransport_finalize},
    {Py_tp_dealloc, TLSTransport_dealloc},
    {0, NULL},
};

static PyType_Spec TLSTransport_spec = {
    .name = "asyncloop._asyncloop._SSLProtocolTransport",
    .basicsize = sizeof(TLSTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = TLSTransport_slots,
};

static int
tls_transport_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->TLSTransport_type, &TLSTransport_spec, NULL, true,
                          SECTION_VIA(TLSTransport, tls, TLSProtocol, loop));
}
