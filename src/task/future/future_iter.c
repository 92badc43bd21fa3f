/* task/future/future_iter.c -- awaiting a Future.
 *
 * For `await` the Future is its own iterator (am_send for 3.11, 3.15 and drivers in C; tp_iternext for 3.12 to 3.14,
 * whose SEND looks at nothing else as long as None is sent).  Python code that calls __await__() or iter() gets a
 * FutureIter with send, throw and close, as from asyncio: the Future itself must have none of these, or it would pass
 * for a coroutine.  Where SEND looks for send() it finds it (Future_get_send), and nobody else does.
 *
 * StopIteration: making one by calling its class costs more than all the rest of an await, so it is put together here.
 * It must not be kept for the next one: the value of an await belongs to the awaiting code, and dies with its last name
 * there. */
#include "task/future/future.h"

/* ---- StopIteration */

static PyObject *
future_raise_stop_iteration(PyObject *value)
{
    PyObject *raised =
        value == Py_None ? PyObject_CallNoArgs(PyExc_StopIteration) : PyObject_CallOneArg(PyExc_StopIteration, value);
    Py_DECREF(value);
    if (raised != NULL) {
        compat_set_raised(raised);
    }
    return NULL;
}

static inline PyObject *
future_give(PySendResult status, PyObject *result)
{
    return status == PYGEN_RETURN ? future_raise_stop_iteration(result) : result;
}

static inline PyObject *
future_give_stop_iteration(struct state *st, PyObject *value)
{
    if (LIKELY(value == Py_None)) { /* NULL without exception says the same */
        Py_DECREF(value);
        return NULL;
    }
#if COMPAT_STOPITERATION_PLAIN
    PyStopIterationObject *stop = PyObject_GC_New(PyStopIterationObject, (PyTypeObject *)PyExc_StopIteration);
    if (stop == NULL) {
        Py_DECREF(value);
        return NULL;
    }
    memset((char *)stop + sizeof(PyObject), 0, sizeof *stop - sizeof(PyObject));
    stop->args = Py_NewRef(st->empty_tuple);
    stop->value = value;
    PyObject_GC_Track(stop);
    PyErr_SetRaisedException((PyObject *)stop);
    return NULL;
#else
    (void)st;
    return future_raise_stop_iteration(value);
#endif
}

/* ---- the protocol */

static inline PySendResult
future_send(Future *f, PyObject **result)
{
    if (f->state == FUTURE_PENDING) {
        if (LIKELY(!f->blocking)) {
            f->blocking = true;
            *result = Py_NewRef(f);
            return PYGEN_NEXT;
        }
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        *result = NULL;
        return PYGEN_ERROR;
    }
    *result = future_result(f);
    return LIKELY(*result != NULL) ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult
Future_am_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    return future_send((Future *)self, result);
}

static PyObject *
Future_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult status = future_send((Future *)self, &result);
    return status == PYGEN_RETURN ? future_give_stop_iteration(future_state_of((Future *)self), result) : result;
}

static COLD int
future_raise_uninitialized(void)
{
    PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    return -1;
}

static PyObject *
Future_am_await(PyObject *self)
{
    if (UNLIKELY(((Future *)self)->loop == NULL)) {
        future_raise_uninitialized();
        return NULL;
    }
    return Py_NewRef(self);
}

/* ---- send(), for 3.12 to 3.14
 *
 * SEND calls the method of that name when a driver sends something else than None: the value is ignored, as asyncio's
 * iterator does. */

#if !COMPAT_AM_SEND_USED
static PyObject *
future_send_called(PyObject *self, PyObject *Py_UNUSED(value))
{
    SECTION_ENTER(((Future *)self)->loop);
    PyObject *result;
    PySendResult status = future_send((Future *)self, &result);
    return future_give(status, result);
}

static PyMethodDef future_send_def = {"send", future_send_called, METH_O, NULL};

/* Is the instruction that runs now SEND?  1, 0, or -1 with the exception set. */
static int
future_is_sent_to(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame == NULL) {
        return 0;
    }
    int at = PyFrame_GetLasti(frame), is_send = -1;
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *bytes = PyCode_GetCode(code), *map = NULL, *number = NULL;
    if (bytes != NULL && future_import(&map, "opcode", "opmap") == 0
        && (number = PyMapping_GetItemString(map, "SEND")) != NULL) {
        is_send = at >= 0 && at < PyBytes_GET_SIZE(bytes)
                  && PyLong_AsLong(number) == (unsigned char)PyBytes_AS_STRING(bytes)[at];
    }
    Py_DECREF(code);
    Py_XDECREF(bytes);
    Py_XDECREF(map);
    Py_XDECREF(number);
    return is_send;
}

static PyObject *
Future_get_send(PyObject *self, void *Py_UNUSED(closure))
{
    int is_sent_to = future_is_sent_to();
    if (is_sent_to == 0) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute 'send'", Py_TYPE(self)->tp_name);
    }
    return is_sent_to > 0 ? PyCFunction_New(&future_send_def, self) : NULL;
}
#endif

/* ---- AwaitIter: what FutureIter and the iterator of a Coro share */

static PyObject *
await_iter_new(PyTypeObject *type, PyObject *awaited)
{
    AwaitIter *it = PyObject_GC_New(AwaitIter, type);
    if (it == NULL) {
        Py_DECREF(awaited);
        return NULL;
    }
    it->awaited = awaited;
    PyObject_GC_Track(it);
    return (PyObject *)it;
}

static int
AwaitIter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((AwaitIter *)self)->awaited);
    return 0;
}

static int
AwaitIter_clear(PyObject *self)
{
    Py_CLEAR(((AwaitIter *)self)->awaited);
    return 0;
}

static void
AwaitIter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, AwaitIter_dealloc)
    AwaitIter_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

/* ---- FutureIter */

static PyObject *
future_iter_new(PyObject *future)
{
    PyObject *awaited = Future_am_await(future);
    return awaited == NULL ? NULL : await_iter_new(state_of(future)->FutureIter_type, awaited);
}

static PySendResult
FutureIter_am_send(PyObject *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    Future *f = (Future *)((AwaitIter *)self)->awaited;
    if (f == NULL) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    Py_INCREF(f); /* raising may run code that closes the iterator */
    PySendResult status = future_send(f, result);
    Py_DECREF(f);
    return status;
}

static PyObject *
FutureIter_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult status = FutureIter_am_send(self, NULL, &result);
    return future_give(status, result);
}

static PyObject *
FutureIter_send(PyObject *self, PyObject *Py_UNUSED(value))
{
    return FutureIter_iternext(self);
}

/* The (type, value, traceback) form of throw(). Returns the instance, new reference. */
static COLD PyObject *
future_thrown_instance(PyObject *type, PyObject *value, PyObject *traceback)
{
    PyObject *instance = NULL;
    if (traceback != NULL && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback");
    }
    else if (PyExceptionClass_Check(type)) {
        PyObject *tb = Py_XNewRef(traceback);
        PyObject *t = Py_NewRef(type), *v = Py_XNewRef(value);
        PyErr_NormalizeException(&t, &v, &tb);
        Py_DECREF(t);
        Py_XDECREF(tb);
        instance = v;
    }
    else if (!PyExceptionInstance_Check(type)) {
        PyErr_SetString(PyExc_TypeError,
                        "exceptions must be classes deriving BaseException or instances of such a class");
    }
    else if (value != NULL) {
        PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
    }
    else {
        instance = Py_NewRef(type);
    }
    if (instance != NULL && traceback != NULL && PyException_SetTraceback(instance, traceback) < 0) {
        Py_CLEAR(instance);
    }
    return instance;
}

static PyObject *
future_thrown(PyObject *const *args, Py_ssize_t n_args)
{
    if (LIKELY(n_args == 1 && PyExceptionInstance_Check(args[0]))) {
        return Py_NewRef(args[0]);
    }
    if (n_args < 1 || n_args > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected at %s %d argument%s, got %zd", n_args < 1 ? "least" : "most",
                     n_args < 1 ? 1 : 3, n_args < 1 ? "" : "s", n_args);
        return NULL;
    }
    if (COMPAT_THROW_SIGNATURE_DEPRECATED && n_args > 1
        && PyErr_WarnEx(PyExc_DeprecationWarning,
                        "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
                        1)
               < 0) {
        return NULL;
    }
    PyObject *value = n_args > 1 && args[1] != Py_None ? args[1] : NULL;
    PyObject *traceback = n_args > 2 && args[2] != Py_None ? args[2] : NULL;
    return future_thrown_instance(args[0], value, traceback);
}

static void
future_raise_thrown(PyObject *const *args, Py_ssize_t n_args)
{
    PyObject *instance = future_thrown(args, n_args);
    if (instance != NULL) {
        compat_set_raised(instance);
    }
}

static PyObject *
FutureIter_throw(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    PyObject *raised = future_thrown(args, n_args);
    if (raised != NULL) {
        AwaitIter_clear(self);
        compat_set_raised(raised);
    }
    return NULL;
}

static PyObject *
FutureIter_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    AwaitIter_clear(self);
    Py_RETURN_NONE;
}

static PyMethodDef FutureIter_methods[] = {
    {"send", FutureIter_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))FutureIter_throw, METH_FASTCALL, NULL},
    {"close", FutureIter_close, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot FutureIter_slots[] = {
    {Py_tp_dealloc, AwaitIter_dealloc},    {Py_tp_traverse, AwaitIter_traverse},
    {Py_tp_clear, AwaitIter_clear},        {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, FutureIter_iternext}, {Py_tp_methods, FutureIter_methods},
    {Py_am_send, FutureIter_am_send},      {0, NULL},
};

static PyType_Spec FutureIter_spec = {
    .name = "asyncloop._asyncloop.FutureIter",
    .basicsize = sizeof(AwaitIter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = FutureIter_slots,
};
