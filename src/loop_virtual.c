/* loop_virtual.c -- Loop's private methods for asyncloop.testing: a poll, what is watched, and a random order. */
#include "core/inbox.h"
#include "core/loop.h"
#include "core/virtual.h"

/* _poll(seconds or None): whether anything is ready then. */
static PyObject *
Loop__poll(PyObject *self, PyObject *seconds)
{
    Loop *loop = (Loop *)self;
    double timeout_s = seconds == Py_None ? POLLER_FOREVER : PyFloat_AsDouble(seconds);
    if (timeout_s == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (loop->thread_id != PyThread_get_thread_ident()) {
        PyErr_SetString(PyExc_RuntimeError, "_poll() is for the wait of the running loop");
        return NULL;
    }
    if (loop_poll_for(loop, timeout_s) < 0 || inbox_take(loop) < 0) {
        return NULL;
    }
    return PyBool_FromLong(loop->ready.n > 0 || loop->flush.first != NULL || loop->stopping);
}

/* _watched_fds(): the descriptors that the poller watches for somebody, in their order. */
static PyObject *
Loop__watched_fds(PyObject *self, PyObject *Py_UNUSED(none))
{
    Loop *loop = (Loop *)self;
    PyObject *found = PyList_New(0);
    for (uint32_t fd = 0; found != NULL && fd < loop->n_fds; fd++) {
        if (loop->fds[fd].mask == 0) {
            continue;
        }
        PyObject *number = PyLong_FromUnsignedLong(fd);
        if (number == NULL || PyList_Append(found, number) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(number);
    }
    return found;
}

/* _shuffle(seed): from now on; each int is a seed, and the same one gives the same order. */
static PyObject *
Loop__shuffle(PyObject *self, PyObject *seed)
{
    unsigned long long number = PyLong_AsUnsignedLongLongMask(seed);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    uint64_t x = number + UINT64_C(0x9e3779b97f4a7c15); /* splitmix64: seeds that are close give orders that are not */
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    ((Loop *)self)->shuffle = x == 0 ? 1 : x;
    Py_RETURN_NONE;
}

#define LOOP_VIRTUAL_METHODS \
    {"_poll", Loop__poll, METH_O, NULL}, {"_watched_fds", Loop__watched_fds, METH_NOARGS, NULL}, \
    { \
        "_shuffle", Loop__shuffle, METH_O, NULL \
    }
