/* core/guard.h -- every method, attribute and slot of our types is called in the section of its object's owner.
 *
 * Where there is no GIL, state_add_type and guard_add_functions put an entry of core/guard.c in the place of each
 * function in a type's tables: it enters the section (core/section.h), calls the function, and leaves.  So whoever adds
 * a method has it guarded without a word.  Not guarded: class methods, tp_new, tp_dealloc and tp_traverse, functions
 * that are called by pointer (tp_vectorcall and other vectorcalls: they say SECTION_ENTER themselves), and what its
 * table marks with GUARD_FREE, as it only reads a flag, or may be called while the loop runs elsewhere and must not
 * wait. With a GIL nothing is replaced. */
#ifndef ASYNCLOOP_CORE_GUARD_H
#define ASYNCLOOP_CORE_GUARD_H

#include "core/section.h"

#if COMPAT_FREE_THREADED
#  define GUARD_FREE 0x100000 /* in ml_flags; no flag of CPython's */
/* Put entries into the tables of a type that is about to be made. */
static int guard_spec(PyType_Spec *spec, struct section_home home) MUST_CHECK;
/* And for its members that are objects, which Python would read while the owner changes them. */
static int guard_members(PyTypeObject *type, PyType_Spec *spec, struct section_home home) MUST_CHECK;
#else
#  define GUARD_FREE 0
static inline int
guard_spec(PyType_Spec *Py_UNUSED(spec), struct section_home Py_UNUSED(home))
{
    return 0;
}
static inline int
guard_members(PyTypeObject *Py_UNUSED(type), PyType_Spec *Py_UNUSED(spec), struct section_home Py_UNUSED(home))
{
    return 0;
}
#endif

/* PyModule_AddFunctions; they run in the section of the loop that their thread runs. */
static int guard_add_functions(PyObject *module, PyMethodDef *functions) MUST_CHECK;

#endif
