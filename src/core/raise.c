#include "core/raise.h"

#include <errno.h>

static COLD int
raise_errno(int rc)
{
    errno = -rc;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
raise_again(PyObject *raised, int rc)
{
    if (LIKELY(rc >= 0)) {
        compat_set_raised(raised);
        return 0;
    }
    PyObject *later = compat_take_raised();
    if (later != raised && raised != NULL) {
        PyException_SetContext(later, raised); /* steals it */
    }
    else {
        Py_XDECREF(raised);
    }
    compat_set_raised(later);
    return -1;
}
