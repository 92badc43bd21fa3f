/* sync/semaphore.c -- see semaphore.h. */
#include "sync/semaphore.h"

#include "core/args.h"
#include "core/raise.h"
#include "core/twin.h"
#include "sync/lock.h"
#include "task/coro/coro_function.h"

/* ---- the value */

static int
semaphore_set_value(Semaphore *s, PyObject *value)
{
    Py_ssize_t n = PyLong_CheckExact(value) ? PyLong_AsSsize_t(value) : -1;
    bool is_small = n != -1 ? n < PY_SSIZE_T_MAX : PyLong_CheckExact(value) && !PyErr_Occurred();
    PyErr_Clear();
    if (is_small) {
        s->value = n;
        Py_CLEAR(s->object);
    }
    else {
        Py_XSETREF(s->object, Py_NewRef(value));
    }
    return 0;
}

static PyObject *
semaphore_value(Semaphore *s)
{
    return s->object != NULL ? Py_NewRef(s->object) : PyLong_FromSsize_t(s->value);
}

static COLD int
semaphore_add_object(Semaphore *s, int n)
{
    PyObject *before = Py_NewRef(s->object), *one = PyLong_FromLong(n < 0 ? -n : n), *after = NULL;
    if (one != NULL) {
        after = n < 0 ? PyNumber_InPlaceSubtract(before, one) : PyNumber_InPlaceAdd(before, one);
    }
    int rc = after == NULL ? -1 : semaphore_set_value(s, after);
    Py_DECREF(before);
    Py_XDECREF(one);
    Py_XDECREF(after);
    return rc;
}

/* value += n, n being 1 or -1 */
static inline int
semaphore_add(Semaphore *s, int n)
{
    if (UNLIKELY(s->object != NULL || s->value >= PY_SSIZE_T_MAX - 1 || s->value <= -PY_SSIZE_T_MAX)) {
        if (s->object == NULL && (s->object = PyLong_FromSsize_t(s->value)) == NULL) {
            return -1;
        }
        return semaphore_add_object(s, n);
    }
    s->value += n;
    return 0;
}

static COLD int
semaphore_compare_object(Semaphore *s, int op)
{
    PyObject *zero = PyLong_FromLong(0), *object = Py_NewRef(s->object);
    int rc = zero == NULL ? -1 : PyObject_RichCompareBool(object, zero, op);
    Py_XDECREF(zero);
    Py_DECREF(object);
    return rc;
}

static inline int
semaphore_is_zero(Semaphore *s)
{
    return LIKELY(s->object == NULL) ? s->value == 0 : semaphore_compare_object(s, Py_EQ);
}

static inline int
semaphore_is_positive(Semaphore *s)
{
    return LIKELY(s->object == NULL) ? s->value > 0 : semaphore_compare_object(s, Py_GT);
}

/* ---- taking and giving */

static inline bool
semaphore_is_plain(struct state *st, PyObject *object)
{
    return bound_is_plain(st, object, st->Semaphore_type) || bound_is_plain(st, object, st->BoundedSemaphore_type);
}

/* locked(): 1, 0, -1 */
static inline int
semaphore_is_locked(Semaphore *s, struct state *st)
{
    int is_zero = semaphore_is_zero(s);
    return is_zero != 0 ? is_zero : bound_has_waiter(st, s->bound.waiters);
}

static inline int
semaphore_call_locked(Semaphore *s, struct state *st)
{
    return LIKELY(semaphore_is_plain(st, (PyObject *)s)) ? semaphore_is_locked(s, st)
                                                         : ask_method((PyObject *)s, st->str.locked);
}

/* Wake the first waiter that is not done, the unit being its own from now on: 1, 0 when there is none, -1. */
static inline int
semaphore_wake_next(Semaphore *s, struct state *st)
{
    PyObject *iterator = bound_iter(st, s->bound.waiters), *future;
    if (LIKELY(iterator == NULL)) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = 0;
    while (rc == 0 && (future = PyIter_Next(iterator)) != NULL) {
        int is_done = child_is_done(st, future);
        if (is_done == 0) {
            rc = semaphore_add(s, -1) < 0 || future_set_any(st, future, Py_True, NULL) < 0 ? -1 : 1;
        }
        else if (is_done < 0) {
            rc = -1;
        }
        Py_DECREF(future);
    }
    Py_DECREF(iterator);
    return rc == 0 && PyErr_Occurred() ? -1 : rc;
}

static inline int
semaphore_call_wake_next(Semaphore *s, struct state *st)
{
    return LIKELY(semaphore_is_plain(st, (PyObject *)s)) ? semaphore_wake_next(s, st)
                                                         : ask_method((PyObject *)s, st->str._wake_up_next);
}

static inline int
semaphore_release(Semaphore *s, struct state *st)
{
    return semaphore_add(s, 1) < 0 || semaphore_call_wake_next(s, st) < 0 ? -1 : 0;
}

/* ---- acquire() */

/* A waiter goes on.  Units may be left for waiters that came meanwhile. */
static int
semaphore_wake_others(Semaphore *s, struct state *st)
{
    int rc;
    while ((rc = semaphore_is_positive(s)) > 0) {
        rc = semaphore_call_wake_next(s, st);
        if (rc <= 0 || !st->traits.semaphore_wakes_all) {
            return rc < 0 ? -1 : 0;
        }
    }
    return rc;
}

/* The waiter was cancelled.  If a unit was its own already, it gives it back. */
static int
semaphore_give_back(Coro *c, Semaphore *s, struct state *st)
{
    PyObject *future = c->slots[BOUND_WAITER];
    int is_cancelled = child_is_cancelled(st, future);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    if (!st->traits.semaphore_wakes_all) {
        return semaphore_release(s, st);
    }
    int is_done = child_is_done(st, future);
    return is_done <= 0 ? is_done : semaphore_add(s, 1);
}

static PySendResult
semaphore_end_acquire(Coro *c, Semaphore *s, struct state *st, PyObject *value, PyObject **result)
{
    if (bound_end_wait(c, st, &s->bound.waiters, value == NULL) < 0) {
        value = NULL;
    }
    if (LIKELY(value != NULL)) {
        return semaphore_wake_others(s, st) < 0 ? PYGEN_ERROR : coro_return(result, Py_True);
    }
    PyObject *raised = compat_take_raised();
    if (PyErr_GivenExceptionMatches(raised, st->CancelledError)
        && raise_again(Py_NewRef(raised), semaphore_give_back(c, s, st)) < 0) {
        Py_SETREF(raised, compat_take_raised());
    }
    else {
        PyErr_Clear();
    }
    raise_again(raised, st->traits.semaphore_wakes_all ? semaphore_wake_others(s, st) : 0);
    return PYGEN_ERROR;
}

static PySendResult
semaphore_acquire_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Semaphore *s = (Semaphore *)c->self;
    if (c->phase == 0) {
        int is_locked = semaphore_call_locked(s, st);
        if (LIKELY(is_locked == 0)) {
            return semaphore_add(s, -1) < 0 ? PYGEN_ERROR : coro_return(result, Py_True);
        }
        c->phase = 1;
        PySendResult status = is_locked < 0 ? PYGEN_ERROR : bound_wait(c, st, &s->bound, &s->bound.waiters);
        if (LIKELY(status == PYGEN_NEXT || c->slots[BOUND_WAITER] == NULL)) {
            return status;
        }
        value = NULL;
    }
    return semaphore_end_acquire(c, s, st, value, result);
}

static const struct coro_kind semaphore_acquire_kind = {"Semaphore.acquire", semaphore_acquire_step};

/* ---- the Python face */

/* value=1 */
static int
semaphore_start(Semaphore *s, PyObject *value)
{
    PyObject *zero = PyLong_FromLong(0);
    int is_negative = zero == NULL ? -1 : PyObject_RichCompareBool(value, zero, Py_LT);
    Py_XDECREF(zero);
    if (is_negative != 0) {
        if (is_negative > 0) {
            PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
        }
        return -1;
    }
    Py_CLEAR(s->bound.waiters);
    return semaphore_set_value(s, value);
}

/* The argument, or 1. New reference. */
static PyObject *
semaphore_argument(const char *function, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"value"};
    const struct args_signature signature = {function, names, 0, 1, 1, true};
    PyObject *value;
    return args_bind_tuple(&signature, args, kwargs, &value) < 0 ? NULL
           : value == NULL                                       ? PyLong_FromLong(1)
                                                                 : Py_NewRef(value);
}

static int
Semaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *value = semaphore_argument("Semaphore.__init__", args, kwargs);
    int rc = value == NULL ? -1 : semaphore_start((Semaphore *)self, value);
    Py_XDECREF(value);
    return rc;
}

static int
BoundedSemaphore_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *value = semaphore_argument("BoundedSemaphore.__init__", args, kwargs);
    if (value == NULL) {
        return -1;
    }
    Py_XSETREF(((Semaphore *)self)->limit, Py_NewRef(value));
    int rc = semaphore_start((Semaphore *)self, value);
    Py_DECREF(value);
    return rc;
}

static PyObject *
Semaphore_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Semaphore.acquire", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0
               ? NULL
               : (PyObject *)coro_new(state_of(self), &semaphore_acquire_kind, self);
}

static PyObject *
Semaphore_release(PyObject *self, PyObject *Py_UNUSED(none))
{
    return semaphore_release((Semaphore *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
BoundedSemaphore_release(PyObject *self, PyObject *none)
{
    Semaphore *s = (Semaphore *)self;
    if (UNLIKELY(s->limit == NULL)) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_bound_value'", Py_TYPE(self)->tp_name);
        return NULL;
    }
    PyObject *value = semaphore_value(s), *limit = Py_NewRef(s->limit);
    int is_full = value == NULL ? -1 : PyObject_RichCompareBool(value, limit, Py_GE);
    Py_XDECREF(value);
    Py_DECREF(limit);
    if (is_full != 0) {
        if (is_full > 0) {
            PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
        }
        return NULL;
    }
    struct state *st = state_of(self);
    if (UNLIKELY(st->twins_touched[TWIN_SYNC])) { /* a program may have replaced Semaphore.release */
        PyObject *release = PyObject_GetAttr((PyObject *)st->Semaphore_type, st->str.release);
        PyObject *done = release == NULL ? NULL : PyObject_CallOneArg(release, self);
        Py_XDECREF(release);
        return done;
    }
    return Semaphore_release(self, none);
}

static PyObject *
Semaphore_locked(PyObject *self, PyObject *Py_UNUSED(none))
{
    int is_locked = semaphore_is_locked((Semaphore *)self, state_of(self));
    return is_locked < 0 ? NULL : PyBool_FromLong(is_locked);
}

static PyObject *
Semaphore_wake_up_next(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct state *st = state_of(self);
    int rc = semaphore_wake_next((Semaphore *)self, st);
    return rc < 0 ? NULL : st->traits.semaphore_wakes_all ? PyBool_FromLong(rc) : Py_NewRef(Py_None);
}

static PyObject *
Semaphore_repr(PyObject *self)
{
    struct state *st = state_of(self);
    int is_locked = semaphore_call_locked((Semaphore *)self, st);
    if (is_locked != 0) {
        return is_locked < 0 ? NULL : bound_repr((Bound *)self, st, PyUnicode_FromString("locked"));
    }
    PyObject *value = semaphore_value((Semaphore *)self),
             *extra = value == NULL ? NULL : PyUnicode_FromFormat("unlocked, value:%S", value);
    Py_XDECREF(value);
    return extra == NULL ? NULL : bound_repr((Bound *)self, st, extra);
}

static PyObject *
Semaphore_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    return semaphore_value((Semaphore *)self);
}

static int
Semaphore_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_value");
        return -1;
    }
    return semaphore_set_value((Semaphore *)self, value);
}

static int
Semaphore_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Semaphore *)self)->object);
    Py_VISIT(((Semaphore *)self)->limit);
    return Bound_traverse(self, visit, arg);
}

static int
Semaphore_clear(PyObject *self)
{
    (void)Bound_clear(self);
    Py_CLEAR(((Semaphore *)self)->object);
    Py_CLEAR(((Semaphore *)self)->limit);
    return 0;
}

PyDoc_STRVAR(Semaphore_doc,
             "Semaphore(value=1)\n--\n\n"
             "A counter that tasks take from and give back to: `async with semaphore:`, or acquire() and release().\n\n"
             "At 0 acquire() waits.  ValueError for a negative value.  Source: asyncio.Semaphore.  Differs: nothing.");
PyDoc_STRVAR(BoundedSemaphore_doc,
             "BoundedSemaphore(value=1)\n--\n\n"
             "A Semaphore whose release() raises ValueError where the value would go beyond the first one.\n\n"
             "Source: asyncio.BoundedSemaphore.  Differs: nothing.");

static PyMethodDef Semaphore_methods[] = {
    {"release", Semaphore_release, METH_NOARGS, "release($self)\n--\n\nGive one back; the first waiter gets it."},
    {"locked", Semaphore_locked, METH_NOARGS, "locked($self)\n--\n\nTrue if acquire() would have to wait."},
    {"_wake_up_next", Semaphore_wake_up_next, METH_NOARGS, NULL},
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function semaphore_functions[] = {
    {"Semaphore.acquire", Semaphore_acquire,
     "acquire(self)\n--\n\nTake one, waiting until there is one, and return True."},
    LOCK_CONTEXT_FUNCTIONS(Lock),
    {NULL},
};

static const char *const Semaphore_copied[] = {"_waiters", "_value", "?_loop", NULL};
static const char *const BoundedSemaphore_copied[] = {"_bound_value", "_waiters", "_value", "?_loop", NULL};

static PyGetSetDef Semaphore_getset[] = {
    BOUND_GETSET,
    {"_waiters", Bound_get_waiters_or_none, Bound_set_waiters_or_none},
    {"_value", Semaphore_get_value, Semaphore_set_value},
    {NULL},
};

static PyMemberDef Semaphore_members[] = {
    BOUND_MEMBERS,
    {NULL},
};

static PyType_Slot Semaphore_slots[] = {
    {Py_tp_doc, (void *)Semaphore_doc},
    {Py_tp_new, twin_new},
    {Py_tp_init, Semaphore_init},
    {Py_tp_traverse, Semaphore_traverse},
    {Py_tp_clear, Semaphore_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Semaphore_repr},
    {Py_tp_methods, Semaphore_methods},
    {Py_tp_getset, Semaphore_getset},
    {Py_tp_members, Semaphore_members},
    {0, NULL},
};

static PyType_Spec Semaphore_spec = {
    .name = "asyncloop.Semaphore",
    .basicsize = sizeof(Semaphore),
    .flags = BOUND_FLAGS,
    .slots = Semaphore_slots,
};

static PyMethodDef BoundedSemaphore_methods[] = {
    {"release", BoundedSemaphore_release, METH_NOARGS,
     "release($self)\n--\n\nGive one back. ValueError when nobody has taken it."},
    {NULL},
};

static PyMemberDef BoundedSemaphore_members[] = {
    {"_bound_value", T_OBJECT_EX, offsetof(Semaphore, limit), 0},
    {NULL},
};

static PyType_Slot BoundedSemaphore_slots[] = {
    {Py_tp_doc, (void *)BoundedSemaphore_doc},
    {Py_tp_init, BoundedSemaphore_init},
    {Py_tp_traverse, Semaphore_traverse},
    {Py_tp_clear, Semaphore_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_methods, BoundedSemaphore_methods},
    {Py_tp_members, BoundedSemaphore_members},
    {0, NULL},
};

static PyType_Spec BoundedSemaphore_spec = {
    .name = "asyncloop.BoundedSemaphore",
    .basicsize = sizeof(Semaphore),
    .flags = BOUND_FLAGS,
    .slots = BoundedSemaphore_slots,
};

/* Does a waiter that goes on wake as many others as there are units?  Since asyncio does so, its _wake_up_next()
 * returns whether there was one to wake. */
static int
semaphore_ask_asyncio(struct state *st)
{
    PyObject *module = PyImport_ImportModule("asyncio.locks");
    PyObject *semaphore = module == NULL ? NULL : PyObject_CallMethod(module, "Semaphore", NULL);
    PyObject *answer = semaphore == NULL ? NULL : PyObject_CallMethod(semaphore, "_wake_up_next", NULL);
    st->traits.semaphore_wakes_all = answer == Py_False;
    Py_XDECREF(module);
    Py_XDECREF(semaphore);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

static int
semaphore_register(PyObject *module, struct state *st)
{
    if (semaphore_ask_asyncio(st) < 0
        || state_add_type(module, &st->Semaphore_type, &Semaphore_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Semaphore_type, semaphore_functions) < 0
        || state_add_type(module, &st->BoundedSemaphore_type, &BoundedSemaphore_spec, st->Semaphore_type, true,
                          SECTION_AT(Bound, loop))
               < 0) {
        return -1;
    }
    return twin_adopt(st, st->Semaphore_type, TWIN_SYNC, "asyncio.locks", "Semaphore") < 0
                   || twin_adopt(st, st->BoundedSemaphore_type, TWIN_SYNC, "asyncio.locks", "BoundedSemaphore") < 0
                   || twin_add_copying(st, st->Semaphore_type, Semaphore_copied) < 0
                   || twin_add_copying(st, st->BoundedSemaphore_type, BoundedSemaphore_copied) < 0
               ? -1
               : 0;
}
