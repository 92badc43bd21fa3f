/* core/ask.h -- asking an object for a truth: what its answer means to an `if` of Python's.
 *
 * Returns 1, 0, or -1 with the exception set.  Thread: any, under the GIL. */
#ifndef ASYNCLOOP_CORE_ASK_H
#define ASYNCLOOP_CORE_ASK_H

#include "base/api.h"
#include "base/compat.h"

/* steals the answer; NULL when the call that was to give it has raised */
static int ask_truth(PyObject *answer) MUST_CHECK;
static int ask_method(PyObject *object, PyObject *name) MUST_CHECK; /* object.name() */

#endif
