/* task/bridge/chain.c -- who tells whom when one of the two is done or cancelled, across threads. */
#include "task/bridge/chain.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/ask.h"
#include "core/deferred.h"
#include "core/guard.h"
#include "task/wait/child.h"
#include "task/future/ensure.h"
#include "task/future/future.h"

enum chain_direction { CHAIN_IN, CHAIN_OUT };

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    Future *future;       /* ours; NULL: not yet (CHAIN_OUT), or the end is copied */
    PyObject *concurrent; /* NULL: the end is copied */
    PyObject *coro;       /* CHAIN_OUT, not started: what is to become our task */
    PyObject *loop;       /* of our future */
    enum chain_direction direction;
} Chain;

static PyObject *
chain_convert_exception(struct state *st, PyObject *exception)
{
    PyObject *type = (PyObject *)Py_TYPE(exception);
    bool is_theirs = type == st->concurrent_CancelledError || type == st->concurrent_TimeoutError
                     || type == st->concurrent_InvalidStateError;
    return UNLIKELY(is_theirs) ? PyObject_CallOneArg(st->convert_future_exc, exception) : Py_NewRef(exception);
}

static int
chain_tell(PyObject *object, PyObject *method, PyObject *argument_or_null)
{
    PyObject *done = argument_or_null == NULL ? PyObject_CallMethodNoArgs(object, method)
                                              : PyObject_CallMethodOneArg(object, method, argument_or_null);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- concurrent -> ours */

/* How the concurrent future ended: *exception or *result, a new reference; both NULL: cancelled. */
static int
chain_read_concurrent(struct state *st, PyObject *concurrent, PyObject **result, PyObject **exception)
{
    *result = *exception = NULL;
    int is_done = ask_method(concurrent, st->str.done);
    if (is_done <= 0) {
        if (is_done == 0) {
            PyErr_SetNone(PyExc_AssertionError);
        }
        return -1;
    }
    int is_cancelled = ask_method(concurrent, st->str.cancelled);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    if ((*exception = PyObject_CallMethodNoArgs(concurrent, st->str.exception)) == NULL) {
        return -1;
    }
    if (*exception == Py_None) {
        Py_CLEAR(*exception);
        return (*result = PyObject_CallMethodNoArgs(concurrent, st->str.result)) == NULL ? -1 : 0;
    }
    return 0;
}

static int
chain_copy_in(Chain *c, struct state *st)
{
    Future *f = c->future;
    PyObject *concurrent = c->concurrent, *result, *exception;
    if (f == NULL || f->state == FUTURE_CANCELLED) {
        return 0;
    }
    Py_INCREF(f);
    Py_INCREF(concurrent);
    int rc = -1;
    if (f->state != FUTURE_PENDING) {
        PyErr_SetNone(PyExc_AssertionError); /* asyncio asserts that nobody else ends it */
    }
    else if (chain_read_concurrent(st, concurrent, &result, &exception) == 0) {
        if (exception != NULL) {
            Py_XSETREF(exception, chain_convert_exception(st, exception));
            rc = exception == NULL ? -1 : future_set_exception(f, exception);
        }
        else {
            rc = result != NULL ? future_set_result(f, result) : future_cancel(f, NULL) < 0 ? -1 : 0;
        }
        PyObject *raised = compat_take_raised();
        Py_XDECREF(result);
        Py_XDECREF(exception);
        compat_set_raised(raised);
    }
    PyObject *raised = compat_take_raised();
    Py_CLEAR(c->future);
    Py_CLEAR(c->concurrent);
    Py_DECREF(f);
    Py_DECREF(concurrent);
    compat_set_raised(raised);
    return rc;
}

/* Ready entries. */
static int
chain_in_ready(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Chain *c = (Chain *)self;
    loop_leave_task(loop);
    PyObject *ends[] = {Py_XNewRef((PyObject *)c->future), Py_XNewRef(c->concurrent)};
    int rc = chain_copy_in(c, loop->st);
    if (UNLIKELY(rc < 0)) {
        rc = deferred_report(loop, chain_in_ready, self, NULL, "_chain_future.<locals>._set_state", ends, 2);
    }
    PyObject *raised = rc < 0 ? compat_take_raised() : NULL;
    Py_XDECREF(ends[0]);
    Py_XDECREF(ends[1]);
    compat_set_raised(raised);
    return rc;
}

static int
chain_cancel_ready(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Chain *c = (Chain *)self;
    PyObject *future = Py_XNewRef((PyObject *)c->future);
    loop_leave_task(loop);
    int rc = future == NULL ? 0 : child_cancel(loop->st, future);
    if (UNLIKELY(rc < 0)) {
        rc = handle_report_method(loop, future, "cancel", NULL);
    }
    Py_XDECREF(future);
    return rc < 0 ? -1 : 0;
}

static int
chain_push(Chain *c, Loop *loop, ready_fn run)
{
    if (loop_ready_push(loop, run, (PyObject *)c, NULL) < 0) {
        return -1;
    }
    loop_wake(loop);
    return 0;
}

/* dest_loop is events._get_running_loop(): 1, 0, -1. Up to 3.13 nobody asks. */
static inline int
chain_loop_is_running(struct state *st, Loop *loop)
{
    if (!COMPAT_CHAIN_ASKS_RUNNING_LOOP || LIKELY(aiobridge_names_are_known(st))) {
        return COMPAT_CHAIN_ASKS_RUNNING_LOOP && loop_running_borrowed(st) == loop;
    }
    PyObject *running = aiobridge_running_loop(st);
    Py_XDECREF(running); /* only compared */
    return running == NULL && PyErr_Occurred() ? -1 : running == (PyObject *)loop;
}

/* The concurrent one is done. Perhaps in another thread. */
static int
chain_concurrent_done_in(Chain *c, struct state *st)
{
    Loop *loop = (Loop *)c->loop;
    if (loop->state == LOOP_CLOSED) {
        return 0;
    }
    int is_running = chain_loop_is_running(st, loop);
    if (is_running != 0) {
        return is_running < 0 ? -1 : chain_copy_in(c, st);
    }
    return chain_push(c, loop, chain_in_ready);
}

/* ---- ours -> concurrent */

static int
chain_copy_out(Chain *c, struct state *st)
{
    PyObject *future = (PyObject *)c->future, *concurrent = c->concurrent, *exception = NULL, *outcome = NULL;
    c->future = NULL;
    c->concurrent = NULL;
    int rc = ((Future *)future)->state == FUTURE_CANCELLED ? chain_tell(concurrent, st->str.cancel, NULL) : 0;
    int goes_on = rc < 0 ? -1 : ask_method(concurrent, st->str.set_running_or_notify_cancel);
    rc = goes_on < 0 ? -1 : 0;
    if (goes_on > 0) {
        exception = PyObject_CallMethodNoArgs(future, st->str.exception);
        if (exception == NULL) {
            rc = -1;
        }
        else if (exception != Py_None) {
            outcome = chain_convert_exception(st, exception);
            rc = outcome == NULL ? -1 : chain_tell(concurrent, st->str.set_exception, outcome);
        }
        else {
            outcome = PyObject_CallMethodNoArgs(future, st->str.result);
            rc = outcome == NULL ? -1 : chain_tell(concurrent, st->str.set_result, outcome);
        }
    }
    PyObject *raised = compat_take_raised();
    Py_XDECREF(exception);
    Py_XDECREF(outcome);
    Py_DECREF(future);
    Py_DECREF(concurrent);
    compat_set_raised(raised);
    return rc;
}

/* The concurrent one is done, from outside if it is cancelled. */
static int
chain_concurrent_done_out(Chain *c, struct state *st, PyObject *concurrent)
{
    int is_cancelled = ask_method(concurrent, st->str.cancelled);
    if (is_cancelled <= 0 || c->future == NULL) {
        return is_cancelled < 0 ? -1 : 0;
    }
    Loop *loop = (Loop *)c->loop;
    int is_running = chain_loop_is_running(st, loop);
    if (is_running < 0 || c->future == NULL) { /* asking may have run anything */
        return is_running;
    }
    if (is_running) {
        PyObject *future = Py_NewRef((PyObject *)c->future);
        int rc = child_cancel(st, future);
        Py_DECREF(future);
        return rc < 0 ? -1 : 0;
    }
    return loop_check_closed(loop) < 0 ? -1 : chain_push(c, loop, chain_cancel_ready);
}

/* ---- either */

/* asyncio's order: the destination first. */
static int
chain_tie(Chain *c, struct state *st)
{
    PyObject *self = (PyObject *)c;
    if (c->direction == CHAIN_IN) {
        return future_add_done_callback(c->future, self, NULL) < 0
                   ? -1
                   : chain_tell(c->concurrent, st->str.add_done_callback, self);
    }
    Future *f = (Future *)Py_NewRef((PyObject *)c->future);
    int rc = chain_tell(c->concurrent, st->str.add_done_callback, self);
    if (rc == 0) {
        rc = future_add_done_callback(f, self, NULL);
    }
    Py_DECREF(f);
    return rc;
}

static bool
chain_takes(struct state *st, PyObject *future, PyObject *loop)
{
    return future_is_exact(st, future) && ((Future *)future)->is_own && ((Future *)future)->loop == loop
           && !(((Loop *)loop)->overrides & LOOP_OWN_CALL_SOON_THREADSAFE);
}

static int
chain_natively(struct state *st, PyObject *source, PyObject *destination)
{
    PyObject *args[] = {source, destination}, *done = PyObject_Vectorcall(st->chain_future, args, 2, NULL);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Make the coroutine a task of the loop. We are in the loop's thread. */
static int
chain_start(Chain *c, struct state *st)
{
    PyObject *coro = c->coro, *concurrent = Py_NewRef(c->concurrent);
    c->coro = NULL;
    PyObject *task = ensure_future(st, coro, c->loop);
    Py_DECREF(coro);
    int rc = -1;
    if (task != NULL && chain_takes(st, task, c->loop)) {
        c->future = (Future *)Py_NewRef(task);
        rc = chain_tie(c, st);
    }
    else if (task != NULL) {
        rc = chain_natively(st, task, concurrent);
    }
    Py_XDECREF(task);
    if (rc < 0 && !PyErr_ExceptionMatches(PyExc_SystemExit) && !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyObject *raised = compat_take_raised();
        int goes_on = ask_method(concurrent, st->str.set_running_or_notify_cancel);
        if (goes_on > 0) {
            goes_on = chain_tell(concurrent, st->str.set_exception, raised);
        }
        if (goes_on < 0) {
            Py_DECREF(raised);
        }
        else {
            compat_set_raised(raised);
        }
    }
    Py_DECREF(concurrent);
    return rc;
}

static PyObject *
Chain_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Chain *c = (Chain *)self;
    struct state *st = state_of(self);
    Py_ssize_t n_args = PyVectorcall_NARGS(nargsf);
    int rc = 0;
    if (n_args == 1 && c->concurrent != NULL && args[0] == c->concurrent && c->loop != NULL) {
        rc = c->direction == CHAIN_IN ? chain_concurrent_done_in(c, st) : chain_concurrent_done_out(c, st, args[0]);
        return rc < 0 ? NULL : Py_NewRef(Py_None);
    }
    SECTION_ENTER(c->loop);
    if (n_args == 0 && c->coro != NULL) {
        rc = chain_start(c, st);
    }
    else if (n_args == 1 && c->future != NULL && args[0] == (PyObject *)c->future
             && c->future->state != FUTURE_PENDING) {
        if (c->direction == CHAIN_OUT) {
            rc = chain_copy_out(c, st);
        }
        else if (c->future->state == FUTURE_CANCELLED) {
            PyObject *concurrent = Py_NewRef(c->concurrent);
            rc = chain_tell(concurrent, st->str.cancel, NULL);
            Py_DECREF(concurrent);
        }
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What our future shows among its callbacks. */
static PyObject *
Chain_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    Chain *c = (Chain *)self;
    return PyUnicode_FromString(c->direction == CHAIN_IN ? "_chain_future.<locals>._call_check_cancel"
                                : c->coro == NULL        ? "_chain_future.<locals>._call_set_state"
                                                         : "run_coroutine_threadsafe.<locals>.callback");
}

static int
Chain_traverse(PyObject *self, visitproc visit, void *arg)
{
    Chain *c = (Chain *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->future);
    Py_VISIT(c->concurrent);
    Py_VISIT(c->coro);
    Py_VISIT(c->loop);
    return 0;
}

static int
Chain_clear(PyObject *self)
{
    Chain *c = (Chain *)self;
    Py_CLEAR(c->future);
    Py_CLEAR(c->concurrent);
    Py_CLEAR(c->coro);
    Py_CLEAR(c->loop);
    return 0;
}

static void
Chain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Chain_dealloc)
    Chain_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyGetSetDef Chain_getset[] = {
    {"__name__", Chain_get_qualname},
    {"__qualname__", Chain_get_qualname},
    {NULL},
};

static PyMemberDef Chain_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Chain, call), READONLY},
    {NULL},
};

static PyType_Slot Chain_slots[] = {
    {Py_tp_traverse, Chain_traverse},
    {Py_tp_clear, Chain_clear},
    {Py_tp_dealloc, Chain_dealloc},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getset, Chain_getset},
    {Py_tp_members, Chain_members},
    {0, NULL},
};

static PyType_Spec Chain_spec = {
    .name = "asyncloop._asyncloop._Chain",
    .basicsize = sizeof(Chain),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Chain_slots,
};

static Chain *
chain_new(struct state *st, enum chain_direction direction, PyObject *loop, PyObject *concurrent)
{
    Chain *c = PyObject_GC_New(Chain, st->Chain_type);
    if (c == NULL) {
        return NULL;
    }
    c->call = Chain_call;
    c->future = NULL;
    c->concurrent = Py_NewRef(concurrent);
    c->coro = NULL;
    c->loop = Py_NewRef(loop);
    c->direction = direction;
    PyObject_GC_Track(c);
    return c;
}

/* ---- wrap_future */

static PyObject *
chain_wrap_future(struct state *st, PyObject *future, PyObject *loop)
{
    int is_future = future_is_own(st, future) ? 1 : ensure_is_future(st, future);
    if (is_future != 0) {
        return is_future < 0 ? NULL : Py_NewRef(future);
    }
    int is_concurrent = PyObject_IsInstance(future, st->concurrent_Future);
    if (is_concurrent <= 0) {
        if (is_concurrent == 0) {
            PyErr_Format(PyExc_AssertionError, "concurrent.futures.Future is expected, got %R", future);
        }
        return NULL;
    }
    PyObject *held = loop == Py_None ? ensure_event_loop(st) : Py_NewRef(loop);
    PyObject *made = held == NULL ? NULL : PyObject_CallMethodNoArgs(held, st->str.create_future);
    int rc = made == NULL ? -1 : 0;
    if (rc == 0 && chain_takes(st, made, held)) {
        Chain *c = chain_new(st, CHAIN_IN, held, future);
        if (c != NULL) {
            c->future = (Future *)Py_NewRef(made);
        }
        rc = c == NULL ? -1 : chain_tie(c, st);
        Py_XDECREF(c);
    }
    else if (rc == 0) {
        rc = chain_natively(st, future, made);
    }
    Py_XDECREF(held);
    if (rc < 0) {
        Py_CLEAR(made);
    }
    return made;
}

static PyObject *
module_wrap_future(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"future", "loop"};
    static const struct args_signature signature = {"wrap_future", names, 1, 1, 2, false};
    PyObject *given[2];
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    return chain_wrap_future(state_of_module(module), given[0], given[1] == NULL ? Py_None : given[1]);
}

/* ---- run_coroutine_threadsafe */

static PyObject *
chain_submit(struct state *st, PyObject *coro, PyObject *loop)
{
    PyObject *concurrent = PyObject_CallNoArgs(st->concurrent_Future);
    Chain *c = concurrent == NULL ? NULL : chain_new(st, CHAIN_OUT, loop, concurrent);
    if (c != NULL) {
        c->coro = Py_NewRef(coro);
    }
    if (c == NULL || chain_tell(loop, st->str.call_soon_threadsafe, (PyObject *)c) < 0) {
        Py_CLEAR(concurrent);
    }
    Py_XDECREF(c);
    return concurrent;
}

static PyObject *
module_run_coroutine_threadsafe(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"coro", "loop"};
    static const struct args_signature signature = {"run_coroutine_threadsafe", names, 2, 2, 2, false};
    struct state *st = state_of_module(module);
    PyObject *given[2];
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    int is_coroutine = ensure_is_coroutine(st, given[0]);
    if (is_coroutine <= 0) {
        if (is_coroutine == 0) {
            PyErr_SetString(PyExc_TypeError, "A coroutine object is required");
        }
        return NULL;
    }
    return loop_is_own(st, given[1]) ? chain_submit(st, given[0], given[1])
                                     : PyObject_Vectorcall(st->run_coroutine_threadsafe, given, 2, NULL);
}

static PyMethodDef chain_functions[] = {
    {"wrap_future", FUTURE_FASTCALL(module_wrap_future), METH_FASTCALL | METH_KEYWORDS,
     "wrap_future($module, /, future, *, loop=None)\n--\n\n"
     "An asyncio future that ends as the concurrent.futures.Future does, and cancels it when it is cancelled.\n\n"
     "loop: whose future it is; None takes the running or the current one.  An asyncio future is returned as it is.\n"
     "Raises: AssertionError (neither kind).  Source: asyncio.wrap_future."},
    {"run_coroutine_threadsafe", FUTURE_FASTCALL(module_run_coroutine_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     "run_coroutine_threadsafe($module, /, coro, loop)\n--\n\n"
     "Run coro as a task of loop, which runs in another thread; returns a concurrent.futures.Future of its end.\n\n"
     "Raises: TypeError (no coroutine), RuntimeError (loop closed).  Source: asyncio.run_coroutine_threadsafe."},
    {NULL},
};

static int
chain_register(PyObject *module, struct state *st)
{
    if (future_import(&st->concurrent_Future, "concurrent.futures", "Future") < 0
        || future_import(&st->concurrent_CancelledError, "concurrent.futures", "CancelledError") < 0
        || future_import(&st->concurrent_TimeoutError, "concurrent.futures", "TimeoutError") < 0
        || future_import(&st->concurrent_InvalidStateError, "concurrent.futures", "InvalidStateError") < 0
        || future_import(&st->convert_future_exc, "asyncio.futures", "_convert_future_exc") < 0
        || future_import(&st->chain_future, "asyncio.futures", "_chain_future") < 0
        || future_import(&st->run_coroutine_threadsafe, "asyncio.tasks", "run_coroutine_threadsafe") < 0
        || state_add_type(module, &st->Chain_type, &Chain_spec, NULL, false, SECTION_AT(Chain, loop)) < 0) {
        return -1;
    }
    return guard_add_functions(module, chain_functions);
}
