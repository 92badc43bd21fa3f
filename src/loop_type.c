/* loop_type.c -- the Python face of Loop: parses arguments, checks them as asyncio does, calls down. */
#include "core/aiobridge.h"
#include "core/args.h"
#include "core/ask.h"
#include "core/context.h"
#include "core/function.h"
#include "core/guard.h"
#include "core/handle.h"
#include "core/inbox.h"
#include "core/loop.h"
#include "core/timed.h"
#include "core/watch.h"
#include "net/net.h"
#include "plain/clock.h"
#include "task/wait/deadline.h"
#include "task/future/ensure.h"
#include "task/bridge/executor.h"
#include "task/future/future.h"
#include "task/future/task.h"

static inline Loop *
loop_cast(PyObject *self)
{
    return (Loop *)self;
}

/* ---- running */

static PyObject *
Loop_run_forever(PyObject *self, PyObject *Py_UNUSED(none))
{
    if (loop_run_forever(loop_cast(self)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* What run_forever leaves behind when it raised: a failed main task has had its exception looked at. */
static void
loop_type_retrieve_exception(PyObject *future)
{
    PyObject *raised = compat_take_raised();
    PyObject *done = PyObject_CallMethod(future, "done", NULL), *cancelled = NULL, *exception = NULL;
    if (done == Py_True && (cancelled = PyObject_CallMethod(future, "cancelled", NULL)) == Py_False) {
        exception = PyObject_CallMethod(future, "exception", NULL);
    }
    Py_XDECREF(done);
    Py_XDECREF(cancelled);
    Py_XDECREF(exception);
    PyErr_Clear();
    compat_set_raised(raised);
}

/* future, or a new task around the coroutine, as asyncio.ensure_future makes it.  New reference. */
static PyObject *
loop_type_ensure_future(Loop *loop, PyObject *awaitable, bool *is_new)
{
    struct state *st = loop->st;
    PyObject *is_future = PyObject_CallOneArg(st->isfuture, awaitable);
    if (is_future == NULL) {
        return NULL;
    }
    *is_new = is_future == Py_False;
    Py_DECREF(is_future);
    PyObject *args[] = {awaitable, (PyObject *)loop}, *names = PyTuple_Pack(1, st->str.loop);
    PyObject *future = names == NULL ? NULL : PyObject_Vectorcall(st->ensure_future, args, 1, names);
    Py_XDECREF(names);
    if (future != NULL && *is_new && PyObject_SetAttrString(future, "_log_destroy_pending", Py_False) < 0) {
        Py_CLEAR(future);
    }
    return future;
}

static PyObject *
Loop_run_until_complete(PyObject *self, PyObject *awaitable)
{
    Loop *loop = loop_cast(self);
    struct state *st = loop->st;
    if (loop_check_closed(loop) < 0 || loop_check_running(loop) < 0) {
        return NULL;
    }
    loop_notice_overrides(loop); /* the task is made before the first poll */
    bool is_new = false;
    PyObject *future = loop_type_ensure_future(loop, awaitable, &is_new), *result = NULL, *done = NULL;
    if (future == NULL) {
        return NULL;
    }
    if ((done = PyObject_CallMethodOneArg(future, st->str.add_done_callback, st->run_until_complete_cb)) == NULL) {
        goto end;
    }
    Py_DECREF(done);
    PyObject *ran = PyObject_CallMethod(self, "run_forever", NULL); /* as a method: it may be overridden */
    if (ran == NULL && is_new) {
        loop_type_retrieve_exception(future);
    }
    PyObject *raised = compat_take_raised();
    done = PyObject_CallMethodOneArg(future, st->str.remove_done_callback, st->run_until_complete_cb);
    if (raised != NULL) {
        PyErr_Clear();
        compat_set_raised(raised);
    }
    bool ran_well = ran != NULL && done != NULL;
    Py_XDECREF(done);
    Py_XDECREF(ran);
    if (!ran_well || (done = PyObject_CallMethodNoArgs(future, st->str.done)) == NULL) {
        goto end;
    }
    bool is_done = done == Py_True;
    Py_DECREF(done);
    if (is_done) {
        result = PyObject_CallMethodNoArgs(future, st->str.result);
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "Event loop stopped before Future completed.");
    }
end:
    Py_DECREF(future);
    return result;
}

ARGS_NAMED(Loop_run_until_complete_named, Loop_run_until_complete, "BaseEventLoop.run_until_complete", "future")

static PyObject *
Loop_stop(PyObject *self, PyObject *Py_UNUSED(none))
{
    loop_cast(self)->stopping = true;
    Py_RETURN_NONE;
}

static PyObject *
Loop_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    Loop *loop = loop_cast(self);
    if (loop_close(loop) < 0) {
        return NULL;
    }
    net_loop_close(loop);
    Py_RETURN_NONE;
}

static PyObject *
Loop_is_running(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(COMPAT_LOAD(&loop_cast(self)->thread_id) != 0);
}

static PyObject *
Loop_is_closed(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(COMPAT_LOAD(&loop_cast(self)->state) == LOOP_CLOSED);
}

static PyObject *
Loop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return PyFloat_FromDouble(clock_now());
}

/* ---- scheduling */

/* Debug mode: asyncio's _check_callback, which loop.py has. */
static COLD int
loop_type_check_callback(Loop *loop, PyObject *callback, const char *method, bool checks_thread)
{
    if (checks_thread && loop_check_thread(loop) < 0) {
        return -1;
    }
    PyObject *done = PyObject_CallMethod((PyObject *)loop, "_check_callback", "Os", callback, method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
Loop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"callback", "context"};
    static const struct args_signature signature = {"BaseEventLoop.call_soon", names, 1, 1, 2, true, true};
    Loop *loop = loop_cast(self);
    PyObject *context = NULL;
    if (UNLIKELY(n_args < 1 && kwnames != NULL)) {
        return args_by_name(Loop_call_soon, self, &signature, n_args, args, kwnames);
    }
    if (args_with_context(&signature, loop->st->str.context, args, n_args, kwnames, &context) < 0
        || loop_check_closed(loop) < 0
        || (UNLIKELY(loop->debug) && loop_type_check_callback(loop, args[0], "call_soon", true) < 0)) {
        return NULL;
    }
    return handle_call_soon(loop, args[0], args + 1, n_args - 1, context);
}

static PyObject *
Loop_call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"callback", "context"};
    static const struct args_signature signature = {"BaseEventLoop.call_soon_threadsafe", names, 1, 1, 2, true, true};
    Loop *loop = loop_cast(self);
    PyObject *context = NULL;
    if (UNLIKELY(n_args < 1 && kwnames != NULL)) {
        return args_by_name(Loop_call_soon_threadsafe, self, &signature, n_args, args, kwnames);
    }
    if (args_with_context(&signature, loop->st->str.context, args, n_args, kwnames, &context) < 0
        || loop_check_closed(loop) < 0
        || (UNLIKELY(loop->debug) && loop_type_check_callback(loop, args[0], "call_soon_threadsafe", false) < 0)) {
        return NULL;
    }
    return handle_call_soon_threadsafe(loop, args[0], args + 1, n_args - 1, context);
}

/* A deadline that was given, in seconds.  *given (borrowed from it): what the handle's when() is to return, NULL: a
 * plain float as when. */
static inline int
loop_type_when(PyObject *deadline, double *when, PyObject **given)
{
    *given = NULL;
    if (LIKELY(PyFloat_CheckExact(deadline))) {
        *when = PyFloat_AS_DOUBLE(deadline);
        return 0;
    }
    *given = deadline;
    *when = PyFloat_AsDouble(deadline);
    return *when == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* self.time() + delay, added as Python adds it, so that errors are Python's too.  New reference. */
static COLD PyObject *
loop_type_add_delay(Loop *loop, PyObject *delay)
{
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->st->str.time),
             *sum = now == NULL ? NULL : PyNumber_Add(now, delay);
    Py_XDECREF(now);
    return sum;
}

/* *when = self.time() + delay, if both are plain numbers. */
static inline bool
loop_type_plain_deadline(Loop *loop, PyObject *delay, double *when)
{
    double seconds;
    if (UNLIKELY(loop->has_own_time || !deadline_is_number(delay, &seconds))) {
        return false;
    }
    *when = clock_now() + seconds;
    return true;
}

/* self.call_at(when, callback, *args, context=context): args are call_later's. Steals when. */
static COLD PyObject *
loop_type_call_at_by_name(Loop *loop, PyObject *when, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject **stack = when == NULL ? NULL : PyMem_Malloc((size_t)(2 + n_args + n_keywords) * sizeof *stack),
             *handle = NULL;
    if (stack != NULL) {
        memcpy(stack + 1, args, (size_t)(n_args + n_keywords) * sizeof *stack);
        stack[0] = (PyObject *)loop;
        stack[1] = when;
        stack[1 + n_args + n_keywords] = Py_None;
        handle = PyObject_VectorcallMethod(loop->st->str.call_at, stack, (size_t)(1 + n_args),
                                           n_keywords == 0 ? loop->st->kw_context : kwnames);
        PyMem_Free(stack);
    }
    else if (when != NULL) {
        PyErr_NoMemory();
    }
    Py_XDECREF(when);
    return handle;
}

static PyObject *
Loop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"delay", "callback", "context"};
    static const struct args_signature signature = {"BaseEventLoop.call_later", names, 2, 2, 3, true, true};
    Loop *loop = loop_cast(self);
    PyObject *context = NULL, *sum = NULL, *given = NULL;
    double when;
    if (UNLIKELY(n_args < 2 && kwnames != NULL)) {
        return args_by_name(Loop_call_later, self, &signature, n_args, args, kwnames);
    }
    if (args_with_context(&signature, loop->st->str.context, args, n_args, kwnames, &context) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    bool is_known = LIKELY(loop_type_plain_deadline(loop, args[0], &when))
                    || ((sum = loop_type_add_delay(loop, args[0])) != NULL && loop_type_when(sum, &when, &given) == 0);
    PyObject *handle = NULL;
    if (UNLIKELY(loop->overrides & LOOP_OWN_CALL_AT) && is_known) {
        handle = loop_type_call_at_by_name(loop, sum == NULL ? PyFloat_FromDouble(when) : Py_NewRef(sum), args, n_args,
                                           kwnames);
    }
    else if (LIKELY(is_known) && loop_check_closed(loop) == 0
             && (LIKELY(!loop->debug) || loop_type_check_callback(loop, args[1], "call_at", true) == 0)) {
        handle = handle_call_at(loop, when, given, args[1], args + 2, n_args - 2, context);
    }
    Py_XDECREF(sum);
    return handle;
}

static PyObject *
Loop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"when", "callback", "context"};
    static const struct args_signature signature = {"BaseEventLoop.call_at", names, 2, 2, 3, true, true};
    Loop *loop = loop_cast(self);
    PyObject *context = NULL, *given;
    double when;
    if (UNLIKELY(n_args < 2 && kwnames != NULL)) {
        return args_by_name(Loop_call_at, self, &signature, n_args, args, kwnames);
    }
    if (args_with_context(&signature, loop->st->str.context, args, n_args, kwnames, &context) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    if (loop_check_closed(loop) < 0
        || (UNLIKELY(loop->debug) && loop_type_check_callback(loop, args[1], "call_at", true) < 0)) {
        return NULL;
    }
    if (loop_type_when(args[0], &when, &given) < 0) {
        return NULL;
    }
    return handle_call_at(loop, when, given, args[1], args + 2, n_args - 2, context);
}

static PyObject *
Loop_run_in_executor(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"executor", "func"};
    static const struct args_signature signature = {"BaseEventLoop.run_in_executor", names, 2, 2, 2, true, true};
    Loop *loop = loop_cast(self);
    if (UNLIKELY(n_args < 2 || args_n_keywords(kwnames) > 0)) {
        return args_by_name(Loop_run_in_executor, self, &signature, n_args, args, kwnames);
    }
    if (loop_check_closed(loop) < 0
        || (UNLIKELY(loop->debug) && loop_type_check_callback(loop, args[1], "run_in_executor", false) < 0)) {
        return NULL;
    }
    return executor_run(loop, args[0], args[1], args + 2, n_args - 2);
}

/* ---- futures and tasks */

static PyObject *
Loop_create_future(PyObject *self, PyObject *Py_UNUSED(none))
{
    return future_new(loop_cast(self));
}

/* The keywords of create_task; kwargs holds those that a factory is to get (asyncio passes them all on from 3.13.3 on).
 */
struct task_options {
    PyObject *name, *context, *eager_start; /* borrowed, NULL when absent */
};

static int
task_options_parse(struct task_options *options, PyObject *const *values, PyObject *kwnames)
{
    *options = (struct task_options){0};
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(name, "name") == 0) {
            options->name = values[i];
        }
        else if (PyUnicode_CompareWithASCIIString(name, "context") == 0) {
            options->context = values[i];
        }
        else if (PyUnicode_CompareWithASCIIString(name, "eager_start") == 0 && COMPAT_RUNS(3, 13, 3)) {
            options->eager_start = values[i];
        }
        else {
            bool is_loop = PyUnicode_CompareWithASCIIString(name, "loop") == 0;
            PyErr_Format(
                PyExc_TypeError,
                !COMPAT_RUNS(3, 13, 3) ? "BaseEventLoop.create_task() got an unexpected keyword argument '%U'"
                : is_loop ? "_asyncio.Task() got multiple values for keyword argument '%U'" /* asyncio's Task(coro,
                                                                                               loop=self, **kwargs) */
                          : "Task() got an unexpected keyword argument '%U'",
                name);
            return -1;
        }
    }
    return 0;
}

/* A factory of the user's makes the task. */
static PyObject *
loop_type_call_factory(Loop *loop, PyObject *coro, PyObject *const *values, PyObject *kwnames)
{
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *factory = Py_NewRef(loop->task_factory), *task = NULL;
    if (COMPAT_RUNS(3, 13, 3)) {
        PyObject **args = PyMem_Malloc((size_t)(2 + n_keywords) * sizeof *args);
        if (args != NULL) {
            args[0] = (PyObject *)loop;
            args[1] = coro;
            memcpy(args + 2, values, (size_t)n_keywords * sizeof *args);
            task = PyObject_Vectorcall(factory, args, 2, kwnames);
            PyMem_Free(args);
        }
        else {
            PyErr_NoMemory();
        }
        Py_DECREF(factory);
        return task;
    }
    struct task_options options;
    if (task_options_parse(&options, values, kwnames) == 0) {
        bool has_context = options.context != NULL && options.context != Py_None;
        PyObject *args[] = {(PyObject *)loop, coro, options.context};
        task = PyObject_Vectorcall(factory, args, 2, has_context ? loop->st->kw_context : NULL);
    }
    Py_DECREF(factory);
    if (task != NULL) {
        PyObject *done = NULL, *set_name = NULL;
        PyObject *name = options.name == NULL ? Py_None : options.name;
        bool sets_name = name != Py_None || COMPAT_RUNS(3, 13, 0); /* before, _set_task_name did nothing for None */
        if (sets_name && compat_get_optional_attr(task, loop->st->str.set_name, &set_name) < 0) {
            Py_CLEAR(task);
        }
        else if (set_name != NULL && (done = PyObject_CallOneArg(set_name, name)) == NULL) {
            Py_CLEAR(task);
        }
        Py_XDECREF(done);
        Py_XDECREF(set_name);
    }
    return task;
}

/* Neither create_task(coro, …) nor create_task(coro=…, …). From 3.13.3 on all other names are passed on. */
static COLD void
loop_type_refuse_create_task(PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"coro", "name", "context"};
    static const struct args_signature signature = {"BaseEventLoop.create_task", names, 1, 1, 3, true, false};
    PyObject *given[ARRAY_LENGTH(names)];
    int rc = args_bind(&signature, args, n_args, COMPAT_RUNS(3, 13, 3) ? NULL : kwnames, given);
    INVARIANT(rc < 0);
    (void)rc;
}

static PyObject *
Loop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    Loop *loop = loop_cast(self);
    PyObject *coro, *const *values = args + n_args;
    if (LIKELY(n_args == 1)) {
        coro = args[0];
        if (UNLIKELY(kwnames != NULL) && args_find_keyword(kwnames, values, "coro") != NULL) {
            PyErr_SetString(PyExc_TypeError, "BaseEventLoop.create_task() got multiple values for argument 'coro'");
            return NULL;
        }
    }
    else if (n_args == 0 && kwnames != NULL && args_find_keyword(kwnames, values, "coro") != NULL) {
        return args_first_by_name(Loop_create_task, self, "coro", values, kwnames);
    }
    else {
        loop_type_refuse_create_task(args, n_args, kwnames);
        return NULL;
    }
    if (loop_check_closed(loop) < 0) {
        return NULL;
    }
    int eager = loop->task_factory != NULL;
    if (UNLIKELY(eager) && !task_factory_is_eager(loop->st, loop->task_factory)) {
        return loop_type_call_factory(loop, coro, values, kwnames);
    }
    struct task_options options;
    PyObject *foreign = eager ? NULL : aiobridge_foreign_task_class(loop->st);
    if (UNLIKELY(foreign != NULL)) {
        bool is_right = COMPAT_RUNS(3, 13, 3) || task_options_parse(&options, values, kwnames) == 0;
        PyObject *task = is_right ? ensure_call_task_class(loop, foreign, coro, values, kwnames) : NULL;
        Py_DECREF(foreign);
        return task;
    }
    if (task_options_parse(&options, values, kwnames) < 0) {
        return NULL;
    }
    if (options.eager_start != NULL && options.eager_start != Py_None
        && (eager = PyObject_IsTrue(options.eager_start)) < 0) {
        return NULL;
    }
    return task_new(loop, coro, options.name == Py_None ? NULL : options.name,
                    options.context == Py_None ? NULL : options.context, eager);
}

static PyObject *
Loop_set_task_factory(PyObject *self, PyObject *factory)
{
    if (factory != Py_None && !PyCallable_Check(factory)) {
        PyErr_SetString(PyExc_TypeError, "task factory must be a callable or None");
        return NULL;
    }
    Py_XSETREF(loop_cast(self)->task_factory, factory == Py_None ? NULL : Py_NewRef(factory));
    Py_RETURN_NONE;
}

ARGS_NAMED(Loop_set_task_factory_named, Loop_set_task_factory, "BaseEventLoop.set_task_factory", "factory")

static PyObject *
Loop_get_task_factory(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *factory = loop_cast(self)->task_factory;
    return Py_NewRef(factory == NULL ? Py_None : factory);
}

/* ---- life */

/* asyncio's coroutines._is_debug_mode(): -X dev, or PYTHONASYNCIODEBUG where the environment counts. */
static int
loop_type_default_debug(Loop *loop)
{
    PyObject *coroutines = PyImport_ImportModule("asyncio.coroutines");
    int is_debug = coroutines == NULL ? -1 : ask_truth(PyObject_CallMethod(coroutines, "_is_debug_mode", NULL));
    Py_XDECREF(coroutines);
    loop->debug = is_debug > 0;
    timed_look(loop);
    return is_debug < 0 ? -1 : 0;
}

static PyObject *
Loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &asyncloop_module);
    Loop *loop = module == NULL ? NULL : (Loop *)type->tp_alloc(type, 0);
    if (loop == NULL) {
        return NULL;
    }
    loop->module = Py_NewRef(module);
    if (loop_init(loop, state_of_module(module)) < 0 || net_loop_init(loop) < 0 || loop_type_default_debug(loop) < 0) {
        Py_DECREF(loop);
        return NULL;
    }
    loop_look_for_overrides(loop);
    return (PyObject *)loop;
}

static int
Loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    Loop *loop = loop_cast(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop->module);
    Py_VISIT(loop->dict);
    for (uint32_t i = 0; i < loop->ready.n; i++) {
        const struct ready *e = &loop->ready.entries[(loop->ready.head + i) & (loop->ready.capacity - 1)];
        Py_VISIT(e->self);
        Py_VISIT(e->arg);
    }
    int rc = inbox_visit(loop, visit, arg);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < loop->timers.n; i++) {
        Py_VISIT(loop_timer_owner_borrowed(loop, loop->timers.heap[i]));
    }
    for (uint32_t fd = 0; fd < loop->n_fds; fd++) {
        Py_VISIT(loop->fds[fd].sides[WATCH_READ].owner);
        Py_VISIT(loop->fds[fd].sides[WATCH_WRITE].owner);
    }
    Py_VISIT(loop->spare_context);
    Py_VISIT(loop->files);
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->slow_callback_given);
    Py_VISIT(loop->debug_given);
    Py_VISIT(loop->slow_hook);
    Py_VISIT(loop->entry_hook);
    Py_VISIT(loop->saved_hooks[0]);
    Py_VISIT(loop->saved_hooks[1]);
    return 0;
}

static int
Loop_clear(PyObject *self)
{
    Loop *loop = loop_cast(self);
    inbox_clear(loop);
    loop_clear_ready(loop);
    loop_clear_timers(loop);
    watch_clear(loop);
    Py_CLEAR(loop->spare_context);
    Py_CLEAR(loop->files);
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->slow_callback_given);
    Py_CLEAR(loop->debug_given);
    Py_CLEAR(loop->slow_hook);
    Py_CLEAR(loop->entry_hook);
    timed_look(loop);
    Py_CLEAR(loop->saved_hooks[0]);
    Py_CLEAR(loop->saved_hooks[1]);
    Py_CLEAR(loop->dict);
    return 0;
}

/* All that a dying loop has. */
static void
loop_type_end(Loop *loop)
{
    SECTION_ENTER_FOR(loop, loop);
    if (loop->st != NULL) {
        net_loop_clear(loop);
        loop_fini(loop);
    }
    (void)Loop_clear((PyObject *)loop);
    net_loop_free(loop);
}

static void
Loop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Loop *loop = loop_cast(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (loop->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    loop_type_end(loop);
    PyObject *module = loop->module;
    type->tp_free(self);
    Py_DECREF(type);
    Py_XDECREF(module);
}

/* Setting or deleting a method on an instance counts at once: "time" moves the scheduler. */
static int
Loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    int rc = PyObject_GenericSetAttr(self, name, value);
    if (rc == 0) {
        loop_look_for_overrides(loop_cast(self));
    }
    return rc;
}

#define LOOP_DOC(name, signature, text) PyDoc_STRVAR(Loop_##name##_doc, #name signature "\n--\n\n" text)

LOOP_DOC(call_soon, "($self, callback, *args, context=None)",
         "Run callback(*args) once, in the next iteration, in the order of the calls.\n\n"
         "context: contextvars.Context or None (a copy of the current).\nReturns: Handle.  Raises: RuntimeError (loop "
         "closed).\n"
         "Source: asyncio's BaseEventLoop.call_soon.  Differs: nothing.");
LOOP_DOC(
    call_soon_threadsafe, "($self, callback, *args, context=None)",
    "call_soon from any thread; wakes the loop if it waits.\n\nReturns: Handle.  Raises: RuntimeError (loop closed).\n"
    "Source: asyncio's BaseEventLoop.call_soon_threadsafe.  Differs: nothing.");
LOOP_DOC(call_later, "($self, delay, callback, *args, context=None)",
         "Run callback(*args) once, delay seconds from now.\n\n"
         "delay: float, seconds; <= 0 means the next iteration.  context: contextvars.Context or None (a copy of the "
         "current).\n"
         "Returns: TimerHandle.  Raises: TypeError, RuntimeError (loop closed).\n"
         "Source: asyncio's BaseEventLoop.call_later.  Differs: equal deadlines run in the order of the calls.");
LOOP_DOC(call_at, "($self, when, callback, *args, context=None)",
         "Run callback(*args) once, at when.\n\n"
         "when: float, seconds of loop.time().\nReturns: TimerHandle.  Raises: TypeError, RuntimeError (loop closed).\n"
         "Source: asyncio's BaseEventLoop.call_at.  Differs: equal deadlines run in the order of the calls.");
#define CREATE_TASK_DOC(kwargs)                                                                                      \
    "Wrap a coroutine in a Task and schedule its first step.\n\n" kwargs                                             \
    "name: str or None; context: contextvars.Context or None.\n"                                                      \
    "Returns: Task, or what the task factory makes.  Raises: TypeError (no coroutine), RuntimeError (loop closed).\n" \
    "Source: asyncio's BaseEventLoop.create_task."
LOOP_DOC(create_task, "($self, coro, *, name=None, context=None)", CREATE_TASK_DOC(""));
static const char Loop_create_task_keywords_doc[] = "create_task($self, coro, **kwargs)\n--\n\n" CREATE_TASK_DOC(
    "kwargs: name, context, eager_start (bool), or what the task factory takes.\n");

/* Which of the two depends on the Python that runs. */
static PyMethodDef loop_create_task_methods[] = {
    {"create_task", (PyCFunction)(void (*)(void))Loop_create_task, METH_FASTCALL | METH_KEYWORDS, Loop_create_task_doc},
    {"create_task", (PyCFunction)(void (*)(void))Loop_create_task, METH_FASTCALL | METH_KEYWORDS,
     Loop_create_task_keywords_doc},
};
LOOP_DOC(run_until_complete, "($self, future)",
         "Run until the awaitable is done.\n\nReturns its result or raises its exception; RuntimeError when the loop "
         "is closed, runs already, or is "
         "stopped before.\nSource: asyncio's BaseEventLoop.run_until_complete.");

LOOP_DOC(run_in_executor, "($self, executor, func, *args)",
         "Call func(*args) in a thread of the executor; returns a future of what it returns or raises.\n\n"
         "executor: a concurrent.futures.Executor; None takes the default one.  Raises: RuntimeError (loop closed, "
         "executor shut down).");

static PyMethodDef Loop_methods[] = {
    {"run_forever", Loop_run_forever, METH_NOARGS | GUARD_FREE,
     "run_forever($self, /)\n--\n\nRun until stop() is called."},
    {ARGS_NAMED_METHOD("run_until_complete", Loop_run_until_complete_named) | GUARD_FREE, Loop_run_until_complete_doc},
    {"stop", Loop_stop, METH_NOARGS, "stop($self, /)\n--\n\nEnd run_forever after the current iteration."},
    {"close", Loop_close, METH_NOARGS,
     "close($self, /)\n--\n\nDrop what is scheduled and free every descriptor. RuntimeError while running."},
    {"is_running", Loop_is_running, METH_NOARGS | GUARD_FREE, "is_running($self, /)\n--\n\n"},
    {"is_closed", Loop_is_closed, METH_NOARGS | GUARD_FREE, "is_closed($self, /)\n--\n\n"},
    {"time", Loop_time, METH_NOARGS | GUARD_FREE,
     "time($self, /)\n--\n\nThe loop's clock in seconds: time.monotonic()."},
    {"call_soon", (PyCFunction)(void (*)(void))Loop_call_soon, METH_FASTCALL | METH_KEYWORDS, Loop_call_soon_doc},
    {"call_soon_threadsafe", (PyCFunction)(void (*)(void))Loop_call_soon_threadsafe,
     METH_FASTCALL | METH_KEYWORDS | GUARD_FREE, Loop_call_soon_threadsafe_doc},
    {"call_later", (PyCFunction)(void (*)(void))Loop_call_later, METH_FASTCALL | METH_KEYWORDS, Loop_call_later_doc},
    {"run_in_executor", (PyCFunction)(void (*)(void))Loop_run_in_executor, METH_FASTCALL | METH_KEYWORDS,
     Loop_run_in_executor_doc},
    {"call_at", (PyCFunction)(void (*)(void))Loop_call_at, METH_FASTCALL | METH_KEYWORDS, Loop_call_at_doc},
    {"create_future", Loop_create_future, METH_NOARGS, "create_future($self, /)\n--\n\nA pending Future of this loop."},
    {ARGS_NAMED_METHOD("set_task_factory", Loop_set_task_factory_named),
     "set_task_factory($self, factory)\n--\n\nfactory(loop, coro, **kwargs) makes tasks; None: the default."},
    {"get_task_factory", Loop_get_task_factory, METH_NOARGS, "get_task_factory($self, /)\n--\n\n"},
    {"add_reader", (PyCFunction)(void (*)(void))Loop_add_reader, METH_FASTCALL | METH_KEYWORDS,
     "add_reader($self, fd, callback, *args)\n--\n\nCall callback(*args) whenever fd (int or file object) is "
     "readable."},
    {"add_writer", (PyCFunction)(void (*)(void))Loop_add_writer, METH_FASTCALL | METH_KEYWORDS,
     "add_writer($self, fd, callback, *args)\n--\n\nCall callback(*args) whenever fd (int or file object) is "
     "writable."},
    {ARGS_NAMED_METHOD("remove_reader", Loop_remove_reader),
     "remove_reader($self, fd)\n--\n\nReturns whether fd was watched."},
    {ARGS_NAMED_METHOD("remove_writer", Loop_remove_writer),
     "remove_writer($self, fd)\n--\n\nReturns whether fd was watched."},
    {"get_debug", Loop_get_debug, METH_NOARGS, "get_debug($self, /)\n--\n\n"},
    {ARGS_NAMED_METHOD("set_debug", Loop_set_debug_named), "set_debug($self, enabled)\n--\n\n"},
    {ARGS_NAMED_METHOD("_set_coroutine_origin_tracking", Loop__set_coroutine_origin_tracking_named), NULL},
    {"_signal_fd_open", Loop__signal_fd_open, METH_NOARGS,
     "The descriptor for signal.set_wakeup_fd, opened now if it was not."},
    {"_signal_fd_close", Loop__signal_fd_close, METH_NOARGS, NULL},
    {"_check_closed", Loop__check_closed, METH_NOARGS, NULL},
    {"_check_running", Loop__check_running, METH_NOARGS, NULL},
    {"_check_thread", Loop__check_thread, METH_NOARGS, NULL},
    LOOP_VIRTUAL_METHODS,
    {"_counters", Loop__counters, METH_NOARGS, "_counters($self, /)\n--\n\nWhat metrics() makes its snapshot of."},
    {"_count_sent", Loop__count_sent, METH_O, "_count_sent($self, n, /)\n--\n\nn more bytes_out."},
    NET_LOOP_METHODS,
    {NULL},
};

/* In C, as isinstance() of any other class asks for it: servers ask so once a request.  What install() has set in the
 * type's own dict, else the type. */
static PyObject *
Loop_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *native = PyDict_GetItemWithError(type->tp_dict, loop_cast(self)->st->str._stands_for);
    if (native == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(native == NULL || native == Py_None ? (PyObject *)type : native);
}

static int
Loop_set_class(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *of_object = _PyType_Lookup(&PyBaseObject_Type, loop_cast(self)->st->str.__class__);
    return Py_TYPE(of_object)->tp_descr_set(of_object, self, value);
}

static PyGetSetDef Loop_getset[] = {
    {"__class__", Loop_get_class, Loop_set_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_debug", Loop_get_debug_attribute, Loop_set_debug_attribute},
    {"_thread_id", Loop_get_thread_id},
    {"slow_callback_duration", Loop_get_slow_callback_duration, Loop_set_slow_callback_duration,
     "Seconds; debug mode logs callbacks that take longer, and slow_callback_hook is told of them."},
    {"slow_callback_hook", Loop_get_slow_callback_hook, Loop_set_slow_callback_hook,
     "Called with (what ran, seconds, stack) when something took slow_callback_duration or longer; None: nobody is."},
    {"time_callbacks", Loop_get_time_callbacks, Loop_set_time_callbacks,
     "Whether the loop reads the clock before and after everything it runs, for metrics()."},
    {"_entry_hook", Loop_get_entry_hook, Loop_set_entry_hook, "Called with (what ran, seconds) each time; or None."},
    {NULL},
};

static PyMemberDef Loop_members[] = {
    {"_stopping", T_BOOL, offsetof(Loop, stopping), 0},
    {"__dictoffset__", T_PYSSIZET, offsetof(Loop, dict), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Loop, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot Loop_slots[] = {
    {Py_tp_doc, "The event loop in C; asyncloop.Loop adds what runs once per connection or process."},
    {Py_tp_new, Loop_new},
    {Py_tp_traverse, Loop_traverse},
    {Py_tp_clear, Loop_clear},
    {Py_tp_dealloc, Loop_dealloc},
    {Py_tp_setattro, Loop_setattro},
    {Py_tp_methods, Loop_methods},
    {Py_tp_getset, Loop_getset},
    {Py_tp_members, Loop_members},
    {0, NULL},
};

static PyType_Spec Loop_spec = {
    .name = "asyncloop._asyncloop.Loop",
    .basicsize = sizeof(Loop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Loop_slots,
};

static int
loop_type_add_create_task(struct state *st)
{
    PyObject *method = PyDescr_NewMethod(st->Loop_type, &loop_create_task_methods[COMPAT_RUNS(3, 13, 3)]);
    int rc = method == NULL ? -1 : PyDict_SetItemString(st->Loop_type->tp_dict, "create_task", method);
    Py_XDECREF(method);
    PyType_Modified(st->Loop_type);
    return rc;
}

static int
loop_type_register(PyObject *module, struct state *st)
{
    static const char *const coroutine_functions[] = {
        "sock_recv",    "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
        "sock_sendall", "sock_sendto",    "sock_accept",   NULL,
    };
    PyObject *events = PyImport_ImportModule("asyncio.selector_events");
    PyObject *native = events == NULL ? NULL : PyObject_GetAttrString(events, "BaseSelectorEventLoop");
    int rc = native == NULL || state_add_type(module, &st->Loop_type, &Loop_spec, NULL, true, SECTION_SELF) < 0
                     || loop_type_add_create_task(st) < 0
                     || function_wrap_methods(module, st, st->Loop_type, native, coroutine_functions) < 0
                 ? -1
                 : 0;
    Py_XDECREF(events);
    Py_XDECREF(native);
    return rc;
}
