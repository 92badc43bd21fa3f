/* task/future/future_type.c -- the Python face of Future: arguments in, objects out; and what Task inherits of it. */
#include "core/freelist.h"
#include "core/twin.h"
#include "task/future/future.h"
#include "task/future/task.h"

static inline int
future_ensure_alive(Future *f)
{
    return LIKELY(f->loop != NULL) ? 0 : future_raise_uninitialized();
}

/* ---- construction */

static PyObject *Future_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames);

/* A type does not inherit tp_vectorcall. So this is a call of exactly our type, which may take an object from the free
 * list. */
static PyObject *
Future_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (type->tp_vectorcall != Future_vectorcall) {
        return type->tp_alloc(type, 0);
    }
    struct state *st = PyType_GetModuleState(type);
    Future *f = future_alloc(type, freelist_of(st, FREELIST_FUTURE), sizeof *f, FUTURE_PLAIN);
    if (f != NULL) {
        PyObject_GC_Track(f);
    }
    return (PyObject *)f;
}

static int
Future_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"loop", NULL};
    PyObject *loop = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", (char **)names, &loop)) {
        return -1;
    }
    return future_init((Future *)self, state_of(self), loop);
}

/* Future(loop=loop).  All other calls go the slow way. */
static PyObject *
Future_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyTypeObject *tp = (PyTypeObject *)type;
    struct state *st = PyType_GetModuleState(tp);
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (PyVectorcall_NARGS(nargsf) > 0 || n_keywords > 1
        || (n_keywords == 1 && !future_is_keyword(PyTuple_GET_ITEM(kwnames, 0), st->str.loop))) {
        return future_call_slowly(type, args, nargsf, kwnames);
    }
    Future *f = future_alloc(tp, freelist_of(st, FREELIST_FUTURE), sizeof *f, FUTURE_PLAIN);
    if (f == NULL) {
        return NULL;
    }
    PyObject_GC_Track(f);
    if (UNLIKELY(future_init(f, st, n_keywords == 1 ? args[0] : Py_None) < 0)) {
        Py_CLEAR(f);
    }
    return (PyObject *)f;
}

static int
Future_traverse(PyObject *self, visitproc visit, void *arg)
{
    return future_visit((Future *)self, visit, arg);
}

static int
Future_clear(PyObject *self)
{
    future_clear((Future *)self);
    return 0;
}

static void
Future_finalize(PyObject *self)
{
    future_report_unretrieved((Future *)self);
}

static void
Future_dealloc(PyObject *self)
{
    if (!future_begin_dealloc(self)) {
        return;
    }
    Future *f = (Future *)self;
    struct freelist *list = freelist_of_dying(self, Future_dealloc, FREELIST_FUTURE);
    if (LIKELY(future_is_leaf(f))) {
        future_clear(f);
        freelist_free(list, self);
        return;
    }
    Py_TRASHCAN_BEGIN(self, Future_dealloc)
    future_clear(f);
    freelist_free(list, self);
    Py_TRASHCAN_END
}

/* ---- methods */

static PyObject *
Future_result(PyObject *self, PyObject *Py_UNUSED(none))
{
    return future_result((Future *)self);
}

static PyObject *
Future_exception(PyObject *self, PyObject *Py_UNUSED(none))
{
    Future *f = (Future *)self;
    if (f->state == FUTURE_PENDING && f->loop != NULL) {
        PyErr_SetString(future_state_of(f)->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    if (f->state != FUTURE_FINISHED) {
        return future_raise(f);
    }
    if (!f->has_exception) {
        Py_RETURN_NONE;
    }
    f->log_traceback = false;
    return Py_NewRef(f->result);
}

static PyObject *
Future_set_result(PyObject *self, PyObject *result)
{
    if (UNLIKELY(future_set_result((Future *)self, result) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Future_set_exception(PyObject *self, PyObject *exception)
{
    if (future_set_exception((Future *)self, exception) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *context = NULL;
    if (UNLIKELY(n_args != 1)) {
        PyErr_Format(PyExc_TypeError, "add_done_callback() takes exactly 1 positional argument (%zd given)", n_args);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (UNLIKELY(name != future_state_of((Future *)self)->str.context)
            && PyUnicode_CompareWithASCIIString(name, "context") != 0) {
            PyErr_Format(PyExc_TypeError, "'%U' is an invalid keyword argument for add_done_callback()", name);
            return NULL;
        }
        context = args[1 + i] == Py_None ? NULL : args[1 + i];
    }
    if (UNLIKELY(future_add_done_callback((Future *)self, args[0], context) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Future_remove_done_callback(PyObject *self, PyObject *callback)
{
    Future *f = (Future *)self;
    if (future_ensure_alive(f) < 0) {
        return NULL;
    }
    Py_ssize_t n = callbacks_remove(f, callback);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* The message of cancel(msg=None) to *message (borrowed). */
static int
future_parse_cancel(PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames, PyObject **message)
{
    Py_ssize_t n_keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    *message = NULL;
    if (LIKELY(n_args + n_keywords == 0)) {
        return 0;
    }
    if (n_args + n_keywords > 1) {
        PyErr_Format(PyExc_TypeError, "cancel() takes at most 1 argument (%zd given)", n_args + n_keywords);
        return -1;
    }
    if (n_keywords == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "msg") != 0) {
        PyErr_Format(PyExc_TypeError, "'%U' is an invalid keyword argument for cancel()", PyTuple_GET_ITEM(kwnames, 0));
        return -1;
    }
    *message = args[0];
    return 0;
}

static PyObject *
Future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *message;
    if (future_parse_cancel(args, n_args, kwnames, &message) < 0 || future_ensure_alive((Future *)self) < 0) {
        return NULL;
    }
    int rc = future_cancel((Future *)self, message);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *
Future_cancelled(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(((Future *)self)->state == FUTURE_CANCELLED);
}

static PyObject *
Future_done(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(((Future *)self)->state != FUTURE_PENDING);
}

static PyObject *
Future_get_loop(PyObject *self, PyObject *Py_UNUSED(none))
{
    Future *f = (Future *)self;
    return future_ensure_alive(f) < 0 ? NULL : Py_NewRef(f->loop);
}

static PyObject *
Future_make_cancelled_error(PyObject *self, PyObject *Py_UNUSED(none))
{
    return future_make_cancelled_error((Future *)self);
}

static PyObject *
Future_await(PyObject *self, PyObject *Py_UNUSED(none))
{
    return future_iter_new(self);
}

/* <Name info…>, with the info that asyncio's helper gives. */
static PyObject *
future_describe(Future *f, PyObject *info_function)
{
    PyObject *self = (PyObject *)f, *info = NULL, *space = NULL, *text = NULL, *repr = NULL;
    int entered = Py_ReprEnter(self);
    if (entered != 0) {
        return entered < 0 ? NULL : PyUnicode_FromString("...");
    }
    if ((info = PyObject_CallOneArg(info_function, self)) != NULL && (space = PyUnicode_FromString(" ")) != NULL
        && (text = PyUnicode_Join(space, info)) != NULL) {
        repr = PyUnicode_FromFormat("<%s %U>", future_type_name(f), text);
    }
    Py_XDECREF(info);
    Py_XDECREF(space);
    Py_XDECREF(text);
    Py_ReprLeave(self);
    return repr;
}

static PyObject *
Future_repr(PyObject *self)
{
    Future *f = (Future *)self;
    return future_ensure_alive(f) < 0 ? NULL : future_describe(f, future_state_of(f)->future_repr);
}

/* ---- attributes */

static PyObject *
Future_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    struct state *st = future_state_of(f);
    return Py_NewRef(f->kind == FUTURE_TASK ? st->asyncio_Task : st->asyncio_Future);
}

static PyObject *
Future_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};
    Future *f = (Future *)self;
    return future_ensure_alive(f) < 0 ? NULL : PyUnicode_InternFromString(names[f->state]);
}

/* Setters get NULL for del. */
static int
future_check_not_deleted(PyObject *self, PyObject *value, const char *name)
{
    if (value != NULL) {
        return 0;
    }
    if (COMPAT_DELETION_NAMES_ATTRIBUTE) {
        PyErr_Format(PyExc_AttributeError, "attribute '%s' of '%s' objects cannot be deleted", name,
                     Py_TYPE(self)->tp_name);
    }
    else {
        PyErr_SetString(PyExc_AttributeError, "cannot delete attribute");
    }
    return -1;
}

static PyObject *
Future_get_blocking(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Future *)self)->blocking);
}

static int
Future_set_blocking(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    if (future_ensure_alive(f) < 0 || future_check_not_deleted(self, value, "_asyncio_future_blocking") < 0) {
        return -1;
    }
    int is_true = PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    f->blocking = is_true;
    return 0;
}

static PyObject *
Future_get_loop_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *loop = ((Future *)self)->loop;
    return Py_NewRef(loop == NULL ? Py_None : loop);
}

static PyObject *
Future_get_callbacks(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    if (future_ensure_alive(f) < 0) {
        return NULL;
    }
    if (f->state != FUTURE_PENDING) {
        Py_RETURN_NONE;
    }
    PyObject *list = callbacks_as_list(f);
    if (list != NULL && PyList_GET_SIZE(list) == 0) {
        Py_SETREF(list, Py_NewRef(Py_None));
    }
    return list;
}

static PyObject *
Future_get_result(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    if (future_ensure_alive(f) < 0) {
        return NULL;
    }
    return Py_NewRef(f->state == FUTURE_FINISHED && !f->has_exception ? f->result : Py_None);
}

static PyObject *
Future_get_exception(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    if (future_ensure_alive(f) < 0) {
        return NULL;
    }
    return Py_NewRef(f->state == FUTURE_FINISHED && f->has_exception ? f->result : Py_None);
}

static PyObject *
Future_get_log_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    Future *f = (Future *)self;
    return future_ensure_alive(f) < 0 ? NULL : PyBool_FromLong(f->log_traceback);
}

static int
Future_set_log_traceback(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int is_true = future_check_not_deleted(self, value, "_log_traceback") < 0 ? -1 : PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    if (is_true) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    ((Future *)self)->log_traceback = false;
    return 0;
}

static PyObject *
Future_get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    struct future_rare *rare = ((Future *)self)->rare;
    return Py_NewRef(rare == NULL || rare->source_traceback == NULL ? Py_None : rare->source_traceback);
}

static PyObject *
Future_get_cancel_message(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *message = future_cancel_message_borrowed((Future *)self);
    return Py_NewRef(message == NULL ? Py_None : message);
}

static int
Future_set_cancel_message(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return future_check_not_deleted(self, value, "_cancel_message") < 0
               ? -1
               : future_set_cancel_message((Future *)self, value);
}

PyDoc_STRVAR(Future_doc, "Future(*, loop=None)\n--\n\n"
                         "A result that comes later; isinstance of asyncio.Future.\n\n"
                         "loop: any asyncio event loop; None takes the running or the current one.\n"
                         "Source: asyncio.Future.  Differs: type(x) is not asyncio.Future.");

#define FUTURE_SIGNATURE_CANCEL "cancel($self, /, msg=None)\n--\n\n"
#define FUTURE_FASTCALL(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef Future_methods[] = {
    {"result", Future_result, METH_NOARGS,
     "result($self, /)\n--\n\nThe result; raises the exception it ended with, CancelledError, or InvalidStateError "
     "when it is not done."},
    {"exception", Future_exception, METH_NOARGS,
     "exception($self, /)\n--\n\nThe exception it ended with, or None; raises as result() does."},
    {"set_result", Future_set_result, METH_O,
     "set_result($self, result, /)\n--\n\nEnd it with a result. InvalidStateError when it is done."},
    {"set_exception", Future_set_exception, METH_O,
     "set_exception($self, exception, /)\n--\n\nEnd it with an exception (instance or class). InvalidStateError when "
     "it is done."},
    {"add_done_callback", FUTURE_FASTCALL(Future_add_done_callback), METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, fn, /, *, context=None)\n--\n\nSchedule fn(future) for when it is done, or now if it "
     "is."},
    {"remove_done_callback", Future_remove_done_callback, METH_O,
     "remove_done_callback($self, fn, /)\n--\n\nTake fn out of the callbacks; returns how often it was among them."},
    {"cancel", FUTURE_FASTCALL(Future_cancel), METH_FASTCALL | METH_KEYWORDS,
     FUTURE_SIGNATURE_CANCEL "End it as cancelled and schedule its callbacks. False when it is done already."},
    {"cancelled", Future_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nTrue if it was cancelled."},
    {"done", Future_done, METH_NOARGS,
     "done($self, /)\n--\n\nTrue if it has a result or an exception, or was cancelled."},
    {"get_loop", Future_get_loop, METH_NOARGS, "get_loop($self, /)\n--\n\nIts event loop."},
    {"_make_cancelled_error", Future_make_cancelled_error, METH_NOARGS, NULL},
    {"__await__", Future_await, METH_NOARGS | METH_COEXIST, NULL},
    {"__iter__", Future_await, METH_NOARGS | METH_COEXIST, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585"},
    {NULL},
};

static PyGetSetDef Future_getset[] = {
    {"__class__", Future_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_state", Future_get_state},
    {"_asyncio_future_blocking", Future_get_blocking, Future_set_blocking},
    {"_loop", Future_get_loop_attribute},
    {"_callbacks", Future_get_callbacks},
    {"_result", Future_get_result},
    {"_exception", Future_get_exception},
    {"_log_traceback", Future_get_log_traceback, Future_set_log_traceback},
    {"_source_traceback", Future_get_source_traceback},
    {"_cancel_message", Future_get_cancel_message, Future_set_cancel_message},
#if COMPAT_CALL_GRAPH
    {"_asyncio_awaited_by", Future_get_awaited_by},
#endif
#if !COMPAT_AM_SEND_USED
    {"send", Future_get_send},
#endif
    {NULL},
};

static PyMemberDef Future_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Future, weakrefs), READONLY},
    {"__dictoffset__", T_PYSSIZET, offsetof(Future, dict), READONLY},
    {NULL},
};

static PyType_Slot Future_slots[] = {
    {Py_tp_doc, (void *)Future_doc}, {Py_tp_new, Future_new},
    {Py_tp_init, Future_init},       {Py_tp_traverse, Future_traverse},
    {Py_tp_clear, Future_clear},     {Py_tp_finalize, Future_finalize},
    {Py_tp_dealloc, Future_dealloc}, {Py_tp_repr, Future_repr},
    {Py_tp_iter, future_iter_new},   {Py_tp_iternext, Future_iternext},
    {Py_am_await, Future_am_await},  {Py_am_send, Future_am_send},
    {Py_tp_methods, Future_methods}, {Py_tp_getset, Future_getset},
    {Py_tp_members, Future_members}, {0, NULL},
};

static PyType_Spec Future_spec = {
    .name = "asyncloop.Future",
    .basicsize = sizeof(Future),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Future_slots,
};

/* Arguments that the fast constructors do not take: through tp_new and tp_init, which know all the errors. */
static COLD PyObject *
future_call_slowly(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Py_ssize_t n_args = PyVectorcall_NARGS(nargsf);
    PyObject *tuple = PyTuple_New(n_args), *kwargs = PyDict_New(), *result = NULL;
    if (tuple == NULL || kwargs == NULL) {
        goto end;
    }
    for (Py_ssize_t i = 0; i < n_args; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        if (PyDict_SetItem(kwargs, PyTuple_GET_ITEM(kwnames, i), args[n_args + i]) < 0) {
            goto end;
        }
    }
    result = PyType_Type.tp_call(type, tuple, kwargs);
end:
    Py_XDECREF(tuple);
    Py_XDECREF(kwargs);
    return result;
}

/* A type that is its own await-iterator shows no __next__: else it would pass for an iterator (collections.abc). */
static int
future_hide_next(PyTypeObject *type)
{
    if (PyDict_DelItemString(type->tp_dict, "__next__") < 0) {
        return -1;
    }
    PyType_Modified(type);
    return 0;
}

/* An object from a module of the standard library into *slot. */
static int
future_import(PyObject **slot, const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    *slot = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return *slot == NULL ? -1 : 0;
}

static int
future_register(PyObject *module, struct state *st)
{
    if (future_import(&st->future_repr, "asyncio.base_futures", "_future_repr_info") < 0
        || future_ask_about_stop_iteration(st) < 0
        || state_add_type(module, &st->FutureIter_type, &FutureIter_spec, NULL, false,
                          SECTION_VIA(AwaitIter, awaited, Future, loop))
               < 0
        || state_add_type(module, &st->Future_type, &Future_spec, NULL, true, SECTION_AT(Future, loop)) < 0
        || future_hide_next(st->Future_type) < 0
        || twin_adopt(st, st->Future_type, TWIN_CLOSED, "_asyncio", "Future") < 0) {
        return -1;
    }
    st->Future_type->tp_vectorcall = Future_vectorcall;
    return 0;
}
