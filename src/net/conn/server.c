/* net/conn/server.c -- linking a server's live connections, closing or aborting them, and telling asyncloop's Server
 * when the last has ended. */
#include "net/conn/server.h"

#include "core/handle.h"

static void
server_attach(Server *s, Transport *t)
{
    INVARIANT(t->server == NULL);
    SECTION_ENTER(s);
    t->server = (Server *)Py_NewRef((PyObject *)s);
    t->clients_next = s->clients;
    t->clients_prev_next = &s->clients;
    if (s->clients != NULL) {
        s->clients->clients_prev_next = &t->clients_next;
    }
    s->clients = t;
    s->n_clients++;
}

static COLD void
server_wake(Server *s, Loop *loop)
{
    PyObject *result = PyObject_CallMethod((PyObject *)s, "_wakeup", NULL);
    if (result == NULL && handle_report_method(loop, (PyObject *)s, "_wakeup", NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_XDECREF(result);
}

static void
server_detach(Transport *t)
{
    Server *s = t->server;
    if (s == NULL) {
        return;
    }
    SECTION_ENTER(s);
    t->server = NULL;
    *t->clients_prev_next = t->clients_next;
    if (t->clients_next != NULL) {
        t->clients_next->clients_prev_next = t->clients_prev_next;
    }
    t->clients_next = NULL;
    t->clients_prev_next = NULL;
    s->n_clients--;
    INVARIANT((s->n_clients == 0) == (s->clients == NULL));
    if (s->n_clients == 0 && s->is_closed) {
        PyObject *raised = compat_take_raised();
        server_wake(s, t->loop);
        compat_set_raised(raised);
    }
    Py_DECREF(s);
}

/* Call a method of every client; they may detach meanwhile. */
static PyObject *
server_call_clients(Server *s, const char *method)
{
    PyObject *clients = PyList_New(0);
    if (clients == NULL) {
        return NULL;
    }
    for (Transport *t = s->clients; t != NULL; t = t->clients_next) {
        if (PyList_Append(clients, (PyObject *)t) < 0) {
            Py_DECREF(clients);
            return NULL;
        }
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(clients); i++) {
        PyObject *result = PyObject_CallMethod(PyList_GET_ITEM(clients, i), method, NULL);
        if (result == NULL) {
            Py_DECREF(clients);
            return NULL;
        }
        Py_DECREF(result);
    }
    Py_DECREF(clients);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(Server_close_clients_doc,
             "close_clients($self)\n--\n\n"
             "Close every connection of the server: what is queued is still sent.\n\n"
             "Returns: None.  Source: asyncio's Server.close_clients (3.13), here on every version.");

static PyObject *
Server_close_clients(PyObject *self, PyObject *unused)
{
    return server_call_clients((Server *)self, "close");
}

PyDoc_STRVAR(Server_abort_clients_doc,
             "abort_clients($self)\n--\n\n"
             "Abort every connection of the server: what is queued is lost.\n\n"
             "Returns: None.  Source: asyncio's Server.abort_clients (3.13), here on every version.");

static PyObject *
Server_abort_clients(PyObject *self, PyObject *unused)
{
    return server_call_clients((Server *)self, "abort");
}

/* _mark_closed(): from now on the last client's end calls _wakeup(). */
static PyObject *
Server__mark_closed(PyObject *self, PyObject *unused)
{
    ((Server *)self)->is_closed = true;
    Py_RETURN_NONE;
}

static PyObject *
Server__active_count(PyObject *self, void *unused)
{
    return PyLong_FromSsize_t(((Server *)self)->n_clients);
}

static PyMethodDef Server_methods[] = {
    {"close_clients", Server_close_clients, METH_NOARGS, Server_close_clients_doc},
    {"abort_clients", Server_abort_clients, METH_NOARGS, Server_abort_clients_doc},
    {"_mark_closed", Server__mark_closed, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef Server_getset[] = {
    {"_active_count", Server__active_count, NULL, "Number of live connections.", NULL},
    {NULL},
};

static void
Server_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    INVARIANT(((Server *)self)->clients == NULL); /* each holds a reference */
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot Server_slots[] = {
    {Py_tp_doc, "The connections of a server; asyncloop's Server derives from it."},
    {Py_tp_methods, Server_methods},
    {Py_tp_getset, Server_getset},
    {Py_tp_dealloc, Server_dealloc},
    {0, NULL},
};

static PyType_Spec Server_spec = {
    .name = "asyncloop._asyncloop.ServerBase",
    .basicsize = sizeof(Server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Server_slots,
};

static int
server_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->Server_type, &Server_spec, NULL, true, SECTION_SELF);
}
