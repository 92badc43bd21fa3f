/* core/args.h -- METH_FASTCALL|METH_KEYWORDS arguments without a parser's cost on the paths that run per event. */
#ifndef ASYNCLOOP_CORE_ARGS_H
#define ASYNCLOOP_CORE_ARGS_H

#include "base/api.h"
#include "base/compat.h"

/* How many keywords came.  The vectorcall protocol allows an empty tuple of names, which means the same as NULL. */
static inline Py_ssize_t
args_n_keywords(PyObject *kwnames)
{
    return kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
}

/* ---- any Python signature, f(a, b=…, *, c=…) */

struct args_signature {
    const char *function; /* "Lock.acquire" */
    /* positional ones first, n_required of them at first; then those that are keywords only */
    const char *const *names;
    uint8_t n_required, n_positional, n_names;
    bool is_method;  /* it has a self, which is not among the names, but counts in the texts */
    bool takes_more;  /* *args */
    bool takes_names; /* **kwargs */
};

/* What was given for each name, borrowed, goes to out[], NULL for what was not; errors in Python's own words, of which
 * the first is the one that Python would raise. */
static inline int args_bind(const struct args_signature *signature, PyObject *const *args, Py_ssize_t n_args,
                            PyObject *kwnames, PyObject **out) MUST_CHECK;
/* The same for tp_init and tp_new. */
static int args_bind_tuple(const struct args_signature *signature, PyObject *args, PyObject *kwargs,
                           PyObject **out) MUST_CHECK;

/* NAME: METHOD, a function of self and one argument, as a method table takes it for ARGS_NAMED_METHOD: the argument may
 * be given by its name, as to the Python function that asyncio has.  text: "Lock.acquire". */
#define ARGS_NAMED(NAME, METHOD, text, argument)                                                               \
    static PyObject *NAME(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)         \
    {                                                                                                          \
        static const char *const names[] = {argument};                                                         \
        static const struct args_signature signature = {text, names, 1, 1, 1, true, false};                    \
        PyObject *value = n_args == 1 && kwnames == NULL ? args[0] : NULL;                                     \
        if (UNLIKELY(value == NULL) && args_bind(&signature, args, n_args, kwnames, &value) < 0) {             \
            return NULL;                                                                                       \
        }                                                                                                      \
        return METHOD(self, value);                                                                            \
    }
#define ARGS_NAMED_METHOD(name, NAME) name, (PyCFunction)(void (*)(void))NAME, METH_FASTCALL | METH_KEYWORDS

/* ---- f(required…, *args), or f(required…, *args, context=None) */

enum { ARGS_MAX_REQUIRED = 2 };

/* The first n_required of args are there, and no keyword but context, whose value goes to *context: borrowed, NULL when
 * absent or None.  interned_context: "context", as callers write it. */
static inline int args_with_context(const struct args_signature *signature, PyObject *interned_context,
                                    PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames,
                                    PyObject **context) MUST_CHECK;

/* The slow way: required arguments were given by name.  Calls function again with them in their places. */
static PyObject *args_by_name(_PyCFunctionFastWithKeywords function, PyObject *self,
                              const struct args_signature *signature, Py_ssize_t n_args, PyObject *const *args,
                              PyObject *kwnames);

/* ---- f(first, **kwargs) */

/* first was given by this name, which is among kwnames.  Calls function again with it in its place. */
static PyObject *args_first_by_name(_PyCFunctionFastWithKeywords function, PyObject *self, const char *name,
                                    PyObject *const *values, PyObject *kwnames);

#endif
