/* core/log.c -- finding the logger's method, and calling it. */
#include "core/log.h"

/* Steals args. */
static int
log_call(struct state *st, const char *level, PyObject *args, PyObject *kwargs)
{
    PyObject *method = args == NULL ? NULL : PyObject_GetAttrString(st->logger, level);
    PyObject *done = method == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(done);
    Py_XDECREF(method);
    Py_XDECREF(args);
    return done == NULL ? -1 : 0;
}

static COLD int
log_line(struct state *st, const char *level, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    PyObject *args = Py_VaBuildValue(format, values);
    va_end(values);
    return log_call(st, level, args, NULL);
}

static COLD int
log_exception(struct state *st, PyObject *who, const char *message, PyObject *exception)
{
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exception);
    int rc = kwargs == NULL ? -1 : log_call(st, "debug", Py_BuildValue("(sOs)", "%r: %s", who, message), kwargs);
    Py_XDECREF(kwargs);
    return rc;
}
