/* core/raise.h -- from the plain layer's -errno to asyncio's exceptions. */
#ifndef ASYNCLOOP_CORE_RAISE_H
#define ASYNCLOOP_CORE_RAISE_H

#include "base/api.h"
#include "base/compat.h"

/* Set OSError (or the subclass that fits: BrokenPipeError, …) for rc < 0, an -errno of the kernel's; returns -1. ENOMEM
 * is one like any other: MemoryError is for an allocation of our own that failed (PyErr_NoMemory). */
static int raise_errno(int rc);

/* The end of a `finally` or `except … raise` block that was entered with raised (stolen, taken by compat_take_raised)
 * and whose own code returned rc: when that failed, the new exception goes on, with raised as its context, and the
 * result is -1; else raised goes on, and it is 0. */
static int raise_again(PyObject *raised, int rc);

/* exc was raised while handled was being handled: its __context__.  Borrows both. */
static void raise_in_context(PyObject *exc, PyObject *handled);

#endif
