/* core/timed.c -- one entry with the time it takes; who is told of slow ones. */
#include "core/timed.h"

#include "core/handle.h"
#include "core/log.h"

static void
timed_look(Loop *loop)
{
    loop->timed = loop->debug || loop->times_callbacks || loop->slow_hook != NULL || loop->entry_hook != NULL;
}

static inline bool
timed_is_handle(struct state *st, PyObject *object)
{
    return Py_TYPE(object) == st->Handle_type || Py_TYPE(object) == st->TimerHandle_type;
}

/* Whom the entry ran for: a task, where it or the handle's callback is a method of one; else the handle, the transport,
 * or whatever has the entry.  New reference, NULL without an exception. */
static PyObject *
timed_what(struct state *st, PyObject *self)
{
    if (!timed_is_handle(st, self)) {
        return Py_NewRef(self);
    }
    PyObject *callback = PyObject_GetAttrString(self, "_callback");
    PyObject *owner = callback == NULL ? NULL : PyObject_GetAttrString(callback, "__self__");
    PyErr_Clear();
    int is_task = owner == NULL ? 0 : PyObject_IsInstance(owner, st->asyncio_Task);
    PyErr_Clear();
    PyObject *what = Py_NewRef(is_task > 0 ? owner : self);
    Py_XDECREF(callback);
    Py_XDECREF(owner);
    return what;
}

/* Debug mode: the handle being run is where default_exception_handler looks for the place that scheduled what failed.
 * Keeps a raised exception. */
static void
timed_show_current_handle(Loop *loop, PyObject *handle)
{
    PyObject *raised = compat_take_raised();
    if (PyObject_SetAttrString((PyObject *)loop, "_current_handle", handle) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    compat_set_raised(raised);
}

/* took >= loop.slow_callback_duration; what cannot be compared is asyncio's TypeError, which leaves the loop. */
static int
timed_is_slow(Loop *loop, double took)
{
    if (LIKELY(loop->slow_callback_given == NULL)) {
        return took >= loop->slow_callback_duration;
    }
    PyObject *given = Py_NewRef(loop->slow_callback_given), *seconds = PyFloat_FromDouble(took);
    int is_slow = seconds == NULL ? -1 : PyObject_RichCompareBool(seconds, given, Py_GE);
    Py_XDECREF(seconds);
    Py_DECREF(given);
    return is_slow;
}

static void
timed_warn(Loop *loop, PyObject *what, double took)
{
    PyObject *text = PyObject_Repr(what), *seconds = text == NULL ? NULL : PyFloat_FromDouble(took);
    if (seconds == NULL
        || log_line(loop->st, "warning", "(sOO)", "Executing %s took %.3f seconds", text, seconds) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    Py_XDECREF(text);
    Py_XDECREF(seconds);
}

/* hook(what, took), with stack: hook(what, took, the stack of what).  An exception of it is reported; -1: SystemExit or
 * KeyboardInterrupt. */
static int
timed_tell(Loop *loop, PyObject *hook, PyObject *what, double took, bool with_stack)
{
    PyObject *done = NULL;
    Py_INCREF(hook); /* it may set another */
    if (!with_stack) {
        done = PyObject_CallFunction(hook, "Od", what, took);
    }
    else {
        PyObject *module = PyImport_ImportModule("asyncloop._metrics");
        PyObject *stack = module == NULL ? NULL : PyObject_CallMethod(module, "stack_of", "(O)", what);
        done = stack == NULL ? NULL : PyObject_CallFunction(hook, "OdO", what, took, stack);
        Py_XDECREF(module);
        Py_XDECREF(stack);
    }
    int rc = done == NULL ? loop_report(loop, "Exception in slow_callback_hook", NULL) : 0;
    Py_XDECREF(done);
    Py_DECREF(hook);
    return rc;
}

/* 0, or -1 with an exception that leaves the loop. */
static int
timed_after(Loop *loop, struct ready *e, double took)
{
    if (took > loop->metrics.longest) {
        loop->metrics.longest = took;
    }
    PyObject *what = loop->entry_hook == NULL ? NULL : timed_what(loop->st, e->self);
    if (what != NULL) {
        loop_leave_task(loop);
        int rc = timed_tell(loop, loop->entry_hook, what, took, false);
        Py_DECREF(what);
        if (rc < 0) {
            return -1;
        }
    }
    if (!loop->debug && loop->slow_hook == NULL) {
        return 0;
    }
    int is_slow = timed_is_slow(loop, took);
    if (is_slow <= 0) {
        return is_slow;
    }
    loop_leave_task(loop);
    what = timed_what(loop->st, e->self);
    if (loop->debug) {
        timed_warn(loop, what, took);
    }
    int rc = loop->slow_hook == NULL ? 0 : timed_tell(loop, loop->slow_hook, what, took, true);
    Py_DECREF(what);
    return rc;
}

static COLD int
timed_run_entry(Loop *loop, struct ready *e)
{
    double start, end;
    bool is_handle = e->run == handle_run, shows_handle = loop->debug && is_handle;
    if (is_handle && handle_is_cancelled(e->self)) {
        return e->run(loop, e->self, e->arg);
    }
    if (shows_handle) {
        timed_show_current_handle(loop, e->self);
    }
    int rc = loop_now(loop, &start) < 0 ? -1 : e->run(loop, e->self, e->arg);
    if (rc == 0) {
        rc = loop_now(loop, &end);
    }
    if (shows_handle) {
        timed_show_current_handle(loop, Py_None);
    }
    return rc < 0 ? -1 : timed_after(loop, e, end - start);
}
