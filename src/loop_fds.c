/* loop_fds.c -- Loop's add_reader, add_writer, remove_reader and remove_writer: descriptors and file objects, checked
 * as asyncio does. */
#include "core/args.h"
#include "core/handle.h"
#include "core/loop.h"
#include "core/watch.h"
#include "net/net.h"

/* Remember (or, with NULL, forget) the object that fd is watched for, so that it is known when it is closed.  Keeps a
 * raised exception. */
static void
loop_fds_note(Loop *loop, int fd, PyObject *file)
{
    if ((file == NULL || PyLong_Check(file)) && loop->files == NULL) {
        return;
    }
    PyObject *raised = compat_take_raised(), *key = PyLong_FromLong(fd);
    if (loop->files == NULL) {
        loop->files = PyDict_New();
    }
    if (key != NULL && loop->files != NULL) {
        if (file != NULL && !PyLong_Check(file)) {
            (void)PyDict_SetItem(loop->files, key, file);
        }
        else {
            (void)PyDict_DelItem(loop->files, key);
        }
    }
    PyErr_Clear(); /* none was noted; or no memory: then only this nicety is lost */
    Py_XDECREF(key);
    compat_set_raised(raised);
}

/* A closed socket has no descriptor number any more. The number it had while it was watched, or -1 when it was not
 * watched. */
static COLD long
loop_fds_former_number(Loop *loop, PyObject *file)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (loop->files != NULL && !PyLong_Check(file) && PyDict_Next(loop->files, &position, &key, &value)) {
        if (value == file) {
            return PyLong_AsLong(key);
        }
    }
    return -1;
}

/* The descriptor of an int or of an object with fileno(); -1 with asyncio's exception.  Refuses those that a transport
 * uses. */
static int
loop_fds_number(Loop *loop, PyObject *file)
{
    PyObject *integer = Py_NewRef(file);
    if (!PyLong_Check(file)) {
        PyObject *number = PyObject_CallMethodNoArgs(file, loop->st->str.fileno);
        Py_SETREF(integer, number == NULL ? NULL : PyNumber_Long(number));
        Py_XDECREF(number);
    }
    int overflow = 0;
    long fd = integer == NULL ? -1 : PyLong_AsLongAndOverflow(integer, &overflow);
    Py_XDECREF(integer);
    if (integer == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "Invalid file object: %R", file);
        }
        return -1;
    }
    if (overflow > 0 || fd > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
        return -1;
    }
    if (fd < 0) {
        long former = loop_fds_former_number(loop, file);
        if (former >= 0) {
            return (int)former;
        }
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
        return -1;
    }
    if (transport_check_fd_free(loop, (int)fd, file) < 0) {
        return -1;
    }
    return (int)fd;
}

/* The Handle that watches, or NULL. Borrowed. */
static PyObject *
loop_fds_handle_borrowed(Loop *loop, int fd, enum watch_side side)
{
    return watch_owner_borrowed(loop, fd, side, handle_run);
}

static PyObject *
loop_fds_add(PyObject *self, PyObject *const *args, Py_ssize_t n_args, enum watch_side side)
{
    Loop *loop = (Loop *)self;
    int fd = loop_fds_number(loop, args[0]);
    if (fd < 0 || loop_check_closed(loop) < 0) {
        return NULL;
    }
    PyObject *handle = handle_new(loop, args[1], args + 2, n_args - 2, NULL);
    if (handle == NULL) {
        return NULL;
    }
    PyObject *before = Py_XNewRef(loop_fds_handle_borrowed(loop, fd, side));
    int rc = watch_start(loop, fd, side, handle_run, handle, false);
    if (rc == 0) {
        loop_fds_note(loop, fd, args[0]);
    }
    Py_DECREF(handle);
    if (before != NULL) {
        handle_cancel(before);
        Py_DECREF(before);
    }
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_fds_remove(PyObject *self, PyObject *file, enum watch_side side)
{
    Loop *loop = (Loop *)self;
    int fd = loop_fds_number(loop, file);
    if (fd < 0) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) { /* no such descriptor: nobody watches it */
            PyErr_Clear();
            Py_RETURN_FALSE;
        }
        return NULL;
    }
    PyObject *handle = Py_XNewRef(loop_fds_handle_borrowed(loop, fd, side));
    if (handle == NULL) {
        Py_RETURN_FALSE;
    }
    watch_stop(loop, fd, side);
    if (watch_owner_borrowed(loop, fd, side == WATCH_READ ? WATCH_WRITE : WATCH_READ, NULL) == NULL) {
        loop_fds_note(loop, fd, NULL);
    }
    handle_cancel(handle);
    Py_DECREF(handle);
    Py_RETURN_TRUE;
}

static const char *const loop_fds_names[] = {"fd", "callback"};
static const struct args_signature loop_fds_reader = {
    "BaseSelectorEventLoop.add_reader", loop_fds_names, 2, 2, 2, true, true};
static const struct args_signature loop_fds_writer = {
    "BaseSelectorEventLoop.add_writer", loop_fds_names, 2, 2, 2, true, true};

static PyObject *
Loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    if (UNLIKELY(n_args < 2 || args_n_keywords(kwnames) > 0)) {
        return args_by_name(Loop_add_reader, self, &loop_fds_reader, n_args, args, kwnames);
    }
    return loop_fds_add(self, args, n_args, WATCH_READ);
}

static PyObject *
Loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    if (UNLIKELY(n_args < 2 || args_n_keywords(kwnames) > 0)) {
        return args_by_name(Loop_add_writer, self, &loop_fds_writer, n_args, args, kwnames);
    }
    return loop_fds_add(self, args, n_args, WATCH_WRITE);
}

static PyObject *
loop_fds_remove_reader(PyObject *self, PyObject *file)
{
    return loop_fds_remove(self, file, WATCH_READ);
}

static PyObject *
loop_fds_remove_writer(PyObject *self, PyObject *file)
{
    return loop_fds_remove(self, file, WATCH_WRITE);
}

ARGS_NAMED(Loop_remove_reader, loop_fds_remove_reader, "BaseSelectorEventLoop.remove_reader", "fd")
ARGS_NAMED(Loop_remove_writer, loop_fds_remove_writer, "BaseSelectorEventLoop.remove_writer", "fd")
