/* task/wait/wait.c -- see wait.h. */
#include "task/wait/wait.h"

#include "core/args.h"
#include "core/ask.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/future/task.h"
#include "task/wait/waiter.h"

enum { WAIT_CHILDREN, WAIT_TIMEOUT, WAIT_RETURN_WHEN, WAIT_WAITER }; /* slots */

static int
wait_check_not_a_child(struct state *st, PyObject *children)
{
    int is_child = PyList_CheckExact(children) || PyAnySet_CheckExact(children) || PyTuple_CheckExact(children) ? 0 : 1;
    if (LIKELY(!is_child)) {
        return 0;
    }
    is_child = ask_truth(PyObject_CallOneArg(st->isfuture, children));
    if (is_child == 0) {
        is_child = task_is_coroutine(st, children);
    }
    if (is_child > 0) {
        PyErr_Format(PyExc_TypeError, "expect a list of futures, not %s", future_short_name(Py_TYPE(children)));
    }
    return is_child == 0 ? 0 : -1;
}

/* return_when as enum waiter_mode, or -1. */
static int
wait_mode(struct state *st, PyObject *return_when)
{
    PyObject *const names[] = {st->str.FIRST_COMPLETED, st->str.FIRST_EXCEPTION, st->str.ALL_COMPLETED};
    for (int mode = 0; return_when != NULL && mode < (int)ARRAY_LENGTH(names); mode++) {
        int is_equal = return_when == names[mode] ? 1 : PyObject_RichCompareBool(return_when, names[mode], Py_EQ);
        if (is_equal != 0) {
            return is_equal < 0 ? -1 : mode;
        }
    }
    if (return_when == NULL) {
        return WAITER_ALL_COMPLETED;
    }
    PyErr_Format(PyExc_ValueError, "Invalid return_when value: %S", return_when);
    return -1;
}

static int
wait_check_no_coroutines(struct state *st, PyObject *children)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(children); i++) {
        PyObject *child = PyTuple_GET_ITEM(children, i);
        int is_coroutine = future_is_exact(st, child) ? 0 : task_is_coroutine(st, child);
        if (UNLIKELY(is_coroutine != 0)) {
            if (is_coroutine > 0) {
                PyErr_SetString(PyExc_TypeError, "Passing coroutines is forbidden, use tasks explicitly.");
            }
            return -1;
        }
    }
    return 0;
}

/* The set of the children takes the place of what was given. Returns it as a tuple too. */
static PyObject *
wait_take_children(Coro *c, struct state *st, int *mode)
{
    PyObject *given = c->slots[WAIT_CHILDREN];
    int is_any = wait_check_not_a_child(st, given) < 0 ? -1 : PyObject_IsTrue(given);
    if (is_any <= 0) {
        if (is_any == 0) {
            PyErr_SetString(PyExc_ValueError, "Set of Tasks/Futures is empty.");
        }
        return NULL;
    }
    *mode = wait_mode(st, c->slots[WAIT_RETURN_WHEN]);
    PyObject *set = *mode < 0 ? NULL : PySet_New(given), *tuple = NULL;
    if (set == NULL) {
        return NULL;
    }
    Py_SETREF(c->slots[WAIT_CHILDREN], set);
    if ((tuple = PySequence_Tuple(set)) == NULL || wait_check_no_coroutines(st, tuple) < 0) {
        Py_CLEAR(tuple);
    }
    else if (PyTuple_GET_SIZE(tuple) == 0) { /* an iterator that gave nothing */
        PyErr_SetString(PyExc_AssertionError, "Set of Futures is empty.");
        Py_CLEAR(tuple);
    }
    return tuple;
}

static PySendResult
wait_begin(Coro *c, struct state *st)
{
    int mode;
    PyObject *children = wait_take_children(c, st, &mode), *timeout = c->slots[WAIT_TIMEOUT];
    Waiter *w = children == NULL ? NULL : waiter_new(st, children, mode, COMPAT_CALL_GRAPH);
    Py_XDECREF(children);
    if (w == NULL) {
        return PYGEN_ERROR;
    }
    c->slots[WAIT_WAITER] = (PyObject *)w;
    if ((timeout != NULL && timeout != Py_None && waiter_start_timer(w, st, timeout) < 0) || waiter_watch(w, st) < 0) {
        return PYGEN_ERROR;
    }
    c->phase = 1;
    return LIKELY(w->is_own) ? coro_wait(c, Py_NewRef(w->future)) : coro_await(c, st, w->future);
}

/* (done, pending) */
static PyObject *
wait_sets(Coro *c, struct state *st)
{
    PyObject *children = ((Waiter *)c->slots[WAIT_WAITER])->children, *pair = NULL;
    /* the set is ours: what is pending leaves it */
    PyObject *done = c->slots[WAIT_CHILDREN], *pending = PySet_New(NULL);
    int rc = pending == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(children); i++) {
        PyObject *child = PyTuple_GET_ITEM(children, i);
        int is_done = child_is_done(st, child);
        if (is_done <= 0) {
            rc = is_done < 0 || PySet_Add(pending, child) < 0 || PySet_Discard(done, child) < 0 ? -1 : 0;
        }
    }
    if (rc == 0) {
        pair = PyTuple_Pack(2, done, pending);
    }
    Py_XDECREF(pending);
    return pair;
}

static PySendResult
wait_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == 0) {
        return wait_begin(c, st);
    }
    if (waiter_stop((Waiter *)c->slots[WAIT_WAITER], st) < 0 || value == NULL) {
        return PYGEN_ERROR;
    }
    *result = wait_sets(c, st);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static const struct coro_kind wait_kind = {"wait", wait_step};

static const char *const wait_names[] = {"fs", "timeout", "return_when"};
static const struct args_signature wait_signature = {"wait", wait_names, 1, 1, 3, false};

static PyObject *
module_wait(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *given[3];
    if (UNLIKELY(args_bind(&wait_signature, args, n_args, kwnames, given) < 0)) {
        return NULL;
    }
    Coro *c = coro_new(st, &wait_kind, NULL);
    if (UNLIKELY(c == NULL)) {
        return NULL;
    }
    c->slots[WAIT_CHILDREN] = Py_NewRef(given[0]);
    c->slots[WAIT_TIMEOUT] = Py_XNewRef(given[1]);
    c->slots[WAIT_RETURN_WHEN] = Py_XNewRef(given[2]);
    coro_track(c);
    return (PyObject *)c;
}

PyDoc_STRVAR(
    wait_doc,
    "wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\n"
    "Wait until enough of the futures and tasks are done: all, one, or one with an exception, as return_when says.\n\n"
    "timeout: seconds, after which it returns anyway; None for no limit.\nReturns: two sets, the done and the "
    "pending.\n"
    "Raises, when awaited: TypeError, ValueError.  Source: asyncio.wait.  Differs: nothing.");

static const struct coro_function wait_functions[] = {
    {"wait", module_wait, wait_doc},
    {NULL},
};

static int
wait_register(PyObject *module, struct state *st)
{
    return coro_function_add_to_module(module, st, wait_functions);
}
