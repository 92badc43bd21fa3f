/* sync/lock.c -- see lock.h. */
#include "sync/lock.h"

#include "core/args.h"
#include "core/raise.h"
#include "core/twin.h"
#include "task/coro/coro_function.h"

static inline bool
lock_is_plain(struct state *st, PyObject *object)
{
    return bound_is_plain(st, object, st->Lock_type);
}

static inline int
lock_try(Lock *l, struct state *st)
{
    if (l->is_locked) {
        return 0;
    }
    int is_promised = bound_has_waiter(st, l->bound.waiters);
    if (LIKELY(is_promised == 0)) {
        l->is_locked = true;
        return 1;
    }
    return is_promised < 0 ? -1 : 0;
}

static inline int
lock_wake_first(Lock *l, struct state *st)
{
    PyObject *first = deque_first(st, l->bound.waiters);
    if (first == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return bound_wake_one(st, first, Py_True) < 0 ? -1 : 0;
}

static inline int
lock_release(Lock *l, struct state *st)
{
    if (UNLIKELY(!l->is_locked)) {
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
        return -1;
    }
    l->is_locked = false;
    return l->bound.waiters == NULL ? 0 : lock_wake_first(l, st);
}

/* ---- acquire() */

static PySendResult
lock_acquire_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Lock *l = (Lock *)c->self;
    if (c->phase == 0) {
        int is_taken = lock_try(l, st);
        if (LIKELY(is_taken > 0)) {
            return coro_return(result, Py_True);
        }
        c->phase = 1;
        PySendResult status = is_taken < 0 ? PYGEN_ERROR : bound_wait(c, st, &l->bound, &l->bound.waiters);
        if (LIKELY(status == PYGEN_NEXT || c->slots[BOUND_WAITER] == NULL)) {
            return status;
        }
        value = NULL;
    }
    if (bound_end_wait(c, st, &l->bound.waiters, value == NULL) < 0) {
        value = NULL;
    }
    if (LIKELY(value != NULL)) {
        l->is_locked = true;
        return coro_return(result, Py_True);
    }
    /* the lock may have been promised to us: promise it to the next */
    if (PyErr_ExceptionMatches(st->CancelledError) && !l->is_locked) {
        PyObject *raised = compat_take_raised();
        (void)raise_again(raised, lock_wake_first(l, st));
    }
    return PYGEN_ERROR;
}

static const struct coro_kind lock_acquire_kind = {"Lock.acquire", lock_acquire_step};

static PyObject *
lock_acquire(PyObject *lock, struct state *st)
{
    return (PyObject *)coro_new(st, &lock_acquire_kind, lock);
}

/* ---- async with */

/* `await self.acquire()`, then None. */
static PySendResult
lock_aenter_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    PyObject *self = c->self, *acquiring;
    if (c->phase == 1) {
        return value == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
    }
    c->phase = 1;
    if (LIKELY(lock_is_plain(st, self))) {
        int is_taken = lock_try((Lock *)self, st);
        return LIKELY(is_taken > 0) ? coro_return(result, Py_None)
               : is_taken < 0       ? PYGEN_ERROR
                                    : coro_wait(c, lock_acquire(self, st));
    }
    acquiring = PyObject_CallMethodNoArgs(self, st->str.acquire);
    PySendResult status = acquiring == NULL ? PYGEN_ERROR : coro_await(c, st, acquiring);
    Py_XDECREF(acquiring);
    return status;
}

/* self.release(), then None. */
static PySendResult
lock_aexit_step(Coro *c, struct state *st, PyObject *Py_UNUSED(value), PyObject **result)
{
    if (LIKELY(lock_is_plain(st, c->self))) {
        return lock_release((Lock *)c->self, st) < 0 ? PYGEN_ERROR : coro_return(result, Py_None);
    }
    PyObject *done = PyObject_CallMethodNoArgs(c->self, st->str.release);
    Py_XDECREF(done);
    return done == NULL ? PYGEN_ERROR : coro_return(result, Py_None);
}

static const struct coro_kind lock_aenter_kind = {"_ContextManagerMixin.__aenter__", lock_aenter_step};
static const struct coro_kind lock_aexit_kind = {"_ContextManagerMixin.__aexit__", lock_aexit_step};

static PyObject *
Lock_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"_ContextManagerMixin.__aenter__", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0
               ? NULL
               : (PyObject *)coro_new(state_of(self), &lock_aenter_kind, self);
}

static PyObject *
Lock_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"exc_type", "exc", "tb"};
    static const struct args_signature signature = {"_ContextManagerMixin.__aexit__", names, 3, 3, 3, true};
    PyObject *given[3];
    return args_bind(&signature, args, n_args, kwnames, given) < 0
               ? NULL
               : (PyObject *)coro_new(state_of(self), &lock_aexit_kind, self);
}

/* ---- the Python face */

static PyObject *
lock_new(struct state *st)
{
    return st->Lock_type->tp_alloc(st->Lock_type, 0);
}

static int
Lock_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const struct args_signature signature = {"Lock.__init__", NULL, 0, 0, 0, true};
    if (args_bind_tuple(&signature, args, kwargs, NULL) < 0) {
        return -1;
    }
    ((Lock *)self)->is_locked = false;
    Py_CLEAR(((Bound *)self)->waiters);
    return 0;
}

static PyObject *
Lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Lock.acquire", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0 ? NULL : lock_acquire(self, state_of(self));
}

static PyObject *
Lock_release(PyObject *self, PyObject *Py_UNUSED(none))
{
    return lock_release((Lock *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Lock_locked(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(((Lock *)self)->is_locked);
}

static PyObject *
Lock_wake_up_first(PyObject *self, PyObject *Py_UNUSED(none))
{
    return lock_wake_first((Lock *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Lock_repr(PyObject *self)
{
    return bound_repr((Bound *)self, state_of(self),
                      PyUnicode_FromString(((Lock *)self)->is_locked ? "locked" : "unlocked"));
}

PyDoc_STRVAR(Lock_doc,
             "Lock()\n--\n\n"
             "Mutual exclusion of tasks: `async with lock:`, or `await lock.acquire()` and `lock.release()`.\n\n"
             "Tasks get it in the order in which they asked.  Source: asyncio.Lock.  Differs: nothing.");

static PyMethodDef Lock_methods[] = {
    {"release", Lock_release, METH_NOARGS,
     "release($self)\n--\n\nLet the first waiter have it. RuntimeError when it is not locked."},
    {"locked", Lock_locked, METH_NOARGS, "locked($self)\n--\n\nTrue if it is locked."},
    {"_wake_up_first", Lock_wake_up_first, METH_NOARGS, NULL},
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function lock_functions[] = {
    {"Lock.acquire", Lock_acquire, "acquire(self)\n--\n\nWait until it is free, lock it and return True."},
    LOCK_CONTEXT_FUNCTIONS(Lock),
    {NULL},
};

static const char *const Lock_copied[] = {"_waiters", "_locked", "?_loop", NULL};

static PyGetSetDef Lock_getset[] = {
    BOUND_GETSET,
    {"_waiters", Bound_get_waiters_or_none, Bound_set_waiters_or_none},
    {NULL},
};

static PyMemberDef Lock_members[] = {
    BOUND_MEMBERS,
    {"_locked", T_BOOL, offsetof(Lock, is_locked), 0},
    {NULL},
};

static PyType_Slot Lock_slots[] = {
    {Py_tp_doc, (void *)Lock_doc},
    {Py_tp_new, twin_new},
    {Py_tp_init, Lock_init},
    {Py_tp_traverse, Bound_traverse},
    {Py_tp_clear, Bound_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Lock_repr},
    {Py_tp_methods, Lock_methods},
    {Py_tp_getset, Lock_getset},
    {Py_tp_members, Lock_members},
    {0, NULL},
};

static PyType_Spec Lock_spec = {
    .name = "asyncloop.Lock",
    .basicsize = sizeof(Lock),
    .flags = BOUND_FLAGS,
    .slots = Lock_slots,
};

static int
lock_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->Lock_type, &Lock_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Lock_type, lock_functions) < 0) {
        return -1;
    }
    if (twin_adopt(st, st->Lock_type, TWIN_SYNC, "asyncio.locks", "Lock") < 0) {
        return -1;
    }
    return twin_add_copying(st, st->Lock_type, Lock_copied);
}
