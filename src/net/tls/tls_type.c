/* net/tls/tls_type.c -- the Python face of TLSProtocol: a protocol's methods for transports that are not ours, and its
 * making. */
#include "core/context.h"
#include "net/tls/tls.h"
#include "net/tls/tls_direct.h"
#include "net/tls/tls_portable.h"

/* ---- birth */

/* A timeout as given, or asyncio's default; asyncio's ValueError. New reference. */
static PyObject *
tls_check_timeout(PyObject *seconds, double seconds_default, const char *name)
{
    if (seconds == Py_None) {
        return PyFloat_FromDouble(seconds_default);
    }
    PyObject *zero = PyLong_FromLong(0);
    int is_bad = zero == NULL ? -1 : PyObject_RichCompareBool(seconds, zero, Py_LE);
    Py_XDECREF(zero);
    if (is_bad > 0) {
        PyErr_Format(PyExc_ValueError, "%s should be a positive number, got %S", name, seconds);
    }
    return is_bad == 0 ? Py_NewRef(seconds) : NULL;
}

/* The SSLObject, and the engine around it. */
static int
tls_open_engine(TLSProtocol *p, PyObject *server_hostname)
{
    struct state *st = p->loop->st;
    PyObject *in = PyObject_CallNoArgs(st->MemoryBIO), *out = in == NULL ? NULL : PyObject_CallNoArgs(st->MemoryBIO);
    PyObject *wrap = out == NULL ? NULL : PyObject_GetAttrString(p->sslcontext, "wrap_bio"), *object = NULL;
    if (wrap != NULL) {
        PyObject *args = PyTuple_Pack(2, in, out);
        PyObject *kwargs = args == NULL ? NULL
                                        : Py_BuildValue("{s:O,s:O}", "server_side", p->server_side ? Py_True : Py_False,
                                                        "server_hostname", server_hostname);
        object = kwargs == NULL ? NULL : PyObject_Call(wrap, args, kwargs);
        Py_XDECREF(kwargs);
        Py_XDECREF(args);
    }
    int rc = object == NULL ? -1 : 0;
    if (rc == 0 && Py_REFCNT(in) == 1 && Py_REFCNT(out) == 1) { /* a wrap_bio() of the program's may keep them */
        rc = tls_direct_open(st, &p->engine, object);
    }
    if (rc == 0) {
        rc = tls_portable_open(st, &p->engine, object, in, out);
    }
    Py_XDECREF(object);
    Py_XDECREF(wrap);
    Py_XDECREF(out);
    Py_XDECREF(in);
    return rc < 0 ? -1 : 0;
}

static int
tls_take_context(TLSProtocol *p, PyObject *sslcontext, PyObject *server_hostname)
{
    int is_given = PyObject_IsTrue(sslcontext);
    if (is_given < 0) {
        return -1;
    }
    p->sslcontext = is_given ? Py_NewRef(sslcontext)
                             : PyObject_CallFunction(p->loop->st->create_tls_context, "OO",
                                                     p->server_side ? Py_True : Py_False, server_hostname);
    return p->sslcontext == NULL ? -1 : 0;
}

/* Fill what may fail; p is new. */
static int
tls_init(TLSProtocol *p, PyObject *app, PyObject *sslcontext, PyObject *server_hostname, PyObject *handshake_timeout,
         PyObject *shutdown_timeout)
{
    struct state *st = p->loop->st;
    if ((p->handshake_timeout = tls_check_timeout(handshake_timeout, 60.0, "ssl_handshake_timeout")) == NULL
        || (p->shutdown_timeout = tls_check_timeout(shutdown_timeout, TLS_SHUTDOWN_SECONDS, "ssl_shutdown_timeout"))
               == NULL) {
        return -1;
    }
    p->linger = shutdown_timeout == Py_None ? TLS_LINGER_NOT_YET : TLS_LINGER_NEVER;
    if (tls_load(st) < 0 || tls_take_context(p, sslcontext, server_hostname) < 0
        || protocol_set(st, &p->app, app) < 0) {
        return -1;
    }
    int has_name = p->server_side ? 0 : PyObject_IsTrue(server_hostname);
    if (has_name < 0 || tls_open_engine(p, has_name ? server_hostname : Py_None) < 0
        || context_copy_current(&p->context) < 0) {
        return -1;
    }
    return (p->app_transport = tls_transport_new(p)) == NULL ? -1 : 0;
}

static PyObject *
TLSProtocol_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop",
                                        "app_protocol",
                                        "sslcontext",
                                        "waiter",
                                        "server_side",
                                        "server_hostname",
                                        "call_connection_made",
                                        "ssl_handshake_timeout",
                                        "ssl_shutdown_timeout",
                                        NULL};
    PyObject *module = PyType_GetModuleByDef(type, &asyncloop_module);
    PyObject *loop, *app, *sslcontext, *waiter, *server_hostname = Py_None, *handshake_timeout = Py_None,
                                                *shutdown_timeout = Py_None;
    int server_side = 0, call_connection_made = 1;
    if (module == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO|pOpOO:TLSProtocol", (char **)names,
                                        state_of_module(module)->Loop_type, &loop, &app, &sslcontext, &waiter,
                                        &server_side, &server_hostname, &call_connection_made, &handshake_timeout,
                                        &shutdown_timeout)) {
        return NULL;
    }
    TLSProtocol *p = (TLSProtocol *)type->tp_alloc(type, 0);
    if (p == NULL) {
        return NULL;
    }
    timer_init(&p->timer, TIMER_KIND_TLS);
    outq_init(&p->backlog);
    p->loop = (Loop *)Py_NewRef(loop);
    p->waiter = waiter == Py_None ? NULL : Py_NewRef(waiter);
    p->server_side = server_side;
    p->has_spoken = server_side;
    p->app_state = call_connection_made ? TLS_APP_INIT : TLS_APP_MADE;
    limits_init(&p->limits, TLS_WRITE_HIGH_DEFAULT);
    limits_init(&p->read_limits, TLS_READ_HIGH_DEFAULT);
    if (tls_init(p, app, sslcontext, server_hostname, handshake_timeout, shutdown_timeout) < 0) {
        if (p->app_transport != NULL) {
            p->app_transport->closed = true;
        }
        Py_DECREF(p);
        return NULL;
    }
    return (PyObject *)p;
}

/* ---- the protocol's methods */

static PyObject *
tls_none_unless(int rc)
{
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TLSProtocol_connection_made(PyObject *self, PyObject *transport)
{
    return tls_none_unless(tls_on_made((TLSProtocol *)self, transport));
}

static PyObject *
TLSProtocol_connection_lost(PyObject *self, PyObject *exception)
{
    return tls_none_unless(tls_on_lost((TLSProtocol *)self, exception));
}

static PyObject *
TLSProtocol_data_received(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = view.len == 0 ? 0 : tls_on_bytes(self, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return tls_none_unless(rc);
}

static PyObject *
TLSProtocol_eof_received(PyObject *self, PyObject *unused)
{
    int keep_open = tls_on_eof((TLSProtocol *)self);
    return keep_open < 0 ? NULL : PyBool_FromLong(keep_open);
}

static PyObject *
TLSProtocol_pause_writing(PyObject *self, PyObject *unused)
{
    ((TLSProtocol *)self)->below_writing_paused = true;
    Py_RETURN_NONE;
}

static PyObject *
TLSProtocol_resume_writing(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = (TLSProtocol *)self;
    p->below_writing_paused = false;
    if (tls_is_pulled(p)) {
        return tls_none_unless(tls_write_soon(p));
    }
    return tls_none_unless(tls_on_room(self));
}

/* _take_over_pause(): the transport below has paused the user's protocol before TLS began; it is ours to resume it. */
static PyObject *
TLSProtocol__take_over_pause(PyObject *self, PyObject *unused)
{
    TLSProtocol *p = (TLSProtocol *)self;
    p->below_writing_paused = p->writing_paused = true;
    Py_RETURN_NONE;
}

/* _feed(data): ciphertext that was read before TLS began. */
static PyObject *
TLSProtocol__feed(PyObject *self, PyObject *data)
{
    TLSProtocol *p = (TLSProtocol *)self;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int rc = view.len == 0 ? 0 : p->engine.ops->feed(&p->engine, view.buf, (size_t)view.len);
    if (rc == 0) {
        rc = p->engine.ops->settle(&p->engine);
    }
    PyBuffer_Release(&view);
    return tls_none_unless(rc);
}

static PyMethodDef TLSProtocol_methods[] = {
    {"connection_made", TLSProtocol_connection_made, METH_O,
     PyDoc_STR("connection_made($self, transport, /)\n--\n\nBegin the handshake.")},
    {"connection_lost", TLSProtocol_connection_lost, METH_O,
     PyDoc_STR("connection_lost($self, exc, /)\n--\n\nThe transport below has ended: the user's connection_lost comes "
               "in a later pass.")},
    {"data_received", TLSProtocol_data_received, METH_O,
     PyDoc_STR("data_received($self, data, /)\n--\n\nCiphertext has come.")},
    {"eof_received", TLSProtocol_eof_received, METH_NOARGS,
     PyDoc_STR("eof_received($self, /)\n--\n\nThe peer sends no more.  Returns: True while there is still something to "
               "send.")},
    {"pause_writing", TLSProtocol_pause_writing, METH_NOARGS,
     PyDoc_STR("pause_writing($self, /)\n--\n\nGive the transport below nothing more.")},
    {"resume_writing", TLSProtocol_resume_writing, METH_NOARGS, PyDoc_STR("resume_writing($self, /)\n--\n\nGo on.")},
    {"_feed", TLSProtocol__feed, METH_O, NULL},
    {"_take_over_pause", TLSProtocol__take_over_pause, METH_NOARGS, NULL},
    {NULL},
};

/* ---- attributes */

static PyObject *
TLSProtocol_get_sslobj(PyObject *self, void *unused)
{
    PyObject *object = ((TLSProtocol *)self)->engine.object;
    return Py_NewRef(object != NULL ? object : Py_None);
}

static PyObject *
TLSProtocol_get_engine(PyObject *self, void *unused)
{
    return PyUnicode_FromString(((TLSProtocol *)self)->engine.ops->name);
}

static PyGetSetDef TLSProtocol_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_sslobj", TLSProtocol_get_sslobj, NULL, NULL, NULL},
    {"_engine", TLSProtocol_get_engine, NULL, "'direct', 'portable' or 'closed'.", NULL},
    {NULL},
};

static PyMemberDef TLSProtocol_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TLSProtocol, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(TLSProtocol, dict), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(TLSProtocol, loop), READONLY, NULL},
    {"_sslcontext", T_OBJECT, offsetof(TLSProtocol, sslcontext), READONLY, NULL},
    /* CPython's test_server_context */
    {"_app_reading_paused", T_BOOL, offsetof(TLSProtocol, reading_paused), READONLY, NULL},
    {"_transport", T_OBJECT, offsetof(TLSProtocol, transport), READONLY, NULL},
    {"_app_transport", T_OBJECT, offsetof(TLSProtocol, app_transport), READONLY, NULL},
    {"_app_protocol", T_OBJECT, offsetof(TLSProtocol, app.object), READONLY, NULL},
    {"_server_side", T_BOOL, offsetof(TLSProtocol, server_side), READONLY, NULL},
    {NULL},
};

static PyObject *
TLSProtocol_repr(PyObject *self)
{
    static const char *const states[] = {"unwrapped", "handshake", "wrapped", "flushing", "shutdown"};
    TLSProtocol *p = (TLSProtocol *)self;
    return PyUnicode_FromFormat("<TLSProtocol %s %s at %p>", p->server_side ? "server" : "client", states[p->state],
                                self);
}

/* ---- life and death */

static int
TLSProtocol_traverse(PyObject *self, visitproc visit, void *arg)
{
    TLSProtocol *p = (TLSProtocol *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(p->loop);
    Py_VISIT(p->app.object);
    Py_VISIT(p->app_transport);
    Py_VISIT(p->transport);
    Py_VISIT(p->raw);
    Py_VISIT(p->context);
    Py_VISIT(p->sslcontext);
    Py_VISIT(p->extra);
    Py_VISIT(p->waiter);
    Py_VISIT(p->engine.object);
    Py_VISIT(p->limits.given);
    Py_VISIT(p->read_limits.given);
    Py_VISIT(p->engine.native);
    Py_VISIT(p->dict);
    return 0;
}

/* The engine stays for dealloc, as does the loop: methods may still be called. */
static int
TLSProtocol_clear(PyObject *self)
{
    TLSProtocol *p = (TLSProtocol *)self;
    protocol_clear(&p->app);
    Py_CLEAR(p->limits.given);
    Py_CLEAR(p->read_limits.given);
    Py_CLEAR(p->app_transport);
    Py_CLEAR(p->transport);
    Py_CLEAR(p->raw);
    Py_CLEAR(p->context);
    Py_CLEAR(p->extra);
    Py_CLEAR(p->waiter);
    Py_CLEAR(p->dict);
    return 0;
}

static void
TLSProtocol_dealloc(PyObject *self)
{
    TLSProtocol *p = (TLSProtocol *)self;
    PyTypeObject *type = Py_TYPE(self);
    INVARIANT(!timer_is_scheduled(&p->timer));
    PyObject_GC_UnTrack(self);
    if (p->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, TLSProtocol_dealloc)
    TLSProtocol_clear(self);
    outq_clear(&p->backlog);
    if (p->engine.ops != NULL) {
        p->engine.ops->close(&p->engine);
    }
    Py_CLEAR(p->sslcontext);
    Py_CLEAR(p->handshake_timeout);
    Py_CLEAR(p->shutdown_timeout);
    Py_CLEAR(p->loop);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot TLSProtocol_slots[] = {
    {Py_tp_doc, "TLSProtocol(loop, app_protocol, sslcontext, waiter, server_side=False, server_hostname=None, "
                "call_connection_made=True, "
                "ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n--\n\nasyncio.sslproto.SSLProtocol's twin."},
    {Py_tp_new, TLSProtocol_new},
    {Py_tp_methods, TLSProtocol_methods},
    {Py_tp_getset, TLSProtocol_getset},
    {Py_tp_members, TLSProtocol_members},
    {Py_tp_repr, TLSProtocol_repr},
    {Py_tp_traverse, TLSProtocol_traverse},
    {Py_tp_clear, TLSProtocol_clear},
    {Py_tp_dealloc, TLSProtocol_dealloc},
    {0, NULL},
};

static PyType_Spec TLSProtocol_spec = {
    .name = "asyncloop._asyncloop.TLSProtocol",
    .basicsize = sizeof(TLSProtocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = TLSProtocol_slots,
};

static int
tls_register(PyObject *module, struct state *st)
{
    static const struct sink sink = {
        .on_bytes = tls_on_bytes,
        .report = "Fatal error: protocol.buffer_updated() call failed.",
        .on_room = tls_on_room,
    };
    st->timer_kinds[TIMER_KIND_TLS].on_due = tls_on_timer;
    st->timer_kinds[TIMER_KIND_TLS].offset = offsetof(TLSProtocol, timer);
    if (state_add_type(module, &st->TLSProtocol_type, &TLSProtocol_spec, NULL, true, SECTION_AT(TLSProtocol, loop))
        < 0) {
        return -1;
    }
    protocol_register_sink(st, st->TLSProtocol_type, &sink);
    return tls_transport_register(module, st);
}
