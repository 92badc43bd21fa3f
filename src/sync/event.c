/* sync/event.c -- see event.h. */
#include "sync/event.h"

#include "core/args.h"
#include "core/twin.h"
#include "task/coro/coro_function.h"

static PyObject *
event_new(struct state *st, bool is_set)
{
    bool is_changed = UNLIKELY(st->twins_touched[TWIN_SYNC]); /* a program may have replaced __init__ */
    PyObject *event =
        is_changed ? PyObject_CallNoArgs((PyObject *)st->Event_type) : st->Event_type->tp_alloc(st->Event_type, 0);
    if (event == NULL || !is_set) {
        return event;
    }
    if (LIKELY(!is_changed)) {
        ((Event *)event)->is_set = true;
        return event;
    }
    PyObject *done = PyObject_CallMethodNoArgs(event, st->str.set);
    Py_XDECREF(done);
    if (done == NULL) {
        Py_CLEAR(event);
    }
    return event;
}

static inline int
event_set(Event *e, struct state *st)
{
    if (e->is_set) {
        return 0;
    }
    e->is_set = true;
    return bound_wake(st, e->bound.waiters, PY_SSIZE_T_MAX, Py_True) < 0 ? -1 : 0;
}

static PySendResult
event_wait_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Event *e = (Event *)c->self;
    if (c->phase == 0) {
        if (e->is_set) {
            return coro_return(result, Py_True);
        }
        c->phase = 1;
        PySendResult status = bound_wait(c, st, &e->bound, &e->bound.waiters);
        if (LIKELY(status == PYGEN_NEXT || c->slots[BOUND_WAITER] == NULL)) {
            return status;
        }
        value = NULL;
    }
    if (bound_end_wait(c, st, &e->bound.waiters, value == NULL) < 0 || value == NULL) {
        return PYGEN_ERROR;
    }
    return coro_return(result, Py_True);
}

static const struct coro_kind event_wait_kind = {"Event.wait", event_wait_step};

static PyObject *
event_wait(PyObject *event, struct state *st)
{
    return (PyObject *)coro_new(st, &event_wait_kind, event);
}

/* ---- the Python face */

static int
Event_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const struct args_signature signature = {"Event.__init__", NULL, 0, 0, 0, true};
    if (args_bind_tuple(&signature, args, kwargs, NULL) < 0) {
        return -1;
    }
    ((Event *)self)->is_set = false;
    Py_CLEAR(((Bound *)self)->waiters);
    return 0;
}

static PyObject *
Event_wait(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Event.wait", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0 ? NULL : event_wait(self, state_of(self));
}

static PyObject *
Event_set(PyObject *self, PyObject *Py_UNUSED(none))
{
    return event_set((Event *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Event_clear_flag(PyObject *self, PyObject *Py_UNUSED(none))
{
    ((Event *)self)->is_set = false;
    Py_RETURN_NONE;
}

static PyObject *
Event_is_set(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(((Event *)self)->is_set);
}

static PyObject *
Event_repr(PyObject *self)
{
    return bound_repr((Bound *)self, state_of(self), PyUnicode_FromString(((Event *)self)->is_set ? "set" : "unset"));
}

PyDoc_STRVAR(Event_doc, "Event()\n--\n\n"
                        "A flag that tasks wait for: set(), clear(), is_set(), await wait().\n\n"
                        "Source: asyncio.Event.  Differs: nothing.");

static PyMethodDef Event_methods[] = {
    {"set", Event_set, METH_NOARGS, "set($self)\n--\n\nSet the flag and wake all who wait for it."},
    {"clear", Event_clear_flag, METH_NOARGS, "clear($self)\n--\n\nTake the flag back: wait() waits again."},
    {"is_set", Event_is_set, METH_NOARGS, "is_set($self)\n--\n\nTrue if the flag is set."},
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function event_functions[] = {
    {"Event.wait", Event_wait, "wait(self)\n--\n\nReturn True, at once if the flag is set, else when it is."},
    {NULL},
};

static const char *const Event_copied[] = {"_waiters", "_value", "?_loop", NULL};

static PyGetSetDef Event_getset[] = {
    BOUND_GETSET,
    {"_waiters", Bound_get_deque, Bound_set_deque, NULL, (void *)offsetof(Bound, waiters)},
    {NULL},
};

static PyMemberDef Event_members[] = {
    BOUND_MEMBERS,
    {"_value", T_BOOL, offsetof(Event, is_set), 0},
    {NULL},
};

static PyType_Slot Event_slots[] = {
    {Py_tp_doc, (void *)Event_doc},
    {Py_tp_new, twin_new},
    {Py_tp_init, Event_init},
    {Py_tp_traverse, Bound_traverse},
    {Py_tp_clear, Bound_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Event_repr},
    {Py_tp_methods, Event_methods},
    {Py_tp_getset, Event_getset},
    {Py_tp_members, Event_members},
    {0, NULL},
};

static PyType_Spec Event_spec = {
    .name = "asyncloop.Event",
    .basicsize = sizeof(Event),
    .flags = BOUND_FLAGS,
    .slots = Event_slots,
};

static int
event_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->Event_type, &Event_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Event_type, event_functions) < 0) {
        return -1;
    }
    if (twin_adopt(st, st->Event_type, TWIN_SYNC, "asyncio.locks", "Event") < 0) {
        return -1;
    }
    return twin_add_copying(st, st->Event_type, Event_copied);
}
