/* task/wait/as_completed.c -- see as_completed.h. */
#include "task/wait/as_completed.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/ask.h"
#include "core/deferred.h"
#include "core/guard.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/future/task.h"

/* What asyncio calls its callbacks. */
#if COMPAT_AS_COMPLETED_ASYNC
#  define AS_COMPLETED_CHILD "_handle_completion"
#  define AS_COMPLETED_CHILD_NAME "_AsCompletedIterator._handle_completion"
#  define AS_COMPLETED_DUE_NAME "_AsCompletedIterator._handle_timeout"
#else
#  define AS_COMPLETED_CHILD "_on_completion"
#  define AS_COMPLETED_CHILD_NAME "as_completed.<locals>._on_completion"
#  define AS_COMPLETED_DUE_NAME "as_completed.<locals>._on_timeout"
#endif

/* ---- the queue of what is done */

/* The first getter that still waits is woken. */
static int
as_completed_wake_next(AsCompleted *a, struct state *st)
{
    while (a->getters != NULL && PyList_GET_SIZE(a->getters) > 0) {
        PyObject *getter = Py_NewRef(PyList_GET_ITEM(a->getters, 0));
        int rc =
            PyList_SetSlice(a->getters, 0, 1, NULL) < 0 ? -1 : future_wake_any(st, getter, st->str.done, Py_None, NULL);
        Py_DECREF(getter);
        if (rc != 0) {
            return rc < 0 ? -1 : 0;
        }
    }
    return 0;
}

/* child: borrowed, NULL for the end of time. There is room for one per child. */
static int
as_completed_put(AsCompleted *a, struct state *st, PyObject *child)
{
    if (UNLIKELY(a->n_done == a->n_children)) { /* a child's methods call back while time is up */
        PyErr_SetString(PyExc_RuntimeError, "as_completed: a future is done twice");
        return -1;
    }
    a->done[a->n_done++] = Py_XNewRef(child);
    return as_completed_wake_next(a, st);
}

static int
as_completed_child_done(AsCompleted *a, struct state *st, PyObject *child)
{
    if (a->todo == NULL || PySet_GET_SIZE(a->todo) == 0) { /* time was up before */
        return 0;
    }
    int was_there = PySet_Discard(a->todo, child);
    if (was_there <= 0) {
        if (was_there == 0) {
            PyErr_SetObject(PyExc_KeyError, child);
        }
        return -1;
    }
    if (as_completed_put(a, st, child) < 0) {
        return -1;
    }
    if (PySet_GET_SIZE(a->todo) == 0) {
        deadline_stop(&a->deadline, st, a->loop, (PyObject *)a);
    }
    return child_forget_waiter(st, child, a->task);
}

static int
as_completed_child_ready(Loop *loop, PyObject *self, PyObject *child)
{
    if (UNLIKELY(!child_is_plainly_done(loop->st, child))) { /* may call children that are not ours */
        loop_leave_task(loop);
    }
    if (LIKELY(as_completed_child_done((AsCompleted *)self, loop->st, child) == 0)) {
        return 0;
    }
    return deferred_report(loop, as_completed_child_ready, self, child, AS_COMPLETED_CHILD_NAME, &child, 1);
}

static PyObject *
as_completed_child_called(PyObject *self, PyObject *child)
{
    SECTION_ENTER(((AsCompleted *)self)->loop);
    return as_completed_child_done((AsCompleted *)self, state_of(self), child) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
as_completed_task_borrowed(PyObject *self)
{
    return ((AsCompleted *)self)->task;
}

static const struct watcher_kind as_completed_kind = {as_completed_child_ready,
                                                      as_completed_task_borrowed,
                                                      {AS_COMPLETED_CHILD, as_completed_child_called, METH_O, NULL},
                                                      0,
                                                      AS_COMPLETED_CHILD_NAME};

static int
as_completed_time_is_up(AsCompleted *a, struct state *st)
{
    PyObject *left = a->todo == NULL ? NULL : PySequence_Tuple(a->todo);
    int rc = left == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(left); i++) {
        rc = child_unwatch(st, PyTuple_GET_ITEM(left, i), (PyObject *)a, &as_completed_kind);
        if (rc == 0) {
            rc = as_completed_put(a, st, NULL);
        }
    }
    if (rc == 0) {
        rc = PySet_Clear(a->todo);
    }
    Py_XDECREF(left);
    return rc;
}

static int
as_completed_on_due(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    AsCompleted *a = (AsCompleted *)self;
    loop_leave_task(loop);
    if (a->todo == NULL || as_completed_time_is_up(a, loop->st) == 0) {
        return 0;
    }
    return deferred_report(loop, as_completed_on_due, self, NULL, AS_COMPLETED_DUE_NAME, NULL, 0);
}

static PyObject *
as_completed_due_called(PyObject *self, PyObject *Py_UNUSED(none))
{
    SECTION_ENTER(((AsCompleted *)self)->loop);
    return as_completed_time_is_up((AsCompleted *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef as_completed_due_def = {"_handle_timeout", as_completed_due_called, METH_NOARGS, NULL};

/* ---- beginning */

/* 3.13+: inspect.isawaitable; before: a future or a coroutine. */
static int
as_completed_check_argument(struct state *st, PyObject *given)
{
    if (PyList_CheckExact(given) || PyTuple_CheckExact(given) || PyAnySet_CheckExact(given)
        || PyDict_CheckExact(given)) {
        return 0;
    }
    PyObject *asked = COMPAT_AS_COMPLETED_ASYNC ? PyImport_ImportModule("inspect") : Py_NewRef(st->isfuture);
    if (COMPAT_AS_COMPLETED_ASYNC && asked != NULL) {
        Py_SETREF(asked, PyObject_GetAttrString(asked, "isawaitable"));
    }
    int is_awaitable = asked == NULL ? -1 : ask_truth(PyObject_CallOneArg(asked, given));
    Py_XDECREF(asked);
    if (!COMPAT_AS_COMPLETED_ASYNC && is_awaitable == 0) {
        is_awaitable = task_is_coroutine(st, given);
    }
    if (is_awaitable > 0) {
        PyErr_Format(PyExc_TypeError,
                     COMPAT_AS_COMPLETED_ASYNC ? "expects an iterable of awaitables, not %s"
                                               : "expect an iterable of futures, not %s",
                     future_short_name(Py_TYPE(given)));
    }
    return is_awaitable == 0 ? 0 : -1;
}

/* {ensure_future(each, loop=loop) for each in set(given)} */
static PyObject *
as_completed_futures(struct state *st, PyObject *given, PyObject *loop)
{
    PyObject *set = PySet_New(given), *all = set == NULL ? NULL : PySequence_Tuple(set),
             *todo = all == NULL ? NULL : PySet_New(NULL);
    for (Py_ssize_t i = 0; todo != NULL && i < PyTuple_GET_SIZE(all); i++) {
        PyObject *child = child_ensure_future(st, PyTuple_GET_ITEM(all, i), loop);
        if (child == NULL || PySet_Add(todo, child) < 0) {
            Py_CLEAR(todo);
        }
        Py_XDECREF(child);
    }
    Py_XDECREF(set);
    Py_XDECREF(all);
    return todo;
}

static int
as_completed_begin(AsCompleted *a, struct state *st)
{
    PyObject *given = a->given;
    a->given = NULL;
    int rc = as_completed_check_argument(st, given);
    if (rc == 0) {
        a->loop = aiobridge_event_loop(st);
        a->task = a->loop == NULL || !COMPAT_CALL_GRAPH ? NULL : task_current_here(st);
        a->todo = a->loop == NULL || PyErr_Occurred() ? NULL : as_completed_futures(st, given, a->loop);
    }
    PyObject *all = a->todo == NULL ? NULL : PySequence_Tuple(a->todo);
    Py_DECREF(given);
    if (all == NULL) {
        return -1;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(all);
    a->done = PyMem_Calloc((size_t)(n == 0 ? 1 : n), sizeof *a->done);
    if (a->done == NULL) {
        PyErr_NoMemory();
        rc = -1;
    }
    else {
        a->n_left = a->n_children = n;
    }
    for (Py_ssize_t i = 0; rc == 0 && i < n; i++) {
        rc = child_watch(st, PyTuple_GET_ITEM(all, i), (PyObject *)a, &as_completed_kind);
    }
    Py_DECREF(all);
    if (rc == 0 && n > 0 && a->timeout != NULL && a->timeout != Py_None) {
        rc = deadline_start(&a->deadline, st, a->loop, (PyObject *)a, a->timeout, &as_completed_due_def);
    }
    return rc;
}

/* ---- the coroutines: of plain iteration, which give results, and of asynchronous iteration, which give futures */

enum { AS_COMPLETED_GETTER }; /* slot */
enum { AS_COMPLETED_RESOLVES = 1 }; /* flag */

/* The loop that the queue belongs to from now on: asyncio.Queue's rule. Borrowed. */
static PyObject *
as_completed_queue_loop(AsCompleted *a, struct state *st)
{
    PyObject *loop = aiobridge_need_running_loop(st);
    if (loop == NULL) {
        return NULL;
    }
    if (a->queue_loop == NULL) {
        a->queue_loop = Py_NewRef(loop);
    }
    Py_DECREF(loop);
    if (loop != a->queue_loop) {
        PyErr_Format(PyExc_RuntimeError, "<Queue at %p maxsize=0> is bound to a different event loop", a);
        return NULL;
    }
    return a->queue_loop;
}

static PySendResult
as_completed_wait(Coro *c, struct state *st)
{
    AsCompleted *a = (AsCompleted *)c->self;
    PyObject *loop = as_completed_queue_loop(a, st), *getter = loop == NULL ? NULL : future_new_on(st, loop);
    if (getter == NULL || (a->getters == NULL && (a->getters = PyList_New(0)) == NULL)
        || PyList_Append(a->getters, getter) < 0) {
        Py_XDECREF(getter);
        return PYGEN_ERROR;
    }
    Py_XSETREF(c->slots[AS_COMPLETED_GETTER], getter);
    c->phase = 1;
    return future_is_exact(st, getter) ? coro_wait(c, Py_NewRef(getter)) : coro_await(c, st, getter);
}

/* The next that is done; the coroutine is over. */
static PySendResult
as_completed_take(Coro *c, struct state *st, PyObject **result)
{
    AsCompleted *a = (AsCompleted *)c->self;
    PyObject *child = a->done[a->n_taken];
    a->done[a->n_taken++] = NULL;
    if (child == NULL) {
        PyErr_SetNone(PyExc_TimeoutError);
        return PYGEN_ERROR;
    }
    if (!(c->flags & AS_COMPLETED_RESOLVES)) {
        *result = child;
        return PYGEN_RETURN;
    }
    *result = child_result(st, child);
    Py_DECREF(child);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* Thrown into while it waited: whoever comes next gets what may have been meant for it. Keeps the raised exception. */
static PySendResult
as_completed_give_up(Coro *c, struct state *st)
{
    AsCompleted *a = (AsCompleted *)c->self;
    PyObject *raised = compat_take_raised(), *getter = c->slots[AS_COMPLETED_GETTER];
    int rc = child_cancel(st, getter) < 0 ? -1 : 0;
    Py_ssize_t at = rc < 0 || a->getters == NULL ? -1 : PySequence_Index(a->getters, getter);
    if (rc == 0 && at < 0) {
        PyErr_Clear(); /* it was woken and is out already */
    }
    else if (rc == 0) {
        rc = PyList_SetSlice(a->getters, at, at + 1, NULL);
    }
    if (rc == 0 && a->n_taken < a->n_done) {
        int is_cancelled = child_is_cancelled(st, getter);
        rc = is_cancelled < 0 ? -1 : is_cancelled ? 0 : as_completed_wake_next(a, st);
    }
    if (st->traits.as_completed_gives_back) {
        a->n_left++;
    }
    if (rc < 0) {
        Py_XDECREF(raised);
    }
    else {
        compat_set_raised(raised);
    }
    return PYGEN_ERROR;
}

static PySendResult
as_completed_one_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    AsCompleted *a = (AsCompleted *)c->self;
    if (UNLIKELY(value == NULL)) {
        return as_completed_give_up(c, st);
    }
    return a->n_taken < a->n_done ? as_completed_take(c, st, result) : as_completed_wait(c, st);
}

#if COMPAT_AS_COMPLETED_ASYNC
static PySendResult
as_completed_anext_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    AsCompleted *a = (AsCompleted *)c->self;
    if (c->phase == 0) {
        if (a->n_left == 0) {
            PyErr_SetNone(PyExc_StopAsyncIteration);
            return PYGEN_ERROR;
        }
        a->n_left--;
    }
    return as_completed_one_step(c, st, value, result);
}

static const struct coro_kind as_completed_anext_kind = {"_AsCompletedIterator.__anext__", as_completed_anext_step};
#endif

static const struct coro_kind as_completed_one_kind = {
    COMPAT_AS_COMPLETED_ASYNC ? "_AsCompletedIterator._wait_for_one" : "as_completed.<locals>._wait_for_one",
    as_completed_one_step};

/* ---- AsCompleted: the Python face */

static PyObject *
AsCompleted_iternext(PyObject *self)
{
    AsCompleted *a = (AsCompleted *)self;
    struct state *st = PyType_GetModuleState(Py_TYPE(self));
    if (a->given != NULL && as_completed_begin(a, st) < 0) { /* 3.12 and before */
        a->n_left = 0;
        return NULL;
    }
    if (a->n_left == 0) {
        return NULL;
    }
    Coro *c = coro_new(st, &as_completed_one_kind, self);
    if (c != NULL) {
        a->n_left--;
        c->flags = AS_COMPLETED_RESOLVES;
    }
    return (PyObject *)c;
}

#if COMPAT_AS_COMPLETED_ASYNC
static PyObject *
AsCompleted_anext(PyObject *self)
{
    return (PyObject *)coro_new(PyType_GetModuleState(Py_TYPE(self)), &as_completed_anext_kind, self);
}
#endif

static int
AsCompleted_traverse(PyObject *self, visitproc visit, void *arg)
{
    AsCompleted *a = (AsCompleted *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(a->given);
    Py_VISIT(a->timeout);
    Py_VISIT(a->loop);
    Py_VISIT(a->todo);
    for (Py_ssize_t i = a->n_taken; i < a->n_done; i++) {
        Py_VISIT(a->done[i]);
    }
    Py_VISIT(a->getters);
    Py_VISIT(a->queue_loop);
    Py_VISIT(a->deadline.handle);
    Py_VISIT(a->task);
    return 0;
}

static int
AsCompleted_clear(PyObject *self)
{
    AsCompleted *a = (AsCompleted *)self;
    Py_CLEAR(a->given);
    Py_CLEAR(a->timeout);
    Py_CLEAR(a->todo);
    while (a->n_taken < a->n_done) {
        PyObject *child = a->done[a->n_taken];
        a->done[a->n_taken++] = NULL;
        Py_XDECREF(child);
    }
    Py_CLEAR(a->getters);
    Py_CLEAR(a->queue_loop);
    Py_CLEAR(a->deadline.handle);
    Py_CLEAR(a->task);
    if (!timer_is_scheduled(&a->deadline.timer)) {
        Py_CLEAR(a->loop);
    }
    return 0;
}

static void
AsCompleted_dealloc(PyObject *self)
{
    AsCompleted *a = (AsCompleted *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (a->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, AsCompleted_dealloc)
    AsCompleted_clear(self);
    PyMem_Free(a->done);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyMemberDef AsCompleted_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(AsCompleted, weakrefs), READONLY},
    {"_todo_left", T_PYSSIZET, offsetof(AsCompleted, n_left), READONLY},
    {NULL},
};

static PyType_Slot AsCompleted_slots[] = {
    {Py_tp_traverse, AsCompleted_traverse}, {Py_tp_clear, AsCompleted_clear},
    {Py_tp_dealloc, AsCompleted_dealloc},   {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, AsCompleted_iternext},
#if COMPAT_AS_COMPLETED_ASYNC
    {Py_am_aiter, PyObject_SelfIter},       {Py_am_anext, AsCompleted_anext},
#endif
    {Py_tp_members, AsCompleted_members},   {0, NULL},
};

static PyType_Spec AsCompleted_spec = {
    .name = "asyncloop._asyncloop._AsCompletedIterator",
    .basicsize = sizeof(AsCompleted),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = AsCompleted_slots,
};

static const char *const as_completed_names[] = {"fs", "timeout"};
static const struct args_signature as_completed_signature = {"as_completed", as_completed_names, 1, 1, 2, false};

static PyObject *
module_as_completed(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *given[2];
    if (args_bind(&as_completed_signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    AsCompleted *a = PyObject_GC_New(AsCompleted, st->AsCompleted_type);
    if (a == NULL) {
        return NULL;
    }
    memset((char *)a + sizeof(PyObject), 0, sizeof *a - sizeof(PyObject));
    timer_init(&a->deadline.timer, TIMER_KIND_AS_COMPLETED);
    a->given = Py_NewRef(given[0]);
    a->timeout = Py_XNewRef(given[1]);
    PyObject_GC_Track(a);
    if (COMPAT_AS_COMPLETED_ASYNC && as_completed_begin(a, st) < 0) {
        Py_CLEAR(a);
    }
    return (PyObject *)a;
}

static PyMethodDef as_completed_functions[] = {
    {"as_completed", FUTURE_FASTCALL(module_as_completed), METH_FASTCALL | METH_KEYWORDS,
     "as_completed($module, /, fs, *, timeout=None)\n--\n\n"
     "An iterator of coroutines that give the results of fs in the order in which they come; from 3.13 on an "
     "asynchronous one too, of futures.\n\n"
     "timeout: seconds, after which each coroutine that is left raises TimeoutError.\nSource: asyncio.as_completed.  "
     "Differs: nothing."},
    {NULL},
};

static int
as_completed_register(PyObject *module, struct state *st)
{
    st->timer_kinds[TIMER_KIND_AS_COMPLETED].on_due = as_completed_on_due;
    st->timer_kinds[TIMER_KIND_AS_COMPLETED].offset = offsetof(AsCompleted, deadline.timer);
    if (state_add_type(module, &st->AsCompleted_type, &AsCompleted_spec, NULL, false, SECTION_AT(AsCompleted, loop))
        < 0) {
        return -1;
    }
    return guard_add_functions(module, as_completed_functions);
}
