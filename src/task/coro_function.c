/* task/coro_function.c -- see coro_function.h. */
#include "task/coro_function.h"

#include "task/future.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    const struct coro_function *function;
    PyObject *module;
    PyTypeObject *type; /* of which it is a method, or NULL */
} CoroFunction;

static inline const char *
coro_function_name(const struct coro_function *function)
{
    const char *dot = strrchr(function->qualname, '.');
    return dot == NULL ? function->qualname : dot + 1;
}

/* ---- calling */

static PyObject *
coro_function_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    CoroFunction *f = (CoroFunction *)self;
    return f->function->call(f->module, args, PyVectorcall_NARGS(nargsf), kwnames);
}

static COLD PyObject *
coro_function_refuse_self(CoroFunction *f, PyObject *self)
{
    if (self == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: 'self'", f->function->qualname);
    }
    else {
        PyErr_Format(PyExc_TypeError, "descriptor '%s' for '%s' objects doesn't apply to a '%s' object", coro_function_name(f->function),
                     f->type->tp_name, Py_TYPE(self)->tp_name);
    }
    return NULL;
}

static PyObject *
coro_function_call_method(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    CoroFunction *f = (CoroFunction *)self;
    Py_ssize_t n_args = PyVectorcall_NARGS(nargsf);
    if (UNLIKELY(n_args == 0 || !PyObject_TypeCheck(args[0], f->type))) {
        return coro_function_refuse_self(f, n_args == 0 ? NULL : args[0]);
    }
    return f->function->call(args[0], args + 1, n_args - 1, kwnames);
}

/* ---- the Python face */

static PyObject *
CoroFunction_descr_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(type))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

static PyObject *
CoroFunction_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<function %s at %p>", ((CoroFunction *)self)->function->qualname, self);
}

/* Pickled by its name. */
static PyObject *
CoroFunction_reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyUnicode_FromString(((CoroFunction *)self)->function->qualname);
}

static PyObject *
CoroFunction_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString(coro_function_name(((CoroFunction *)self)->function));
}

static PyObject *
CoroFunction_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString(((CoroFunction *)self)->function->qualname);
}

static PyObject *
CoroFunction_get_module(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString("asyncloop");
}

/* "name(signature)\n--\n\ntext" */
static PyObject *
CoroFunction_get_doc(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(strstr(((CoroFunction *)self)->function->doc, "\n--\n\n") + 5);
}

static PyObject *
CoroFunction_get_text_signature(PyObject *self, void *Py_UNUSED(closure))
{
    const char *doc = ((CoroFunction *)self)->function->doc, *start = strchr(doc, '(');
    return PyUnicode_FromStringAndSize(start, strstr(doc, "\n--\n\n") - start);
}

/* mock.create_autospec takes only what has code for a function, and asks no other for its being a coroutine function. */
static PyObject *
CoroFunction_get_code(PyObject *self, void *Py_UNUSED(closure))
{
    return (PyObject *)PyCode_NewEmpty("asyncloop", coro_function_name(((CoroFunction *)self)->function), 1);
}

/* What asyncio.iscoroutinefunction looks for, then what inspect.iscoroutinefunction does (3.12+). */
static PyObject *
coro_function_give_mark(PyObject *mark, const char *name)
{
    if (mark == NULL) {
        PyErr_SetString(PyExc_AttributeError, name);
    }
    return Py_XNewRef(mark);
}

static PyObject *
CoroFunction_get_is_coroutine(PyObject *self, void *Py_UNUSED(closure))
{
    return coro_function_give_mark(state_of_module(((CoroFunction *)self)->module)->is_coroutine_mark, "_is_coroutine");
}

static PyObject *
CoroFunction_get_coroutine_mark(PyObject *self, void *Py_UNUSED(closure))
{
    return coro_function_give_mark(state_of_module(((CoroFunction *)self)->module)->coroutine_mark, "_is_coroutine_marker");
}

static int
CoroFunction_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((CoroFunction *)self)->module);
    Py_VISIT(((CoroFunction *)self)->type);
    return 0;
}

static void
CoroFunction_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self), *owner = ((CoroFunction *)self)->type;
    PyObject *module = ((CoroFunction *)self)->module;
    PyObject_GC_UnTrack(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_XDECREF(owner);
    Py_DECREF(module);
}

static PyMethodDef CoroFunction_methods[] = {
    {"__reduce__", CoroFunction_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef CoroFunction_getset[] = {
    {"__code__", CoroFunction_get_code},
    {"__doc__", CoroFunction_get_doc},
    {"__name__", CoroFunction_get_name},
    {"__qualname__", CoroFunction_get_qualname},
    {"__module__", CoroFunction_get_module},
    {"__text_signature__", CoroFunction_get_text_signature},
    {"_is_coroutine", CoroFunction_get_is_coroutine},
    {"_is_coroutine_marker", CoroFunction_get_coroutine_mark},
    {NULL},
};

static PyMemberDef CoroFunction_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(CoroFunction, call), READONLY},
    {NULL},
};

static PyType_Slot CoroFunction_slots[] = {
    {Py_tp_traverse, CoroFunction_traverse},
    {Py_tp_dealloc, CoroFunction_dealloc},
    {Py_tp_repr, CoroFunction_repr},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, CoroFunction_descr_get},
    {Py_tp_methods, CoroFunction_methods},
    {Py_tp_getset, CoroFunction_getset},
    {Py_tp_members, CoroFunction_members},
    {0, NULL},
};

static PyType_Spec CoroFunction_spec = {
    .name = "asyncloop._asyncloop.coroutine_function",
    .basicsize = sizeof(CoroFunction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = CoroFunction_slots,
};

/* ---- registration */

static PyObject *
coro_function_new(PyObject *module, struct state *st, PyTypeObject *type, const struct coro_function *function)
{
    CoroFunction *f = PyObject_GC_New(CoroFunction, st->CoroFunction_type);
    if (f == NULL) {
        return NULL;
    }
    f->call = type == NULL ? coro_function_call : coro_function_call_method;
    f->function = function;
    f->module = Py_NewRef(module);
    f->type = (PyTypeObject *)Py_XNewRef(type);
    PyObject_GC_Track(f);
    return (PyObject *)f;
}

static int
coro_function_add_to_module(PyObject *module, struct state *st, const struct coro_function *functions)
{
    int rc = 0;
    for (; rc == 0 && functions->qualname != NULL; functions++) {
        PyObject *f = coro_function_new(module, st, NULL, functions);
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
        PyObject *f = coro_function_new(module, st, type, functions);
        rc = f == NULL ? -1 : PyDict_SetItemString(type->tp_dict, coro_function_name(functions), f);
        Py_XDECREF(f);
    }
    PyType_Modified(type);
    return rc;
}

/* A mark that this Python may not have: 0 and *slot NULL then. */
static int
coro_function_find_mark(PyObject **slot, const char *module_name, const char *name)
{
    if (future_import(slot, module_name, name) == 0) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static int
coro_function_register(PyObject *module, struct state *st)
{
    if (coro_function_find_mark(&st->is_coroutine_mark, "asyncio.coroutines", "_is_coroutine") < 0
        || coro_function_find_mark(&st->coroutine_mark, "inspect", "_is_coroutine_mark") < 0
        || (st->coroutine_mark == NULL && coro_function_find_mark(&st->coroutine_mark, "inspect", "_is_coroutine_marker") < 0)) { /* 3.12.0 and 3.12.1 */
        return -1;
    }
    return state_add_type(module, &st->CoroFunction_type, &CoroFunction_spec, NULL, false);
}
