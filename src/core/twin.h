/* core/twin.h -- twins: our classes that take the name of asyncio's, and answer isinstance for asyncio's objects too.
 *
 * install() rebinds asyncio.Task, asyncio.Queue … to our types, while objects of asyncio's own classes live on: made
 * before, by an eager task factory, or by code that imported the name earlier.  `isinstance(x, asyncio.Task)` must go
 * on holding for them.  So a twin's metaclass is Twin: of the very twin class,
 * __instancecheck__ and __subclasscheck__ accept what is a subclass of the native class as well.  A user's class
 * derived from a twin is an ordinary class (its objects only, and what was registered with it as an ABC): it never
 * accepts native objects.
 *
 * Twin derives from typing's metaclass of protocols, which derives from abc.ABCMeta, so that a twin can be combined
 * with ABCs, Generic and protocols without a metaclass conflict.  The other direction, isinstance(ours, native class),
 * is by the `__class__` that our objects show: twin_get_class.
 *
 * Use: twin_adopt(st, st->Lock_type, TWIN_SYNC, "asyncio.locks", "Lock") after state_add_type; and {"__class__",
 * twin_get_class} among the type's getsets. Invariant: the metaclass is put in place by twin_finish, when all types are
 * made: a C type cannot be derived from one with a metaclass of its own (3.14). Ownership: the state owns both classes
 * of each pair.  Errors: 0/-1 with the exception set.  Thread: any, under the GIL. */
#ifndef ASYNCLOOP_CORE_TWIN_H
#define ASYNCLOOP_CORE_TWIN_H

#include "core/state.h"

static int twin_register(PyObject *module, struct state *st) MUST_CHECK; /* before the first twin_adopt */

/* type is to be the twin of module.attribute.  The family: code that calls methods of its classes directly asks
 * st->twins_touched[family] first. */
static int twin_adopt(struct state *st, PyTypeObject *type, enum twin_family family, const char *module,
                      const char *attribute) MUST_CHECK;

/* Give all that were adopted their metaclass, and their methods the faces of asyncio's (core/function.h). */
static int twin_finish(PyObject *module, struct state *st) MUST_CHECK;

/* Let the twins, and all Functions, say that they are of asyncio's modules (is_shown), as after install(), or of
 * asyncloop. So repr, pickle and inspect tell what they tell of asyncio's, and what is pickled can be loaded without
 * asyncloop. */
static int twin_show_native(struct state *st, bool is_shown) MUST_CHECK;

/* asyncio's class whose twin this is; NULL when it is none (a subclass is none). Borrowed. */
static PyObject *twin_native_borrowed(struct state *st, PyTypeObject *type);

/* Getter of `__class__`: asyncio's class for an object of exactly a twin, its own class for an object of a user's
 * subclass. */
static inline PyObject *twin_get_class(PyObject *self, void *closure);

/* tp_alloc for a tp_new that does not go through object's: TypeError when the user's subclass still has abstract
 * methods. */
static inline PyObject *twin_alloc(PyTypeObject *type);
/* A tp_new that does no more: what the object is to be, its __init__ says. */
static PyObject *twin_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);

#endif
