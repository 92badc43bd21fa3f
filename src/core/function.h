/* core/function.h -- Function: a callable in C that Python code takes for the function of asyncio's whose place it has.
 *
 * asyncio's functions and methods are Python functions.  Programs ask them for signature, defaults, annotations, code
 * and source, whether they are coroutine functions (inspect, mock's specs, unittest), take weak references, put
 * attributes on them, bind them to objects.  A Function answers all that: what describes parameters and code is read
 * from asyncio's own function (native); its name, doc string, attributes and calls are its own. isinstance says that it
 * is a function.  In a class it is a method descriptor: calling lock.acquire() makes no bound method, reading it makes
 * a `method`.
 *
 * It is made of a C function (task/coro/coro_function.h: those that stand for an `async def`), or put around a builtin
 * that is in a module or a type already: function_wrap_module, function_wrap_type, when all is registered.  Where
 * native is missing (somebody has replaced it before we looked) it is a callable with a signature only: as far as
 * __text_signature__ goes.
 *
 * __module__ is "asyncloop", and asyncio's own while installed (twin_show_native), unless it was set.
 * Ownership: owns what it points to; the module, where the state is.  Thread: any, under the GIL. */
#ifndef ASYNCLOOP_CORE_FUNCTION_H
#define ASYNCLOOP_CORE_FUNCTION_H

#include "core/state.h"

static int function_register(PyObject *module, struct state *st) MUST_CHECK;

/* A new one that calls a C function: as a method of type, or with the module when type is NULL.  doc:
 * "acquire(self)\n--\n\n…".  New reference. */
static PyObject *function_new(PyObject *module, struct state *st, PyTypeObject *type, const char *qualname,
                              _PyCFunctionFastWithKeywords call, const char *doc) MUST_CHECK;

/* Give each Function of the type the function of the same name that native has; builtin methods for which native has
 * one become Functions. */
static int function_wrap_type(PyObject *module, struct state *st, PyTypeObject *type, PyObject *native) MUST_CHECK;
/* The same for the methods in names (ended by NULL) only. */
static int function_wrap_methods(PyObject *module, struct state *st, PyTypeObject *type, PyObject *native,
                                 const char *const *names) MUST_CHECK;
/* The same for the module's functions and the package asyncio. */
static int function_wrap_module(PyObject *module, struct state *st) MUST_CHECK;

/* asyncio's code of the function of that qualified name; NULL if there is none. Borrowed. */
static PyObject *function_code_borrowed(struct state *st, const char *qualname);

#endif
