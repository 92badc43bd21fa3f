/* sync/bound.c -- see bound.h. */
#include "sync/bound.h"

#include "core/aiobridge.h"
#include "core/raise.h"
#include "core/twin.h"

static inline bool
bound_is_plain(struct state *st, PyObject *self, PyTypeObject *exact)
{
    return Py_IS_TYPE(self, exact) && ((Bound *)self)->dict == NULL && !st->twins_touched[TWIN_SYNC];
}

/* ---- the loop */

/* _get_loop(): the running loop, or None; bound from now on. New reference. */
static PyObject *
bound_loop(Bound *b, struct state *st)
{
    PyObject *loop = aiobridge_running_loop(st);
    if (loop == NULL) {
        if (PyErr_Occurred()) {
            return NULL;
        }
        loop = Py_NewRef(Py_None);
    }
    if (b->loop == NULL && loop != Py_None) {
        b->loop = Py_NewRef(loop);
    }
    if (loop != (b->loop == NULL ? Py_None : b->loop)) {
        PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", b);
        Py_CLEAR(loop);
    }
    return loop;
}

static inline PyObject *
bound_new_waiter(Bound *b, struct state *st)
{
    Loop *own = loop_running_borrowed(st);
    if (LIKELY(own != NULL && (b->loop == (PyObject *)own || b->loop == NULL)
               && !(own->overrides & LOOP_OWN_CREATE_FUTURE))) {
        if (UNLIKELY(b->loop == NULL)) {
            COMPAT_PUBLISH(&b->loop, Py_NewRef(own));
        }
        return future_new(own);
    }
    PyObject *loop = bound_loop(b, st),
             *future = loop == NULL ? NULL : PyObject_CallMethodNoArgs(loop, st->str.create_future);
    Py_XDECREF(loop);
    return future;
}

/* ---- waiting */

static inline PySendResult
bound_wait_for(Coro *c, struct state *st, PyObject **deque, PyObject *future)
{
    if ((UNLIKELY(*deque == NULL) && (*deque = deque_new(st)) == NULL)
        || UNLIKELY(deque_append(st, *deque, future) < 0)) {
        Py_DECREF(future);
        return PYGEN_ERROR;
    }
    Py_XSETREF(c->slots[BOUND_WAITER], future);
    return LIKELY(future_is_exact(st, future)) ? coro_wait(c, Py_NewRef(future)) : coro_await(c, st, future);
}

static inline PySendResult
bound_wait(Coro *c, struct state *st, Bound *b, PyObject **deque)
{
    PyObject *future = bound_new_waiter(b, st);
    return LIKELY(future != NULL) ? bound_wait_for(c, st, deque, future) : PYGEN_ERROR;
}

static inline int
bound_end_wait(Coro *c, struct state *st, PyObject **deque, bool has_raised)
{
    if (LIKELY(!has_raised)) {
        return deque_remove(st, *deque, c->slots[BOUND_WAITER]);
    }
    PyObject *raised = compat_take_raised();
    return raise_again(raised, deque_remove(st, *deque, c->slots[BOUND_WAITER]));
}

static inline PyObject *
bound_iter(struct state *st, PyObject *deque)
{
    if (LIKELY(deque == NULL)) {
        return NULL;
    }
    Py_INCREF(deque); /* the caller's field may be changed by what this runs */
    PyObject *iterator = deque_is_true(st, deque) > 0 ? PyObject_GetIter(deque) : NULL;
    Py_DECREF(deque);
    return iterator;
}

static inline int
bound_has_waiter(struct state *st, PyObject *deque)
{
    PyObject *iterator = bound_iter(st, deque), *future;
    if (LIKELY(iterator == NULL)) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int rc = 0;
    while (rc == 0 && (future = PyIter_Next(iterator)) != NULL) {
        int is_cancelled = child_is_cancelled(st, future);
        rc = is_cancelled < 0 ? -1 : !is_cancelled;
        Py_DECREF(future);
    }
    Py_DECREF(iterator);
    return rc == 0 && PyErr_Occurred() ? -1 : rc;
}

static inline int
bound_wake_one(struct state *st, PyObject *future, PyObject *result)
{
    int rc = future_wake_any(st, future, st->str.done, result, NULL);
    Py_DECREF(future);
    return rc;
}

static inline Py_ssize_t
bound_wake_in(struct state *st, PyObject *deque, Py_ssize_t n, PyObject *result)
{
    Py_ssize_t woken = 0, length = deque_is_true(st, deque);
    if (length <= 0 || n <= 0) {
        return length < 0 ? -1 : 0;
    }
    PyObject *future = n == 1 ? deque_first(st, deque) : NULL;
    if (future != NULL) { /* as a rule one is to be woken, and it is the first */
        int rc = bound_wake_one(st, future, result);
        if (rc != 0 || deque_length(st, deque) == 1) {
            return rc;
        }
    }
    PyObject *iterator = PyErr_Occurred() ? NULL : PyObject_GetIter(deque);
    if (iterator == NULL) {
        return -1;
    }
    while (woken < n && (future = PyIter_Next(iterator)) != NULL) {
        int rc = bound_wake_one(st, future, result);
        if (rc < 0) {
            woken = -1;
            break;
        }
        woken += rc;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : woken;
}

static inline Py_ssize_t
bound_wake(struct state *st, PyObject *deque, Py_ssize_t n, PyObject *result)
{
    if (deque == NULL) {
        return 0;
    }
    Py_INCREF(deque); /* the caller's field may be changed by what foreign futures run */
    Py_ssize_t woken = bound_wake_in(st, deque, n, result);
    Py_DECREF(deque);
    return woken;
}

static inline int
bound_pop_and_wake(struct state *st, PyObject *deque, Py_ssize_t n)
{
    int rc = 0;
    Py_INCREF(deque); /* the caller's field may be changed by what foreign futures run */
    while (n > 0 && (rc = deque_is_true(st, deque)) > 0) {
        PyObject *future = deque_popleft(st, deque);
        rc = future == NULL ? -1 : bound_wake_one(st, future, Py_None);
        if (UNLIKELY(rc < 0)) {
            break;
        }
        n -= rc;
    }
    Py_DECREF(deque);
    return rc < 0 ? -1 : 0;
}

/* ---- for the types */

static int
Bound_traverse(PyObject *self, visitproc visit, void *arg)
{
    Bound *b = (Bound *)self;
    Py_VISIT(Py_TYPE(b));
    Py_VISIT(b->loop);
    Py_VISIT(b->waiters);
    Py_VISIT(b->dict);
    return 0;
}

static int
Bound_clear(PyObject *self)
{
    Bound *b = (Bound *)self;
    Py_CLEAR(b->loop);
    Py_CLEAR(b->waiters);
    Py_CLEAR(b->dict);
    return 0;
}

static void
Bound_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((Bound *)self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, Bound_dealloc) /* a queue of queues of ... */
    (void)type->tp_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* Steals extra. */
static PyObject *
bound_repr(Bound *b, struct state *st, PyObject *extra)
{
    PyObject *plain = extra == NULL ? NULL : PyBaseObject_Type.tp_repr((PyObject *)b), *inner = NULL, *result = NULL;
    int has_waiters = plain == NULL ? -1 : deque_is_true(st, b->waiters);
    Py_ssize_t n = has_waiters <= 0 ? 0 : deque_length(st, b->waiters);
    if (has_waiters >= 0 && n >= 0
        && (inner = PyUnicode_Substring(plain, 1, PyUnicode_GET_LENGTH(plain) - 1)) != NULL) {
        result = has_waiters ? PyUnicode_FromFormat("<%U [%U, waiters:%zd]>", inner, extra, n)
                             : PyUnicode_FromFormat("<%U [%U]>", inner, extra);
    }
    Py_XDECREF(plain);
    Py_XDECREF(inner);
    Py_XDECREF(extra);
    return result;
}

static PyObject *
Bound_get_loop(PyObject *self, PyObject *Py_UNUSED(none))
{
    return bound_loop((Bound *)self, state_of(self));
}

static PyObject *
Bound_get_loop_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *loop = ((Bound *)self)->loop;
    return Py_NewRef(loop == NULL ? Py_None : loop);
}

static int
Bound_set_loop_attribute(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Bound *b = (Bound *)self;
    PyObject *before = b->loop;
    COMPAT_PUBLISH(&b->loop, value == Py_None ? NULL : Py_XNewRef(value));
    Py_XDECREF(before);
    return 0;
}

static PyObject *
Bound_get_deque(PyObject *self, void *offset)
{
    PyObject **deque = (PyObject **)((char *)self + (uintptr_t)offset);
    if (*deque == NULL) {
        PyObject *made = deque_new(state_of(self));
        if (made == NULL) {
            return NULL;
        }
        Py_XSETREF(*deque, made);
    }
    return Py_NewRef(*deque);
}

static int
Bound_set_deque(PyObject *self, PyObject *value, void *offset)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
        return -1;
    }
    Py_XSETREF(*(PyObject **)((char *)self + (uintptr_t)offset), Py_NewRef(value));
    return 0;
}

/* Lock and Semaphore: None until somebody has to wait. */
static PyObject *
Bound_get_waiters_or_none(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *waiters = ((Bound *)self)->waiters;
    return Py_NewRef(waiters == NULL ? Py_None : waiters);
}

static int
Bound_set_waiters_or_none(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((Bound *)self)->waiters, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}
