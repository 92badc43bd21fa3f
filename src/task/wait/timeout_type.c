/* task/wait/timeout_type.c -- the Python face of Timeout; timeout() and timeout_at(). */
#include "core/freelist.h"
#include "core/guard.h"
#include "core/twin.h"
#include "core/twin_copy.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/wait/timeout.h"

static struct state *
timeout_state_of(PyObject *self)
{
    return state_of(self);
}

/* ---- construction */

static const char *const Timeout_names[] = {"when"};
static const struct args_signature Timeout_signature = {"Timeout.__init__", Timeout_names, 1, 1, 1, true};

static int
Timeout_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    Timeout *t = (Timeout *)self;
    PyObject *when;
    if (args_bind_tuple(&Timeout_signature, args, kwargs, &when) < 0) {
        return -1;
    }
    timeout_disarm(t, timeout_state_of(self));
    t->state = TIMEOUT_CREATED;
    Py_CLEAR(t->task);
    return timeout_set_when(t, when);
}

static PyObject *
Timeout_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Timeout *t = (Timeout *)twin_alloc(type);
    if (t != NULL) {
        t->when = Py_NewRef(Py_None);
        timer_init(&t->deadline.timer, TIMER_KIND_TIMEOUT);
    }
    return (PyObject *)t;
}

static int
Timeout_traverse(PyObject *self, visitproc visit, void *arg)
{
    Timeout *t = (Timeout *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->when);
    Py_VISIT(t->loop);
    Py_VISIT(t->deadline.handle);
    Py_VISIT(t->task);
    Py_VISIT(t->dict);
    return 0;
}

static int
Timeout_clear(PyObject *self)
{
    timeout_clear((Timeout *)self);
    return 0;
}

static void Timeout_dealloc(PyObject *self);

static inline void
timeout_free(Timeout *t)
{
    PyObject *self = (PyObject *)t;
    struct freelist *list = freelist_of_dying(self, Timeout_dealloc, FREELIST_TIMEOUT);
    timeout_clear(t);
    freelist_free(list, self);
}

static void
Timeout_dealloc(PyObject *self)
{
    Timeout *t = (Timeout *)self;
    PyObject_GC_UnTrack(self);
    if (t->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    INVARIANT(!timer_is_scheduled(&t->deadline.timer)); /* the heap would hold a reference */
    if (LIKELY(!dealloc_goes_deeper(t->when) && !dealloc_goes_deeper(t->task)
               && !dealloc_goes_deeper(t->deadline.handle) && t->dict == NULL)) {
        timeout_free(t);
        return;
    }
    Py_TRASHCAN_BEGIN(self, Timeout_dealloc)
    timeout_free(t);
    Py_TRASHCAN_END
}

/* ---- methods */

static PyObject *
Timeout_when(PyObject *self, PyObject *Py_UNUSED(none))
{
    return timeout_when((Timeout *)self);
}

static PyObject *
Timeout_expired(PyObject *self, PyObject *Py_UNUSED(none))
{
    Timeout *t = (Timeout *)self;
    return PyBool_FromLong(t->state == TIMEOUT_EXPIRING || t->state == TIMEOUT_EXPIRED);
}

static const struct args_signature Timeout_reschedule_signature = {"Timeout.reschedule", Timeout_names, 1, 1, 1, true};

static PyObject *
Timeout_reschedule(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *when;
    if (args_bind(&Timeout_reschedule_signature, args, n_args, kwnames, &when) < 0
        || timeout_reschedule((Timeout *)self, timeout_state_of(self), when) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What another loop's TimerHandle calls. */
static PyObject *
Timeout__on_timeout(PyObject *self, PyObject *Py_UNUSED(none))
{
    return timeout_fire((Timeout *)self, timeout_state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Timeout_repr(PyObject *self)
{
    Timeout *t = (Timeout *)self;
    if (t->state != TIMEOUT_ENTERED) {
        return PyUnicode_FromFormat("<Timeout [%s]>", timeout_state_name(t));
    }
    PyObject *when = timeout_when(t);
    if (when != NULL && when != Py_None) {
        Py_SETREF(when, PyObject_CallMethod(when, "__round__", "i", 3));
    }
    PyObject *text = when == NULL ? NULL : PyUnicode_FromFormat("<Timeout [%s] when=%S>", timeout_state_name(t), when);
    Py_XDECREF(when);
    return text;
}

static PySendResult
timeout_aenter_step(Coro *c, struct state *st, PyObject *Py_UNUSED(value), PyObject **result)
{
    return LIKELY(timeout_enter((Timeout *)c->self, st) == 0) ? coro_return(result, c->self) : PYGEN_ERROR;
}

static const struct coro_kind timeout_aenter_kind = {"Timeout.__aenter__", timeout_aenter_step};

static const struct args_signature Timeout_aenter_signature = {"Timeout.__aenter__", NULL, 0, 0, 0, true};

static PyObject *
Timeout_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    if (UNLIKELY((n_args > 0 || kwnames != NULL)
                 && args_bind(&Timeout_aenter_signature, args, n_args, kwnames, NULL) < 0)) {
        return NULL;
    }
    return (PyObject *)coro_new(timeout_state_of(self), &timeout_aenter_kind, self);
}

enum { TIMEOUT_EXC_TYPE, TIMEOUT_EXC }; /* slots */

static PySendResult
timeout_aexit_step(Coro *c, struct state *st, PyObject *Py_UNUSED(value), PyObject **result)
{
    if (UNLIKELY(timeout_exit((Timeout *)c->self, st, c->slots[TIMEOUT_EXC_TYPE], c->slots[TIMEOUT_EXC], true) < 0)) {
        return PYGEN_ERROR;
    }
    return coro_return(result, Py_None);
}

static const struct coro_kind timeout_aexit_kind = {"Timeout.__aexit__", timeout_aexit_step};

static const char *const Timeout_aexit_names[] = {"exc_type", "exc_val", "exc_tb"};
static const struct args_signature Timeout_aexit_signature = {"Timeout.__aexit__", Timeout_aexit_names, 3, 3, 3, true};

static PyObject *
Timeout_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *given[3];
    if (UNLIKELY(args_bind(&Timeout_aexit_signature, args, n_args, kwnames, given) < 0)) {
        return NULL;
    }
    Coro *c = coro_new(timeout_state_of(self), &timeout_aexit_kind, self);
    if (LIKELY(c != NULL)) {
        c->slots[TIMEOUT_EXC_TYPE] = Py_NewRef(given[0]);
        c->slots[TIMEOUT_EXC] = Py_NewRef(given[1]);
    }
    return (PyObject *)c;
}

/* ---- attributes */

static const char *const timeout_states[] = {"CREATED", "ENTERED", "EXPIRING", "EXPIRED", "EXITED"};

/* asyncio's own enum member. New reference. */
static PyObject *
timeout_state_member(int state)
{
    PyObject *module = PyImport_ImportModule("asyncio.timeouts"),
             *states = module == NULL ? NULL : PyObject_GetAttrString(module, "_State");
    PyObject *member = states == NULL ? NULL : PyObject_GetAttrString(states, timeout_states[state]);
    Py_XDECREF(module);
    Py_XDECREF(states);
    return member;
}

static PyObject *
Timeout_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    return timeout_state_member(((Timeout *)self)->state);
}

static PyObject *
Timeout_get_when(PyObject *self, void *Py_UNUSED(closure))
{
    return timeout_when((Timeout *)self);
}

/* Another loop's handle; on a loop of ours there is none, and the Timeout itself stands for it. */
static PyObject *
Timeout_get_handler(PyObject *self, void *Py_UNUSED(closure))
{
    Timeout *t = (Timeout *)self;
    return Py_NewRef(t->deadline.handle != NULL ? t->deadline.handle : t->is_armed ? self : Py_None);
}

/* ---- setting attributes, as a copy does: only while the block is not under way */

static const char *const Timeout_copied[] = {"_state", "_timeout_handler", "_task", "_when", NULL};

static int
timeout_check_idle(Timeout *t, PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    if (t->state == TIMEOUT_ENTERED || t->state == TIMEOUT_EXPIRING) {
        PyErr_Format(PyExc_AttributeError, "attribute '%s' of an active Timeout cannot be set", name);
        return -1;
    }
    return 0;
}

static int
Timeout_set_state(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Timeout *t = (Timeout *)self;
    if (timeout_check_idle(t, value, "_state") < 0) {
        return -1;
    }
    for (int i = 0; i < (int)ARRAY_LENGTH(timeout_states); i++) {
        PyObject *state = timeout_state_member(i);
        bool is_it = state == value;
        Py_XDECREF(state);
        if (state == NULL) {
            return -1;
        }
        if (is_it && i != TIMEOUT_ENTERED && i != TIMEOUT_EXPIRING) {
            t->state = (uint8_t)i;
            return 0;
        }
    }
    PyErr_SetString(PyExc_TypeError, "an active Timeout cannot be copied");
    return -1;
}

static int
Timeout_set_task(PyObject *self, PyObject *value, void *offset)
{
    return timeout_check_idle((Timeout *)self, value, "_task") < 0 ? -1 : twin_set_field(self, value, offset);
}

static int
Timeout_set_when(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return timeout_check_idle((Timeout *)self, value, "_when") < 0 ? -1 : timeout_set_when((Timeout *)self, value);
}

/* One whose block is not under way has none. */
static int
Timeout_set_handler(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (timeout_check_idle((Timeout *)self, value, "_timeout_handler") < 0) {
        return -1;
    }
    if (value != Py_None) {
        PyErr_SetString(PyExc_TypeError, "an active Timeout cannot be copied");
        return -1;
    }
    return 0;
}

static PyMethodDef Timeout_methods[] = {
    {"when", Timeout_when, METH_NOARGS, "when($self)\n--\n\nThe deadline in seconds of loop.time(), or None."},
    {"expired", Timeout_expired, METH_NOARGS,
     "expired($self)\n--\n\nWhether the deadline came before the end of the block."},
    {"reschedule", FUTURE_FASTCALL(Timeout_reschedule), METH_FASTCALL | METH_KEYWORDS,
     "reschedule($self, when)\n--\n\nAnother deadline, in seconds of loop.time(); None for none.  RuntimeError outside "
     "of the block."},
    {"_on_timeout", Timeout__on_timeout, METH_NOARGS, NULL},
    {NULL},
};

static const struct coro_function timeout_functions[] = {
    {"Timeout.__aenter__", Timeout_aenter, "__aenter__(self)\n--\n\n"},
    {"Timeout.__aexit__", Timeout_aexit, "__aexit__(self, exc_type, exc_val, exc_tb)\n--\n\n"},
    {NULL},
};

static PyGetSetDef Timeout_getset[] = {
    {"__class__", twin_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_state", Timeout_get_state, Timeout_set_state},
    {"_when", Timeout_get_when, Timeout_set_when},
    {"_task", twin_get_field, Timeout_set_task, NULL, (void *)offsetof(Timeout, task)},
    {"_timeout_handler", Timeout_get_handler, Timeout_set_handler},
    {NULL},
};

static PyMemberDef Timeout_members[] = {
    {"_cancelling", T_LONG, offsetof(Timeout, n_cancelling), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(Timeout, dict), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Timeout, weakrefs), READONLY},
    {NULL},
};

PyDoc_STRVAR(Timeout_doc, "Timeout(when)\n--\n\n"
                          "Asynchronous context manager that cancels its block at a time and raises TimeoutError then; "
                          "made by timeout() and timeout_at().\n\n"
                          "when: seconds of loop.time(), or None.  Source: asyncio.Timeout.  Differs: nothing.");

static PyType_Slot Timeout_slots[] = {
    {Py_tp_doc, (void *)Timeout_doc},
    {Py_tp_new, Timeout_new},
    {Py_tp_init, Timeout_init},
    {Py_tp_traverse, Timeout_traverse},
    {Py_tp_clear, Timeout_clear},
    {Py_tp_dealloc, Timeout_dealloc},
    {Py_tp_repr, Timeout_repr},
    {Py_tp_methods, Timeout_methods},
    {Py_tp_getset, Timeout_getset},
    {Py_tp_members, Timeout_members},
    {0, NULL},
};

static PyType_Spec Timeout_spec = {
    .name = "asyncloop.Timeout",
    .basicsize = sizeof(Timeout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Timeout_slots,
};

/* ---- timeout(), timeout_at() */

/* Where somebody has set an attribute of the class: Timeout(when), as its __init__ may be another. Steals t. */
static inline PyObject *
timeout_by_class(Timeout *t, struct state *st)
{
    if (LIKELY(t == NULL || !st->twins_touched[TWIN_TIMEOUT])) {
        return (PyObject *)t;
    }
    PyObject *when = timeout_when(t),
             *made = when == NULL ? NULL : PyObject_CallOneArg((PyObject *)st->Timeout_type, when);
    Py_XDECREF(when);
    Py_DECREF(t);
    return made;
}

static const char *const timeout_names[] = {"delay"};
static const struct args_signature timeout_signature = {"timeout", timeout_names, 1, 1, 1, false};

static PyObject *
module_timeout(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *delay;
    return args_bind(&timeout_signature, args, n_args, kwnames, &delay) < 0
               ? NULL
               : timeout_by_class(timeout_in(st, delay), st);
}

static const struct args_signature timeout_at_signature = {"timeout_at", Timeout_names, 1, 1, 1, false};

static PyObject *
module_timeout_at(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *when;
    if (args_bind(&timeout_at_signature, args, n_args, kwnames, &when) < 0) {
        return NULL;
    }
    struct state *st = state_of_module(module);
    Timeout *t = timeout_alloc(st);
    if (t != NULL && timeout_set_when(t, when) < 0) {
        Py_CLEAR(t);
    }
    return timeout_by_class(t, st);
}

static PyMethodDef timeout_module_functions[] = {
    {"timeout", FUTURE_FASTCALL(module_timeout), METH_FASTCALL | METH_KEYWORDS,
     "timeout($module, /, delay)\n--\n\n"
     "async with timeout(delay): the block is cancelled after delay seconds and TimeoutError raised.\n\n"
     "delay: seconds, or None for no limit.  Returns: Timeout.  Raises: RuntimeError where no loop runs.\n"
     "Source: asyncio.timeout.  Differs: nothing."},
    {"timeout_at", FUTURE_FASTCALL(module_timeout_at), METH_FASTCALL | METH_KEYWORDS,
     "timeout_at($module, /, when)\n--\n\n"
     "The same at a time of loop.time().\n\nwhen: seconds, or None.  Returns: Timeout.  Source: asyncio.timeout_at.  "
     "Differs: nothing."},
    {NULL},
};

static int
timeout_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->Timeout_type, &Timeout_spec, NULL, true, SECTION_AT(Timeout, loop)) < 0
        || twin_adopt(st, st->Timeout_type, TWIN_TIMEOUT, "asyncio.timeouts", "Timeout") < 0
        || twin_add_copying(st, st->Timeout_type, Timeout_copied) < 0
        || coro_function_add_to_type(module, st, st->Timeout_type, timeout_functions) < 0) {
        return -1;
    }
    st->timer_kinds[TIMER_KIND_TIMEOUT].on_due = timeout_on_due;
    st->timer_kinds[TIMER_KIND_TIMEOUT].offset = offsetof(Timeout, deadline.timer);
    return guard_add_functions(module, timeout_module_functions);
}
