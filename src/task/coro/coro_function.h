/* task/coro/coro_function.h -- the callables that stand for an `async def` of asyncio's: asyncloop.sleep, Lock.acquire.
 *
 * Each is a Function (core/function.h), which says that it is a coroutine function; called it gives a Coro
 * (task/coro/coro.h). The doc string begins with the signature, as builtins' do: "acquire(self)\n--\n\n…". Methods go
 * into a type's dict at registration, before anybody used it. */
#ifndef ASYNCLOOP_TASK_CORO_FUNCTION_H
#define ASYNCLOOP_TASK_CORO_FUNCTION_H

#include "core/state.h"

struct coro_function {
    const char *qualname; /* "Lock.acquire" */
    _PyCFunctionFastWithKeywords call; /* self: the instance of a method, else the module */
    const char *doc;
};

/* The functions (ended by {NULL}) become attributes of the module, or of the type: name is what follows the last dot of
 * qualname. */
static int coro_function_add_to_module(PyObject *module, struct state *st,
                                       const struct coro_function *functions) MUST_CHECK;
static int coro_function_add_to_type(PyObject *module, struct state *st, PyTypeObject *type,
                                     const struct coro_function *functions) MUST_CHECK;

#endif
