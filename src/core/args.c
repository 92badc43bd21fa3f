/* core/args.c -- which argument goes to which parameter, and the TypeErrors where none does, worded as CPython words
 * them. */
#include "core/args.h"

/* ---- what is wrong */

static COLD int
args_raise_too_many(const struct args_signature *s, Py_ssize_t n_args, PyObject **out)
{
    int n_most = s->n_positional + s->is_method, n_least = s->n_required + s->is_method, n_only = 0;
    for (int i = s->n_positional; i < s->n_names; i++) {
        n_only += out[i] != NULL;
    }
    Py_ssize_t n_given = n_args + s->is_method;
    char least[32] = "", also[96] = "";
    if (n_least != n_most) {
        snprintf(least, sizeof least, "from %d to ", n_least);
    }
    if (n_only > 0) {
        snprintf(also, sizeof also, " positional argument%s (and %d keyword-only argument%s)", n_given == 1 ? "" : "s",
                 n_only, n_only == 1 ? "" : "s");
    }
    PyErr_Format(PyExc_TypeError, "%s() takes %s%d positional argument%s but %zd%s %s given", s->function, least,
                 n_most, n_least == n_most && n_most == 1 ? "" : "s", n_given, also,
                 n_given == 1 && n_only == 0 ? "was" : "were");
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

/* ---- any signature */

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
    if (s->takes_names) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%S'", s->function, name);
    return -1;
}

static inline void
args_place_positional(const struct args_signature *s, PyObject *const *args, Py_ssize_t n_args, PyObject **out)
{
    for (Py_ssize_t i = 0; i < s->n_names; i++) {
        out[i] = i < n_args && i < s->n_positional ? args[i] : NULL;
    }
}

/* All is in its place: is it too much, or not enough? */
static inline int
args_check_numbers(const struct args_signature *s, Py_ssize_t n_args, PyObject **out)
{
    if (UNLIKELY(n_args > s->n_positional && !s->takes_more)) {
        return args_raise_too_many(s, n_args, out);
    }
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
    args_place_positional(s, args, n_args, out);
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        if (args_bind_keyword(s, PyTuple_GET_ITEM(kwnames, i), args[n_args + i], out) < 0) {
            return -1;
        }
    }
    return args_check_numbers(s, n_args, out);
}

static int
args_bind_tuple(const struct args_signature *s, PyObject *args, PyObject *kwargs, PyObject **out)
{
    Py_ssize_t n_args = PyTuple_GET_SIZE(args);
    args_place_positional(s, ((PyTupleObject *)args)->ob_item, n_args, out);
    PyObject *name, *value;
    for (Py_ssize_t at = 0; kwargs != NULL && PyDict_Next(kwargs, &at, &name, &value);) {
        if (args_bind_keyword(s, name, value, out) < 0) {
            return -1;
        }
    }
    return args_check_numbers(s, n_args, out);
}

/* ---- required arguments, then as many as one likes */

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
args_by_name(_PyCFunctionFastWithKeywords function, PyObject *self, const struct args_signature *s, Py_ssize_t n_args,
             PyObject *const *args, PyObject *kwnames)
{
    PyObject *out[ARGS_MAX_REQUIRED + 1];
    INVARIANT(s->n_required <= ARGS_MAX_REQUIRED && s->n_names <= s->n_required + 1);
    if (args_bind(s, args, n_args, kwnames, out) < 0) {
        return NULL;
    }
    if (s->n_names == s->n_required || out[s->n_required] == NULL) {
        return function(self, out, s->n_required, NULL);
    }
    PyObject *only = Py_BuildValue("(s)", "context"),
             *result = only == NULL ? NULL : function(self, out, s->n_required, only);
    Py_XDECREF(only);
    return result;
}

static COLD int
args_raise(const struct args_signature *s, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *out[ARGS_MAX_REQUIRED + 1];
    int rc = args_bind(s, args, n_args, kwnames, out);
    INVARIANT(rc < 0);
    return rc;
}

static inline int
args_with_context(const struct args_signature *s, PyObject *interned_context, PyObject *const *args, Py_ssize_t n_args,
                  PyObject *kwnames, PyObject **context)
{
    if (UNLIKELY(n_args < s->n_required)) {
        return args_raise(s, args, n_args, kwnames);
    }
    PyObject *value = NULL;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (UNLIKELY(name != interned_context) && PyUnicode_CompareWithASCIIString(name, "context") != 0) {
            return args_raise(s, args, n_args, kwnames);
        }
        value = args[n_args + i];
    }
    *context = value == Py_None ? NULL : value;
    return 0;
}

/* ---- one argument, then as many names as one likes */

static COLD PyObject *
args_first_by_name(_PyCFunctionFastWithKeywords function, PyObject *self, const char *name, PyObject *const *values,
                   PyObject *kwnames)
{
    Py_ssize_t n_names = PyTuple_GET_SIZE(kwnames), n = 0;
    PyObject **stack = PyMem_Malloc((size_t)n_names * sizeof *stack), *rest = PyTuple_New(n_names - 1), *result = NULL;
    if (stack == NULL) {
        PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; stack != NULL && rest != NULL && i < n_names; i++) {
        PyObject *given = PyTuple_GET_ITEM(kwnames, i);
        if (PyUnicode_CompareWithASCIIString(given, name) == 0) {
            stack[0] = values[i];
        }
        else {
            PyTuple_SET_ITEM(rest, n, Py_NewRef(given));
            stack[1 + n++] = values[i];
        }
    }
    if (stack != NULL && rest != NULL) {
        result = function(self, stack, 1, rest);
    }
    PyMem_Free(stack);
    Py_XDECREF(rest);
    return result;
}
