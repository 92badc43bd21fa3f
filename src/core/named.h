/* core/named.h -- Named: a C function bound to an object, called what asyncio calls the function that it stands for.
 *
 * asyncio's helpers watch their futures by nested functions, `gather.<locals>._done_callback`; these names are in
 * reports of exceptions, reprs of tasks and logs.  A built-in function of ours would be called by the type of its
 * object.  Two are equal if function and object are the same. Ownership: owns the object; def and qualname are static.
 * Thread: any, under the GIL. */
#ifndef ASYNCLOOP_CORE_NAMED_H
#define ASYNCLOOP_CORE_NAMED_H

#include "core/state.h"

/* def: METH_O or METH_NOARGS.  New reference. */
static PyObject *named_new(struct state *st, const PyMethodDef *def, PyObject *self, const char *qualname);
static inline bool named_is(struct state *st, PyObject *object, const PyMethodDef *def, PyObject *self);
static int named_register(PyObject *module, struct state *st) MUST_CHECK;

#endif
