/* core/raise.c -- raising OSErrors by number, and exceptions that have another as their context. */
#include "core/raise.h"

#include <errno.h>

static COLD int
raise_errno(int rc)
{
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* As the interpreter does it: exc, if it is in the chain already, is taken out there. */
static void
raise_in_context(PyObject *exc, PyObject *handled)
{
    PyObject *at = handled, *context;
    if (exc == handled) {
        return;
    }
    while (at != exc && (context = PyException_GetContext(at)) != NULL) {
        Py_DECREF(context); /* at holds it */
        if (context == exc) {
            PyException_SetContext(at, NULL);
            break;
        }
        at = context;
    }
    PyException_SetContext(exc, Py_NewRef(handled));
}

static int
raise_again(PyObject *raised, int rc)
{
    if (LIKELY(rc >= 0)) {
        compat_set_raised(raised);
        return 0;
    }
    PyObject *later = compat_take_raised();
    if (raised != NULL) {
        raise_in_context(later, raised);
        Py_DECREF(raised);
    }
    compat_set_raised(later);
    return -1;
}
