/* task/bridge/executor.c -- the call that a pool's thread runs, and the way of its result back to the loop. */
#include "task/bridge/executor.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "core/deferred.h"
#include "task/bridge/chain.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/future/future.h"

enum work_state { WORK_QUEUED, WORK_RUNNING, WORK_RETURNED, WORK_RAISED, WORK_CANCELLED, WORK_DELIVERED };

typedef struct {
    PyObject_HEAD
    Future *future;
    PyObject *function, *context, *kwnames; /* context and kwnames: or NULL */
    PyObject *stack;                        /* a tuple: the arguments, then the values of kwnames */
    Py_ssize_t n_args;
    PyObject *outcome; /* the result or the exception */
    enum work_state state;
} WorkItem;

/* ---- in the loop's thread: the future's end */

static int
work_finish_future(struct state *st, Future *f, enum work_state state, PyObject *outcome)
{
    if (f->state == FUTURE_CANCELLED) {
        return 0;
    }
    if (f->state != FUTURE_PENDING) {
        PyErr_SetNone(PyExc_AssertionError); /* somebody else has finished it; asyncio asserts */
        return -1;
    }
    if (state == WORK_CANCELLED) {
        return future_cancel(f, NULL) < 0 ? -1 : 0;
    }
    if (state == WORK_RETURNED) {
        return future_set_result(f, outcome);
    }
    PyObject *exception = chain_convert_exception(st, outcome);
    int rc = exception == NULL ? -1 : future_set_exception(f, exception);
    Py_XDECREF(exception);
    return rc;
}

static int
work_deliver(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    WorkItem *w = (WorkItem *)self;
    Future *f = w->future;
    PyObject *outcome = w->outcome;
    enum work_state state = w->state;
    w->future = NULL;
    w->outcome = NULL;
    w->state = WORK_DELIVERED;
    if (f == NULL) {
        return 0;
    }
    /* an exception, or what nobody waits for: letting go of it may run any code */
    if (UNLIKELY(state != WORK_RETURNED || f->state != FUTURE_PENDING)) {
        loop_leave_task(loop);
    }
    int rc = 0;
    if (UNLIKELY(work_finish_future(loop->st, f, state, outcome) < 0)) {
        PyObject *ends[] = {(PyObject *)f, self};
        rc = deferred_report(loop, work_deliver, self, NULL, "_chain_future.<locals>._set_state", ends, 2);
    }
    PyObject *raised = compat_take_raised();
    Py_DECREF(f);
    Py_XDECREF(outcome);
    compat_set_raised(raised);
    return rc;
}

/* ---- in the worker's thread */

/* What the call was made of. */
static void
work_drop_call(WorkItem *w)
{
    Py_CLEAR(w->function);
    Py_CLEAR(w->context);
    Py_CLEAR(w->stack);
    Py_CLEAR(w->kwnames);
}

/* It is nobody's turn but the caller's: a queued item becomes that, once. */
static bool
work_claim(WorkItem *w, enum work_state state)
{
#if COMPAT_FREE_THREADED
    enum work_state queued = WORK_QUEUED;
    return __atomic_compare_exchange_n(&w->state, &queued, state, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
#else
    bool is_queued = w->state == WORK_QUEUED;
    w->state = is_queued ? state : w->state;
    return is_queued;
#endif
}

/* Where asyncio says that the loop runs here the future ends at once, as on asyncio: in the loop's own thread, or where
 * somebody has replaced get_running_loop() for the whole process.  false: elsewhere, or nobody can tell. */
static bool
work_end_here(WorkItem *w, Loop *loop)
{
    int is_here = chain_loop_is_running(loop->st, loop);
    if (LIKELY(is_here == 0)) {
        return false;
    }
    Future *f = w->future;
    if (is_here < 0 || f == NULL) { /* asking may have run anything */
        if (is_here < 0) {
            PyErr_WriteUnraisable((PyObject *)w);
        }
        return f == NULL;
    }
    PyObject *outcome = w->outcome;
    enum work_state state = w->state;
    w->future = NULL;
    w->outcome = NULL;
    w->state = WORK_DELIVERED;
    Py_INCREF(loop);
    if (work_finish_future(loop->st, f, state, outcome) < 0) {
        PyErr_WriteUnraisable((PyObject *)w);
    }
    loop_wake(loop);
    Py_DECREF(loop);
    Py_DECREF(f);
    Py_XDECREF(outcome);
    return true;
}

/* To the loop with it.  A pool's thread does not outlive an exception: none is raised. */
static void
work_send(WorkItem *w)
{
    Future *f = w->future;
    Loop *loop = f == NULL || !f->is_own ? NULL : (Loop *)f->loop;
    if (loop == NULL || COMPAT_LOAD(&loop->state) == LOOP_CLOSED) { /* nobody waits any more */
        w->future = NULL;
        Py_XDECREF(f);
        return;
    }
    if (work_end_here(w, loop)) {
        return;
    }
    if (loop_ready_push(loop, work_deliver, (PyObject *)w, NULL) < 0) {
        if (COMPAT_LOAD(&loop->state) == LOOP_CLOSED) { /* just now */
            PyErr_Clear();
            w->future = NULL;
            Py_DECREF(f);
            return;
        }
        PyErr_WriteUnraisable((PyObject *)w);
        return;
    }
    loop_wake(loop);
}

static PyObject *
work_call(WorkItem *w)
{
    if (w->context != NULL && PyContext_Enter(w->context) < 0) {
        return NULL;
    }
    PyObject *result =
        PyObject_Vectorcall(w->function, ((PyTupleObject *)w->stack)->ob_item, (size_t)w->n_args, w->kwnames);
    if (w->context != NULL) {
        PyObject *raised = compat_take_raised();
        if (PyContext_Exit(w->context) < 0) {
            PyErr_WriteUnraisable(w->context);
        }
        compat_set_raised(raised);
    }
    return result;
}

/* run(), or run(context of the worker) from 3.14 on. */
static PyObject *
WorkItem_run(PyObject *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n_args))
{
    WorkItem *w = (WorkItem *)self;
    if (!work_claim(w, WORK_RUNNING)) { /* it runs, or has run, and somebody calls this by hand */
        Py_RETURN_NONE;
    }
    if (w->future == NULL || w->future->state != FUTURE_PENDING) { /* cancelled before its turn */
        Future *f = w->future;
        w->state = WORK_DELIVERED;
        w->future = NULL;
        work_drop_call(w);
        Py_XDECREF(f);
        Py_RETURN_NONE;
    }
    PyObject *result = work_call(w);
    w->state = result == NULL ? WORK_RAISED : WORK_RETURNED;
    w->outcome = result == NULL ? compat_take_raised() : result;
    work_drop_call(w);
    work_send(w);
    Py_RETURN_NONE;
}

static PyObject *
WorkItem_cancel(PyObject *self, PyObject *Py_UNUSED(none))
{
    WorkItem *w = (WorkItem *)self;
    if (work_claim(w, WORK_CANCELLED)) {
        work_drop_call(w);
        work_send(w);
    }
    return PyBool_FromLong(w->state == WORK_CANCELLED);
}

static PyObject *
WorkItem_set_exception(PyObject *self, PyObject *exception)
{
    WorkItem *w = (WorkItem *)self;
    if (work_claim(w, WORK_RAISED)) {
        w->outcome = Py_NewRef(exception);
        work_drop_call(w);
        work_send(w);
    }
    Py_RETURN_NONE;
}

static PyObject *
WorkItem_get_future(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self);
}

/* ---- life */

static int
WorkItem_traverse(PyObject *self, visitproc visit, void *arg)
{
    WorkItem *w = (WorkItem *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(w->future);
    Py_VISIT(w->function);
    Py_VISIT(w->context);
    Py_VISIT(w->stack);
    Py_VISIT(w->outcome);
    return 0;
}

static int
WorkItem_clear(PyObject *self)
{
    WorkItem *w = (WorkItem *)self;
    work_drop_call(w);
    Py_CLEAR(w->future);
    Py_CLEAR(w->outcome);
    return 0;
}

static void
WorkItem_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, WorkItem_dealloc)
    WorkItem_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyMethodDef WorkItem_methods[] = {
    {"run", (PyCFunction)(void (*)(void))WorkItem_run, METH_FASTCALL, NULL},
    {"cancel", WorkItem_cancel, METH_NOARGS, NULL},
    {"set_exception", WorkItem_set_exception, METH_O, NULL},
    {NULL},
};

static PyGetSetDef WorkItem_getset[] = {
    {"future", WorkItem_get_future},
    {NULL},
};

static PyType_Slot WorkItem_slots[] = {
    {Py_tp_traverse, WorkItem_traverse}, {Py_tp_clear, WorkItem_clear},   {Py_tp_dealloc, WorkItem_dealloc},
    {Py_tp_methods, WorkItem_methods},   {Py_tp_getset, WorkItem_getset}, {0, NULL},
};

static PyType_Spec WorkItem_spec = {
    .name = "asyncloop._asyncloop._WorkItem",
    .basicsize = sizeof(WorkItem),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = WorkItem_slots,
};

static WorkItem *
work_new(struct state *st, PyObject *future, const struct executor_call *call)
{
    Py_ssize_t n = call->n_args + (call->kwnames == NULL ? 0 : PyTuple_GET_SIZE(call->kwnames));
    PyObject *stack = PyTuple_New(n);
    WorkItem *w = stack == NULL ? NULL : PyObject_GC_New(WorkItem, st->WorkItem_type);
    if (w == NULL) {
        Py_XDECREF(stack);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTuple_SET_ITEM(stack, i, Py_NewRef(call->args[i]));
    }
    w->future = (Future *)Py_NewRef(future);
    w->function = Py_NewRef(call->function);
    w->context = Py_XNewRef(call->context);
    w->kwnames = Py_XNewRef(call->kwnames);
    w->stack = stack;
    w->n_args = call->n_args;
    w->outcome = NULL;
    w->state = WORK_QUEUED;
    PyObject_GC_Track(w);
    return w;
}

/* ---- the pools */

/* Learn what asyncloop/_executor.py knows of the standard library's. */
static COLD int
executor_learn_pool(struct state *st)
{
    PyObject *module = PyImport_ImportModule("asyncloop._executor");
    PyObject *known = module == NULL ? NULL : PyObject_CallMethod(module, "known_pool", NULL);
    Py_XDECREF(module);
    if (known == NULL) {
        return -1;
    }
    if (known != Py_None && (!PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 4)) {
        PyErr_SetString(PyExc_TypeError, "known_pool() gave no tuple of four");
        Py_DECREF(known);
        return -1;
    }
    /* the class last: it says that the rest is known.  Never taken back: another thread may have been as fast */
    PyObject **slots[] = {&st->pool_submit, &st->pool_lock, &st->pool_module, &st->pool_class};
    static const uint8_t places[] = {1, 2, 3, 0};
    for (size_t i = 0; i < ARRAY_LENGTH(slots); i++) {
        state_set_once(slots[i], known == Py_None ? Py_None : PyTuple_GET_ITEM(known, places[i]));
    }
    Py_DECREF(known);
    return 0;
}

/* Does it take our items? Its submit may have been replaced, in the class or the object, to see what is submitted. 1,
 * 0, -1 */
static int
executor_is_known_pool(struct state *st, PyObject *executor)
{
    if (UNLIKELY(state_once_borrowed(&st->pool_class) == NULL) && executor_learn_pool(st) < 0) {
        return -1;
    }
    if ((PyObject *)Py_TYPE(executor) != st->pool_class) {
        return 0;
    }
    PyObject *submit = PyObject_GetAttr(executor, st->str.submit);
    if (submit == NULL) {
        return -1;
    }
    bool is_its_own = PyMethod_Check(submit) && PyMethod_GET_FUNCTION(submit) == st->pool_submit;
    Py_DECREF(submit);
    return is_its_own;
}

/* With both locks held: into the queue, and a thread for it.  0: the pool takes no more. */
static int
executor_enqueue_locked(struct state *st, PyObject *executor, WorkItem *w)
{
    int refuses = ask_truth(PyObject_GetAttr(executor, st->str._broken));
    if (refuses == 0 && (refuses = ask_truth(PyObject_GetAttr(executor, st->str._shutdown))) == 0) {
        refuses = ask_truth(PyObject_GetAttr(st->pool_module, st->str._shutdown));
    }
    if (refuses != 0) {
        return refuses < 0 ? -1 : 0;
    }
    PyObject *queue = PyObject_GetAttr(executor, st->str._work_queue), *put = NULL, *adjusted = NULL;
    if (queue != NULL && (put = PyObject_CallMethodOneArg(queue, st->str.put, (PyObject *)w)) != NULL) {
        adjusted = PyObject_CallMethodNoArgs(executor, st->str._adjust_thread_count);
    }
    int rc = adjusted == NULL ? -1 : 1;
    Py_XDECREF(queue);
    Py_XDECREF(put);
    Py_XDECREF(adjusted);
    return rc;
}

/* Keeps a raised exception. */
static int
executor_release(struct state *st, PyObject *lock, int rc)
{
    PyObject *raised = compat_take_raised();
    PyObject *done = PyObject_CallMethodNoArgs(lock, st->str.release);
    Py_XDECREF(done);
    if (raised != NULL) {
        PyErr_Clear();
        compat_set_raised(raised);
    }
    return done == NULL ? -1 : rc;
}

/* As the pool's submit does it.  1; 0: the pool takes no more; -1. */
static int
executor_enqueue(struct state *st, PyObject *executor, WorkItem *w)
{
    PyObject *lock = PyObject_GetAttr(executor, st->str._shutdown_lock), *done;
    int rc = -1;
    if (lock != NULL && (done = PyObject_CallMethodNoArgs(lock, st->str.acquire)) != NULL) {
        Py_DECREF(done);
        if ((done = PyObject_CallMethodNoArgs(st->pool_lock, st->str.acquire)) != NULL) {
            Py_DECREF(done);
            rc = executor_enqueue_locked(st, executor, w);
            rc = executor_release(st, st->pool_lock, rc);
        }
        rc = executor_release(st, lock, rc);
    }
    Py_XDECREF(lock);
    return rc;
}

/* An item for a known pool: 1 and *future, 0 when it must be submitted, -1. */
static int
executor_put_item(Loop *loop, PyObject *executor, const struct executor_call *call, PyObject **future)
{
    struct state *st = loop->st;
    int rc = loop->overrides & LOOP_OWN_CALL_SOON_THREADSAFE ? 0 : executor_is_known_pool(st, executor);
    if (rc <= 0) {
        return rc;
    }
    PyObject *f = PyObject_CallMethodNoArgs((PyObject *)loop, st->str.create_future);
    if (f == NULL) {
        return -1;
    }
    bool is_ours = Py_IS_TYPE(f, st->Future_type) && ((Future *)f)->loop == (PyObject *)loop;
    WorkItem *w = is_ours ? work_new(st, f, call) : NULL;
    rc = !is_ours ? 0 : w == NULL ? -1 : executor_enqueue(st, executor, w);
    Py_XDECREF(w);
    if (rc <= 0) {
        Py_CLEAR(f);
    }
    *future = f;
    return rc;
}

/* The loop's default executor, made now when there is none yet. */
static PyObject *
executor_default(Loop *loop)
{
    struct state *st = loop->st;
    PyObject *self = (PyObject *)loop, *executor = PyObject_GetAttr(self, st->str._default_executor);
    int is_shut_down = executor == NULL ? -1 : ask_truth(PyObject_GetAttr(self, st->str._executor_shutdown_called));
    if (is_shut_down > 0) { /* it has the error's text */
        PyObject *done = PyObject_CallMethod(self, "_check_default_executor", NULL);
        is_shut_down = done == NULL ? -1 : 0;
        Py_XDECREF(done);
    }
    if (is_shut_down < 0) {
        Py_CLEAR(executor);
    }
    if (executor != Py_None) {
        return executor;
    }
    Py_DECREF(executor);
    PyObject *module = PyImport_ImportModule("asyncloop._executor");
    executor = module == NULL ? NULL : PyObject_CallMethod(module, "default_executor", NULL);
    Py_XDECREF(module);
    if (executor != NULL && PyObject_SetAttr(self, st->str._default_executor, executor) < 0) {
        Py_CLEAR(executor);
    }
    return executor;
}

static PyObject *
executor_run(Loop *loop, PyObject *executor_or_none, PyObject *function, PyObject *const *args, Py_ssize_t n_args)
{
    struct state *st = loop->st;
    PyObject *executor = executor_or_none == Py_None ? executor_default(loop) : Py_NewRef(executor_or_none),
             *future = NULL;
    if (executor == NULL) {
        return NULL;
    }
    struct executor_call call = {function, args, n_args, NULL, NULL};
    int rc = executor_put_item(loop, executor, &call, &future);
    if (rc == 0) {
        PyObject *submit = PyObject_GetAttr(executor, st->str.submit),
                 *stack = submit == NULL ? NULL : PyTuple_New(1 + n_args);
        if (stack != NULL) {
            PyTuple_SET_ITEM(stack, 0, Py_NewRef(function));
            for (Py_ssize_t i = 0; i < n_args; i++) {
                PyTuple_SET_ITEM(stack, 1 + i, Py_NewRef(args[i]));
            }
        }
        PyObject *submitted = stack == NULL ? NULL : PyObject_Call(submit, stack, NULL);
        future = submitted == NULL ? NULL : chain_wrap_future(st, submitted, (PyObject *)loop);
        Py_XDECREF(submit);
        Py_XDECREF(stack);
        Py_XDECREF(submitted);
    }
    Py_DECREF(executor);
    return future;
}

/* ---- to_thread
 *
 *     phase 0: begins;  1: waits for the future */

enum { TO_THREAD_FUNCTION, TO_THREAD_STACK, TO_THREAD_KWNAMES };

/* Nobody has put a run_in_executor of his own into this loop. */
static bool
executor_is_the_loops(Loop *loop)
{
    struct state *st = loop->st;
    PyObject *name = st->str.run_in_executor;
    bool is_own = _PyType_Lookup(Py_TYPE(loop), name) == _PyType_Lookup(st->Loop_type, name)
                  && (loop->dict == NULL || PyDict_Contains(loop->dict, name) == 0);
    if (UNLIKELY(PyErr_Occurred() != NULL)) { /* a key of the dict that cannot be compared: not ours */
        PyErr_Clear();
    }
    return is_own;
}

static struct executor_call
to_thread_call(Coro *c, PyObject *context)
{
    PyObject *stack = c->slots[TO_THREAD_STACK], *kwnames = c->slots[TO_THREAD_KWNAMES];
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    return (struct executor_call){c->slots[TO_THREAD_FUNCTION], ((PyTupleObject *)stack)->ob_item,
                                  PyTuple_GET_SIZE(stack) - n_keywords, kwnames, context};
}

/* loop.run_in_executor(None, functools.partial(context.run, function, *args, **kwargs)) */
static COLD PyObject *
to_thread_elsewhere(struct state *st, PyObject *loop, const struct executor_call *call)
{
    Py_ssize_t n_keywords = call->kwnames == NULL ? 0 : PyTuple_GET_SIZE(call->kwnames);
    PyObject *functools = PyImport_ImportModule("functools"), *run = PyObject_GetAttrString(call->context, "run"),
             *partial = NULL, *future = NULL;
    PyObject *args = functools == NULL || run == NULL ? NULL : PyTuple_New(2 + call->n_args),
             *kwargs = args == NULL ? NULL : PyDict_New();
    if (kwargs == NULL) {
        goto end;
    }
    PyTuple_SET_ITEM(args, 0, Py_NewRef(run));
    PyTuple_SET_ITEM(args, 1, Py_NewRef(call->function));
    for (Py_ssize_t i = 0; i < call->n_args; i++) {
        PyTuple_SET_ITEM(args, 2 + i, Py_NewRef(call->args[i]));
    }
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(call->kwnames, i), call->args[call->n_args + i]) < 0) {
            goto end;
        }
    }
    PyObject *type = PyObject_GetAttrString(functools, "partial");
    partial = type == NULL ? NULL : PyObject_Call(type, args, kwargs);
    Py_XDECREF(type);
    if (partial != NULL) {
        PyObject *stack[] = {loop, Py_None, partial};
        future = PyObject_VectorcallMethod(st->str.run_in_executor, stack, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
end:
    Py_XDECREF(functools);
    Py_XDECREF(run);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(partial);
    return future;
}

static PyObject *
to_thread_begin(Coro *c, struct state *st)
{
    PyObject *loop = aiobridge_need_running_loop(st), *future = NULL;
    if (loop == NULL) {
        return NULL;
    }
    PyObject *context = PyContext_CopyCurrent();
    int rc = context == NULL ? -1 : 0;
    if (rc == 0) {
        struct executor_call call = to_thread_call(c, context);
        if (LIKELY(loop_is_own(st, loop) && executor_is_the_loops((Loop *)loop))) {
            PyObject *executor = executor_default((Loop *)loop);
            rc = executor == NULL ? -1 : executor_put_item((Loop *)loop, executor, &call, &future);
            Py_XDECREF(executor);
        }
        if (rc == 0) {
            future = to_thread_elsewhere(st, loop, &call);
        }
    }
    Py_XDECREF(context);
    Py_DECREF(loop);
    return future;
}

static PySendResult
to_thread_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == 0) {
        c->phase = 1;
        PyObject *future = to_thread_begin(c, st);
        PySendResult status = future == NULL ? PYGEN_ERROR : coro_await(c, st, future);
        Py_XDECREF(future);
        return status;
    }
    return value == NULL ? PYGEN_ERROR : coro_return(result, value);
}

static const struct coro_kind to_thread_kind = {"to_thread", to_thread_step};

static PyObject *
module_to_thread(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    if (n_args < 1) {
        PyErr_SetString(PyExc_TypeError, "to_thread() missing 1 required positional argument: 'func'");
        return NULL;
    }
    Py_ssize_t n = n_args - 1 + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject *stack = PyTuple_New(n);
    Coro *c = stack == NULL ? NULL : coro_new(st, &to_thread_kind, NULL);
    if (c == NULL) {
        Py_XDECREF(stack);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTuple_SET_ITEM(stack, i, Py_NewRef(args[1 + i]));
    }
    c->slots[TO_THREAD_FUNCTION] = Py_NewRef(args[0]);
    c->slots[TO_THREAD_STACK] = stack;
    c->slots[TO_THREAD_KWNAMES] = Py_XNewRef(kwnames);
    coro_track(c);
    return (PyObject *)c;
}

PyDoc_STRVAR(to_thread_doc,
             "to_thread(func, /, *args, **kwargs)\n--\n\n"
             "Coroutine that calls func(*args, **kwargs) in a thread of the loop's default executor, in a copy of the "
             "current context.\n\n"
             "Raises, when awaited: what func raises; RuntimeError (executor shut down).  Source: asyncio.to_thread.");

static const struct coro_function to_thread_functions[] = {
    {"to_thread", module_to_thread, to_thread_doc},
    {NULL},
};

static int
executor_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->WorkItem_type, &WorkItem_spec, NULL, false, SECTION_NOBODY) < 0
                   || coro_function_add_to_module(module, st, to_thread_functions) < 0
               ? -1
               : 0;
}
