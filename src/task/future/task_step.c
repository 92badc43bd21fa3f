/* task/future/task_step.c -- one step of a coroutine, and what follows from what it yields, returns or raises. See
 * task.h.
 *
 *     ready entry / callable        enters the context, publishes the task
 *       task_step                   sends or throws
 *         PYGEN_NEXT   -> task_wait          None, a future of ours, somebody else's, nonsense
 *         PYGEN_RETURN -> task_on_return     the result, or cancelled after all
 *         PYGEN_ERROR  -> task_on_raise      CancelledError, SystemExit and KeyboardInterrupt, the rest */
#include "core/aiobridge.h"
#include "core/context.h"
#include "core/handle.h"
#include "task/future/task.h"

/* ---- scheduling */

static PyObject *task_step_called(PyObject *self, PyObject *const *args, Py_ssize_t n_args);

/* asyncio's callable has this name; debug output and libraries look at its __self__. */
static PyMethodDef task_step_def = {"task_step", (PyCFunction)(void (*)(void))task_step_called, METH_FASTCALL, NULL};

/* loop.call_soon(task_step, [exception], context=the task's), for a foreign loop or one whose call_soon was replaced.
 */
static COLD int
task_step_soon_elsewhere(Task *t, PyObject *exception)
{
    struct state *st = future_state_of(&t->future);
    PyObject *callable = PyCFunction_New(&task_step_def, (PyObject *)t), *handle = NULL;
    PyObject *context = callable == NULL ? NULL : Py_XNewRef(context_materialise_borrowed(&t->context));
    if (context != NULL) {
        PyObject *args[4] = {t->future.loop, callable, exception, context};
        size_t n = exception == NULL ? 2 : 3;
        args[n] = context;
        handle = PyObject_VectorcallMethod(st->str.call_soon, args, n | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_context);
    }
    Py_XDECREF(callable);
    Py_XDECREF(context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

static inline int
task_step_soon(Task *t, PyObject *exception)
{
    if (UNLIKELY(!t->future.is_own)) {
        return task_step_soon_elsewhere(t, exception);
    }
    Loop *loop = (Loop *)t->future.loop;
    if (UNLIKELY(loop->overrides & LOOP_OWN_CALL_SOON)) {
        return task_step_soon_elsewhere(t, exception);
    }
    if (UNLIKELY(loop->state == LOOP_CLOSED || loop->debug) && callback_check_loop(loop) < 0) {
        return -1;
    }
    return loop_ready_push(loop, task_step_ready, (PyObject *)t, exception);
}

/* A RuntimeError for the coroutine, in the next step. */
static COLD int
task_fail_soon(Task *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyObject *message = PyUnicode_FromFormatV(format, args);
    va_end(args);
    PyObject *exception = message == NULL ? NULL : PyObject_CallOneArg(PyExc_RuntimeError, message);
    int rc = exception == NULL ? -1 : task_step_soon(t, exception);
    Py_XDECREF(message);
    Py_XDECREF(exception);
    return rc;
}

/* ---- the coroutine yielded */

/* t awaits future (stolen) from now on, and is among its callbacks. A cancellation that came before reaches it now. */
static inline int
task_set_waiting(Task *t, struct state *st, PyObject *future)
{
    Py_XSETREF(t->waiting_on, future);
    if (LIKELY(!t->future.must_cancel)) {
        return 0;
    }
    PyObject *message = Py_XNewRef(future_cancel_message_borrowed(&t->future));
    Py_INCREF(future);
    int rc = future_cancel_any(st, future, message);
    Py_DECREF(future);
    Py_XDECREF(message);
    if (rc > 0) {
        t->future.must_cancel = false;
    }
    return rc < 0 ? -1 : 0;
}

static COLD int
task_fail_different_loop(Task *t, PyObject *future)
{
    return task_fail_soon(t, "Task %R got Future %R attached to a different loop", t, future);
}

static COLD int
task_fail_not_awaited(Task *t, PyObject *future)
{
    return task_fail_soon(t, "yield was used instead of yield from in task %R with %R", t, future);
}

/* A future of exactly one of our types. Steals it. */
static inline int
task_wait_own(Task *t, struct state *st, Future *f)
{
    int rc;
    if (UNLIKELY((PyObject *)f == (PyObject *)t)) {
        rc = task_fail_soon(t, "Task cannot await on itself: %R", t);
    }
    else if (UNLIKELY(f->loop != t->future.loop)) {
        rc = task_fail_different_loop(t, (PyObject *)f);
    }
    else if (UNLIKELY(!f->blocking)) {
        rc = task_fail_not_awaited(t, (PyObject *)f);
    }
    else {
        f->blocking = false;
        if (LIKELY(f->is_own)) {
            struct callback cb = {(PyObject *)t, WATCHER_MARK(&task_kind)};
            rc = LIKELY(f->state == FUTURE_PENDING) ? callbacks_add(f, cb.target, cb.context)
                                                    : callback_schedule(f, &cb);
        }
        else {
            PyObject *callable = callback_callable((PyObject *)t, &task_kind);
            PyObject *context = callable == NULL ? NULL : context_materialise_borrowed(&t->context);
            rc = context == NULL ? -1 : future_add_done_callback(f, callable, context);
            Py_XDECREF(callable);
        }
        if (LIKELY(rc == 0)) {
            return task_set_waiting(t, st, (PyObject *)f);
        }
    }
    Py_DECREF(f);
    return rc;
}

/* asyncio.futures._get_loop(future). New reference. */
static PyObject *
task_loop_of(struct state *st, PyObject *future)
{
    PyObject *method, *loop;
    int found = compat_get_optional_attr(future, st->str.get_loop, &method);
    if (found < 0) {
        return NULL;
    }
    if (found == 0) {
        return PyObject_GetAttr(future, st->str._loop);
    }
    loop = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return loop;
}

/* future.add_done_callback(wake-up, context=the task's) */
static int
task_add_wakeup(Task *t, struct state *st, PyObject *future)
{
    PyObject *callable = callback_callable((PyObject *)t, &task_kind), *done = NULL;
    PyObject *context = callable == NULL ? NULL : Py_XNewRef(context_materialise_borrowed(&t->context));
    if (context != NULL) {
        PyObject *args[] = {future, callable, context};
        done = PyObject_VectorcallMethod(st->str.add_done_callback, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                         st->kw_context);
    }
    Py_XDECREF(callable);
    Py_XDECREF(context);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Something that has _asyncio_future_blocking: a subclass of ours, asyncio's own, anybody's. Borrows it. 1: t waits for
 * it now; 0: it does not; -1. */
static int
task_wait_future_like(Task *t, struct state *st, PyObject *future, int is_blocking)
{
    PyObject *loop = task_loop_of(st, future);
    if (loop == NULL) {
        return -1;
    }
    bool is_same = loop == t->future.loop;
    Py_DECREF(loop);
    if (!is_same) {
        return task_fail_different_loop(t, future);
    }
    if (!is_blocking) {
        return task_fail_not_awaited(t, future);
    }
    if (PyObject_SetAttr(future, st->str._asyncio_future_blocking, Py_False) < 0) {
        return -1;
    }
    return task_add_wakeup(t, st, future) < 0 || awaited_by_note_task(st, future, (PyObject *)t, true) < 0 ? -1 : 1;
}

/* The coroutine yielded something that is no future.  Steals it. */
static COLD int
task_wait_other(Task *t, struct state *st, PyObject *yielded)
{
    PyObject *blocking = NULL;
    int rc =
        yielded == (PyObject *)t ? 0 : compat_get_optional_attr(yielded, st->str._asyncio_future_blocking, &blocking);
    if (rc < 0) {
        goto done;
    }
    if (yielded == (PyObject *)t) {
        rc = task_fail_soon(t, "Task cannot await on itself: %R", t);
    }
    else if (blocking != NULL && blocking != Py_None) {
        int is_blocking = PyObject_IsTrue(blocking);
        rc = is_blocking < 0 ? -1 : task_wait_future_like(t, st, yielded, is_blocking);
        if (rc > 0) {
            Py_DECREF(blocking);
            return task_set_waiting(t, st, yielded);
        }
    }
    else {
        rc = PyObject_IsInstance(yielded, (PyObject *)&PyGen_Type);
        if (rc >= 0) {
            rc = rc > 0 ? task_fail_soon(t, "yield was used instead of yield from for generator in task %R with %R", t,
                                         yielded)
                        : task_fail_soon(t, "Task got bad yield: %R", yielded);
        }
    }
done:
    Py_XDECREF(blocking);
    Py_DECREF(yielded);
    return rc;
}

/* Steals what was yielded. */
static inline int
task_wait(Task *t, struct state *st, PyObject *yielded)
{
    if (yielded == Py_None) { /* a bare yield lets the others run first */
        Py_DECREF(yielded);
        return task_step_soon(t, NULL);
    }
    if (LIKELY(future_is_exact(st, yielded))) {
        return task_wait_own(t, st, (Future *)yielded);
    }
    return task_wait_other(t, st, yielded);
}

/* ---- the coroutine ended */

/* Steals result. */
static inline int
task_on_return(Task *t, PyObject *result)
{
    if (UNLIKELY(t->future.must_cancel)) { /* cancelled in its last step */
        t->future.must_cancel = false;
        int rc = future_finish(&t->future, FUTURE_CANCELLED, NULL, NULL);
        Py_DECREF(result);
        return rc;
    }
    return future_finish(&t->future, FUTURE_FINISHED, result, NULL);
}

static int
task_on_raise(Task *t, struct state *st)
{
    PyObject *exception = compat_take_raised();
    if (PyErr_GivenExceptionMatches(exception, st->CancelledError)) {
        if (future_set_cancel_message(&t->future, NULL) < 0 || t->future.state != FUTURE_PENDING) {
            Py_DECREF(exception);
            return t->future.state != FUTURE_PENDING ? 0 : -1; /* the old message's finalizer finished it */
        }
        return future_finish(&t->future, FUTURE_CANCELLED, exception, NULL);
    }
    int rc = future_finish_exception(&t->future, exception);
    if (rc == 0
        && (PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)
            || PyErr_GivenExceptionMatches(exception, PyExc_SystemExit))) {
        compat_set_raised(exception); /* it is kept in the task, and also leaves the loop */
        return -1;
    }
    Py_DECREF(exception);
    return rc;
}

/* ---- the step */

static PySendResult
task_throw(struct state *st, PyObject *coro, PyObject *exception, PyObject **result)
{
    PyObject *args[] = {coro, exception};
    *result = PyObject_VectorcallMethod(st->str.throw, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_Occurred()) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = compat_take_raised(), *value = ((PyStopIterationObject *)stop)->value;
    *result = Py_NewRef(value == NULL ? Py_None : value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* The exception to throw instead, as the task was cancelled meanwhile: new reference. */
static COLD PyObject *
task_swap_for_cancelled_error(Task *t, struct state *st, PyObject *exception)
{
    t->future.must_cancel = false;
    if (exception != NULL && PyErr_GivenExceptionMatches(exception, st->CancelledError)) {
        return Py_NewRef(exception);
    }
    return future_make_cancelled_error(&t->future);
}

static COLD int
task_refuse_step(Task *t, struct state *st, PyObject *exception)
{
    if (t->future.state != FUTURE_PENDING) {
        PyErr_Format(st->InvalidStateError, "%s(): already done: %R %R", COMPAT_CALL_GRAPH ? "__step" : "_step", t,
                     exception == NULL ? Py_None : exception);
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
    }
    return -1;
}

/* Send None, or throw exception.  0, or -1 with an exception that is to leave the step: SystemExit, KeyboardInterrupt,
 * or a failure in here. */
static inline int
task_step(Task *t, struct state *st, PyObject *exception)
{
    if (UNLIKELY(t->future.state != FUTURE_PENDING || t->coro == NULL)) {
        return task_refuse_step(t, st, exception);
    }
    PyObject *coro = Py_NewRef(t->coro), *result = NULL;
    PySendResult status;
    if (t->waiting_on != NULL) {
        Py_CLEAR(t->waiting_on);
    }
    if (LIKELY(exception == NULL && !t->future.must_cancel)) {
        status = PyIter_Send(coro, Py_None, &result);
    }
    else {
        exception = t->future.must_cancel ? task_swap_for_cancelled_error(t, st, exception) : Py_NewRef(exception);
        if (exception == NULL) {
            Py_DECREF(coro);
            return -1;
        }
        status = task_throw(st, coro, exception, &result);
        Py_DECREF(exception);
    }
    Py_DECREF(coro);
    if (UNLIKELY(t->future.state != FUTURE_PENDING)) { /* somebody finished the task from inside its own step */
        Py_XDECREF(result);
        return status == PYGEN_ERROR ? -1 : task_refuse_step(t, st, NULL);
    }
    return status == PYGEN_NEXT     ? task_wait(t, st, result)
           : status == PYGEN_RETURN ? task_on_return(t, result)
                                    : task_on_raise(t, st);
}

/* ---- ways in */

/* What asyncio's Handle says of a step that raises. */
static COLD int
task_report(Loop *loop, Task *t)
{
    PyObject *raised = compat_take_raised(), *context = Py_XNewRef(t->context);
    PyObject *callable = PyCFunction_New(&task_step_def, (PyObject *)t);
    PyErr_Clear();
    compat_set_raised(raised);
    int rc = handle_report_call(loop, callable, NULL, 0, context);
    raised = rc < 0 ? compat_take_raised() : NULL;
    Py_XDECREF(callable);
    Py_XDECREF(context);
    compat_set_raised(raised);
    return rc;
}

/* Enter the task's context; what was entered is for task_leave_context: a step may call __init__, which gives the task
 * another one.  Borrowed from the thread's state, which holds a context as long as it is entered; NULL: -1. */
static inline PyObject *
task_enter_context_borrowed(Loop *loop, Task *t)
{
    return LIKELY(context_enter(loop, &t->context) == 0) ? t->context : NULL;
}

static inline void
task_leave_context(Loop *loop, Task *t, PyObject *entered)
{
    if (LIKELY(t->context == entered)) {
        context_leave(loop, &t->context);
        return;
    }
    Py_INCREF(entered);
    context_leave(loop, &entered);
    Py_XDECREF(entered);
}

/* After a step that may have been the last one. A task whose dealloc may run code must not stay asyncio's current task,
 * which would keep it alive. */
static inline void
task_leave_if_last(Loop *loop, Task *t)
{
    if (UNLIKELY(task_may_run_code(t))) {
        loop_leave_task(loop);
    }
}

static int
task_step_ready(Loop *loop, PyObject *self, PyObject *exception)
{
    Task *t = (Task *)self;
    struct state *st = loop->st;
    if (UNLIKELY(aiobridge_publish(loop, self) < 0)) {
        return task_report(loop, t);
    }
    PyObject *entered = task_enter_context_borrowed(loop, t);
    if (UNLIKELY(entered == NULL)) {
        return task_report(loop, t); /* up to 3.14 Task(context=5) comes to this */
    }
    loop->stepping = true;
    loop->metrics.task_steps++;
    int rc = task_step(t, st, exception);
    loop->stepping = false;
    task_leave_context(loop, t, entered);
    /* the slot of the current task may soon be all that holds it */
    if (UNLIKELY(t->future.state != FUTURE_PENDING || Py_REFCNT(self) <= 2)) {
        task_leave_if_last(loop, t);
    }
    return LIKELY(rc == 0) ? 0 : task_report(loop, t);
}

static int
task_wakeup(Loop *loop, PyObject *self, PyObject *future)
{
    Future *f = (Future *)future;
    if (LIKELY(f->state == FUTURE_FINISHED && !f->has_exception)) {
        return task_step_ready(loop, self, NULL);
    }
    PyObject *exception = future_take_exception(f);
    if (exception == NULL) {
        exception = compat_take_raised();
    }
    int rc = task_step_ready(loop, self, exception);
    loop_let_go(loop, exception);
    return rc;
}

/* For a step that Python code began, perhaps in the middle of another step, and after it. The first returns what
 * stepping was before.  They do nothing on a foreign loop. */
static inline bool
task_begin_stepping(struct state *st, PyObject *loop)
{
    if (!loop_is_own(st, loop)) {
        return false;
    }
    bool was_stepping = ((Loop *)loop)->stepping;
    ((Loop *)loop)->stepping = true;
    ((Loop *)loop)->metrics.task_steps++;
    return was_stepping;
}

static inline void
task_end_stepping(struct state *st, PyObject *loop, bool was_stepping)
{
    if (loop_is_own(st, loop)) {
        ((Loop *)loop)->stepping = was_stepping;
    }
}

/* Python code calls, in the task's context: a Handle of a loop, ours or not. */
static PyObject *
task_run_called(Task *t, PyObject *exception)
{
    SECTION_ENTER(t->future.loop);
    struct state *st = future_state_of(&t->future);
    PyObject *loop = t->future.loop, *previous = NULL, *leaving = NULL;
    if (loop == NULL) {
        task_refuse_step(t, st, NULL);
        return NULL;
    }
    Py_INCREF(loop);
    int rc = aiobridge_swap_current(st, loop, (PyObject *)t, &previous);
    if (rc == 0) {
        bool was_stepping = task_begin_stepping(st, loop);
        rc = task_step(t, st, exception);
        task_end_stepping(st, loop, was_stepping);
        PyObject *raised = compat_take_raised();
        if (aiobridge_swap_current(st, loop, previous, &leaving) < 0) {
            PyErr_WriteUnraisable((PyObject *)t);
        }
        Py_XDECREF(previous);
        Py_XDECREF(leaving);
        compat_set_raised(raised);
    }
    Py_DECREF(loop);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
task_step_called(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    return task_run_called((Task *)self, n_args > 0 ? args[0] : NULL);
}

static PyObject *
task_wakeup_called(PyObject *self, PyObject *future)
{
    Task *t = (Task *)self;
    SECTION_ENTER(t->future.loop);
    struct state *st = future_state_of(&t->future);
    bool is_exact = future_is_exact(st, future);
    if (!is_exact && awaited_by_note_task(st, future, self, false) < 0) {
        PyErr_WriteUnraisable(self); /* the user's __hash__ has raised: the step must not get lost */
    }
    PyObject *value = is_exact ? future_result((Future *)future) : PyObject_CallMethodNoArgs(future, st->str.result);
    if (value != NULL) {
        Py_DECREF(value);
        return task_run_called(t, NULL);
    }
    PyObject *exception = compat_take_raised();
    PyObject *done = task_run_called(t, exception);
    Py_DECREF(exception);
    return done;
}

static PyObject *
task_itself_borrowed(PyObject *task)
{
    return task;
}

static const struct watcher_kind task_kind = {task_wakeup,
                                              task_itself_borrowed,
                                              {"task_wakeup", task_wakeup_called, METH_O, NULL},
                                              offsetof(Task, context),
                                              NULL};

/* The first step, now. The task becomes the current one for it, in its own context. */
static int
task_start_eagerly(Task *t, struct state *st)
{
    /* held, as the step may call __init__ of the task */
    PyObject *loop = Py_NewRef(t->future.loop), *previous = NULL, *leaving = NULL;
    if (aiobridge_swap_current(st, loop, (PyObject *)t, &previous) < 0) {
        Py_DECREF(loop);
        return -1;
    }
    bool is_own = t->future.is_own;
    PyObject *entered =
        is_own ? task_enter_context_borrowed((Loop *)loop, t) : Py_XNewRef(context_materialise_borrowed(&t->context));
    if (!is_own && entered != NULL && PyContext_Enter(entered) < 0) {
        Py_CLEAR(entered);
    }
    int rc = -1;
    if (entered != NULL) {
        bool was_stepping = task_begin_stepping(st, loop);
        rc = task_step(t, st, NULL);
        task_end_stepping(st, loop, was_stepping);
        PyObject *raised = compat_take_raised();
        if (is_own) {
            task_leave_context((Loop *)loop, t, entered);
        }
        else {
            if (PyContext_Exit(entered) < 0) {
                PyErr_WriteUnraisable((PyObject *)t);
            }
            Py_DECREF(entered);
        }
        compat_set_raised(raised);
    }
    PyObject *raised = compat_take_raised();
    if (aiobridge_swap_current(st, loop, previous, &leaving) < 0) {
        PyErr_WriteUnraisable((PyObject *)t);
    }
    Py_XDECREF(previous);
    Py_XDECREF(leaving);
    Py_DECREF(loop);
    compat_set_raised(raised);
    if (t->future.state != FUTURE_PENDING) {
        Py_CLEAR(t->coro);
    }
    return rc;
}
