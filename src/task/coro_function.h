/* task/coro_function.h -- CoroFunction: a callable in C that stands for an `async def`: asyncloop.sleep, Lock.acquire.
 *
 * A builtin function cannot say that it is a coroutine function; this one can (asyncio.iscoroutinefunction, inspect.iscoroutinefunction on 3.12+; mock's
 * specs ask).  In a class it is a method descriptor: calling lock.acquire() makes no bound method, reading lock.acquire makes a `method`.
 * The doc string begins with the signature, as builtins' do: "acquire(self)\n--\n\n…".
 *
 * Ownership: owns the module, where the state is.  Methods go into a type's dict at registration, before anybody used it. */
#ifndef ASYNCLOOP_TASK_CORO_FUNCTION_H
#define ASYNCLOOP_TASK_CORO_FUNCTION_H

#include "core/state.h"

struct coro_function {
    const char *qualname; /* "Lock.acquire" */
    _PyCFunctionFastWithKeywords call; /* self: the instance of a method, else the module */
    const char *doc;
};

static int coro_function_register(PyObject *module, struct state *st) MUST_CHECK;

/* The functions (ended by {NULL}) become attributes of the module, or of the type: name is what follows the last dot of qualname. */
static int coro_function_add_to_module(PyObject *module, struct state *st, const struct coro_function *functions) MUST_CHECK;
static int coro_function_add_to_type(PyObject *module, struct state *st, PyTypeObject *type, const struct coro_function *functions) MUST_CHECK;

#endif
