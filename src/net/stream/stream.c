/* net/stream/stream.c -- what the three classes of streams share: the loop they take, calls by name. */
#include "net/stream/stream.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "core/guard.h"
#include "net/stream/stream_protocol.h"
#include "net/stream/stream_reader.h"
#include "net/stream/stream_writer.h"
#include "task/future/future.h"

static PyObject *
stream_take_loop(struct state *st, PyObject *loop)
{
    if (loop != Py_None) {
        return Py_NewRef(loop);
    }
    return aiobridge_event_loop(st);
}

static int
stream_loop_is_debug(struct state *st, PyObject *loop)
{
    if (LIKELY(loop_is_own(st, loop))) {
        return ((Loop *)loop)->debug;
    }
    Py_INCREF(loop); /* its own code may take it out of the object that asks */
    int is_debug = ask_method(loop, st->str.get_debug);
    Py_DECREF(loop);
    return is_debug;
}

static int
stream_call_void(PyObject *object, PyObject *name, PyObject *argument)
{
    /* held: what is called may take it out of where the caller has it from */
    PyObject *args[] = {Py_NewRef(object), argument};
    PyObject *result =
        PyObject_VectorcallMethod(name, args, (argument != NULL ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(object);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static COLD int
stream_raise(PyObject *exception)
{
    /* what set_exception() was given: a class, or nothing that can be raised */
    if (!PyExceptionInstance_Check(exception)) {
        if (PyExceptionClass_Check(exception)) {
            PyErr_SetNone(exception);
        }
        else {
            PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
        }
        return -1;
    }
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    return -1;
}

static COLD int
stream_log_debug(struct state *st, PyObject *loop, const char *format, PyObject *self)
{
    int is_debug = stream_loop_is_debug(st, loop);
    if (is_debug <= 0) {
        return is_debug;
    }
    return log_line(st, "debug", "(sO)", format, self);
}

/* ---- start_server()'s protocol factory: a C function, as it runs once per accepted connection */

/* self is (StreamReader, client_connected_cb, limit, loop); the type is there for the state. */
static PyObject *
stream_make_protocol(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct state *st = PyType_GetModuleState((PyTypeObject *)PyTuple_GET_ITEM(self, 0));
    PyObject *loop = PyTuple_GET_ITEM(self, 3);
    PyObject *reader = stream_reader_new(st, PyTuple_GET_ITEM(self, 2), loop);
    PyObject *protocol = reader == NULL ? NULL : stream_protocol_new(st, reader, PyTuple_GET_ITEM(self, 1), loop);
    Py_XDECREF(reader);
    return protocol;
}

static PyMethodDef stream_make_protocol_def = {"factory", stream_make_protocol, METH_NOARGS, NULL};

/* _stream_factory(client_connected_cb, limit, loop) */
static PyObject *
stream_factory(PyObject *module, PyObject *args)
{
    PyObject *callback, *limit, *loop;
    if (!PyArg_ParseTuple(args, "OOO:_stream_factory", &callback, &limit, &loop)) {
        return NULL;
    }
    PyObject *captured = PyTuple_Pack(4, (PyObject *)state_of_module(module)->StreamReader_type, callback, limit, loop);
    PyObject *factory = captured == NULL ? NULL : PyCFunction_New(&stream_make_protocol_def, captured);
    Py_XDECREF(captured);
    return factory;
}

static PyMethodDef stream_functions[] = {
    {"_stream_factory", stream_factory, METH_VARARGS,
     PyDoc_STR(
         "_stream_factory($module, client_connected_cb, limit, loop, /)\n--\n\nA protocol factory for start_server.")},
    {NULL},
};

static int
stream_register(PyObject *module, struct state *st)
{
    if (stream_reader_register(module, st) < 0 || stream_protocol_register(module, st) < 0) {
        return -1;
    }
    return stream_writer_register(module, st) < 0 ? -1 : guard_add_functions(module, stream_functions);
}
