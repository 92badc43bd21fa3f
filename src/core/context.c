/* core/context.c -- entering and leaving a context slot, and the spare empty context that callbacks without variables
 * share. */
#include "core/context.h"

static inline bool
context_is_empty(PyObject *context)
{
    return Py_TYPE(context)->tp_as_mapping->mp_length(context) == 0;
}

static inline int
context_copy_current(PyObject **slot)
{
    PyObject *current = compat_tstate_borrowed()->context;
    if (current == NULL || context_is_empty(current)) {
        *slot = NULL;
        return 0;
    }
    *slot = PyContext_CopyCurrent();
    return *slot == NULL ? -1 : 0;
}

static inline PyObject *
context_materialise_borrowed(PyObject **slot)
{
    if (*slot == NULL) {
        *slot = PyContext_New();
    }
    return *slot;
}

/* Something else was given for a context: asyncio's error, that of looking for its run(). -1. */
static COLD int
context_refuse(PyObject *context)
{
    if (!PyContext_CheckExact(context)) {
        PyErr_Clear();
        PyObject *run = PyObject_GetAttrString(context, "run");
        if (run != NULL) {
            Py_DECREF(run);
            PyErr_SetString(PyExc_TypeError, "an instance of Context was expected");
        }
    }
    return -1;
}

static ALWAYS_INLINE int
context_enter(Loop *loop, PyObject **slot)
{
    if (*slot == NULL) {
        *slot = loop->spare_context;
        loop->spare_context = NULL;
        if (UNLIKELY(*slot == NULL) && (*slot = PyContext_New()) == NULL) {
            return -1;
        }
    }
    return UNLIKELY(PyContext_Enter(*slot) < 0) ? context_refuse(*slot) : 0;
}

static inline void
context_leave(Loop *loop, PyObject **slot)
{
    PyObject *context = *slot;
    if (UNLIKELY(PyContext_Exit(context) < 0)) {
        PyErr_WriteUnraisable(context);
        return;
    }
    if (Py_REFCNT(context) == 1 && context_is_empty(context)) {
        *slot = NULL;
        if (loop->spare_context == NULL) {
            loop->spare_context = context;
        }
        else {
            Py_DECREF(context);
        }
    }
}
