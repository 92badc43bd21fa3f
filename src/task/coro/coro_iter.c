/* task/coro/coro_iter.c -- what coro.__await__() gives to Python code: an iterator of the Coro's steps, as coroutines
 * have one.
 *
 * `await coro` needs none (the slot gives the Coro itself, which is no iterable); `yield from coro.__await__()` in
 * somebody's __await__ does. */
#include "task/coro/coro.h"

static PyObject *
coro_iter_coro(PyObject *self)
{
    PyObject *coro = ((AwaitIter *)self)->awaited;
    if (coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    return Py_XNewRef(coro);
}

static PySendResult
CoroIter_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    PyObject *coro = coro_iter_coro(self);
    *result = NULL;
    PySendResult status = coro == NULL ? PYGEN_ERROR : Coro_am_send(coro, value, result);
    Py_XDECREF(coro);
    return status;
}

static PyObject *
CoroIter_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = CoroIter_am_send(self, value, &result);
    return future_give(status, result);
}

static PyObject *
CoroIter_iternext(PyObject *self)
{
    return CoroIter_send(self, Py_None);
}

static PyObject *
CoroIter_throw(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    PyObject *coro = coro_iter_coro(self), *result = coro == NULL ? NULL : Coro_throw(coro, args, n_args);
    Py_XDECREF(coro);
    return result;
}

static PyObject *
CoroIter_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *coro = coro_iter_coro(self), *result = coro == NULL ? NULL : Coro_close(coro, NULL);
    Py_XDECREF(coro);
    return result;
}

static PyMethodDef CoroIter_methods[] = {
    {"send", CoroIter_send, METH_O, NULL},
    {"throw", FUTURE_FASTCALL(CoroIter_throw), METH_FASTCALL, NULL},
    {"close", CoroIter_close, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot CoroIter_slots[] = {
    {Py_tp_dealloc, AwaitIter_dealloc},  {Py_tp_traverse, AwaitIter_traverse},
    {Py_tp_clear, AwaitIter_clear},      {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, CoroIter_iternext}, {Py_tp_methods, CoroIter_methods},
    {Py_am_send, CoroIter_am_send},      {0, NULL},
};

static PyType_Spec CoroIter_spec = {
    .name = "asyncloop._asyncloop.coroutine_wrapper",
    .basicsize = sizeof(AwaitIter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = CoroIter_slots,
};

static PyObject *
Coro_await(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *same = Coro_am_await(self);
    struct state *st = same == NULL ? NULL : coro_state_of(self);
    if (st == NULL) {
        Py_XDECREF(same);
        return NULL;
    }
    return await_iter_new(st->CoroIter_type, same);
}

static int
coro_iter_register(PyObject *module, struct state *st)
{
    return state_add_type(module, &st->CoroIter_type, &CoroIter_spec, NULL, false, SECTION_SELF);
}
