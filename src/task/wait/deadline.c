/* task/wait/deadline.c -- see deadline.h. */
#include "task/wait/deadline.h"

#include <math.h>

static inline bool
deadline_is_number(PyObject *object, double *seconds)
{
    if (LIKELY(PyFloat_CheckExact(object))) {
        *seconds = PyFloat_AS_DOUBLE(object);
        return true;
    }
    if (!PyLong_CheckExact(object)) {
        return false;
    }
    *seconds = PyLong_AsDouble(object);
    if (UNLIKELY(*seconds == -1.0) && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return true;
}

static COLD PyObject *
deadline_add(double now, PyObject *delay)
{
    PyObject *start = PyFloat_FromDouble(now), *sum = start == NULL ? NULL : PyNumber_Add(start, delay);
    Py_XDECREF(start);
    return sum;
}

static int
deadline_in(Loop *loop, PyObject *delay, double *when)
{
    double now, seconds;
    if (loop_now(loop, &now) < 0) {
        return -1;
    }
    if (LIKELY(deadline_is_number(delay, &seconds))) {
        seconds += now;
    }
    else {
        PyObject *sum = deadline_add(now, delay);
        seconds = sum == NULL ? -1.0 : PyFloat_AsDouble(sum);
        Py_XDECREF(sum);
        if (seconds == -1.0 && PyErr_Occurred()) {
            return -1;
        }
    }
    *when = UNLIKELY(isnan(seconds)) ? now : seconds;
    return 0;
}

static int
deadline_start(struct deadline *d, struct state *st, PyObject *loop, PyObject *owner, PyObject *delay, PyMethodDef *due)
{
    double when;
    if (LIKELY(loop_is_own(st, loop) && !(((Loop *)loop)->overrides & (LOOP_OWN_CALL_LATER | LOOP_OWN_CALL_AT)))) {
        return deadline_in((Loop *)loop, delay, &when) < 0 ? -1 : loop_timer_push((Loop *)loop, &d->timer, owner, when);
    }
    PyObject *callable = PyCFunction_New(due, owner), *args[] = {loop, delay, callable};
    if (callable == NULL) {
        return -1;
    }
    d->handle = PyObject_VectorcallMethod(st->str.call_later, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(callable);
    return d->handle == NULL ? -1 : 0;
}

static COLD void
deadline_cancel_handle(struct deadline *d, struct state *st)
{
    PyObject *handle = d->handle, *raised = compat_take_raised();
    d->handle = NULL;
    PyObject *done = PyObject_CallMethodNoArgs(handle, st->str.cancel);
    if (done == NULL) {
        PyErr_WriteUnraisable(handle);
    }
    Py_XDECREF(done);
    Py_DECREF(handle);
    compat_set_raised(raised);
}

static inline void
deadline_stop(struct deadline *d, struct state *st, PyObject *loop, PyObject *owner)
{
    if (timer_is_scheduled(&d->timer)) {
        loop_timer_remove((Loop *)loop, &d->timer, owner);
    }
    if (UNLIKELY(d->handle != NULL)) {
        deadline_cancel_handle(d, st);
    }
}
