/* task/wait/wait_for.c -- see wait_for.h. */
#include "task/wait/wait_for.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/raise.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/wait/timeout.h"
#include "task/wait/waiter.h"

enum { WAIT_FOR_FUTURE, WAIT_FOR_TIMEOUT, WAIT_FOR_WAITER, WAIT_FOR_RAISED }; /* slots */

enum wait_for_phase {
    WAIT_FOR_BEGINS,
    WAIT_FOR_PLAIN,      /* awaits it without limit (3.11) */
    WAIT_FOR_IN_TIMEOUT, /* awaits it inside the Timeout (3.12+) */
    WAIT_FOR_LIMITED,    /* waits for its end or the timer (3.11) */
    WAIT_FOR_CANCELLING, /* cancelled it because time is up: TimeoutError, unless it ends otherwise */
    WAIT_FOR_CANCELLED,  /* cancelled it because we are cancelled (3.11): WAIT_FOR_RAISED then */
};

static PySendResult wait_for_step(Coro *c, struct state *st, PyObject *value, PyObject **result);

static PySendResult
wait_for_await_waiter(Coro *c, struct state *st)
{
    Waiter *w = (Waiter *)c->slots[WAIT_FOR_WAITER];
    return LIKELY(w->is_own) ? coro_wait(c, Py_NewRef(w->future)) : coro_await(c, st, w->future);
}

/* A Waiter for the one future, and its callback. */
static int
wait_for_watch(Coro *c, struct state *st, PyObject *timeout, bool is_edge)
{
    PyObject *children = PyTuple_Pack(1, c->slots[WAIT_FOR_FUTURE]);
    Waiter *w = children == NULL ? NULL : waiter_new(st, children, WAITER_ALL_COMPLETED, is_edge);
    Py_XDECREF(children);
    Py_XSETREF(c->slots[WAIT_FOR_WAITER], (PyObject *)w);
    return w == NULL || (timeout != NULL && waiter_start_timer(w, st, timeout) < 0) || waiter_watch(w, st) < 0 ? -1 : 0;
}

/* asyncio's _cancel_and_wait: cancel it and wait for its end, however it ends. */
static PySendResult
wait_for_cancel(Coro *c, struct state *st, enum wait_for_phase phase)
{
    if (wait_for_watch(c, st, NULL, st->traits.cancel_and_wait_is_edge) < 0) {
        return PYGEN_ERROR;
    }
    c->phase = (uint8_t)phase;
    if (child_cancel(st, c->slots[WAIT_FOR_FUTURE]) < 0) {
        int rc = waiter_stop((Waiter *)c->slots[WAIT_FOR_WAITER], st);
        (void)rc; /* an exception there is, this or that */
        return PYGEN_ERROR;
    }
    return wait_for_await_waiter(c, st);
}

static PySendResult
wait_for_return_result(Coro *c, struct state *st, PyObject **result)
{
    *result = child_result(st, c->slots[WAIT_FOR_FUTURE]);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* Time was up. */
static PySendResult
wait_for_return_late_result(Coro *c, struct state *st, PyObject **result)
{
    if (wait_for_return_result(c, st, result) == PYGEN_RETURN) {
        return PYGEN_RETURN;
    }
    if (PyErr_ExceptionMatches(st->CancelledError)) {
        PyObject *cancelled = compat_take_raised(), *error = timeout_error_from(cancelled);
        if (error == NULL) {
            Py_DECREF(cancelled);
            return PYGEN_ERROR;
        }
        PyException_SetContext(error, cancelled);
        compat_set_raised(error);
    }
    return PYGEN_ERROR;
}

/* timeout <= 0: it does not even begin. */
static PySendResult
wait_for_no_time(Coro *c, struct state *st, PyObject *loop, PyObject **result)
{
    PyObject *future = child_ensure_future(st, c->slots[WAIT_FOR_FUTURE], loop);
    if (future == NULL) {
        return PYGEN_ERROR;
    }
    Py_SETREF(c->slots[WAIT_FOR_FUTURE], future);
    int is_done = child_is_done(st, future);
    return is_done < 0 ? PYGEN_ERROR
           : is_done   ? wait_for_return_result(c, st, result)
                       : wait_for_cancel(c, st, WAIT_FOR_CANCELLING);
}

static inline int
wait_for_is_no_time(PyObject *timeout)
{
    if (LIKELY(PyFloat_CheckExact(timeout))) {
        return PyFloat_AS_DOUBLE(timeout) <= 0;
    }
    PyObject *zero = PyLong_FromLong(0);
    int is_none = zero == NULL ? -1 : PyObject_RichCompareBool(timeout, zero, Py_LE);
    Py_XDECREF(zero);
    return is_none;
}

#if COMPAT_WAIT_FOR_IS_TIMEOUT
static PySendResult
wait_for_begin(Coro *c, struct state *st, PyObject **result)
{
    PyObject *timeout = c->slots[WAIT_FOR_TIMEOUT];
    int is_no_time = timeout == Py_None ? 0 : wait_for_is_no_time(timeout);
    if (UNLIKELY(is_no_time != 0)) {
        return is_no_time < 0 ? PYGEN_ERROR : wait_for_no_time(c, st, NULL, result);
    }
    Timeout *t = timeout_in(st, timeout);
    if (UNLIKELY(t == NULL)) {
        return PYGEN_ERROR;
    }
    Py_SETREF(c->slots[WAIT_FOR_TIMEOUT], (PyObject *)t);
    if (UNLIKELY(timeout_enter(t, st) < 0)) {
        return PYGEN_ERROR;
    }
    c->phase = WAIT_FOR_IN_TIMEOUT;
    PySendResult status = coro_await(c, st, c->slots[WAIT_FOR_FUTURE]);
    return LIKELY(status == PYGEN_NEXT) ? status : wait_for_step(c, st, NULL, result);
}

static inline PySendResult
wait_for_leave_timeout(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    Timeout *t = (Timeout *)c->slots[WAIT_FOR_TIMEOUT];
    if (LIKELY(value != NULL)) {
        return UNLIKELY(timeout_exit(t, st, Py_None, Py_None, false) < 0) ? PYGEN_ERROR : coro_return(result, value);
    }
    PyObject *raised = compat_take_raised();
    if (timeout_exit(t, st, (PyObject *)Py_TYPE(raised), raised, false) < 0) {
        Py_DECREF(raised);
    }
    else {
        compat_set_raised(raised);
    }
    return PYGEN_ERROR;
}
#else
static PySendResult
wait_for_begin_on(Coro *c, struct state *st, PyObject *loop, PyObject **result)
{
    PyObject *timeout = c->slots[WAIT_FOR_TIMEOUT], *future;
    int is_no_time = timeout == Py_None ? 0 : wait_for_is_no_time(timeout);
    if (is_no_time != 0) {
        return is_no_time < 0 ? PYGEN_ERROR : wait_for_no_time(c, st, loop, result);
    }
    if (timeout == Py_None) {
        c->phase = WAIT_FOR_PLAIN;
        return coro_await(c, st, c->slots[WAIT_FOR_FUTURE]);
    }
    if ((future = child_ensure_future(st, c->slots[WAIT_FOR_FUTURE], loop)) == NULL) {
        return PYGEN_ERROR;
    }
    Py_SETREF(c->slots[WAIT_FOR_FUTURE], future);
    c->phase = WAIT_FOR_LIMITED;
    return wait_for_watch(c, st, timeout, false) < 0 ? PYGEN_ERROR : wait_for_await_waiter(c, st);
}

static PySendResult
wait_for_begin(Coro *c, struct state *st, PyObject **result)
{
    PyObject *loop = aiobridge_need_running_loop(st); /* held: comparing the timeout may unset it */
    if (loop == NULL) {
        return PYGEN_ERROR;
    }
    PySendResult status = wait_for_begin_on(c, st, loop, result);
    Py_DECREF(loop);
    return status;
}

/* What is raised now was raised while our cancellation was being handled: asyncio's `except CancelledError:`. */
static PySendResult
wait_for_raise_again(Coro *c)
{
    raise_again(Py_NewRef(c->slots[WAIT_FOR_RAISED]), -1);
    return PYGEN_ERROR;
}

static PySendResult
wait_for_leave_limit_with(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    waiter_stop_timer((Waiter *)c->slots[WAIT_FOR_WAITER], st);
    if (value == NULL) {
        if (!PyErr_ExceptionMatches(st->CancelledError)) {
            return PYGEN_ERROR;
        }
        Py_XSETREF(c->slots[WAIT_FOR_RAISED], compat_take_raised());
    }
    int is_done = child_is_done(st, c->slots[WAIT_FOR_FUTURE]);
    if (is_done != 0) {
        return is_done < 0 ? PYGEN_ERROR : wait_for_return_result(c, st, result);
    }
    if (waiter_stop((Waiter *)c->slots[WAIT_FOR_WAITER], st) < 0) {
        return PYGEN_ERROR;
    }
    return wait_for_cancel(c, st, value == NULL ? WAIT_FOR_CANCELLED : WAIT_FOR_CANCELLING);
}

/* Woken, because it is done, or time is up, or somebody threw into us. */
static PySendResult
wait_for_leave_limit(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    PySendResult status = wait_for_leave_limit_with(c, st, value, result);
    return status == PYGEN_ERROR && c->slots[WAIT_FOR_RAISED] != NULL ? wait_for_raise_again(c) : status;
}
#endif

static PySendResult
wait_for_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    switch ((enum wait_for_phase)c->phase) {
    case WAIT_FOR_BEGINS:
        return wait_for_begin(c, st, result);
#if COMPAT_WAIT_FOR_IS_TIMEOUT
    case WAIT_FOR_IN_TIMEOUT:
        return wait_for_leave_timeout(c, st, value, result);
#else
    case WAIT_FOR_LIMITED:
        return wait_for_leave_limit(c, st, value, result);
    case WAIT_FOR_CANCELLED:
        if (waiter_stop((Waiter *)c->slots[WAIT_FOR_WAITER], st) == 0 && value != NULL) {
            compat_set_raised(Py_NewRef(c->slots[WAIT_FOR_RAISED]));
        }
        return wait_for_raise_again(c);
#endif
    case WAIT_FOR_CANCELLING:
        if (waiter_stop((Waiter *)c->slots[WAIT_FOR_WAITER], st) < 0 || value == NULL) {
            return PYGEN_ERROR;
        }
        return wait_for_return_late_result(c, st, result);
    default: /* WAIT_FOR_PLAIN */
        return value == NULL ? PYGEN_ERROR : coro_return(result, value);
    }
}

static const struct coro_kind wait_for_kind = {"wait_for", wait_for_step};

static const char *const wait_for_names[] = {"fut", "timeout"};
static const struct args_signature wait_for_signature = {"wait_for", wait_for_names, 2, 2, 2, false};

static PyObject *
module_wait_for(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *given[2];
    if (UNLIKELY(args_bind(&wait_for_signature, args, n_args, kwnames, given) < 0)) {
        return NULL;
    }
    Coro *c = coro_new(st, &wait_for_kind, NULL);
    if (UNLIKELY(c == NULL)) {
        return NULL;
    }
    c->slots[WAIT_FOR_FUTURE] = Py_NewRef(given[0]);
    c->slots[WAIT_FOR_TIMEOUT] = Py_NewRef(given[1]);
    coro_track(c);
    return (PyObject *)c;
}

PyDoc_STRVAR(wait_for_doc,
             "wait_for(fut, timeout)\n--\n\n"
             "Await fut, which is cancelled when it takes longer than timeout seconds; TimeoutError is raised then.\n\n"
             "timeout: seconds, or None for no limit.  Returns: fut's result.\n"
             "Raises, when awaited: TimeoutError, what fut raises.  Source: asyncio.wait_for.  Differs: nothing.");

static const struct coro_function wait_for_functions[] = {
    {"wait_for", module_wait_for, wait_for_doc},
    {NULL},
};

static int
wait_for_register(PyObject *module, struct state *st)
{
    return coro_function_add_to_module(module, st, wait_for_functions);
}
