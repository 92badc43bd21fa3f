/* task/future/task_type.c -- the Python face of Task. */
#include "core/freelist.h"
#include "core/guard.h"
#include "core/twin.h"
#include "task/future/task.h"

/* ---- construction */

struct task_args {
    PyObject *coro, *loop, *name, *context, *eager_start; /* borrowed; NULL: not given */
};

static int
task_init_of_args(Task *t, struct state *st, const struct task_args *args)
{
    int is_eager = args->eager_start == NULL ? 0 : PyObject_IsTrue(args->eager_start);
    if (is_eager < 0) {
        return -1;
    }
    return task_init(t, st, args->coro, args->loop == NULL ? Py_None : args->loop,
                     args->name == Py_None ? NULL : args->name, args->context == Py_None ? NULL : args->context,
                     is_eager);
}

static int
Task_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct task_args a = {NULL, NULL, NULL, NULL, NULL};
    Py_ssize_t n_args = PyTuple_GET_SIZE(args), n_all = n_args + (kwargs == NULL ? 0 : PyDict_GET_SIZE(kwargs));
    /* asyncio's text, which PyArg_ParseTupleAndKeywords does not have */
    if (n_args > 1 && n_all <= (COMPAT_EAGER_TASKS ? 5 : 4)) {
        PyErr_Format(PyExc_TypeError, "Task() takes exactly 1 positional argument (%zd given)", n_args);
        return -1;
    }
#if COMPAT_EAGER_TASKS
    static const char *const names[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    int parsed = PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOO:Task", (char **)names, &a.coro, &a.loop, &a.name,
                                             &a.context, &a.eager_start);
#else
    static const char *const names[] = {"coro", "loop", "name", "context", NULL};
    int parsed =
        PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOO:Task", (char **)names, &a.coro, &a.loop, &a.name, &a.context);
#endif
    return parsed ? task_init_of_args((Task *)self, state_of(self), &a) : -1;
}

/* true if this keyword is one of Task's, and it is noted. */
static bool
task_take_keyword(struct state *st, struct task_args *a, PyObject *name, PyObject *value)
{
    if (future_is_keyword(name, st->str.loop)) {
        a->loop = value;
    }
    else if (future_is_keyword(name, st->str.name)) {
        a->name = value;
    }
    else if (future_is_keyword(name, st->str.context)) {
        a->context = value;
    }
    else if (COMPAT_EAGER_TASKS && future_is_keyword(name, st->str.eager_start)) {
        a->eager_start = value;
    }
    else {
        return false;
    }
    return true;
}

static PyObject *
Task_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    struct state *st = PyType_GetModuleState((PyTypeObject *)type);
    bool is_plain = PyVectorcall_NARGS(nargsf) == 1;
    struct task_args a = {is_plain ? args[0] : NULL, NULL, NULL, NULL, NULL};
    for (Py_ssize_t i = 0; is_plain && kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        is_plain = task_take_keyword(st, &a, PyTuple_GET_ITEM(kwnames, i), args[1 + i]);
    }
    if (!is_plain) {
        return future_call_slowly(type, args, nargsf, kwnames);
    }
    Task *t = task_alloc(st);
    if (t == NULL) {
        return NULL;
    }
    PyObject_GC_Track(t);
    if (UNLIKELY(task_init_of_args(t, st, &a) < 0)) {
        Py_CLEAR(t);
    }
    return (PyObject *)t;
}

static PyObject *
Task_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    if (type->tp_vectorcall == Task_vectorcall) {
        Task *t = task_alloc(PyType_GetModuleState(type));
        if (t != NULL) {
            PyObject_GC_Track(t);
        }
        return (PyObject *)t;
    }
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL) {
        ((Future *)self)->kind = FUTURE_TASK;
    }
    return self;
}

/* ---- life */

static int
Task_traverse(PyObject *self, visitproc visit, void *arg)
{
    Task *t = (Task *)self;
    Py_VISIT(t->coro);
    Py_VISIT(t->context);
    Py_VISIT(t->waiting_on);
    if (t->name != 0 && (t->name & 1) == 0) {
        Py_VISIT((PyObject *)t->name);
    }
    return future_visit(&t->future, visit, arg);
}

static int
Task_clear(PyObject *self)
{
    Task *t = (Task *)self;
    task_unlink(t);
    future_clear(&t->future);
    Py_CLEAR(t->coro);
    Py_CLEAR(t->context);
    Py_CLEAR(t->waiting_on);
    task_drop_name(t);
    return 0;
}

static COLD void
task_report_destroyed(Task *t)
{
    PyObject *raised = compat_take_raised();
    struct state *st = future_state_of(&t->future);
    PyObject *context = PyDict_New(), *message = PyUnicode_FromString("Task was destroyed but it is pending!");
    PyObject *source = t->future.rare == NULL ? NULL : t->future.rare->source_traceback;
    if (context == NULL || message == NULL || PyDict_SetItem(context, st->str.message, message) < 0
        || PyDict_SetItem(context, st->str.task, (PyObject *)t) < 0
        || (source != NULL && PyDict_SetItem(context, st->str.source_traceback, source) < 0)) {
        PyErr_WriteUnraisable((PyObject *)t);
    }
    else {
        loop_report_unraised(t->future.loop, context);
    }
    Py_XDECREF(context);
    Py_XDECREF(message);
    compat_set_raised(raised);
}

static void
Task_finalize(PyObject *self)
{
    Task *t = (Task *)self;
    /* a task that comes back to life in the exception handler is not listed again; in asyncio its weak references are
     * gone by now, too */
    task_unlink(t);
    if (t->future.state == FUTURE_PENDING && t->future.log_destroy && t->future.loop != NULL) {
        task_report_destroyed(t);
    }
    future_report_unretrieved(&t->future);
}

static void
Task_dealloc(PyObject *self)
{
    Task *t = (Task *)self;
    if (future_has_leftover(&t->future) && UNLIKELY(task_may_run_code(t))) {
        future_leave_task_here(&t->future);
    }
    if (UNLIKELY(t->future.log_traceback || (t->future.state == FUTURE_PENDING && t->future.log_destroy))
        && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    task_unlink(t);
    if (t->future.weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    struct freelist *list = freelist_of_dying(self, Task_dealloc, FREELIST_TASK);
    if (LIKELY(t->future.state != FUTURE_PENDING && t->waiting_on == NULL && future_is_leaf(&t->future))) {
        Task_clear(self);
        freelist_free(list, self);
        return;
    }
    Py_TRASHCAN_BEGIN(self, Task_dealloc)
    Task_clear(self);
    freelist_free(list, self);
    Py_TRASHCAN_END
}

/* ---- methods */

static PyObject *
Task_cancel(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *message;
    if (future_parse_cancel(args, n_args, kwnames, &message) < 0) {
        return NULL;
    }
    int rc = task_cancel((Task *)self, message);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static PyObject *
Task_cancelling(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLong(((Task *)self)->n_cancels);
}

static PyObject *
Task_uncancel(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLong(task_uncancel((Task *)self));
}

/* asyncio's helper(self, *values), where values are the keyword arguments called names (None when not given). */
static PyObject *
task_call_helper(PyObject *self, PyObject *helper, PyObject *args, PyObject *kwargs, const char *format,
                 const char *const *names, int n_names)
{
    PyObject *stack[3] = {self, Py_None, Py_None};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, (char **)names, &stack[1], &stack[2])) {
        return NULL;
    }
    return PyObject_Vectorcall(helper, stack, (size_t)(1 + n_names), NULL);
}

static PyObject *
Task_get_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"limit", NULL};
    return task_call_helper(self, state_of(self)->task_get_stack, args, kwargs, "|$O:get_stack", names, 1);
}

static PyObject *
Task_print_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static const char *const names[] = {"limit", "file", NULL};
    return task_call_helper(self, state_of(self)->task_print_stack, args, kwargs, "|$OO:print_stack", names, 2);
}

static PyObject *
Task_set_result(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(result))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

static PyObject *
Task_set_exception(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(exception))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_exception operation");
    return NULL;
}

static PyObject *
Task_get_coro(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *coro = ((Task *)self)->coro;
    return Py_NewRef(coro == NULL ? Py_None : coro);
}

static PyObject *
Task_get_context(PyObject *self, PyObject *Py_UNUSED(none))
{
    Task *t = (Task *)self;
    return t->coro == NULL && t->context == NULL ? Py_NewRef(Py_None)
                                                 : Py_XNewRef(context_materialise_borrowed(&t->context));
}

static PyObject *
Task_get_name(PyObject *self, PyObject *Py_UNUSED(none))
{
    return task_name((Task *)self);
}

static PyObject *
Task_set_name(PyObject *self, PyObject *name)
{
    if (task_set_name((Task *)self, name) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Task_repr(PyObject *self)
{
    return future_describe((Future *)self, state_of(self)->task_repr);
}

/* ---- attributes */

static PyObject *
Task_get_log_destroy_pending(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Future *)self)->log_destroy);
}

static int
Task_set_log_destroy_pending(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int is_true = future_check_not_deleted(self, value, "_log_destroy_pending") < 0 ? -1 : PyObject_IsTrue(value);
    if (is_true < 0) {
        return -1;
    }
    ((Future *)self)->log_destroy = is_true;
    return 0;
}

static PyObject *
Task_get_must_cancel(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Future *)self)->must_cancel);
}

static PyObject *
Task_get_coro_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return Task_get_coro(self, NULL);
}

static PyObject *
Task_get_fut_waiter(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *future = ((Task *)self)->waiting_on;
    return Py_NewRef(future == NULL ? Py_None : future);
}

static PyObject *
Task_get_num_cancels(PyObject *self, void *Py_UNUSED(closure))
{
    return Task_cancelling(self, NULL);
}

PyDoc_STRVAR(Task_doc, "Task(coro, *, loop=None, name=None, context=None"
#if COMPAT_EAGER_TASKS
                       ", eager_start=False"
#endif
                       ")\n--\n\n"
                       "Runs a coroutine on an event loop; isinstance of asyncio.Task.\n\n"
                       "loop: any asyncio event loop; None takes the running or the current one.  context: None takes "
                       "a copy of the current one.\n"
                       "Raises: TypeError when coro is no coroutine.\n"
                       "Source: asyncio.Task.  Differs: type(x) is not asyncio.Task.");

static PyMethodDef Task_methods[] = {
    {"cancel", FUTURE_FASTCALL(Task_cancel), METH_FASTCALL | METH_KEYWORDS,
     FUTURE_SIGNATURE_CANCEL
     "Throw a CancelledError into the coroutine in its next step. False when it is done already."},
    {"cancelling", Task_cancelling, METH_NOARGS,
     "cancelling($self, /)\n--\n\nHow many cancel() were not taken back by uncancel()."},
    {"uncancel", Task_uncancel, METH_NOARGS,
     "uncancel($self, /)\n--\n\nTake back one cancel(); returns how many are left."},
    {"get_stack", FUTURE_FASTCALL(Task_get_stack), METH_VARARGS | METH_KEYWORDS,
     "get_stack($self, /, *, limit=None)\n--\n\nThe frames of the coroutine, oldest first; of the traceback when it "
     "raised."},
    {"print_stack", FUTURE_FASTCALL(Task_print_stack), METH_VARARGS | METH_KEYWORDS,
     "print_stack($self, /, *, limit=None, file=None)\n--\n\nWrite what get_stack() finds, to sys.stderr by default."},
    {"set_result", Task_set_result, METH_O, NULL},
    {"set_exception", Task_set_exception, METH_O, NULL},
    {"get_coro", Task_get_coro, METH_NOARGS, "get_coro($self, /)\n--\n\nThe coroutine."},
#if COMPAT_TASK_GET_CONTEXT
    {"get_context", Task_get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\nThe contextvars.Context the coroutine runs in."},
#endif
    {"get_name", Task_get_name, METH_NOARGS, "get_name($self, /)\n--\n\nThe name, Task-N by default."},
    {"set_name", Task_set_name, METH_O, "set_name($self, value, /)\n--\n\nName it str(value)."},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "See PEP 585"},
    {NULL},
};

static PyObject *
Task_get_context_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return Task_get_context(self, NULL);
}

static PyGetSetDef Task_getset[] = {
    {"_log_destroy_pending", Task_get_log_destroy_pending, Task_set_log_destroy_pending},
    {"_must_cancel", Task_get_must_cancel},
    {"_coro", Task_get_coro_attribute},
    {"_context", Task_get_context_attribute},
    {"_fut_waiter", Task_get_fut_waiter},
    {"_num_cancels_requested", Task_get_num_cancels},
    {NULL},
};

static PyType_Slot Task_slots[] = {
    {Py_tp_doc, (void *)Task_doc},   {Py_tp_new, Task_new},       {Py_tp_init, Task_init},
    {Py_tp_traverse, Task_traverse}, {Py_tp_clear, Task_clear},   {Py_tp_finalize, Task_finalize},
    {Py_tp_dealloc, Task_dealloc},   {Py_tp_repr, Task_repr},     {Py_am_send, Future_am_send},
    {Py_tp_methods, Task_methods},   {Py_tp_getset, Task_getset}, {0, NULL},
};

static PyType_Spec Task_spec = {
    .name = "asyncloop.Task",
    .basicsize = sizeof(Task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Task_slots,
};

static PyObject *
module_own_tasks(PyObject *module, PyObject *Py_UNUSED(none))
{
    return task_list_own(state_of_module(module));
}

static PyMethodDef task_functions[] = {
    {"_own_tasks", module_own_tasks, METH_NOARGS,
     "_own_tasks($module, /)\n--\n\nA list of all unfinished tasks of these types, on any loop."},
    {NULL},
};

static int
task_register(PyObject *module, struct state *st)
{
    if (future_import(&st->task_repr, "asyncio.base_tasks", "_task_repr_info") < 0
        || future_import(&st->task_get_stack, "asyncio.base_tasks", "_task_get_stack") < 0
        || future_import(&st->task_print_stack, "asyncio.base_tasks", "_task_print_stack") < 0
        || (COMPAT_EAGER_TASKS && future_import(&st->eager_task_factory, "asyncio.tasks", "eager_task_factory") < 0)
        || state_add_type(module, &st->Task_type, &Task_spec, st->Future_type, true, SECTION_AT(Future, loop)) < 0
        || twin_adopt(st, st->Task_type, TWIN_CLOSED, "_asyncio", "Task") < 0) {
        return -1;
    }
    st->Task_type->tp_vectorcall = Task_vectorcall;
    st->task_runs[0] = task_step_ready;
    st->task_runs[1] = task_wakeup;
    return guard_add_functions(module, task_functions);
}
