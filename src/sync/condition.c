/* sync/condition.c -- see condition.h. */
#include "sync/condition.h"

#include "core/args.h"
#include "core/raise.h"
#include "core/twin.h"
#include "task/coro/coro_function.h"

/* ---- the lock */

static inline bool
condition_is_plain(struct state *st, PyObject *object)
{
    Condition *cond = (Condition *)object;
    return bound_is_plain(st, object, st->Condition_type) && !cond->methods_set && cond->lock != NULL
           && lock_is_plain(st, cond->lock);
}

static inline int
condition_is_locked(Condition *cond, struct state *st)
{
    return LIKELY(condition_is_plain(st, (PyObject *)cond)) ? ((Lock *)cond->lock)->is_locked
                                                            : ask_method((PyObject *)cond, st->str.locked);
}

static inline int
condition_release(Condition *cond, struct state *st)
{
    if (LIKELY(condition_is_plain(st, (PyObject *)cond))) {
        return lock_release((Lock *)cond->lock, st);
    }
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)cond, st->str.release);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* `await self.acquire()`.  PYGEN_RETURN: taken at once (no result). */
static inline PySendResult
condition_acquire(Coro *c, Condition *cond, struct state *st)
{
    if (LIKELY(condition_is_plain(st, (PyObject *)cond))) {
        PyObject *lock = Py_NewRef(cond->lock); /* foreign waiters may run anything */
        int is_taken = lock_try((Lock *)lock, st);
        PySendResult status = is_taken > 0   ? PYGEN_RETURN
                              : is_taken < 0 ? PYGEN_ERROR
                                             : coro_wait(c, lock_acquire(lock, st));
        Py_DECREF(lock);
        return status;
    }
    PyObject *acquiring = PyObject_CallMethodNoArgs((PyObject *)cond, st->str.acquire);
    PySendResult status = acquiring == NULL ? PYGEN_ERROR : coro_await(c, st, acquiring);
    Py_XDECREF(acquiring);
    return status;
}

static inline int
condition_notify(Condition *cond, struct state *st, Py_ssize_t n)
{
    return bound_wake(st, cond->bound.waiters, n, Py_False) < 0 ? -1 : 0;
}

/* ---- wait() */

enum {
    CONDITION_OUTCOME = 1,
    /* what the wait itself raised */ CONDITION_CANCELLED /* the last CancelledError while taking the lock */
};
enum { CONDITION_BEGINS, CONDITION_WAITS, CONDITION_TAKES_LOCK };

/* The end of wait(): we have the lock again, or (has_raised) taking it failed. */
static PySendResult
condition_end_wait(Coro *c, Condition *cond, struct state *st, bool has_raised, PyObject **result)
{
    PyObject *outcome = c->slots[CONDITION_OUTCOME], *cancelled = c->slots[CONDITION_CANCELLED];
    c->slots[CONDITION_OUTCOME] = c->slots[CONDITION_CANCELLED] = NULL;
    PyObject *raised = has_raised ? compat_take_raised() : NULL;
    if (!has_raised && cancelled != NULL) {
        raised = st->traits.condition_keeps_error ? Py_NewRef(cancelled) : PyObject_CallNoArgs(st->CancelledError);
        if (raised == NULL) {
            raised = compat_take_raised();
        }
    }
    Py_XDECREF(cancelled);
    if (raised != NULL && outcome != NULL) {
        raise_in_context(raised, outcome);
        Py_DECREF(outcome);
    }
    else if (raised == NULL) {
        raised = outcome;
    }
    if (LIKELY(raised == NULL)) {
        return coro_return(result, Py_True);
    }
    raise_again(raised, st->traits.condition_passes_on ? condition_notify(cond, st, 1) : 0);
    return PYGEN_ERROR;
}

/* Take the lock again.  A cancellation meanwhile is kept for the end, and we go on trying. */
static PySendResult
condition_take_lock(Coro *c, Condition *cond, struct state *st, PySendResult status, PyObject **result)
{
    c->phase = CONDITION_TAKES_LOCK;
    for (;;) {
        if (status == PYGEN_RETURN) {
            return condition_end_wait(c, cond, st, false, result);
        }
        if (status == PYGEN_NEXT) {
            return status;
        }
        if (!PyErr_ExceptionMatches(st->CancelledError)) {
            return condition_end_wait(c, cond, st, true, result);
        }
        Py_XSETREF(c->slots[CONDITION_CANCELLED], compat_take_raised());
        status = condition_acquire(c, cond, st);
    }
}

/* The wait is over.  If it raised, the exception is kept until we have the lock. */
static PySendResult
condition_end_waiting(Coro *c, Condition *cond, struct state *st, bool has_raised, PyObject **result)
{
    if (c->slots[BOUND_WAITER] != NULL && bound_end_wait(c, st, &cond->bound.waiters, has_raised) < 0) {
        has_raised = true;
    }
    if (has_raised) {
        Py_XSETREF(c->slots[CONDITION_OUTCOME], compat_take_raised());
    }
    return condition_take_lock(c, cond, st, condition_acquire(c, cond, st), result);
}

static PySendResult
condition_begin_wait(Coro *c, Condition *cond, struct state *st, PyObject **result)
{
    int is_locked = condition_is_locked(cond, st);
    if (is_locked <= 0) {
        if (is_locked == 0) {
            PyErr_SetString(PyExc_RuntimeError, "cannot wait on un-acquired lock");
        }
        return PYGEN_ERROR;
    }
    PyObject *future = NULL;
    if (st->traits.condition_passes_on && (future = bound_new_waiter(&cond->bound, st)) == NULL) {
        return PYGEN_ERROR;
    }
    if (condition_release(cond, st) < 0) {
        Py_XDECREF(future);
        return PYGEN_ERROR;
    }
    c->phase = CONDITION_WAITS;
    if (future == NULL && (future = bound_new_waiter(&cond->bound, st)) == NULL) {
        return condition_end_waiting(c, cond, st, true, result);
    }
    PySendResult status = bound_wait_for(c, st, &cond->bound.waiters, future);
    return LIKELY(status == PYGEN_NEXT) ? status : condition_end_waiting(c, cond, st, true, result);
}

static PySendResult
condition_wait_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Condition *cond = (Condition *)c->self;
    switch (c->phase) {
    case CONDITION_BEGINS:
        return condition_begin_wait(c, cond, st, result);
    case CONDITION_WAITS:
        return condition_end_waiting(c, cond, st, value == NULL, result);
    default:
        return condition_take_lock(c, cond, st, value == NULL ? PYGEN_ERROR : PYGEN_RETURN, result);
    }
}

static const struct coro_kind condition_wait_kind = {"Condition.wait", condition_wait_step};

static PyObject *
condition_wait(PyObject *condition, struct state *st)
{
    return (PyObject *)coro_new(st, &condition_wait_kind, condition);
}

/* ---- wait_for() */

enum { CONDITION_PREDICATE = 1 };

static PySendResult
condition_wait_for_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (value == NULL) {
        return PYGEN_ERROR;
    }
    PyObject *answer = PyObject_CallNoArgs(c->slots[CONDITION_PREDICATE]);
    int is_true = answer == NULL ? -1 : PyObject_IsTrue(answer);
    if (is_true > 0) {
        *result = answer;
        return PYGEN_RETURN;
    }
    Py_XDECREF(answer);
    if (is_true < 0) {
        return PYGEN_ERROR;
    }
    if (LIKELY(condition_is_plain(st, c->self))) {
        return coro_wait(c, condition_wait(c->self, st));
    }
    PyObject *waiting = PyObject_CallMethodNoArgs(c->self, st->str.wait);
    PySendResult status = waiting == NULL ? PYGEN_ERROR : coro_await(c, st, waiting);
    Py_XDECREF(waiting);
    return status;
}

static const struct coro_kind condition_wait_for_kind = {"Condition.wait_for", condition_wait_for_step};

/* ---- async with: of a plain one, the lock's own; else by name */

static PyObject *
condition_with(PyObject *self, struct state *st)
{
    return condition_is_plain(st, self) ? ((Condition *)self)->lock : self;
}

static PyObject *
Condition_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return Lock_aenter(condition_with(self, state_of(self)), args, n_args, kwnames);
}

static PyObject *
Condition_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    return Lock_aexit(condition_with(self, state_of(self)), args, n_args, kwnames);
}

/* ---- the Python face */

static inline PyObject *
condition_method_name(struct state *st, int method)
{
    return method == CONDITION_LOCKED    ? st->str.locked
           : method == CONDITION_ACQUIRE ? st->str.acquire
                                         : st->str.release;
}

static PyObject *
condition_new(struct state *st)
{
    if (UNLIKELY(st->twins_touched[TWIN_SYNC])) { /* a program may have replaced __init__ */
        return PyObject_CallNoArgs((PyObject *)st->Condition_type);
    }
    PyObject *self = st->Condition_type->tp_alloc(st->Condition_type, 0);
    if (self != NULL && (((Condition *)self)->lock = lock_new(st)) == NULL) {
        Py_CLEAR(self);
    }
    return self;
}

/* self.locked = lock.locked, and so on. */
static int
condition_copy_methods(PyObject *self, struct state *st, PyObject *lock)
{
    for (int i = 0; i < CONDITION_METHODS; i++) {
        PyObject *name = condition_method_name(st, i), *method = PyObject_GetAttr(lock, name);
        if (method == NULL || PyObject_SetAttr(self, name, method) < 0) {
            Py_XDECREF(method);
            return -1;
        }
        Py_DECREF(method);
    }
    return 0;
}

static int
Condition_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"lock"};
    static const struct args_signature signature = {"Condition.__init__", names, 0, 1, 1, true};
    struct state *st = state_of(self);
    Condition *cond = (Condition *)self;
    PyObject *lock;
    if (args_bind_tuple(&signature, args, kwargs, &lock) < 0) {
        return -1;
    }
    lock = lock == NULL || lock == Py_None ? PyObject_CallNoArgs((PyObject *)st->Lock_type) : Py_NewRef(lock);
    if (lock == NULL) {
        return -1;
    }
    Py_XSETREF(cond->lock, lock);
    cond->methods_set = false;
    for (int i = 0; i < CONDITION_METHODS; i++) {
        Py_CLEAR(cond->methods[i]);
    }
    Py_CLEAR(cond->bound.waiters);
    if (Py_IS_TYPE(self, st->Condition_type) && lock_is_plain(st, cond->lock)) {
        return 0;
    }
    lock = Py_NewRef(cond->lock);
    int rc = condition_copy_methods(self, st, lock);
    Py_DECREF(lock);
    return rc;
}

static PyObject *
Condition_wait(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const struct args_signature signature = {"Condition.wait", NULL, 0, 0, 0, true};
    return args_bind(&signature, args, n_args, kwnames, NULL) < 0 ? NULL : condition_wait(self, state_of(self));
}

static PyObject *
Condition_wait_for(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"predicate"};
    static const struct args_signature signature = {"Condition.wait_for", names, 1, 1, 1, true};
    PyObject *predicate;
    Coro *c = args_bind(&signature, args, n_args, kwnames, &predicate) < 0
                  ? NULL
                  : coro_new(state_of(self), &condition_wait_for_kind, self);
    if (c != NULL) {
        c->slots[CONDITION_PREDICATE] = Py_NewRef(predicate);
    }
    return (PyObject *)c;
}

/* `idx >= n` for every kind of n: how many that lets through. */
static int
condition_count(PyObject *n, Py_ssize_t n_waiters, Py_ssize_t *count)
{
    if (LIKELY(PyLong_Check(n))) {
        *count = PyNumber_AsSsize_t(n, NULL);
        return *count == -1 && PyErr_Occurred() ? -1 : 0;
    }
    int is_enough = 0;
    for (*count = 0; *count < n_waiters; ++*count) {
        PyObject *index = PyLong_FromSsize_t(*count);
        is_enough = index == NULL ? -1 : PyObject_RichCompareBool(index, n, Py_GE);
        Py_XDECREF(index);
        if (is_enough != 0) {
            break;
        }
    }
    return is_enough < 0 ? -1 : 0;
}

static int
condition_check_notify(Condition *cond, struct state *st)
{
    int is_locked = condition_is_locked(cond, st);
    if (is_locked == 0) {
        PyErr_SetString(PyExc_RuntimeError, "cannot notify on un-acquired lock");
    }
    return is_locked > 0 ? 0 : -1;
}

static PyObject *
condition_notify_object(Condition *cond, struct state *st, PyObject *n)
{
    Py_ssize_t count = 1, n_waiters = deque_length(st, cond->bound.waiters);
    if (n_waiters < 0 || (n != NULL && condition_count(n, n_waiters, &count) < 0)
        || condition_notify(cond, st, count) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Condition_notify(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"n"};
    static const struct args_signature signature = {"Condition.notify", names, 0, 1, 1, true};
    struct state *st = state_of(self);
    PyObject *n;
    if (args_bind(&signature, args, n_args, kwnames, &n) < 0 || condition_check_notify((Condition *)self, st) < 0) {
        return NULL;
    }
    return condition_notify_object((Condition *)self, st, n);
}

static PyObject *
Condition_notify_unchecked(PyObject *self, PyObject *n)
{
    return condition_notify_object((Condition *)self, state_of(self), n);
}

static PyObject *
Condition_notify_all(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct state *st = state_of(self);
    Py_ssize_t n = deque_length(st, ((Bound *)self)->waiters);
    if (n < 0) {
        return NULL;
    }
    if (LIKELY(bound_is_plain(st, self, st->Condition_type))) {
        return condition_check_notify((Condition *)self, st) < 0 || condition_notify((Condition *)self, st, n) < 0
                   ? NULL
                   : Py_NewRef(Py_None);
    }
    PyObject *count = PyLong_FromSsize_t(n),
             *done = count == NULL ? NULL : PyObject_CallMethodOneArg(self, st->str.notify, count);
    Py_XDECREF(count);
    Py_XDECREF(done);
    return done == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Condition_repr(PyObject *self)
{
    struct state *st = state_of(self);
    int is_locked = condition_is_locked((Condition *)self, st);
    return is_locked < 0 ? NULL
                         : bound_repr((Bound *)self, st, PyUnicode_FromString(is_locked ? "locked" : "unlocked"));
}

static PyObject *
Condition_get_method(PyObject *self, void *index)
{
    Condition *cond = (Condition *)self;
    int method = (int)(uintptr_t)index;
    if (cond->methods[method] != NULL) {
        return Py_NewRef(cond->methods[method]);
    }
    struct state *st = state_of(self);
    PyObject *name = condition_method_name(st, method);
    if (cond->lock == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '%U'", Py_TYPE(self)->tp_name, name);
        return NULL;
    }
    if (Py_EnterRecursiveCall("")) { /* a lock may be a condition, even this one */
        return NULL;
    }
    PyObject *lock = Py_NewRef(cond->lock), *result = PyObject_GetAttr(lock, name);
    if (result != NULL && lock == cond->lock && cond->methods[method] == NULL && condition_is_plain(st, self)) {
        cond->methods[method] = Py_NewRef(result);
    }
    Py_DECREF(lock);
    Py_LeaveRecursiveCall();
    return result;
}

/* Is the value that is to be set the one that is there already, as when a copy gets its state? Then the object stays
 * plain. 1, 0, -1. */
static int
condition_is_locks_method(PyObject *self, int method, PyObject *value)
{
    Condition *cond = (Condition *)self;
    struct state *st = state_of(self);
    if (value == NULL || !PyMethod_Check(value) || !condition_is_plain(st, self)
        || PyMethod_GET_SELF(value) != cond->lock) {
        return 0;
    }
    PyObject *same = PyObject_GetAttr(cond->lock, condition_method_name(st, method));
    int rc = same == NULL ? -1 : PyObject_RichCompareBool(same, value, Py_EQ);
    Py_XDECREF(same);
    return rc;
}

static int
Condition_set_method(PyObject *self, PyObject *value, void *index)
{
    Condition *cond = (Condition *)self;
    int is_locks = condition_is_locks_method(self, (int)(uintptr_t)index, value);
    if (is_locks != 0) {
        return is_locks < 0 ? -1 : 0;
    }
    cond->methods_set = true;
    Py_XSETREF(cond->methods[(uintptr_t)index], Py_XNewRef(value));
    return 0;
}

static PyObject *
Condition_get_lock(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *lock = ((Condition *)self)->lock;
    if (lock == NULL) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_lock'", Py_TYPE(self)->tp_name);
    }
    return Py_XNewRef(lock);
}

/* The methods stay those of the lock it was made with. */
static int
Condition_set_lock(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    struct state *st = state_of(self);
    if (condition_is_plain(st, self)) {
        PyObject *lock = Py_NewRef(((Condition *)self)->lock);
        ((Condition *)self)->methods_set = true;
        int rc = condition_copy_methods(self, st, lock);
        Py_DECREF(lock);
        if (rc < 0) {
            return -1;
        }
    }
    Py_XSETREF(((Condition *)self)->lock, Py_XNewRef(value));
    return 0;
}

static int
Condition_traverse(PyObject *self, visitproc visit, void *arg)
{
    Condition *cond = (Condition *)self;
    Py_VISIT(cond->lock);
    for (int i = 0; i < CONDITION_METHODS; i++) {
        Py_VISIT(cond->methods[i]);
    }
    return Bound_traverse(self, visit, arg);
}

static int
Condition_clear(PyObject *self)
{
    Condition *cond = (Condition *)self;
    (void)Bound_clear(self);
    Py_CLEAR(cond->lock);
    for (int i = 0; i < CONDITION_METHODS; i++) {
        Py_CLEAR(cond->methods[i]);
    }
    return 0;
}

PyDoc_STRVAR(Condition_doc, "Condition(lock=None)\n--\n\n"
                            "Tasks that hold a lock wait until another one says that something changed: wait(), "
                            "wait_for(), notify(), notify_all().\n\n"
                            "lock: a Lock (a new one).  Source: asyncio.Condition.  Differs: nothing.");

static PyMethodDef Condition_methods[] = {
    {"notify", FUTURE_FASTCALL(Condition_notify), METH_FASTCALL | METH_KEYWORDS,
     "notify($self, n=1)\n--\n\nWake up to n waiters. RuntimeError when the lock is not held."},
    {"notify_all", Condition_notify_all, METH_NOARGS,
     "notify_all($self)\n--\n\nWake all waiters. RuntimeError when the lock is not held."},
    {"_notify", Condition_notify_unchecked, METH_O, NULL},
    BOUND_METHODS,
    {NULL},
};

static const struct coro_function condition_functions[] = {
    {"Condition.wait", Condition_wait,
     "wait(self)\n--\n\nRelease the lock, wait to be notified, take the lock again and return True. RuntimeError when "
     "the lock is not held."},
    {"Condition.wait_for", Condition_wait_for,
     "wait_for(self, predicate)\n--\n\nwait() until predicate() is true; returns what it gave."},
    LOCK_CONTEXT_FUNCTIONS(Condition),
    {NULL},
};

static const char *const Condition_copied[] = {"_lock", "locked", "acquire", "release", "_waiters", "?_loop", NULL};

static PyGetSetDef Condition_getset[] = {
    BOUND_GETSET,
    {"_waiters", Bound_get_deque, Bound_set_deque, NULL, (void *)offsetof(Bound, waiters)},
    {"_lock", Condition_get_lock, Condition_set_lock},
    {"locked", Condition_get_method, Condition_set_method, NULL, (void *)CONDITION_LOCKED},
    {"acquire", Condition_get_method, Condition_set_method, NULL, (void *)CONDITION_ACQUIRE},
    {"release", Condition_get_method, Condition_set_method, NULL, (void *)CONDITION_RELEASE},
    {NULL},
};

static PyMemberDef Condition_members[] = {
    BOUND_MEMBERS,
    {NULL},
};

static PyType_Slot Condition_slots[] = {
    {Py_tp_doc, (void *)Condition_doc},
    {Py_tp_new, twin_new},
    {Py_tp_init, Condition_init},
    {Py_tp_traverse, Condition_traverse},
    {Py_tp_clear, Condition_clear},
    {Py_tp_dealloc, Bound_dealloc},
    {Py_tp_repr, Condition_repr},
    {Py_tp_methods, Condition_methods},
    {Py_tp_getset, Condition_getset},
    {Py_tp_members, Condition_members},
    {0, NULL},
};

static PyType_Spec Condition_spec = {
    .name = "asyncloop.Condition",
    .basicsize = sizeof(Condition),
    .flags = BOUND_FLAGS,
    .slots = Condition_slots,
};

/* Is there a variable of this name in the code of asyncio's Condition.wait? */
static int
condition_wait_has_variable(PyObject *native, const char *name)
{
    PyObject *function = PyObject_GetAttrString(native, "wait"), *code = NULL, *names = NULL,
             *wanted = PyUnicode_FromString(name);
    if (function != NULL && (code = PyObject_GetAttrString(function, "__code__")) != NULL) {
        names = PyObject_GetAttrString(code, "co_varnames");
    }
    int has = names == NULL || wanted == NULL ? -1 : PySequence_Contains(names, wanted);
    Py_XDECREF(function);
    Py_XDECREF(code);
    Py_XDECREF(names);
    Py_XDECREF(wanted);
    return has;
}

/* What patch releases changed: wait() passes its notification on when it fails (Condition._notify came with that), and
 * it raises the CancelledError it got while taking the lock, not a new one. */
static int
condition_ask_asyncio(struct state *st)
{
    PyObject *module = PyImport_ImportModule("asyncio.locks");
    PyObject *native = module == NULL ? NULL : PyObject_GetAttrString(module, "Condition");
    int keeps_error = native == NULL ? -1 : condition_wait_has_variable(native, "err");
    if (keeps_error >= 0) {
        st->traits.condition_keeps_error = keeps_error;
        st->traits.condition_passes_on = PyObject_HasAttrString(native, "_notify");
    }
    Py_XDECREF(module);
    Py_XDECREF(native);
    return keeps_error < 0 ? -1 : 0;
}

static int
condition_register(PyObject *module, struct state *st)
{
    if (condition_ask_asyncio(st) < 0
        || state_add_type(module, &st->Condition_type, &Condition_spec, NULL, true, SECTION_AT(Bound, loop)) < 0
        || coro_function_add_to_type(module, st, st->Condition_type, condition_functions) < 0) {
        return -1;
    }
    if (twin_adopt(st, st->Condition_type, TWIN_SYNC, "asyncio.locks", "Condition") < 0) {
        return -1;
    }
    return twin_add_copying(st, st->Condition_type, Condition_copied);
}
