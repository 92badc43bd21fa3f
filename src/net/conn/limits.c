/* net/conn/limits.c -- see limits.h. */
#include "net/conn/limits.h"

#include "core/args.h"

#include <math.h>

static inline void
limits_init(struct limits *l, size_t high_bytes)
{
    *l = (struct limits){high_bytes, high_bytes / 4, NULL};
}

/* The next whole number, not negative; what does not fit is as good as no limit. */
static int
limits_round(PyObject *given, bool is_up, size_t *n_bytes)
{
    PyObject *whole;
    if (PyFloat_Check(given)) {
        double rounded = is_up ? ceil(PyFloat_AS_DOUBLE(given)) : floor(PyFloat_AS_DOUBLE(given));
        *n_bytes = rounded < (double)PY_SSIZE_T_MAX ? (size_t)rounded : PY_SSIZE_T_MAX;
        return 0;
    }
    if (PyLong_Check(given)) {
        whole = Py_NewRef(given);
    }
    else {
        whole = PyObject_CallMethod(given, is_up ? "__ceil__" : "__floor__", NULL);
    }
    if (whole == NULL && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear(); /* infinity */
        *n_bytes = PY_SSIZE_T_MAX;
        return 0;
    }
    Py_ssize_t n = whole == NULL ? -1 : PyNumber_AsSsize_t(whole, NULL);
    Py_XDECREF(whole);
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    *n_bytes = n < 0 ? 0 : (size_t)n;
    return 0;
}

/* number OPERATOR other, or other OPERATOR number, where number is small. */
static PyObject *
limits_calculate(long number, binaryfunc operator, PyObject * other, bool is_number_first)
{
    PyObject *object = PyLong_FromLong(number), *result = NULL;
    if (object != NULL) {
        result = is_number_first ? operator(object, other) : operator(other, object);
        Py_DECREF(object);
    }
    return result;
}

/* `high >= low >= 0`: 1, 0, -1 */
static int
limits_are_right(PyObject *high, PyObject *low)
{
    PyObject *zero = PyLong_FromLong(0);
    int rc = zero == NULL ? -1 : PyObject_RichCompareBool(high, low, Py_GE);
    if (rc > 0) {
        rc = PyObject_RichCompareBool(low, zero, Py_GE);
    }
    Py_XDECREF(zero);
    return rc;
}

static inline bool
limits_is_the_number(PyObject *given, size_t n_bytes)
{
    return PyLong_CheckExact(given) && n_bytes < PY_SSIZE_T_MAX;
}

static int
limits_set(struct limits *l, PyObject *high, PyObject *low, bool is_at_high)
{
    struct limits new = {0};
    int rc = limits_are_right(high, low);
    if (rc == 0) {
        PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0", high, low);
    }
    if (rc <= 0 || limits_round(high, is_at_high, &new.high_bytes) < 0
        || limits_round(low, false, &new.low_bytes) < 0) {
        return -1;
    }
    if (!limits_is_the_number(high, new.high_bytes) || !limits_is_the_number(low, new.low_bytes)) {
        new.given = PyTuple_Pack(2, low, high);
        if (new.given == NULL) {
            return -1;
        }
    }
    PyObject *old = l->given;
    *l = new;
    Py_XDECREF(old);
    return 0;
}

static int
limits_parse(struct limits *l, const char *function, PyObject *args, PyObject *kwargs, size_t high_default,
             bool is_at_high)
{
    static const char *const names[] = {"high", "low"};
    const struct args_signature signature = {function, names, 0, 2, 2, true};
    PyObject *given[2];
    if (args_bind_tuple(&signature, args, kwargs, given) < 0) {
        return -1;
    }
    PyObject *high = given[0] == NULL ? Py_None : given[0], *low = given[1] == NULL ? Py_None : given[1];
    if (high != Py_None) {
        Py_INCREF(high);
    }
    else {
        high = low == Py_None ? PyLong_FromSize_t(high_default) : limits_calculate(4, PyNumber_Multiply, low, true);
    }
    if (low != Py_None) {
        Py_INCREF(low);
    }
    else {
        low = high == NULL ? NULL : limits_calculate(4, PyNumber_FloorDivide, high, false);
    }
    int rc = high == NULL || low == NULL ? -1 : limits_set(l, high, low, is_at_high);
    Py_XDECREF(high);
    Py_XDECREF(low);
    return rc;
}

static PyObject *
limits_as_tuple(const struct limits *l)
{
    return l->given != NULL ? Py_NewRef(l->given)
                            : Py_BuildValue("(nn)", (Py_ssize_t)l->low_bytes, (Py_ssize_t)l->high_bytes);
}

static PyObject *
limits_get(const struct limits *l, bool is_high)
{
    return l->given != NULL ? Py_NewRef(PyTuple_GET_ITEM(l->given, is_high))
                            : PyLong_FromSize_t(is_high ? l->high_bytes : l->low_bytes);
}
