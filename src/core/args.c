/* core/args.c -- which argument goes to which parameter, and the TypeErrors where none does, worded as CPython words
 * them. */
#include "core/args.h"

static COLD int
args_missing(const char *function, const char *const *names, Py_ssize_t n_required, Py_ssize_t n_args)
{
    if (n_required - n_args == 1) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", function, names[n_args]);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s() missing %zd required positional arguments: '%s' and '%s'", function,
                     n_required - n_args, names[0], names[1]);
    }
    return -1;
}

static inline int
args_with_context(const char *function, PyObject *interned_context, const char *const *names, Py_ssize_t n_required,
                  Py_ssize_t n_args, PyObject *const *args, PyObject *kwnames, PyObject **context)
{
    if (UNLIKELY(n_args < n_required)) {
        return args_missing(function, names, n_required, n_args);
    }
    PyObject *value = NULL;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (UNLIKELY(name != interned_context) && PyUnicode_CompareWithASCIIString(name, "context") != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
            return -1;
        }
        value = args[n_args + i];
    }
    *context = value == Py_None ? NULL : value;
    return 0;
}

static inline PyObject *
args_find_keyword(PyObject *kwnames, PyObject *const *values, const char *wanted)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), wanted) == 0) {
            return values[i];
        }
    }
    return NULL;
}

static COLD PyObject *
args_by_name(_PyCFunctionFastWithKeywords function, PyObject *self, const char *function_name, const char *const *names,
             Py_ssize_t n_required, Py_ssize_t n_args, PyObject *const *args, PyObject *kwnames)
{
    PyObject *stack[ARGS_MAX_REQUIRED + 1];
    Py_ssize_t n = 0;
    INVARIANT(n_args <= n_required && n_required <= ARGS_MAX_REQUIRED);
    for (; n < n_args; n++) {
        stack[n] = args[n];
    }
    for (; n < n_required; n++) {
        if ((stack[n] = args_find_keyword(kwnames, args + n_args, names[n])) == NULL) {
            (void)args_missing(function_name, names, n_required, n);
            return NULL;
        }
    }
    PyObject *context = args_find_keyword(kwnames, args + n_args, "context");
    if (PyTuple_GET_SIZE(kwnames) != n_required - n_args + (context != NULL)) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument", function_name);
        return NULL;
    }
    if (context == NULL) {
        return function(self, stack, n, NULL);
    }
    stack[n] = context;
    PyObject *only = Py_BuildValue("(s)", "context"), *result = only == NULL ? NULL : function(self, stack, n, only);
    Py_XDECREF(only);
    return result;
}

static PyObject *
args_only(const char *function, const char *name, Py_ssize_t n_args, PyObject *const *args, PyObject *kwnames)
{
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *value = n_args == 1 ? args[0] : n_keywords > 0 ? args_find_keyword(kwnames, args + n_args, name) : NULL;
    if (UNLIKELY(value == NULL && n_args == 0)) {
        (void)args_missing(function, &name, 1, 0);
        return NULL;
    }
    if (UNLIKELY(n_args + n_keywords != 1)) {
        PyErr_Format(PyExc_TypeError, "%s() takes 1 argument but %zd were given", function, n_args + n_keywords);
        return NULL;
    }
    return value;
}

/* ---- any signature */

static COLD int
args_raise_too_many(const struct args_signature *s, Py_ssize_t n_args)
{
    int n_most = s->n_positional + s->is_method, n_least = s->n_required + s->is_method;
    Py_ssize_t n_given = n_args + s->is_method;
    const char *plural = n_most == 1 ? "" : "s", *verb = n_given == 1 ? "was" : "were";
    if (n_least == n_most) {
        PyErr_Format(PyExc_TypeError, "%s() takes %d positional argument%s but %zd %s given", s->function, n_most,
                     plural, n_given, verb);
    }
    else {
        PyErr_Format(PyExc_TypeError, "%s() takes from %d to %d positional arguments but %zd %s given", s->function,
                     n_least, n_most, n_given, verb);
    }
    return -1;
}

/* Names of the required ones that are missing: 'a', 'b', and 'c'. */
static COLD int
args_raise_missing(const struct args_signature *s, PyObject **out)
{
    int n_missing = 0, i_missing = 0;
    for (int i = 0; i < s->n_required; i++) {
        n_missing += out[i] == NULL;
    }
    PyObject *list = PyUnicode_FromString("");
    for (int i = 0; list != NULL && i < s->n_required; i++) {
        if (out[i] == NULL) {
            bool is_last = ++i_missing == n_missing;
            const char *before = i_missing == 1 ? "" : !is_last ? ", " : n_missing == 2 ? " and " : ", and ";
            Py_SETREF(list, PyUnicode_FromFormat("%U%s'%s'", list, before, s->names[i]));
        }
    }
    if (list != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing %d required positional argument%s: %U", s->function, n_missing,
                     n_missing == 1 ? "" : "s", list);
        Py_DECREF(list);
    }
    return -1;
}

static int
args_bind_keyword(const struct args_signature *s, PyObject *name, PyObject *value, PyObject **out)
{
    for (int i = 0; i < s->n_names; i++) {
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, s->names[i]) == 0) {
            if (out[i] != NULL) {
                PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", s->function, s->names[i]);
                return -1;
            }
            out[i] = value;
            return 0;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%S'", s->function, name);
    return -1;
}

static inline int
args_bind_positional(const struct args_signature *s, PyObject *const *args, Py_ssize_t n_args, PyObject **out)
{
    for (Py_ssize_t i = 0; i < s->n_names; i++) {
        out[i] = i < n_args && i < s->n_positional ? args[i] : NULL;
    }
    return UNLIKELY(n_args > s->n_positional) ? args_raise_too_many(s, n_args) : 0;
}

static inline int
args_bind_required(const struct args_signature *s, PyObject **out)
{
    for (int i = 0; i < s->n_required; i++) {
        if (UNLIKELY(out[i] == NULL)) {
            return args_raise_missing(s, out);
        }
    }
    return 0;
}

static inline int
args_bind(const struct args_signature *s, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames, PyObject **out)
{
    int rc = args_bind_positional(s, args, n_args, out);
    for (Py_ssize_t i = 0; rc == 0 && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        rc = args_bind_keyword(s, PyTuple_GET_ITEM(kwnames, i), args[n_args + i], out);
    }
    return rc < 0 ? -1 : args_bind_required(s, out);
}

static int
args_bind_tuple(const struct args_signature *s, PyObject *args, PyObject *kwargs, PyObject **out)
{
    int rc = args_bind_positional(s, ((PyTupleObject *)args)->ob_item, PyTuple_GET_SIZE(args), out);
    PyObject *name, *value;
    for (Py_ssize_t at = 0; rc == 0 && kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value);) {
        rc = args_bind_keyword(s, name, value, out);
    }
    return rc < 0 ? -1 : args_bind_required(s, out);
}
