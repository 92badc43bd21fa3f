/* loop_debug.c -- Loop's debug mode, its checks of state and thread, and the descriptors of its signals: what asyncio's
 * own Python code asks of a loop. */
#include "core/args.h"
#include "core/loop.h"
#include "core/signals.h"
#include "core/timed.h"

static PyObject *
Loop__signal_fd_open(PyObject *self, PyObject *Py_UNUSED(none))
{
    int fd = loop_check_closed((Loop *)self) < 0 ? -1 : signals_open((Loop *)self);
    return fd < 0 ? NULL : PyLong_FromLong(fd);
}

static PyObject *
Loop__signal_fd_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    signals_close((Loop *)self);
    Py_RETURN_NONE;
}

static PyObject *
Loop_get_debug(PyObject *self, PyObject *Py_UNUSED(none))
{
    Loop *loop = (Loop *)self;
    return loop->debug_given != NULL ? Py_NewRef(loop->debug_given) : PyBool_FromLong(loop->debug);
}

static PyObject *
Loop__set_coroutine_origin_tracking(PyObject *self, PyObject *enabled)
{
    int is_enabled = PyObject_IsTrue(enabled);
    if (is_enabled < 0 || loop_set_origin_tracking((Loop *)self, is_enabled) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

ARGS_NAMED(Loop__set_coroutine_origin_tracking_named, Loop__set_coroutine_origin_tracking,
           "BaseEventLoop._set_coroutine_origin_tracking", "enabled")

static PyObject *
Loop_set_debug(PyObject *self, PyObject *enabled)
{
    Loop *loop = (Loop *)self;
    int is_enabled = PyObject_IsTrue(enabled);
    if (is_enabled < 0) {
        return NULL;
    }
    loop->debug = is_enabled;
    timed_look(loop);
    Py_XSETREF(loop->debug_given, PyBool_Check(enabled) ? NULL : Py_NewRef(enabled));
    if (loop->thread_id != 0) { /* the tracking depth is the running thread's own */
        PyObject *function = PyObject_GetAttrString(self, "_set_coroutine_origin_tracking");
        PyObject *handle =
            function == NULL ? NULL : PyObject_CallMethod(self, "call_soon_threadsafe", "OO", function, enabled);
        Py_XDECREF(function);
        Py_XDECREF(handle);
        if (handle == NULL) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

ARGS_NAMED(Loop_set_debug_named, Loop_set_debug, "BaseEventLoop.set_debug", "enabled")

static PyObject *
Loop__check_closed(PyObject *self, PyObject *Py_UNUSED(none))
{
    if (loop_check_closed((Loop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Loop__check_running(PyObject *self, PyObject *Py_UNUSED(none))
{
    if (loop_check_running((Loop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Loop__check_thread(PyObject *self, PyObject *Py_UNUSED(none))
{
    if (loop_check_thread((Loop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Loop_get_thread_id(PyObject *self, void *Py_UNUSED(closure))
{
    unsigned long thread_id = COMPAT_LOAD(&((Loop *)self)->thread_id);
    if (thread_id == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(thread_id);
}

/* What asyncio's own code, which runs in subprocess_exec() and elsewhere, looks at in the place of get_debug(). */
static PyObject *
Loop_get_debug_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return Loop_get_debug(self, NULL);
}

static int
Loop_set_debug_attribute(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_debug cannot be deleted");
        return -1;
    }
    PyObject *done = PyObject_CallMethod(self, "set_debug", "(O)", value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
Loop_get_slow_callback_duration(PyObject *self, void *Py_UNUSED(closure))
{
    Loop *loop = (Loop *)self;
    return loop->slow_callback_given != NULL ? Py_NewRef(loop->slow_callback_given)
                                             : PyFloat_FromDouble(loop->slow_callback_duration);
}

/* Any object, as asyncio's plain attribute: it is compared when a callback has run in debug mode. */
static int
Loop_set_slow_callback_duration(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Loop *loop = (Loop *)self;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "slow_callback_duration cannot be deleted");
        return -1;
    }
    if (PyFloat_CheckExact(value)) {
        loop->slow_callback_duration = PyFloat_AS_DOUBLE(value);
        Py_CLEAR(loop->slow_callback_given);
        return 0;
    }
    Py_XSETREF(loop->slow_callback_given, Py_NewRef(value));
    return 0;
}
