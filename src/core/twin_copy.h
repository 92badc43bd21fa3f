/* core/twin_copy.h -- what copy, deepcopy and pickle see of a twin's object: a dict of asyncio's attributes, as the
 * object of asyncio's has in its __dict__.
 *
 * asyncio's locks, queues, groups … are ordinary Python objects, so copy() makes a new object with the same attribute
 * values, deepcopy() one with copies of them, and pickle writes them down.  The fields of a twin stand for some of
 * these attributes; each such attribute is readable and settable by a descriptor of the class.  __getstate__ reads
 * those and adds the object's own __dict__ (and a subclass' __slots__), __setstate__ sets them; what else there is in a
 * state goes into the __dict__.  So a state of asyncio's can be given to a twin, and the other way round.
 *
 * Use: twin_add_copying(st, type, names) after the type was made; names: asyncio's attributes in the order in which
 * they are set, ended by NULL. A name that begins with '?' is one that asyncio's object does not have while it is None.
 * A subclass in C may have a list of its own. A setter must bear any value: TypeError for what the C code could not
 * live with.  Thread: any, under the GIL. */
#ifndef ASYNCLOOP_CORE_TWIN_COPY_H
#define ASYNCLOOP_CORE_TWIN_COPY_H

#include "core/state.h"

static int twin_add_copying(struct state *st, PyTypeObject *type, const char *const *names) MUST_CHECK;

/* Attributes that are plain references, at the offset in closure: NULL shows as None; None and deletion are kept as
 * NULL. */
static PyObject *twin_get_field(PyObject *self, void *offset);
static int twin_set_field(PyObject *self, PyObject *value, void *offset);

#endif
