/* task/coro/coro_function.c -- see coro_function.h. */
#include "task/coro/coro_function.h"

#include "core/function.h"

static int
coro_function_add_to_module(PyObject *module, struct state *st, const struct coro_function *functions)
{
    int rc = 0;
    for (; rc == 0 && functions->qualname != NULL; functions++) {
        PyObject *f = function_new(module, st, NULL, functions->qualname, functions->call, functions->doc);
        rc = f == NULL ? -1 : PyModule_AddObjectRef(module, functions->qualname, f);
        Py_XDECREF(f);
    }
    return rc;
}

static int
coro_function_add_to_type(PyObject *module, struct state *st, PyTypeObject *type, const struct coro_function *functions)
{
    int rc = 0;
    for (; rc == 0 && functions->qualname != NULL; functions++) {
        const char *dot = strrchr(functions->qualname, '.');
        PyObject *f = function_new(module, st, type, functions->qualname, functions->call, functions->doc);
        rc = f == NULL ? -1 : PyDict_SetItemString(type->tp_dict, dot == NULL ? functions->qualname : dot + 1, f);
        Py_XDECREF(f);
    }
    PyType_Modified(type);
    return rc;
}
