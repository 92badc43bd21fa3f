/* task/wait/timeout.c -- see timeout.h; the Python face is timeout_type.c. */
#include "task/wait/timeout.h"

#include "core/aiobridge.h"
#include "core/freelist.h"
#include "core/handle.h"
#include "task/wait/child.h"
#include "task/future/task.h"

#include <math.h>

/* ---- times */

static int
timeout_set_when(Timeout *t, PyObject *when)
{
    t->is_number = when != Py_None && deadline_is_number(when, &t->seconds);
    Py_XSETREF(t->when, Py_NewRef(when));
    return 0;
}

static PyObject *
timeout_when(Timeout *t)
{
    if (t->when == NULL && t->is_number) {
        t->when = PyFloat_FromDouble(t->seconds);
    }
    return Py_XNewRef(t->when == NULL && !t->is_number ? Py_None : t->when);
}

/* ---- making */

static inline Timeout *
timeout_alloc(struct state *st)
{
    if (UNLIKELY(st->Timeout_type == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncloop is being unloaded");
        return NULL;
    }
    Timeout *t = (Timeout *)freelist_pop(freelist_of(st, FREELIST_TIMEOUT), st->Timeout_type);
    if (t == NULL && (t = PyObject_GC_New(Timeout, st->Timeout_type)) == NULL) {
        return NULL;
    }
    memset((char *)t + sizeof(PyObject), 0, sizeof *t - sizeof(PyObject));
    timer_init(&t->deadline.timer, TIMER_KIND_TIMEOUT);
    PyObject_GC_Track(t);
    return t;
}

/* loop.time() + delay of a loop that is not ours. */
static COLD PyObject *
timeout_when_elsewhere(struct state *st, PyObject *delay)
{
    PyObject *loop = aiobridge_need_running_loop(st), *when = NULL;
    if (loop != NULL) {
        PyObject *now = delay == Py_None ? NULL : PyObject_CallMethodNoArgs(loop, st->str.time);
        when = delay == Py_None ? Py_NewRef(Py_None) : now == NULL ? NULL : PyNumber_Add(now, delay);
        Py_XDECREF(now);
        Py_DECREF(loop);
    }
    return when;
}

static Timeout *
timeout_in(struct state *st, PyObject *delay)
{
    Loop *loop = loop_running_borrowed(st);
    PyObject *when = NULL;
    double now = 0, seconds = 0;
    bool is_number = LIKELY(loop != NULL) && delay != Py_None && deadline_is_number(delay, &seconds);
    if (UNLIKELY(loop == NULL)) {
        when = timeout_when_elsewhere(st, delay);
    }
    else if (delay == Py_None) {
        when = Py_NewRef(Py_None);
    }
    else if (loop_now(loop, &now) == 0 && !is_number) {
        when = deadline_add(now, delay);
    }
    if (UNLIKELY(when == NULL && (!is_number || PyErr_Occurred()))) {
        return NULL;
    }
    Timeout *t = timeout_alloc(st);
    if (UNLIKELY(t == NULL)) {
        Py_XDECREF(when);
        return NULL;
    }
    if (LIKELY(when == NULL)) {
        t->seconds = now + seconds;
        t->is_number = true;
        return t;
    }
    int rc = timeout_set_when(t, when);
    Py_DECREF(when);
    if (rc < 0) {
        Py_CLEAR(t);
    }
    return t;
}

/* ---- the alarm */

static void
timeout_disarm(Timeout *t, struct state *st)
{
    if (!t->is_armed) {
        return;
    }
    t->is_armed = false;
    if (UNLIKELY(!timer_is_scheduled(&t->deadline.timer) && t->deadline.handle == NULL)) {
        t->n_stale++;
    }
    deadline_stop(&t->deadline, st, (PyObject *)t->loop, (PyObject *)t);
}

/* when <= now by Python's rules, and when as a number. */
static COLD int
timeout_compare_object(Timeout *t, double now)
{
    PyObject *time = PyFloat_FromDouble(now), *when = Py_NewRef(t->when); /* its methods may reschedule */
    int is_past = time == NULL ? -1 : PyObject_RichCompareBool(when, time, Py_LE);
    Py_XDECREF(time);
    if (is_past == 0) {
        t->seconds = PyFloat_AsDouble(when);
        is_past = t->seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
    }
    Py_DECREF(when);
    return is_past;
}

/* call_soon() or call_at() of a loop that is not ours. */
static COLD int
timeout_arm_elsewhere(Timeout *t, struct state *st)
{
    PyObject *loop = aiobridge_need_running_loop(st), *now = NULL, *callback = NULL, *when = NULL;
    int is_past = -1;
    if (loop != NULL && (now = PyObject_CallMethodNoArgs(loop, st->str.time)) != NULL
        && (when = timeout_when(t)) != NULL && (callback = PyObject_GetAttrString((PyObject *)t, "_on_timeout")) != NULL
        && (is_past = PyObject_RichCompareBool(when, now, Py_LE)) >= 0) {
        PyObject *soon[] = {loop, callback}, *at[] = {loop, when, callback};
        PyObject *handle =
            is_past ? PyObject_VectorcallMethod(st->str.call_soon, soon, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
                    : PyObject_VectorcallMethod(st->str.call_at, at, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        is_past = handle == NULL ? -1 : 0;
        timeout_disarm(t, st); /* what was called may have come back here */
        t->is_armed = handle != NULL;
        Py_XSETREF(t->deadline.handle, handle);
    }
    Py_XDECREF(loop);
    Py_XDECREF(now);
    Py_XDECREF(when);
    Py_XDECREF(callback);
    return is_past;
}

/* An alarm that asyncio forgets without cancelling it: somebody called _on_timeout(), or cancel() rescheduled, and
 * __init__ since then.  It still comes. */
static COLD int
timeout_leave_alarm(Timeout *t)
{
    PyObject *callback = PyObject_GetAttrString((PyObject *)t, "_on_timeout");
    PyObject *handle =
        callback == NULL ? NULL : handle_call_at(t->loop, t->deadline.timer.when, NULL, callback, NULL, 0, NULL);
    if (handle != NULL) {
        loop_timer_remove(t->loop, &t->deadline.timer, (PyObject *)t);
    }
    Py_XDECREF(callback);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* Nothing of its class is overridden: the functions here are what its methods do. */
static inline bool
timeout_is_plain(Timeout *t, struct state *st)
{
    return Py_IS_TYPE(t, st->Timeout_type) && t->dict == NULL && !st->twins_touched[TWIN_TIMEOUT];
}

static inline int
timeout_arm(Timeout *t, struct state *st)
{
    timeout_disarm(t, st);
    if (UNLIKELY(timer_is_scheduled(&t->deadline.timer)) && timeout_leave_alarm(t) < 0) {
        return -1;
    }
    if (t->when == Py_None) {
        return 0;
    }
    Loop *loop = loop_running_borrowed(st);
    double now;
    /* a program may have replaced _on_timeout too */
    if (UNLIKELY(loop == NULL || loop->overrides & (LOOP_OWN_CALL_SOON | LOOP_OWN_CALL_AT)
                 || !timeout_is_plain(t, st))) {
        return timeout_arm_elsewhere(t, st);
    }
    if (loop_now(loop, &now) < 0) {
        return -1;
    }
    int is_past = LIKELY(t->is_number) ? t->seconds <= now : timeout_compare_object(t, now);
    if (UNLIKELY(is_past < 0)) {
        return -1;
    }
    if (UNLIKELY(t->is_armed)) { /* an overridden time(), or the comparison, came back here */
        timeout_disarm(t, st);
    }
    if (UNLIKELY(t->loop != loop)) {
        if (t->n_stale > 0) { /* n_stale counts entries of t->loop's ring: here a handle, as on another's loop */
            return timeout_arm_elsewhere(t, st);
        }
        Py_XSETREF(t->loop, (Loop *)Py_NewRef(loop));
    }
    if (UNLIKELY(is_past)) {
        if (loop_ready_push(loop, timeout_on_due, (PyObject *)t, NULL) < 0) {
            return -1;
        }
    }
    else if (loop_timer_push(loop, &t->deadline.timer, (PyObject *)t, UNLIKELY(isnan(t->seconds)) ? now : t->seconds)
             < 0) {
        return -1;
    }
    t->is_armed = true;
    return 0;
}

static int
timeout_fire(Timeout *t, struct state *st)
{
    if (t->state != TIMEOUT_ENTERED) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    /* none: see timeout_enter; asyncio's AttributeError */
    PyObject *task = Py_NewRef(t->task == NULL ? Py_None : t->task);
    int rc = child_cancel(st, task);
    Py_DECREF(task);
    if (rc < 0) {
        return -1;
    }
    t->state = TIMEOUT_EXPIRING;
    t->is_armed = false;
    Py_CLEAR(t->deadline.handle);
    return 0;
}

static int
timeout_on_due(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Timeout *t = (Timeout *)self;
    if (t->n_stale > 0) {
        t->n_stale--;
        return 0;
    }
    t->is_armed = false; /* also if it fails: there is no entry to come */
    loop_leave_task(loop); /* cancelling may run any code */
    if (LIKELY(timeout_fire(t, loop->st) == 0)) {
        return 0;
    }
    return handle_report_method(loop, self, "_on_timeout", NULL);
}

static const char *
timeout_state_name(Timeout *t)
{
    static const char *const names[] = {"created", "active", "expiring", "expired", "finished"};
    return names[t->state];
}

static int
timeout_reschedule(Timeout *t, struct state *st, PyObject *when)
{
    if (t->state != TIMEOUT_ENTERED) {
        if (t->state == TIMEOUT_CREATED && st->traits.timeout_reschedule_asserts) {
            PyErr_SetNone(PyExc_AssertionError);
        }
        else if (t->state == TIMEOUT_CREATED) {
            PyErr_SetString(PyExc_RuntimeError, "Timeout has not been entered");
        }
        else {
            PyErr_Format(PyExc_RuntimeError, "Cannot change state of %s Timeout", timeout_state_name(t));
        }
        return -1;
    }
    return timeout_set_when(t, when) < 0 ? -1 : timeout_arm(t, st);
}

/* ---- entering and leaving */

/* self.reschedule(self._when) */
static COLD int
timeout_call_reschedule(Timeout *t, struct state *st)
{
    PyObject *when = timeout_when(t),
             *done = when == NULL ? NULL : PyObject_CallMethodOneArg((PyObject *)t, st->str.reschedule, when);
    Py_XDECREF(when);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
timeout_enter(Timeout *t, struct state *st)
{
    if (UNLIKELY(t->state != TIMEOUT_CREATED) && st->traits.timeout_enters_once) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return -1;
    }
    if (UNLIKELY(!st->traits.timeout_enters_once)) { /* 3.11.2: entered, even if it cannot be */
        t->state = TIMEOUT_ENTERED;
    }
    PyObject *task = task_current_here(st);
    if (UNLIKELY(task == NULL)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
        }
        return -1;
    }
    t->state = TIMEOUT_ENTERED;
    Py_XSETREF(t->task, task);
    Py_INCREF(task);
    t->n_cancelling = LIKELY(st->traits.timeout_counts_cancels) ? task_cancelling_any(st, task) : 0;
    Py_DECREF(task);
    if (UNLIKELY(t->n_cancelling < 0) && PyErr_Occurred()) {
        return -1;
    }
    return LIKELY(timeout_is_plain(t, st)) ? timeout_arm(t, st) : timeout_call_reschedule(t, st);
}

static PyObject *
timeout_error_from(PyObject *exception)
{
    PyObject *error = PyObject_CallNoArgs(PyExc_TimeoutError);
    if (error != NULL) {
        PyException_SetCause(error, exception == Py_None ? NULL : Py_XNewRef(exception));
    }
    return error;
}

/* Down the chain of contexts: the first CancelledError becomes the cause of a TimeoutError in its place. */
static COLD int
timeout_mend_context(struct state *st, PyObject *exception)
{
    PyObject *at = Py_NewRef(exception), *context;
    int rc = 0;
    while (rc == 0 && (context = PyException_GetContext(at)) != NULL) {
        int is_cancelled = PyObject_IsInstance(context, st->CancelledError);
        if (is_cancelled != 0) {
            PyObject *error = is_cancelled < 0 ? NULL : timeout_error_from(context);
            if (error != NULL) {
                PyException_SetContext(error, Py_NewRef(context));
                PyException_SetContext(at, error);
            }
            rc = error == NULL ? -1 : 1;
        }
        Py_SETREF(at, context);
    }
    Py_DECREF(at);
    return rc < 0 ? -1 : 0;
}

static COLD int
timeout_mend_contexts(struct state *st, PyObject *exception)
{
    int is_group = timeout_mend_context(st, exception) < 0 ? -1 : PyObject_IsInstance(exception, st->ExceptionGroup);
    if (is_group <= 0) {
        return is_group;
    }
    PyObject *exceptions = PyObject_GetAttrString(exception, "exceptions");
    PyObject *all = exceptions == NULL ? NULL : PySequence_Tuple(exceptions);
    int rc = all == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_GET_SIZE(all); i++) {
        rc = timeout_mend_context(st, PyTuple_GET_ITEM(all, i));
    }
    Py_XDECREF(exceptions);
    Py_XDECREF(all);
    return rc;
}

/* is_handled: an `except` or `async with` of the caller's handles the exception, as in __aexit__; else it is only in
 * our hands, as in wait_for. */
static COLD int
timeout_expire(Timeout *t, struct state *st, PyObject *type, PyObject *exception, bool is_handled)
{
    t->state = TIMEOUT_EXPIRED;
    /* none, if the cancellation called __init__: then asyncio's AttributeError */
    PyObject *task = Py_NewRef(t->task == NULL ? Py_None : t->task);
    long n = task_uncancel_any(st, task);
    Py_DECREF(task);
    if (n < 0 && PyErr_Occurred()) {
        return -1;
    }
    if (n > t->n_cancelling || type == Py_None) {
        return 0;
    }
    int is_cancelled = st->traits.timeout_takes_subclasses ? PyObject_IsSubclass(type, st->CancelledError)
                                                           : type == st->CancelledError;
    if (is_cancelled < 0) {
        return -1;
    }
    if (is_cancelled) {
        PyObject *error =
            st->traits.timeout_chains ? timeout_error_from(exception) : PyObject_CallNoArgs(PyExc_TimeoutError);
        if (error == NULL) {
            return -1;
        }
        if (!is_handled) {
            PyException_SetContext(error, Py_NewRef(exception));
            compat_set_raised(error);
            return -1;
        }
        PyErr_SetObject(PyExc_TimeoutError, error);
        Py_DECREF(error);
        return -1;
    }
    return st->traits.timeout_mends_context && exception != Py_None ? timeout_mend_contexts(st, exception) : 0;
}

static int
timeout_exit(Timeout *t, struct state *st, PyObject *type, PyObject *exception, bool is_handled)
{
    if (UNLIKELY(t->state != TIMEOUT_ENTERED && t->state != TIMEOUT_EXPIRING)) {
        PyErr_SetNone(PyExc_AssertionError);
        return -1;
    }
    timeout_disarm(t, st);
    if (UNLIKELY(t->state == TIMEOUT_EXPIRING)) {
        return timeout_expire(t, st, type, exception, is_handled);
    }
    t->state = TIMEOUT_EXITED;
    return 0;
}

static void
timeout_clear(Timeout *t)
{
    Py_CLEAR(t->when);
    Py_CLEAR(t->task);
    Py_CLEAR(t->deadline.handle);
    Py_CLEAR(t->dict);
    /* else the loop is needed: what holds us by the timer takes it out first */
    if (!timer_is_scheduled(&t->deadline.timer)) {
        Py_CLEAR(t->loop);
    }
}
