/* task/wait/taskgroup.c -- see taskgroup.h; the Python face is taskgroup_type.c. */
#include "task/wait/taskgroup.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"
#include "task/future/task.h"
#include "task/wait/timeout.h"

/* ---- what a subclass, or whoever set an attribute of the class, may have replaced */

static inline bool
taskgroup_is_ours(TaskGroup *g, struct state *st, PyObject *method)
{
    PyTypeObject *type = Py_TYPE(g);
    if (UNLIKELY(st->twins_touched[TWIN_GROUP])) {
        return false;
    }
    return LIKELY(type == st->TaskGroup_type && g->dict == NULL)
           || (_PyType_Lookup(type, method) == _PyType_Lookup(st->TaskGroup_type, method)
               && (g->dict == NULL || PyDict_Contains(g->dict, method) == 0));
}

static int
taskgroup_call_abort(TaskGroup *g, struct state *st)
{
    if (LIKELY(taskgroup_is_ours(g, st, st->str._abort))) {
        return taskgroup_abort(g, st);
    }
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)g, st->str._abort);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- tasks end */

static int
taskgroup_is_base_error(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit)
           || PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
}

/* self._is_base_error(exception): the first such is base_error. */
static int
taskgroup_note_base_error(TaskGroup *g, struct state *st, PyObject *exception)
{
    int is_base = taskgroup_is_base_error(exception);
    if (UNLIKELY(!taskgroup_is_ours(g, st, st->str._is_base_error))) {
        is_base = ask_truth(PyObject_CallMethodOneArg((PyObject *)g, st->str._is_base_error, exception));
    }
    if (is_base > 0 && g->base_error == NULL) {
        g->base_error = Py_NewRef(exception);
    }
    return is_base < 0 ? -1 : 0;
}

static int
taskgroup_abort(TaskGroup *g, struct state *st)
{
    g->aborting = true;
    PyObject *tasks = PySequence_Tuple(g->tasks);
    int rc = tasks == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(tasks); i++) {
        PyObject *task = PyTuple_GET_ITEM(tasks, i);
        int is_done = child_is_done(st, task);
        rc = is_done < 0 || (is_done == 0 && child_cancel(st, task) < 0) ? -1 : 0;
    }
    Py_XDECREF(tasks);
    return rc;
}

/* self._parent_task.METHOD of a group that was not entered, or has forgotten it. */
static COLD int
taskgroup_raise_no_attribute(const char *name)
{
    PyErr_Format(PyExc_AttributeError, "'NoneType' object has no attribute '%s'", name);
    return -1;
}

static int
taskgroup_cancel_parent(TaskGroup *g, struct state *st)
{
    g->parent_cancel_requested = true;
    PyObject *parent = Py_XNewRef(g->parent_task);
    int rc = parent == NULL ? taskgroup_raise_no_attribute("cancel") : child_cancel(st, parent);
    Py_XDECREF(parent);
    return rc < 0 ? -1 : 0;
}

static COLD int
taskgroup_report_late_error(TaskGroup *g, struct state *st, PyObject *task, PyObject *exception)
{
    PyObject *parent = Py_NewRef(g->parent_task == NULL ? Py_None : g->parent_task);
    PyObject *message =
        PyUnicode_FromFormat("Task %R has errored out but its parent task %S is already completed", task, parent);
    PyObject *context = message == NULL
                            ? NULL
                            : Py_BuildValue("{s:O,s:O,s:O}", "message", message, "exception", exception, "task", task);
    PyObject *loop = Py_NewRef(g->loop == NULL ? Py_None : g->loop);
    PyObject *done = context == NULL ? NULL : PyObject_CallMethodOneArg(loop, st->str.call_exception_handler, context);
    Py_DECREF(parent);
    Py_DECREF(loop);
    Py_XDECREF(message);
    Py_XDECREF(context);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
taskgroup_note_error(TaskGroup *g, PyObject *exception)
{
    if (g->has_forgotten) {
        return taskgroup_raise_no_attribute("append");
    }
    return (g->errors == NULL && (g->errors = PyList_New(0)) == NULL) ? -1 : PyList_Append(g->errors, exception);
}

static COLD int
taskgroup_task_failed(TaskGroup *g, struct state *st, PyObject *task, PyObject *exception)
{
    if (taskgroup_note_error(g, exception) < 0 || taskgroup_note_base_error(g, st, exception) < 0) {
        return -1;
    }
    PyObject *parent = Py_XNewRef(g->parent_task);
    int is_done = parent == NULL ? taskgroup_raise_no_attribute("done") : child_is_done(st, parent);
    Py_XDECREF(parent);
    if (is_done != 0) {
        return is_done < 0 ? -1 : taskgroup_report_late_error(g, st, task, exception);
    }
    if (g->aborting || g->parent_cancel_requested) {
        return 0;
    }
    return taskgroup_call_abort(g, st) < 0 ? -1 : taskgroup_cancel_parent(g, st);
}

/* The last is gone: __aexit__ may go on. */
static inline int
taskgroup_release(TaskGroup *g, struct state *st)
{
    return future_wake_any(st, g->on_completed, st->str.done, Py_True, NULL) < 0 ? -1 : 0;
}

/* 3.14+: the parent waits for the task, or no longer.  Our own entry among its callbacks tells who waits (child.h); a
 * callback to a method of somebody's does not, and is noted. */
static int
taskgroup_note_parent(TaskGroup *g, struct state *st, PyObject *task, bool is_add)
{
    return !COMPAT_CALL_GRAPH || g->parent_task == NULL ? 0 : awaited_by_note(st, task, g->parent_task, is_add);
}

static inline int
taskgroup_forget_parent(TaskGroup *g, struct state *st, PyObject *task)
{
    if (LIKELY(taskgroup_is_ours(g, st, st->str._on_task_done))) {
        return child_forget_waiter(st, task, g->parent_task);
    }
    return taskgroup_note_parent(g, st, task, false);
}

static inline int
taskgroup_task_done(TaskGroup *g, struct state *st, PyObject *task)
{
    if (UNLIKELY(PySet_Discard(g->tasks, task) < 0) || taskgroup_forget_parent(g, st, task) < 0
        || (g->on_completed != NULL && PySet_GET_SIZE(g->tasks) == 0 && taskgroup_release(g, st) < 0)) {
        return -1;
    }
    if (LIKELY(child_is_plainly_done(st, task))) {
        return 0;
    }
    PyObject *value = NULL;
    int outcome = child_failure(st, task, &value);
    int rc = outcome < 0 ? -1 : outcome == CHILD_EXCEPTION ? taskgroup_task_failed(g, st, task, value) : 0;
    Py_XDECREF(value);
    return rc;
}

static int
taskgroup_child_ready(Loop *loop, PyObject *self, PyObject *task)
{
    if (UNLIKELY(!child_is_plainly_done(loop->st, task))) { /* cancelling others may run any code */
        loop_leave_task(loop);
    }
    if (LIKELY(taskgroup_task_done((TaskGroup *)self, loop->st, task) == 0)) {
        return 0;
    }
    return handle_report_method(loop, self, "_on_task_done", task);
}

static PyObject *
taskgroup_child_called(PyObject *self, PyObject *task)
{
    SECTION_ENTER(((TaskGroup *)self)->loop);
    return taskgroup_task_done((TaskGroup *)self, state_of(self), task) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
taskgroup_parent_borrowed(PyObject *self)
{
    return ((TaskGroup *)self)->parent_task;
}

static const struct watcher_kind taskgroup_kind = {
    taskgroup_child_ready, taskgroup_parent_borrowed, {"_on_task_done", taskgroup_child_called, METH_O, NULL}, 0, NULL};

/* ---- tasks begin */

/* The RuntimeErrors of create_task; the coroutine is closed then, where asyncio does so. */
static int
taskgroup_check_open(TaskGroup *g, struct state *st, PyObject *coro)
{
    const char *reason = !g->entered                                   ? "has not been entered"
                         : g->exiting && PySet_GET_SIZE(g->tasks) == 0 ? "is finished"
                         : g->aborting                                 ? "is shutting down"
                                                                       : NULL;
    if (LIKELY(reason == NULL)) {
        return 0;
    }
    if (st->traits.group_closes_coro) {
        PyObject *closed = PyObject_CallMethodNoArgs(coro, st->str.close);
        Py_XDECREF(closed);
        if (closed == NULL) {
            return -1;
        }
    }
    PyErr_Format(PyExc_RuntimeError, "TaskGroup %R %s", g, reason);
    return -1;
}

static int
taskgroup_watch(TaskGroup *g, struct state *st, PyObject *task)
{
    if (LIKELY(taskgroup_is_ours(g, st, st->str._on_task_done))) {
        return child_watch(st, task, (PyObject *)g, &taskgroup_kind);
    }
    PyObject *method = PyObject_GetAttr((PyObject *)g, st->str._on_task_done);
    PyObject *done = method == NULL || taskgroup_note_parent(g, st, task, true) < 0
                         ? NULL
                         : PyObject_CallMethodOneArg(task, st->str.add_done_callback, method);
    Py_XDECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
taskgroup_call_task_done(TaskGroup *g, struct state *st, PyObject *task)
{
    if (LIKELY(taskgroup_is_ours(g, st, st->str._on_task_done))) {
        return taskgroup_task_done(g, st, task);
    }
    PyObject *done = PyObject_CallMethodOneArg((PyObject *)g, st->str._on_task_done, task);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
taskgroup_add(TaskGroup *g, struct state *st, PyObject *task)
{
    if (st->traits.group_notes_done_at_once) {
        int is_done = child_is_done(st, task);
        if (UNLIKELY(is_done != 0)) {
            return is_done < 0 ? -1 : taskgroup_call_task_done(g, st, task);
        }
    }
    if (UNLIKELY(PySet_Add(g->tasks, task) < 0 || taskgroup_watch(g, st, task) < 0)) {
        return -1;
    }
    if (UNLIKELY(g->aborting && st->traits.group_cancels_late_task)) { /* an eager first step cancelled the group */
        int is_done = child_is_done(st, task);
        return is_done < 0 || (is_done == 0 && child_cancel(st, task) < 0) ? -1 : 0;
    }
    return 0;
}

/* ---- entering */

#if COMPAT_GROUP_CANCEL
static int
taskgroup_cancel(TaskGroup *g, struct state *st)
{
    if (!g->entered) {
        g->cancel_on_enter = true;
        return 0;
    }
    if ((g->exiting && PySet_GET_SIZE(g->tasks) == 0) || g->aborting) {
        return 0;
    }
    if (taskgroup_call_abort(g, st) < 0) {
        return -1;
    }
    return g->parent_task != NULL && !g->parent_cancel_requested ? taskgroup_cancel_parent(g, st) : 0;
}
#endif

static int
taskgroup_enter(TaskGroup *g, struct state *st)
{
    if (UNLIKELY(g->entered)) {
        PyErr_Format(PyExc_RuntimeError,
                     st->traits.group_enters_late ? "TaskGroup %R has already been entered"
                                                  : "TaskGroup %R has been already entered",
                     g);
        return -1;
    }
    g->entered = !st->traits.group_enters_late;
    if (LIKELY(g->loop == NULL) && (g->loop = aiobridge_need_running_loop(st)) == NULL) {
        return -1;
    }
    PyObject *parent = task_current(st, g->loop);
    if (UNLIKELY(parent == NULL)) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_RuntimeError, "TaskGroup %R cannot determine the parent task", g);
        }
        return -1;
    }
    Py_XSETREF(g->parent_task, parent);
    g->entered = true;
#if COMPAT_GROUP_CANCEL
    if (UNLIKELY(g->cancel_on_enter)) {
        return taskgroup_cancel(g, st);
    }
#endif
    return 0;
}

/* ---- leaving: the steps of __aexit__ */

/* Is what ended the body a cancellation? */
static int
taskgroup_is_cancellation(struct state *st, PyObject *type)
{
    if (type == Py_None) {
        return 0;
    }
    return st->traits.group_takes_subclasses ? PyObject_IsSubclass(type, st->CancelledError)
                                             : type == st->CancelledError;
}

/* Take back the cancellation of the parent that came from here. */
static int
taskgroup_uncancel_parent(TaskGroup *g, Coro *c, struct state *st)
{
    if (!g->parent_cancel_requested) {
        return 0;
    }
    PyObject *parent = Py_XNewRef(g->parent_task);
    long n = parent == NULL ? taskgroup_raise_no_attribute("uncancel") : task_uncancel_any(st, parent);
    Py_XDECREF(parent);
    if (n < 0 && PyErr_Occurred()) {
        return -1;
    }
    if (n == 0) {
        Py_CLEAR(c->slots[GROUP_PROPAGATE]);
    }
    else if (c->slots[GROUP_PROPAGATE] == NULL
             && st->traits.group_keeps_pending) { /* the rest of the cancellations is not ours */
        c->slots[GROUP_PROPAGATE] = Py_XNewRef(c->slots[GROUP_PENDING]);
    }
    return 0;
}

static int
taskgroup_begin_exit(TaskGroup *g, Coro *c, struct state *st)
{
    PyObject *type = c->slots[GROUP_EXC_TYPE], *exception = c->slots[GROUP_EXC];
    g->exiting = true;
    if (LIKELY(type == Py_None && exception == Py_None)) {
        return st->traits.group_uncancels_late ? 0 : taskgroup_uncancel_parent(g, c, st);
    }
    if (exception != Py_None && taskgroup_note_base_error(g, st, exception) < 0) {
        return -1;
    }
    int is_cancellation = taskgroup_is_cancellation(st, type);
    if (is_cancellation > 0) {
        c->slots[GROUP_PROPAGATE] = Py_NewRef(exception);
    }
    if (is_cancellation < 0 || (!st->traits.group_uncancels_late && taskgroup_uncancel_parent(g, c, st) < 0)) {
        return -1;
    }
    return type != Py_None && !g->aborting ? taskgroup_call_abort(g, st) : 0;
}

static void
taskgroup_raise(PyObject *exception)
{
    Py_INCREF(exception);
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

/* A cancellation from outside is to reach the parent after the errors did. */
static int
taskgroup_recancel_parent(TaskGroup *g, struct state *st)
{
    if (!st->traits.group_recancels) {
        return 0;
    }
    PyObject *parent = Py_XNewRef(g->parent_task);
    long n = parent == NULL ? taskgroup_raise_no_attribute("cancelling") : task_cancelling_any(st, parent);
    int rc = n < 0 && PyErr_Occurred() ? -1 : 0;
    if (rc == 0 && n != 0) {
        n = task_uncancel_any(st, parent);
        rc = (n < 0 && PyErr_Occurred()) || child_cancel(st, parent) < 0 ? -1 : 0;
    }
    Py_XDECREF(parent);
    return rc;
}

static COLD int
taskgroup_raise_errors(TaskGroup *g, Coro *c, struct state *st)
{
    PyObject *type = c->slots[GROUP_EXC_TYPE], *errors = Py_XNewRef(g->errors), *group = NULL;
    int is_only_generator_exit = 0;
    /* no errors: a metaclass' __subclasscheck__ began the group anew */
    if (errors == NULL || taskgroup_recancel_parent(g, st) < 0) {
        Py_XDECREF(errors);
        return errors == NULL ? taskgroup_raise_no_attribute("append") : -1;
    }
    if (st->traits.group_raises_generator_exit && type != Py_None && PyList_GET_SIZE(errors) == 1) {
        is_only_generator_exit = PyObject_IsSubclass(type, PyExc_GeneratorExit);
    }
    if (is_only_generator_exit > 0) {
        taskgroup_raise(c->slots[GROUP_EXC]);
    }
    else if (is_only_generator_exit == 0
             && (group =
                     PyObject_CallFunction(PyExc_BaseExceptionGroup, "sO", "unhandled errors in a TaskGroup", errors))
                    != NULL) {
        PyException_SetCause(group, NULL); /* from None */
        taskgroup_raise(group);
        Py_DECREF(group);
    }
    PyObject *raised = compat_take_raised();
    Py_CLEAR(g->errors); /* exceptions hold frames, and a frame may hold this group */
    g->has_forgotten = true;
    Py_DECREF(errors);
    compat_set_raised(raised);
    return -1;
}

/* No tasks are left. */
static int
taskgroup_end_exit(TaskGroup *g, Coro *c, struct state *st)
{
    if (UNLIKELY(g->base_error != NULL)) {
        taskgroup_raise(g->base_error);
        return -1;
    }
    if (st->traits.group_uncancels_late && taskgroup_uncancel_parent(g, c, st) < 0) {
        return -1;
    }
    bool has_errors = g->errors != NULL && PyList_GET_SIZE(g->errors) > 0;
    if (UNLIKELY(c->slots[GROUP_PROPAGATE] != NULL && !has_errors)) {
        taskgroup_raise(c->slots[GROUP_PROPAGATE]);
        return -1;
    }
    if (UNLIKELY(c->slots[GROUP_EXC_TYPE] != Py_None)) {
        int is_cancellation = taskgroup_is_cancellation(st, c->slots[GROUP_EXC_TYPE]);
        if (is_cancellation < 0 || (is_cancellation == 0 && taskgroup_note_error(g, c->slots[GROUP_EXC]) < 0)) {
            return -1;
        }
        has_errors |= is_cancellation == 0;
    }
    return UNLIKELY(has_errors) ? taskgroup_raise_errors(g, c, st) : 0;
}

/* What a later asyncio drops however __aexit__ ends. Keeps a raised exception. */
static inline void
taskgroup_forget(TaskGroup *g, struct state *st)
{
    if (!st->traits.group_forgets) {
        return;
    }
    PyObject *raised = compat_take_raised();
    g->has_forgotten = true;
    Py_CLEAR(g->parent_task);
    Py_CLEAR(g->errors);
    Py_CLEAR(g->base_error);
    compat_set_raised(raised);
}

static PySendResult
taskgroup_wait(TaskGroup *g, Coro *c, struct state *st)
{
    if (g->loop == NULL) {
        taskgroup_raise_no_attribute("create_future");
        return PYGEN_ERROR;
    }
    if (g->on_completed == NULL && (g->on_completed = future_new_on(st, g->loop)) == NULL) {
        return PYGEN_ERROR;
    }
    c->phase = 1;
    PyObject *future = Py_NewRef(g->on_completed); /* its __await__ may begin the group anew */
    if (LIKELY(future_is_exact(st, future))) {
        return coro_wait(c, future);
    }
    PySendResult status = coro_await(c, st, future);
    Py_DECREF(future);
    return status;
}

/* The wait for the tasks was cancelled: they are to end too, if that is not under way. */
static int
taskgroup_wait_interrupted(TaskGroup *g, Coro *c, struct state *st)
{
    if (!PyErr_ExceptionMatches(st->CancelledError)) {
        return -1;
    }
    PyObject *cancelled = compat_take_raised();
    int rc = 0;
    Py_XSETREF(c->slots[GROUP_PENDING], Py_NewRef(cancelled));
    if (!g->aborting) {
        Py_XSETREF(c->slots[GROUP_PROPAGATE], Py_NewRef(cancelled));
        rc = taskgroup_call_abort(g, st);
    }
    Py_DECREF(cancelled);
    return rc;
}

static PySendResult
taskgroup_aexit_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    TaskGroup *g = (TaskGroup *)c->self;
    PySendResult status = PYGEN_ERROR;
    int rc;
    if (c->phase == 0) {
        rc = taskgroup_begin_exit(g, c, st);
    }
    else {
        rc = LIKELY(value != NULL) ? 0 : taskgroup_wait_interrupted(g, c, st);
        if (rc == 0) {
            Py_CLEAR(g->on_completed);
        }
    }
    if (LIKELY(rc == 0)) {
        if (PySet_GET_SIZE(g->tasks) > 0) {
            status = taskgroup_wait(g, c, st);
        }
        else if (LIKELY(taskgroup_end_exit(g, c, st) == 0)) {
            status = coro_return(result, COMPAT_GROUP_CANCEL ? Py_True : Py_None);
        }
    }
    if (status != PYGEN_NEXT) {
        taskgroup_forget(g, st);
    }
    return status;
}

static const struct coro_kind taskgroup_aexit_kind = {"TaskGroup.__aexit__", taskgroup_aexit_step};
