/* task/future/awaited_by.c -- who waits for a future: the edges of asyncio's call graphs (3.14+).
 *
 * An await needs no note: the waiting tasks are among the future's callbacks and are found there when somebody asks; so
 * do our own gather, wait, shield and the like (child.h).  What asyncio's helpers say by future_add_to_awaited_by is
 * kept in rare->awaited_by; asyncio's own C functions of that name know only asyncio's own types, so the module offers
 * replacements that take ours and hand the rest on.
 *
 * asyncio's Future, awaited by one of ours: it has a field for who waits, and functions that put asyncio's own types
 * alone there.  The field's place is found by experiment (awaited_by_probe), or else not used.  It holds one object, or
 * a set of them once asyncio has made it one. */
#include "core/guard.h"
#include "task/future/future.h"
#include "task/future/task.h"

static int
awaited_by_add(Future *f, PyObject *waiter)
{
    if (future_need_rare(f) == NULL
        || (f->rare->awaited_by == NULL && (f->rare->awaited_by = PySet_New(NULL)) == NULL)) {
        return -1;
    }
    return PySet_Add(f->rare->awaited_by, waiter);
}

static int
awaited_by_discard(Future *f, PyObject *waiter)
{
    PyObject *set = future_awaited_by_borrowed(f);
    return set == NULL || PySet_Discard(set, waiter) >= 0 ? 0 : -1;
}

/* The task that waits by a callback, ours or asyncio's, or NULL. Borrowed. */
static inline PyObject *
awaited_by_waiter_borrowed(const struct callback *cb)
{
    const struct watcher_kind *kind = callback_kind_of(cb);
    if (kind != NULL) {
        return kind->waiter_borrowed(cb->target);
    }
    if (!PyCFunction_CheckExact(cb->target)
        || strcmp(((PyCFunctionObject *)cb->target)->m_ml->ml_name, "task_wakeup") != 0) {
        return NULL;
    }
    return PyCFunction_GET_SELF(cb->target);
}

/* ---- asyncio's own futures */

static inline PyObject **
awaited_by_native_slot(struct state *st, PyObject *future)
{
    return (PyObject **)((char *)future + st->native_awaited_by_offset);
}

/* For a future of asyncio's and a waiter of a type that asyncio's own functions would ignore. */
static inline bool
awaited_by_needs_slot(struct state *st, PyObject *future, PyObject *waiter)
{
    return st->native_awaited_by_offset != 0 && PyObject_TypeCheck(future, (PyTypeObject *)st->asyncio_Future)
           && future_is_own(st, waiter);
}

static int
awaited_by_call_native(PyObject *function, PyObject *future, PyObject *waiter)
{
    PyObject *args[] = {future, waiter};
    PyObject *done = PyObject_Vectorcall(function, args, 2, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
awaited_by_add_native(struct state *st, PyObject *future, PyObject *waiter)
{
    PyObject **slot = awaited_by_native_slot(st, future);
    if (*slot == NULL) {
        *slot = Py_NewRef(waiter);
        return 0;
    }
    if (*slot == waiter) {
        return 0;
    }
    if (!PySet_CheckExact(*slot) /* a second waiter makes asyncio turn it into a set */
        && (awaited_by_call_native(st->add_to_awaited_by, future, future) < 0
            || awaited_by_call_native(st->discard_from_awaited_by, future, future) < 0)) {
        return -1;
    }
    PyObject *set = Py_XNewRef(*slot); /* hashing may run code */
    int rc = set != NULL && PySet_CheckExact(set) ? PySet_Add(set, waiter) : 0;
    Py_XDECREF(set);
    return rc;
}

static int
awaited_by_discard_native(struct state *st, PyObject *future, PyObject *waiter)
{
    PyObject **slot = awaited_by_native_slot(st, future);
    if (*slot == waiter) {
        Py_CLEAR(*slot);
        return 0;
    }
    PyObject *set = Py_XNewRef(*slot);
    int rc = set != NULL && PySet_CheckExact(set) ? PySet_Discard(set, waiter) : 0;
    Py_XDECREF(set);
    return rc < 0 ? -1 : 0;
}

/* future waits for nothing, waiter and other neither. Where in future does waiter show up, and behave as the field
 * does? 0: nowhere; -1: exception. */
static ptrdiff_t
awaited_by_find(struct state *st, PyObject *future, PyObject *waiter, PyObject *other)
{
    if (!PyObject_TypeCheck(future, (PyTypeObject *)st->asyncio_Future)
        || awaited_by_call_native(st->add_to_awaited_by, future, waiter) < 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject **words = (PyObject **)future, **end = words + Py_TYPE(future)->tp_basicsize / (Py_ssize_t)sizeof *words;
    PyObject **found = NULL;
    for (PyObject **word = (PyObject **)(future + 1); word < end; word++) {
        if (*word == waiter) {
            found = found == NULL ? word : end;
        }
    }
    if (awaited_by_call_native(st->discard_from_awaited_by, future, waiter) < 0) {
        return -1;
    }
    if (found == NULL || found == end || *found != NULL) {
        return 0;
    }
    if (awaited_by_call_native(st->add_to_awaited_by, future, waiter) < 0
        || awaited_by_call_native(st->add_to_awaited_by, future, other) < 0) {
        return -1;
    }
    return *found != NULL && PySet_CheckExact(*found) && PySet_GET_SIZE(*found) == 2 ? (char *)found - (char *)future
                                                                                     : 0;
}

static int
awaited_by_probe(struct state *st)
{
    ptrdiff_t offset = -1;
    PyObject *future = future_new_native(st), *waiter = future == NULL ? NULL : future_new_native(st);
    PyObject *other = waiter == NULL ? NULL : future_new_native(st);
    if (other != NULL && (offset = awaited_by_find(st, future, waiter, other)) > 0) {
        st->native_awaited_by_offset = offset;
    }
    Py_XDECREF(future);
    Py_XDECREF(waiter);
    Py_XDECREF(other);
    return offset < 0 ? -1 : 0;
}

/* Any future, noted in the way that it has. */
static int
awaited_by_note(struct state *st, PyObject *future, PyObject *waiter, bool is_add)
{
    SECTION_ENTER(future_is_own(st, future) ? ((Future *)future)->loop : future);
    if (future_is_own(st, future)) {
        return is_add ? awaited_by_add((Future *)future, waiter) : awaited_by_discard((Future *)future, waiter);
    }
    if (awaited_by_needs_slot(st, future, waiter)) {
        return is_add ? awaited_by_add_native(st, future, waiter) : awaited_by_discard_native(st, future, waiter);
    }
    return awaited_by_call_native(is_add ? st->add_to_awaited_by : st->discard_from_awaited_by, future, waiter);
}

/* t waits for this future, which is none of our types, or does so no longer. */
static int
awaited_by_note_task(struct state *st, PyObject *future, PyObject *task, bool is_add)
{
    if (!COMPAT_CALL_GRAPH || !awaited_by_needs_slot(st, future, task)) {
        return 0;
    }
    return awaited_by_note(st, future, task, is_add);
}

/* ---- the Python view */

#if COMPAT_CALL_GRAPH
static PyObject *
Future_get_awaited_by(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    PyObject *noted = future_awaited_by_borrowed(f);
    PyObject *set = noted == NULL ? PySet_New(NULL) : PySet_New(noted);
    for (uint32_t i = 0; set != NULL && f->state == FUTURE_PENDING && i < callbacks_count(f); i++) {
        PyObject *waiter = Py_XNewRef(awaited_by_waiter_borrowed(callbacks_at(f, i))); /* hashing it may run code */
        if (waiter != NULL && PySet_Add(set, waiter) < 0) {
            Py_CLEAR(set);
        }
        Py_XDECREF(waiter);
    }
    if (set == NULL) {
        return NULL;
    }
    PyObject *frozen = PySet_GET_SIZE(set) == 0 && noted == NULL ? Py_NewRef(Py_None) : PyFrozenSet_New(set);
    Py_DECREF(set);
    return frozen;
}
#endif

static PyObject *
awaited_by_call(PyObject *module, PyObject *const *args, Py_ssize_t n_args, bool is_add)
{
    struct state *st = state_of_module(module);
    if (n_args != 2) {
        PyErr_Format(PyExc_TypeError, "future_%s_awaited_by expected 2 arguments, got %zd",
                     is_add ? "add_to" : "discard_from", n_args);
        return NULL;
    }
    int is_future = future_is_own(st, args[0]) ? PyObject_IsInstance(args[1], st->asyncio_Future) : 1;
    if (is_future < 0 || (is_future > 0 && awaited_by_note(st, args[0], args[1], is_add) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
module_future_add_to_awaited_by(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    return awaited_by_call(module, args, n_args, true);
}

static PyObject *
module_future_discard_from_awaited_by(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    return awaited_by_call(module, args, n_args, false);
}

static PyMethodDef awaited_by_functions[] = {
    {"future_add_to_awaited_by", (PyCFunction)(void (*)(void))module_future_add_to_awaited_by, METH_FASTCALL,
     "future_add_to_awaited_by($module, fut, waiter, /)\n--\n\nNote that waiter waits for fut. Source: asyncio's "
     "function of that name."},
    {"future_discard_from_awaited_by", (PyCFunction)(void (*)(void))module_future_discard_from_awaited_by,
     METH_FASTCALL,
     "future_discard_from_awaited_by($module, fut, waiter, /)\n--\n\nTake that note back. Source: asyncio's function "
     "of that name."},
    {NULL},
};

static int
awaited_by_register(PyObject *module, struct state *st)
{
    if (!COMPAT_CALL_GRAPH) {
        return 0;
    }
    if (future_import(&st->add_to_awaited_by, "asyncio.futures", "future_add_to_awaited_by") < 0
        || future_import(&st->discard_from_awaited_by, "asyncio.futures", "future_discard_from_awaited_by") < 0
        || awaited_by_probe(st) < 0) {
        return -1;
    }
    return guard_add_functions(module, awaited_by_functions);
}
