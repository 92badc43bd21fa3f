/* core/ask.c -- see ask.h. */
#include "core/ask.h"

static int
ask_truth(PyObject *answer)
{
    int is_true = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return is_true;
}

static int
ask_method(PyObject *object, PyObject *name)
{
    return ask_truth(PyObject_CallMethodNoArgs(object, name));
}
