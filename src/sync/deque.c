/* sync/deque.c -- see deque.h. */
#include "sync/deque.h"

static inline bool
deque_is_exact(struct state *st, PyObject *object)
{
    return Py_IS_TYPE(object, (PyTypeObject *)st->deque_type);
}

/* A method of an exact deque. */
static inline PyObject *
deque_call(PyObject *method, PyObject *deque, PyObject *argument)
{
    return ((PyMethodDescrObject *)method)->d_method->ml_meth(deque, argument);
}

static inline PyObject *
deque_new(struct state *st)
{
    return PyObject_CallNoArgs(st->deque_type);
}

static inline int
deque_append(struct state *st, PyObject *deque, PyObject *item)
{
    Py_INCREF(deque); /* the caller's field may be changed by what this runs */
    PyObject *done = LIKELY(deque_is_exact(st, deque)) ? deque_call(st->deque_append, deque, item)
                                                       : PyObject_CallMethodOneArg(deque, st->str.append, item);
    Py_DECREF(deque);
    Py_XDECREF(done);
    return UNLIKELY(done == NULL) ? -1 : 0;
}

static inline int
deque_remove(struct state *st, PyObject *deque, PyObject *item)
{
    if (UNLIKELY(deque == NULL)) {
        PyErr_SetString(PyExc_ValueError, "deque.remove(x): x not in deque");
        return -1;
    }
    Py_INCREF(deque);
    PyObject *done = LIKELY(deque_is_exact(st, deque)) ? deque_call(st->deque_remove, deque, item)
                                                       : PyObject_CallMethodOneArg(deque, st->str.remove, item);
    Py_DECREF(deque);
    Py_XDECREF(done);
    return UNLIKELY(done == NULL) ? -1 : 0;
}

static inline PyObject *
deque_popleft(struct state *st, PyObject *deque)
{
    return LIKELY(deque_is_exact(st, deque)) ? deque_call(st->deque_popleft, deque, NULL)
                                             : PyObject_CallMethodNoArgs(deque, st->str.popleft);
}

static inline Py_ssize_t
deque_length(struct state *st, PyObject *deque)
{
    return deque == NULL ? 0 : LIKELY(deque_is_exact(st, deque)) ? Py_SIZE(deque) : PyObject_Size(deque);
}

static inline int
deque_is_true(struct state *st, PyObject *deque)
{
    return deque == NULL ? 0 : LIKELY(deque_is_exact(st, deque)) ? Py_SIZE(deque) > 0 : PyObject_IsTrue(deque);
}

static inline PyObject *
deque_first(struct state *st, PyObject *deque)
{
    if (deque == NULL || (deque_is_exact(st, deque) && Py_SIZE(deque) == 0)) {
        return NULL;
    }
    if (LIKELY(deque_is_exact(st, deque))) {
        return PySequence_GetItem(deque, 0);
    }
    PyObject *iterator = PyObject_GetIter(deque), *first = iterator == NULL ? NULL : PyIter_Next(iterator);
    Py_XDECREF(iterator);
    return first;
}

/* The C function of a method, if its definition takes exactly this many arguments. */
static int
deque_find_method(struct state *st, PyObject **slot, PyObject *name, int flags)
{
    *slot = PyObject_GetAttr(st->deque_type, name);
    if (*slot == NULL) {
        return -1;
    }
    if (!Py_IS_TYPE(*slot, &PyMethodDescr_Type) || ((PyMethodDescrObject *)*slot)->d_method->ml_flags != flags) {
        PyErr_Format(PyExc_ImportError, "collections.deque.%U is not what asyncloop knows", name);
        return -1;
    }
    return 0;
}

static int
deque_register(struct state *st)
{
    PyObject *module = PyImport_ImportModule("collections");
    st->deque_type = module == NULL ? NULL : PyObject_GetAttrString(module, "deque");
    Py_XDECREF(module);
    if (st->deque_type == NULL || deque_find_method(st, &st->deque_append, st->str.append, METH_O) < 0
        || deque_find_method(st, &st->deque_remove, st->str.remove, METH_O) < 0) {
        return -1;
    }
    return deque_find_method(st, &st->deque_popleft, st->str.popleft, METH_NOARGS);
}
