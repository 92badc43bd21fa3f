/* sync/barrier.c -- see barrier.h. */
#include "sync/barrier.h"

#include "core/args.h"
#include "core/raise.h"
#include "core/twin.h"
#include "task/coro/coro_function.h"

enum { BARRIER_FILLING, BARRIER_DRAINING, BARRIER_RESETTING, BARRIER_BROKEN };

static inline bool
barrier_is(Barrier *b, struct state *st, int state)
{
    return b->state == PyTuple_GET_ITEM(st->barrier_states, state);
}

static inline void
barrier_become(Barrier *b, struct state *st, int state)
{
    Py_XSETREF(b->state, Py_NewRef(PyTuple_GET_ITEM(st->barrier_states, state)));
}

static int
barrier_raise_broken(struct state *st, const char *text)
{
    PyErr_SetString(st->BrokenBarrierError, text);
    return -1;
}

/* ---- with the condition, which may be anything that a subclass put in its place */

/* condition.method(); it may run code that calls __init__ again */
static PyObject *
barrier_call_condition(Barrier *b, PyObject *name)
{
    PyObject *condition = Py_NewRef(b->condition), *result = PyObject_CallMethodNoArgs(condition, name);
    Py_DECREF(condition);
    return result;
}

static int
barrier_notify_all(Barrier *b, struct state *st)
{
    if (LIKELY(condition_is_plain(st, b->condition))) {
        return condition_notify((Condition *)b->condition, st, PY_SSIZE_T_MAX);
    }
    PyObject *done = barrier_call_condition(b, st->str.notify_all);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* `await condition.method()` */
static PySendResult
barrier_await_method(Coro *c, Barrier *b, struct state *st, PyObject *name)
{
    PyObject *awaitable = barrier_call_condition(b, name);
    PySendResult status = awaitable == NULL ? PYGEN_ERROR : coro_await(c, st, awaitable);
    Py_XDECREF(awaitable);
    return status;
}

static PySendResult
barrier_await_condition(Coro *c, Barrier *b, struct state *st)
{
    if (LIKELY(condition_is_plain(st, b->condition))) {
        return coro_wait(c, condition_wait(b->condition, st));
    }
    return barrier_await_method(c, b, st, st->str.wait);
}

/* PYGEN_RETURN: taken at once. */
static PySendResult
barrier_take_lock(Coro *c, Barrier *b, struct state *st)
{
    if (LIKELY(condition_is_plain(st, b->condition))) {
        PyObject *lock = Py_NewRef(((Condition *)b->condition)->lock);
        int is_taken = lock_try((Lock *)lock, st);
        PySendResult status = is_taken > 0   ? PYGEN_RETURN
                              : is_taken < 0 ? PYGEN_ERROR
                                             : coro_wait(c, lock_acquire(lock, st));
        Py_DECREF(lock);
        return status;
    }
    return barrier_await_method(c, b, st, st->str.acquire);
}

/* The end of `async with condition`: ends with result (stolen), or with the raised exception when that is NULL. */
static PySendResult
barrier_release_lock(Barrier *b, struct state *st, PyObject *value, PyObject **result)
{
    PyObject *raised = compat_take_raised(), *done = NULL;
    int rc;
    if (LIKELY(condition_is_plain(st, b->condition))) {
        rc = lock_release((Lock *)((Condition *)b->condition)->lock, st);
    }
    else {
        done = barrier_call_condition(b, st->str.release);
        rc = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    }
    if (raised != NULL) {
        raise_again(raised, rc);
        return PYGEN_ERROR;
    }
    if (rc < 0) {
        Py_DECREF(value);
        return PYGEN_ERROR;
    }
    *result = value;
    return PYGEN_RETURN;
}

/* ---- wait() */

enum {
    BARRIER_BEGINS,
    BARRIER_TAKES_LOCK,
    BARRIER_BLOCKED /* until it fills again */,
    BARRIER_WAITS /* for the others */
};

/* It leaves the barrier, with its index or the raised exception (has_raised). */
static PySendResult
barrier_leave(Coro *c, Barrier *b, struct state *st, bool has_raised, PyObject **result)
{
    PyObject *raised = has_raised ? compat_take_raised() : NULL;
    int rc = 0;
    b->count--;
    if (b->count == 0) {
        if (barrier_is(b, st, BARRIER_RESETTING) || barrier_is(b, st, BARRIER_DRAINING)) {
            barrier_become(b, st, BARRIER_FILLING);
        }
        rc = barrier_notify_all(b, st);
    }
    PyObject *index = NULL;
    if (has_raised) {
        raise_again(raised, rc);
    }
    else if (rc == 0) {
        index = PyLong_FromSsize_t(c->n);
    }
    return barrier_release_lock(b, st, index, result);
}

/* It is inside, and waits until the barrier no longer fills. */
static PySendResult
barrier_wait_for_others(Coro *c, Barrier *b, struct state *st, PyObject **result)
{
    if (barrier_is(b, st, BARRIER_FILLING)) {
        c->phase = BARRIER_WAITS;
        PySendResult status = barrier_await_condition(c, b, st);
        return LIKELY(status == PYGEN_NEXT) ? status : barrier_leave(c, b, st, true, result);
    }
    bool is_broken = barrier_is(b, st, BARRIER_BROKEN) || barrier_is(b, st, BARRIER_RESETTING);
    if (is_broken) {
        barrier_raise_broken(st, "Abort or reset of barrier");
    }
    return barrier_leave(c, b, st, is_broken, result);
}

/* It holds the lock, and goes in as soon as the barrier fills. */
static PySendResult
barrier_enter(Coro *c, Barrier *b, struct state *st, PyObject **result)
{
    if (barrier_is(b, st, BARRIER_DRAINING) || barrier_is(b, st, BARRIER_RESETTING)) {
        c->phase = BARRIER_BLOCKED;
        PySendResult status = barrier_await_condition(c, b, st);
        return LIKELY(status == PYGEN_NEXT) ? status : barrier_release_lock(b, st, NULL, result);
    }
    if (barrier_is(b, st, BARRIER_BROKEN)) {
        barrier_raise_broken(st, "Barrier aborted");
        return barrier_release_lock(b, st, NULL, result);
    }
    c->n = b->count++;
    PyObject *inside = PyLong_FromSsize_t(b->count);
    PyObject *parties = Py_NewRef(b->parties);
    int is_last = inside == NULL ? -1 : PyObject_RichCompareBool(inside, parties, Py_EQ);
    Py_XDECREF(inside);
    Py_DECREF(parties);
    if (is_last > 0) {
        barrier_become(b, st, BARRIER_DRAINING);
        return barrier_leave(c, b, st, barrier_notify_all(b, st) < 0, result);
    }
    return is_last < 0 ? barrier_leave(c, b, st, true, result) : barrier_wait_for_others(c, b, st, result);
}

static PySendResult
barrier_wait_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Barrier *b = (Barrier *)c->self;
    PySendResult status;
    switch (c->phase) {
    case BARRIER_BEGINS:
        c->phase = BARRIER_TAKES_LOCK;
        status = barrier_take_lock(c, b, st);
        return status == PYGEN_RETURN ? barrier_enter(c, b, st, result) : status;
    case BARRIER_TAKES_LOCK:
        return value == NULL ? PYGEN_ERROR : barrier_enter(c, b, st, result);
    case BARRIER_BLOCKED:
        return value == NULL ? barrier_release_lock(b, st, NULL, result) : barrier_enter(c, b, st, result);
    default:
        return value == NULL ? barrier_leave(c, b, st, true, result) : barrier_wait_for_others(c, b, st, result);
    }
}

static const struct coro_kind barrier_wait_kind = {"Barrier.wait", barrier_wait_step};

/* `return await self.wait()` */
static PySendResult
barrier_aenter_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == 1) {
        return value == NULL ? PYGEN_ERROR : coro_return(result, value);
    }
    c->phase = 1;
    if (LIKELY(bound_is_plain(st, c->self, st->Barrier_type))) {
        return coro_wait(c, (PyObject *)coro_new(st, &barrier_wait_kind, c->self));
    }
    PyObject *waiting = PyObject_CallMethodNoArgs(c->self, st->str.wait);
    PySendResult status = waiting == NULL ? PYGEN_ERROR : coro_await(c, st, waiting);
    Py_XDECREF(waiting);
    return status;
}

static PySendResult
barrier_aexit_step(Coro *Py_UNUSED(c), struct state *Py_UNUSED(st), PyObject *Py_UNUSED(value), PyObject **result)
{
    return coro_return(result, Py_None);
}

/* ---- reset() and abort() */

static PySendResult
barrier_change(Coro *c, struct state *st, PyObject *value, PyObject **result, bool is_reset)
{
    Barrier *b = (Barrier *)c->self;
    if (c->phase == 0) {
        c->phase = 1;
        PySendResult status = barrier_take_lock(c, b, st);
        if (status != PYGEN_RETURN) {
            return status;
        }
    }
    else if (value == NULL) {
        return PYGEN_ERROR;
    }
    barrier_become(b, st, !is_reset ? BARRIER_BROKEN : b->count > 0 ? BARRIER_RESETTING : BARRIER_FILLING);
    PyObject *none = barrier_notify_all(b, st) < 0 ? NULL : Py_NewRef(Py_None);
    return barrier_release_lock(b, st, none, result);
}

static PySendResult
barrier_reset_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    return barrier_change(c, st, value, result, true);
}

static PySendResult
barrier_abort_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    return barrier_change(c, st, value, result, false);
}

static const struct coro_kind barrier_aenter_kind = {"Barrier.__aenter__", barrier_aenter_step};
static const struct coro_kind barrier_aexit_kind = {"Barrier.__aexit__", barrier_aexit_step};
static const struct coro_kind barrier_reset_kind = {"Barrier.reset", barrier_reset_step};
static const struct coro_kind barrier_abort_kind = {"Barrier.abort", barrier_abort_step};

/* ---- the Python face */

static PyObject *
barrier_start(PyObject *self, const struct coro_kind *kind, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    const struct args_signature signature = {kind->qualname, NULL, 0, 0, 0, true};
    if (args_bind(&signature, args, n_args, kwnames, NULL) < 0) {
        return NULL;
    }
    if (((Barrier *)self)->condition == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_cond'", Py_TYPE(self)->tp_name);
        return NULL;
    }
    return (PyObject *)coro_new(state_of(self), kind, self);
}

static PyObject *
Barrier_wait(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return barrier_start(self, &barrier_wait_kind, args, n_args, kwnames);
}

static PyObject *
Barrier_reset(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return barrier_start(self, &barrier_reset_kind, args, n_args, kwnames);
}

static PyObject *
Barrier_abort(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return barrier_start(self, &barrier_abort_kind, args, n_args, kwnames);
}

static PyObject *
Barrier_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return barrier_start(self, &barrier_aenter_kind, args, n_args, kwnames);
}

static PyObject *
Barrier_aexit(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n_args), PyObject *kwnames)
{
    return barrier_start(self, &barrier_aexit_kind, NULL, 0, kwnames);
}

static int
Barrier_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"parties"};
    static const struct args_signature signature = {"Barrier.__init__", names, 1, 1, 1, true};
    Barrier *b = (Barrier *)self;
    struct state *st = state_of(self);
    PyObject *parties, *one = PyLong_FromLong(1);
    int is_small = one == NULL || args_bind_tuple(&signature, args, kwargs, &parties) < 0
                       ? -1
                       : PyObject_RichCompareBool(parties, one, Py_LT);
    Py_XDECREF(one);
    if (is_small != 0) {
        if (is_small > 0) {
            PyErr_SetString(PyExc_ValueError, COMPAT_BARRIER_TEXT);
        }
        return -1;
    }
    PyObject *condition = condition_new(st);
    if (condition == NULL) {
        return -1;
    }
    Py_XSETREF(b->condition, condition);
    Py_XSETREF(b->parties, Py_NewRef(parties));
    barrier_become(b, st, BARRIER_FILLING);
    b->count = 0;
    return 0;
}

static PyObject *
Barrier_get_parties(PyObject *self, void *Py_UNUSED(closure))
{
    return PyObject_GetAttrString(self, "_parties");
}

static PyObject *
Barrier_get_n_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(barrier_is((Barrier *)self, state_of(self), BARRIER_FILLING) ? ((Barrier *)self)->count
                                                                                           : 0);
}

static PyObject *
Barrier_get_broken(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(barrier_is((Barrier *)self, state_of(self), BARRIER_BROKEN));
}

/* A field that was set cannot be deleted, as the steps of wait() rely on it. */
static PyObject *
barrier_get_field(PyObject *self, PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '%s'", Py_TYPE(self)->tp_name, name);
    }
    return Py_XNewRef(value);
}

static int
barrier_set_field(PyObject **field, PyObject *value)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    Py_XSETREF(*field, Py_NewRef(value));
    return 0;
}

static PyObject *
Barrier_get_condition(PyObject *self, void *Py_UNUSED(closure))
{
    return barrier_get_field(self, ((Barrier *)self)->condition, "_cond");
}

static int
Barrier_set_condition(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return barrier_set_field(&((Barrier *)self)->condition, value);
}

static PyObject *
Barrier_get_parties_given(PyObject *self, void *Py_UNUSED(closure))
{
    return barrier_get_field(self, ((Barrier *)self)->parties, "_parties");
}

static int
Barrier_set_parties(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return barrier_set_field(&((Barrier *)self)->parties, value);
}

/* Reads the properties by name, as a subclass may override them. */
static PyObject *
Barrier_repr(PyObject *self)
{
    struct state *st = state_of(self);
    PyObject *shown = PyObject_GetAttrString(self, "_state"), *broken = NULL, *waiting = NULL, *parties = NULL,
             *extra = NULL;
    if (shown == NULL) {
        return NULL;
    }
    Py_SETREF(shown, PyObject_GetAttrString(shown, "value"));
    broken = shown == NULL ? NULL : PyObject_GetAttrString(self, "broken");
    int is_broken = broken == NULL ? -1 : PyObject_IsTrue(broken);
    if (is_broken > 0) {
        extra = PyObject_Str(shown);
    }
    else if (is_broken == 0 && (waiting = PyObject_GetAttrString(self, "n_waiting")) != NULL
             && (parties = PyObject_GetAttrString(self, "parties")) != NULL) {
        extra = PyUnicode_FromFormat("%S, waiters:%S/%S", shown, waiting, parties);
    }
    Py_XDECREF(shown);
    Py_XDECREF(broken);
    Py_XDECREF(waiting);
    Py_XDECREF(parties);
    return extra == NULL ? NULL : bound_repr((Bound *)self, st, extra);
}

static int
Barrier_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Barrier *)self)->condition);
    Py_VISIT(((Barrier *)self)->parties);
    Py_VISIT(((Barrier *)self)->state);
    return Bound_traverse(self, visit, arg);
}

static int
Barrier_clear(PyObject *self)
{
    (void)Bound_clear(self);
    Py_CLEAR(((Barrier *)self)->condition);
    Py_CLEAR(((Barrier *)self)->parties);
    Py_CLEAR(((Barrier *)self)->state);
    return 0;
}

PyDoc_STRVAR(
    Barrier_doc,
    "Barrier(parties)\n--\n\n"
    "Tasks wait at it until there are parties of them; then all go on: `async with barrier:`, or await wait().\n\n"
    "wait() returns the task's number, 0 to parties - 1.  BrokenBarrierError after abort() or reset().\n"
    "Source: asyncio.Barrier.  Differs: a subclass cannot override _block, _release, _wait and _exit.");

static PyMethodDef Barrier_methods[] = {
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function barrier_functions[] = {
    {"Barrier.wait", Barrier_wait, "wait(self)\n--\n\nWait for the others; returns this task's number."},
    {"Barrier.reset", Barrier_reset, "reset(self)\n--\n\nAs it was at first; those who wait get BrokenBarrierError."},
    {"Barrier.abort", Barrier_abort,
     "abort(self)\n--\n\nBreak it: those who wait, and will wait, get BrokenBarrierError."},
    {"Barrier.__aenter__", Barrier_aenter, "__aenter__(self)\n--\n\nwait()"},
    {"Barrier.__aexit__", Barrier_aexit, "__aexit__(self, *args)\n--\n\nDoes nothing."},
    {NULL},
};

static const char *const Barrier_copied[] = {"_cond", "_parties", "_state", "_count", "?_loop", NULL};

static PyGetSetDef Barrier_getset[] = {
    BOUND_GETSET,
    {"parties", Barrier_get_parties, NULL, "How many tasks it takes."},
    {"n_waiting", Barrier_get_n_waiting, NULL, "How many tasks wait for the others."},
    {"broken", Barrier_get_broken, NULL, "True after abort()."},
    {"_cond", Barrier_get_condition, Barrier_set_condition},
    {"_parties", Barrier_get_parties_given, Barrier_set_parties},
    {NULL},
};

static PyMemberDef Barrier_members[] = {
    BOUND_MEMBERS,
    {"_state", T_OBJECT_EX, offsetof(Barrier, state), 0},
    {"_count", T_PYSSIZET, offsetof(Barrier, count), 0},
    {NULL},
};

static PyType_Slot Barrier_slots[] = {
    {Py_tp_doc, (void *)Barrier_doc},
    {Py_tp_new, twin_new},
    {Py_tp_init, Barrier_init},
    {Py_tp_traverse, Barrier_traverse},
    {Py_tp_clear, Barrier_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Barrier_repr},
    {Py_tp_methods, Barrier_methods},
    {Py_tp_getset, Barrier_getset},
    {Py_tp_members, Barrier_members},
    {0, NULL},
};

static PyType_Spec Barrier_spec = {
    .name = "asyncloop.Barrier",
    .basicsize = sizeof(Barrier),
    .flags = BOUND_FLAGS,
    .slots = Barrier_slots,
};

/* asyncio's own states, in our order. */
static int
barrier_find_states(struct state *st)
{
    static const char *const names[] = {"FILLING", "DRAINING", "RESETTING", "BROKEN"};
    PyObject *module = PyImport_ImportModule("asyncio.locks");
    PyObject *states = module == NULL ? NULL : PyObject_GetAttrString(module, "_BarrierState");
    st->barrier_states = states == NULL ? NULL : PyTuple_New(ARRAY_LENGTH(names));
    int rc = st->barrier_states == NULL ? -1 : 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(names); i++) {
        PyObject *state = PyObject_GetAttrString(states, names[i]);
        rc = state == NULL ? -1 : 0;
        PyTuple_SET_ITEM(st->barrier_states, i, state);
    }
    Py_XDECREF(module);
    Py_XDECREF(states);
    return rc;
}

static int
barrier_register(PyObject *module, struct state *st)
{
    if (barrier_find_states(st) < 0
        || future_import(&st->BrokenBarrierError, "asyncio.exceptions", "BrokenBarrierError") < 0
        || state_add_type(module, &st->Barrier_type, &Barrier_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Barrier_type, barrier_functions) < 0) {
        return -1;
    }
    if (twin_adopt(st, st->Barrier_type, TWIN_SYNC, "asyncio.locks", "Barrier") < 0) {
        return -1;
    }
    return twin_add_copying(st, st->Barrier_type, Barrier_copied);
}
