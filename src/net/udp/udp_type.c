/* net/udp/udp_type.c -- the Python face of DatagramTransport: asyncio.DatagramTransport's methods.
 *
 * What it has in common with a stream transport are that one's functions (net/conn/transport_type.c). */
#include "net/udp/udp_batch.h"

#include "core/args.h"

static COLD int
udp_raise_data_type(PyObject *data)
{
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not %R", name);
        Py_DECREF(name);
    }
    return -1;
}

static const char *const udp_sendto_names[] = {"data", "addr"};
static const struct args_signature udp_sendto_signature = {
    "_SelectorDatagramTransport.sendto", udp_sendto_names, 1, 2, 2, true};

PyDoc_STRVAR(DatagramTransport_sendto_doc, "sendto($self, data, addr=None)\n--\n\n"
                                           "Send one datagram; never blocks.\n\n"
                                           "data: bytes, bytearray or memoryview (may be changed right after the "
                                           "call).  addr: where to, or None for the remote address of the endpoint.\n"
                                           "Returns: None.  Raises: TypeError, ValueError (not the remote address); "
                                           "what the kernel refuses goes to protocol.error_received.\n"
                                           "Source: asyncio's transports.  Differs: after the end it is counted and "
                                           "dropped, where asyncio fails with AttributeError.");

static PyObject *
DatagramTransport_sendto(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *names)
{
    PyObject *given[2] = {NULL, NULL};
    bool is_usual = names == NULL && n_args == 2;
    if (UNLIKELY(!is_usual) && args_bind(&udp_sendto_signature, args, n_args, names, given) < 0) {
        return NULL;
    }
    PyObject *data = is_usual ? args[0] : given[0];
    PyObject *address = is_usual ? args[1] : given[1] == NULL ? Py_None : given[1];
    if (UNLIKELY(!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data))) {
        udp_raise_data_type(data);
        return NULL;
    }
    if (udp_sendto((DatagramTransport *)self, data, address) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport_get_write_buffer_size(PyObject *self, PyObject *unused)
{
    if (udp_batch_flush((DatagramTransport *)self) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(((DatagramTransport *)self)->queue.n_bytes);
}

static PyObject *
DatagramTransport_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *done = Transport_set_write_buffer_limits(self, args, kwargs);
    if (done != NULL
        && transport_maybe_pause_protocol((Transport *)self, ((DatagramTransport *)self)->queue.n_bytes) < 0) {
        Py_CLEAR(done);
    }
    return done;
}

/* Whoever takes the socket may send, or close it, by itself. */
static PyObject *
DatagramTransport_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return udp_batch_flush((DatagramTransport *)self) < 0 ? NULL : Transport_get_extra_info(self, args, kwargs);
}

/* What came with others before pause_reading() is next. */
static PyObject *
DatagramTransport_resume_reading(PyObject *self, PyObject *unused)
{
    PyObject *done = Transport_resume_reading(self, NULL);
    if (done != NULL && udp_batch_schedule((DatagramTransport *)self) < 0) {
        Py_CLEAR(done);
    }
    return done;
}

static PyObject *
DatagramTransport_close(PyObject *self, PyObject *unused)
{
    if (udp_close((DatagramTransport *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport_abort(PyObject *self, PyObject *unused)
{
    if (udp_force_close((DatagramTransport *)self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport__force_close(PyObject *self, PyObject *exception)
{
    if (udp_force_close((DatagramTransport *)self, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport__fatal_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return udp_batch_flush((DatagramTransport *)self) < 0 ? NULL : Transport__fatal_error(self, args, kwargs);
}

/* _read_ready() and _sendto_ready(): named in reports of what a protocol raised. */
static PyObject *
DatagramTransport__read_ready(PyObject *self, PyObject *unused)
{
    if (udp_on_readable(((Transport *)self)->loop, self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
DatagramTransport__sendto_ready(PyObject *self, PyObject *unused)
{
    if (udp_on_writable(((Transport *)self)->loop, self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

ARGS_NAMED(DatagramTransport_set_protocol, Transport_set_protocol, "_SelectorTransport.set_protocol", "protocol")
ARGS_NAMED(DatagramTransport_write, Transport_raise_not_implemented, "WriteTransport.write", "data")
ARGS_NAMED(DatagramTransport_writelines, Transport_raise_not_implemented, "WriteTransport.writelines", "list_of_data")
ARGS_NAMED(DatagramTransport__force_close_named, DatagramTransport__force_close, "_SelectorTransport._force_close",
           "exc")

static PyMethodDef DatagramTransport_methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))DatagramTransport_sendto, METH_FASTCALL | METH_KEYWORDS,
     DatagramTransport_sendto_doc},
    {"pause_reading", Transport_pause_reading, METH_NOARGS,
     PyDoc_STR("pause_reading($self, /)\n--\n\nRead nothing until resume_reading().")},
    {"resume_reading", DatagramTransport_resume_reading, METH_NOARGS,
     PyDoc_STR("resume_reading($self, /)\n--\n\nRead again.")},
    {"is_reading", Transport_is_reading, METH_NOARGS,
     PyDoc_STR("is_reading($self, /)\n--\n\nFalse while paused, and once closing.")},
    {"get_write_buffer_size", DatagramTransport_get_write_buffer_size, METH_NOARGS,
     PyDoc_STR("get_write_buffer_size($self, /)\n--\n\nBytes that the kernel has not taken; from Python 3.13 on, and 8 "
               "for each datagram.")},
    {"get_write_buffer_limits", Transport_get_write_buffer_limits, METH_NOARGS,
     PyDoc_STR("get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes.")},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))DatagramTransport_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS, Transport_set_write_buffer_limits_doc},
    {ARGS_NAMED_METHOD("set_protocol", DatagramTransport_set_protocol),
     PyDoc_STR("set_protocol($self, protocol)\n--\n\nWho gets the events from now on.")},
    {"get_protocol", Transport_get_protocol, METH_NOARGS,
     PyDoc_STR("get_protocol($self, /)\n--\n\nWho gets the events; None in the end.")},
    {"is_closing", Transport_is_closing, METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTrue once closing or closed.")},
    {"close", DatagramTransport_close, METH_NOARGS,
     PyDoc_STR(
         "close($self, /)\n--\n\nStop reading, send what is queued, then call connection_lost(None) from the loop.")},
    {"abort", DatagramTransport_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nClose, what is queued is lost; connection_lost(None) comes from the loop.")},
    {"get_extra_info", (PyCFunction)(void (*)(void))DatagramTransport_get_extra_info, METH_VARARGS | METH_KEYWORDS,
     Transport_get_extra_info_doc},
    {ARGS_NAMED_METHOD("_force_close", DatagramTransport__force_close_named), Transport__force_close_doc},
    {"_fatal_error", (PyCFunction)(void (*)(void))DatagramTransport__fatal_error, METH_VARARGS | METH_KEYWORDS, NULL},
    {ARGS_NAMED_METHOD("write", DatagramTransport_write),
     PyDoc_STR("write($self, data)\n--\n\nRaises: NotImplementedError.")},
    {ARGS_NAMED_METHOD("writelines", DatagramTransport_writelines),
     PyDoc_STR("writelines($self, list_of_data)\n--\n\nRaises: NotImplementedError.")},
    {"write_eof", Transport_raise_not_implemented, METH_NOARGS,
     PyDoc_STR("write_eof($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"can_write_eof", Transport_raise_not_implemented, METH_NOARGS,
     PyDoc_STR("can_write_eof($self, /)\n--\n\nRaises: NotImplementedError.")},
    {"_read_ready", DatagramTransport__read_ready, METH_NOARGS, NULL},
    {"_sendto_ready", DatagramTransport__sendto_ready, METH_NOARGS, NULL},
    {NULL},
};

/* isinstance of both: asyncio's own is an asyncio.Transport on every version, and an asyncio.DatagramTransport
 * from 3.13 on. */
static PyObject *
DatagramTransport_get_class(PyObject *self, void *unused)
{
    return Py_NewRef(state_of(self)->datagram_transport_class);
}

static PyObject *
DatagramTransport_get_address(PyObject *self, void *unused)
{
    PyObject *address = ((DatagramTransport *)self)->address;
    return Py_NewRef(address != NULL ? address : Py_None);
}

/* What sendto() without an address goes to, and everything else is refused for; whatever is false: nowhere, nothing. */
static int
DatagramTransport_set_address(PyObject *self, PyObject *value, void *unused)
{
    int has_address = value == NULL ? -1 : PyObject_IsTrue(value);
    if (has_address < 0) {
        if (value == NULL) {
            PyErr_SetString(PyExc_AttributeError, "_address cannot be deleted");
        }
        return -1;
    }
    Py_XSETREF(((DatagramTransport *)self)->address, has_address ? Py_NewRef(value) : NULL);
    return 0;
}

/* A deque of what waits: (data, address). */
static PyObject *
DatagramTransport_get_buffer(PyObject *self, void *unused)
{
    DatagramTransport *u = (DatagramTransport *)self;
    if (udp_batch_flush(u) < 0) {
        return NULL;
    }
    PyObject *items = PyList_New(0), *deque = NULL;
    for (uint32_t i = 0; items != NULL && i < u->queue.n; i++) {
        struct udp_datagram *d = &u->queue.items[(u->queue.head + i) & (u->queue.capacity - 1)];
        PyObject *pair = PyTuple_Pack(2, d->data, d->address);
        if (pair == NULL || PyList_Append(items, pair) < 0) {
            Py_CLEAR(items);
        }
        Py_XDECREF(pair);
    }
    if (items != NULL) {
        deque = PyObject_CallOneArg(u->base.loop->st->deque_type, items);
        Py_DECREF(items);
    }
    return deque;
}

static PyGetSetDef DatagramTransport_getset[] = {
    {"__class__", DatagramTransport_get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_address", DatagramTransport_get_address, DatagramTransport_set_address, NULL, NULL},
    {"_buffer", DatagramTransport_get_buffer, NULL, NULL, NULL},
    {"_loop", Transport_get_loop, NULL, NULL, NULL},
    {"_server", Transport_get_server, NULL, NULL, NULL},
    TRANSPORT_GETSET,
    {NULL},
};

static PyMemberDef DatagramTransport_members[] = {
    TRANSPORT_MEMBERS,
    {"_empty_waiter", T_OBJECT, offsetof(Transport, empty_waiter), READONLY, NULL},
    {NULL},
};

static PyObject *
DatagramTransport_repr(PyObject *self)
{
    DatagramTransport *u = (DatagramTransport *)self;
    Transport *t = &u->base;
    const char *state = t->fd < 0 ? " closed" : t->closing ? " closing" : "";
    if (t->fd < 0 || t->loop->state == LOOP_CLOSED) {
        return PyUnicode_FromFormat("<_SelectorDatagramTransport%s fd=%d>", state, t->shown_fd);
    }
    return PyUnicode_FromFormat("<_SelectorDatagramTransport%s fd=%d read=%s write=<%s, bufsize=%zu>>", state, t->fd,
                                t->read_watched ? "polling" : "idle", t->write_watched ? "polling" : "idle",
                                u->queue.n_bytes);
}

static int
DatagramTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    DatagramTransport *u = (DatagramTransport *)self;
    Py_VISIT(u->address);
    Py_VISIT(u->known);
    for (uint32_t i = 0; i < u->queue.n; i++) {
        Py_VISIT(u->queue.items[(u->queue.head + i) & (u->queue.capacity - 1)].address);
    }
    int rc = udp_batch_traverse(u, visit, arg);
    return rc != 0 ? rc : Transport_traverse(self, visit, arg);
}

static int
DatagramTransport_clear(PyObject *self)
{
    udp_clear((DatagramTransport *)self);
    return Transport_clear(self);
}

static void
DatagramTransport_dealloc(PyObject *self)
{
    if (((Transport *)self)->fd >= 0 && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; /* resurrected */
    }
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, DatagramTransport_dealloc)
    udp_clear((DatagramTransport *)self);
    Transport_dealloc(self);
    Py_TRASHCAN_END
}

static PyType_Slot DatagramTransport_slots[] = {
    {Py_tp_doc, "A datagram transport of asyncloop; isinstance of asyncio.DatagramTransport."},
    {Py_tp_methods, DatagramTransport_methods},
    {Py_tp_getset, DatagramTransport_getset},
    {Py_tp_members, DatagramTransport_members},
    {Py_tp_repr, DatagramTransport_repr},
    {Py_tp_traverse, DatagramTransport_traverse},
    {Py_tp_clear, DatagramTransport_clear},
    {Py_tp_finalize, Transport_finalize},
    {Py_tp_dealloc, DatagramTransport_dealloc},
    {0, NULL},
};

static PyType_Spec DatagramTransport_spec = {
    .name = "asyncloop._asyncloop._SelectorDatagramTransport",
    .basicsize = sizeof(DatagramTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = DatagramTransport_slots,
};

static int
udp_register(PyObject *module, struct state *st)
{
    PyObject *asyncios = NULL, *datagram = NULL;
    int is_derived = -1;
    if (state_import(&asyncios, "asyncio.selector_events", "_SelectorDatagramTransport") == 0
        && state_import(&datagram, "asyncio.transports", "DatagramTransport") == 0) {
        is_derived = PyObject_IsSubclass(asyncios, datagram);
    }
    st->datagram_transport_class = is_derived > 0 ? Py_NewRef(asyncios)
                                   : is_derived == 0
                                       ? PyObject_CallFunction((PyObject *)&PyType_Type, "s(OO){}",
                                                               "_SelectorDatagramTransport", asyncios, datagram)
                                       : NULL;
    Py_XDECREF(asyncios);
    Py_XDECREF(datagram);
    if (st->datagram_transport_class == NULL) {
        return -1;
    }
    return state_add_type(module, &st->DatagramTransport_type, &DatagramTransport_spec, NULL, true,
                          SECTION_AT(Transport, loop));
}
