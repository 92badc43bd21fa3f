/* task/awaited_by.c -- who waits for a future: the edges of asyncio's call graphs (3.14+).
 *
 * An await needs no note: the waiting tasks are among the future's callbacks and are found there when somebody asks; so do our own gather, wait, shield
 * and the like (child.h).  What asyncio's helpers say by future_add_to_awaited_by is kept in rare->awaited_by; asyncio's own C functions of that name know only
 * asyncio's own types, so the module offers replacements that take ours and hand the rest on. */
#include "task/future.h"
#include "task/task.h"

static int
awaited_by_add(Future *f, PyObject *waiter)
{
    if (future_need_rare(f) == NULL || (f->rare->awaited_by == NULL && (f->rare->awaited_by = PySet_New(NULL)) == NULL)) {
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
    enum callback_kind kind = callback_kind_of(cb);
    if (kind != CALLBACK_PYTHON) {
        return callback_kinds[kind].waiter_borrowed(cb->target);
    }
    if (!PyCFunction_CheckExact(cb->target)
        || strcmp(((PyCFunctionObject *)cb->target)->m_ml->ml_name, "task_wakeup") != 0) {
        return NULL;
    }
    return PyCFunction_GET_SELF(cb->target);
}

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
        PyErr_Format(PyExc_TypeError, "future_%s_awaited_by expected 2 arguments, got %zd", is_add ? "add_to" : "discard_from", n_args);
        return NULL;
    }
    if (!future_is_own(st, args[0])) {
        return PyObject_Vectorcall(is_add ? st->add_to_awaited_by : st->discard_from_awaited_by, args, 2, NULL);
    }
    int is_future = PyObject_IsInstance(args[1], st->asyncio_Future);
    if (is_future < 0) {
        return NULL;
    }
    Future *f = (Future *)args[0];
    if (is_future && (is_add ? awaited_by_add(f, args[1]) : awaited_by_discard(f, args[1])) < 0) {
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
     "future_add_to_awaited_by($module, fut, waiter, /)\n--\n\nNote that waiter waits for fut. Source: asyncio's function of that name."},
    {"future_discard_from_awaited_by", (PyCFunction)(void (*)(void))module_future_discard_from_awaited_by, METH_FASTCALL,
     "future_discard_from_awaited_by($module, fut, waiter, /)\n--\n\nTake that note back. Source: asyncio's function of that name."},
    {NULL},
};

static int
awaited_by_register(PyObject *module, struct state *st)
{
    if (!COMPAT_CALL_GRAPH) {
        return 0;
    }
    if (future_import(&st->add_to_awaited_by, "asyncio.futures", "future_add_to_awaited_by") < 0
        || future_import(&st->discard_from_awaited_by, "asyncio.futures", "future_discard_from_awaited_by") < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, awaited_by_functions);
}
