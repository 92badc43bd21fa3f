/* task/wait/taskgroup_type.c -- the Python face of TaskGroup. */
#include "core/args.h"
#include "core/twin.h"
#include "core/twin_copy.h"
#include "task/wait/child.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/future/task.h"
#include "task/wait/taskgroup.h"

/* ---- life */

static PyObject *
TaskGroup_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    TaskGroup *g = (TaskGroup *)twin_alloc(type);
    if (g != NULL && (g->tasks = PySet_New(NULL)) == NULL) {
        Py_CLEAR(g);
    }
    return (PyObject *)g;
}

static const struct args_signature TaskGroup_signature = {"TaskGroup.__init__", NULL, 0, 0, 0, true};

static int
TaskGroup_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    TaskGroup *g = (TaskGroup *)self;
    if (args_bind_tuple(&TaskGroup_signature, args, kwargs, NULL) < 0 || PySet_Clear(g->tasks) < 0) {
        return -1;
    }
    g->entered = g->exiting = g->aborting = g->parent_cancel_requested = g->cancel_on_enter = g->has_forgotten = false;
    Py_CLEAR(g->loop);
    Py_CLEAR(g->parent_task);
    Py_CLEAR(g->errors);
    Py_CLEAR(g->base_error);
    Py_CLEAR(g->on_completed);
    return 0;
}

static int
TaskGroup_traverse(PyObject *self, visitproc visit, void *arg)
{
    TaskGroup *g = (TaskGroup *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(g->loop);
    Py_VISIT(g->parent_task);
    Py_VISIT(g->tasks);
    Py_VISIT(g->errors);
    Py_VISIT(g->base_error);
    Py_VISIT(g->on_completed);
    Py_VISIT(g->dict);
    return 0;
}

/* The set stays: methods count on it. What is in it goes. */
static int
TaskGroup_clear(PyObject *self)
{
    TaskGroup *g = (TaskGroup *)self;
    Py_CLEAR(g->loop);
    Py_CLEAR(g->parent_task);
    if (g->tasks != NULL) {
        (void)PySet_Clear(g->tasks);
    }
    Py_CLEAR(g->errors);
    Py_CLEAR(g->base_error);
    Py_CLEAR(g->on_completed);
    Py_CLEAR(g->dict);
    return 0;
}

static void
TaskGroup_dealloc(PyObject *self)
{
    TaskGroup *g = (TaskGroup *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (g->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    Py_TRASHCAN_BEGIN(self, TaskGroup_dealloc)
    TaskGroup_clear(self);
    Py_CLEAR(g->tasks);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyObject *
TaskGroup_repr(PyObject *self)
{
    TaskGroup *g = (TaskGroup *)self;
    char tasks[40] = "", errors[40] = "";
    if (PySet_GET_SIZE(g->tasks) > 0) {
        PyOS_snprintf(tasks, sizeof tasks, " tasks=%zd", PySet_GET_SIZE(g->tasks));
    }
    if (g->errors != NULL && PyList_GET_SIZE(g->errors) > 0) {
        PyOS_snprintf(errors, sizeof errors, " errors=%zd", PyList_GET_SIZE(g->errors));
    }
    return PyUnicode_FromFormat("<TaskGroup%s%s%s>", tasks, errors,
                                g->aborting  ? " cancelling"
                                : g->entered ? " entered"
                                             : "");
}

/* ---- entering and leaving */

static PySendResult
taskgroup_aenter_step(Coro *c, struct state *st, PyObject *Py_UNUSED(value), PyObject **result)
{
    return LIKELY(taskgroup_enter((TaskGroup *)c->self, st) == 0) ? coro_return(result, c->self) : PYGEN_ERROR;
}

static const struct coro_kind taskgroup_aenter_kind = {"TaskGroup.__aenter__", taskgroup_aenter_step};

static const struct args_signature TaskGroup_aenter_signature = {"TaskGroup.__aenter__", NULL, 0, 0, 0, true};

static PyObject *
TaskGroup_aenter(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    if (args_bind(&TaskGroup_aenter_signature, args, n_args, kwnames, NULL) < 0) {
        return NULL;
    }
    return (PyObject *)coro_new(state_of(self), &taskgroup_aenter_kind, self);
}

static const char *const TaskGroup_aexit_names[] = {"et", "exc", "tb"};
static const struct args_signature TaskGroup_aexit_signature = {
    "TaskGroup.__aexit__", TaskGroup_aexit_names, 3, 3, 3, true};

static PyObject *
TaskGroup_aexit(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *given[3];
    if (args_bind(&TaskGroup_aexit_signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    Coro *c = coro_new(state_of(self), &taskgroup_aexit_kind, self);
    if (LIKELY(c != NULL)) {
        c->slots[GROUP_EXC_TYPE] = Py_NewRef(given[0]);
        c->slots[GROUP_EXC] = Py_NewRef(given[1]);
    }
    return (PyObject *)c;
}

/* ---- create_task */

/* If loop.create_task would make one of our Tasks on one of our loops of these arguments, make it: 1 and *task (NULL
 * with an exception), else 0. */
static inline int
taskgroup_make_task(TaskGroup *g, struct state *st, PyObject *coro, PyObject *name, PyObject *context, PyObject **task)
{
    Loop *loop = (Loop *)g->loop;
    if (UNLIKELY(loop == NULL) || !loop_is_own(st, g->loop) || loop->debug || !child_loop_makes_tasks(st, loop)) {
        return 0;
    }
    *task = task_new(loop, coro, name == Py_None ? NULL : name, context == Py_None ? NULL : context, false);
    return 1;
}

/* self._loop.create_task(coro, **kwargs) */
static PyObject *
taskgroup_call_create_task(TaskGroup *g, struct state *st, PyObject *coro, PyObject *const *values, PyObject *kwnames)
{
    Py_ssize_t n = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *small[8], **stack = n <= 6 ? small : PyMem_Malloc((size_t)(n + 2) * sizeof *stack);
    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *loop = Py_NewRef(g->loop == NULL ? Py_None : g->loop); /* a task factory may do anything */
    stack[0] = loop;
    stack[1] = coro;
    for (Py_ssize_t i = 0; i < n; i++) {
        stack[2 + i] = values[i];
    }
    PyObject *task = PyObject_VectorcallMethod(st->str.create_task, stack, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                               n == 0 ? NULL : kwnames);
    Py_DECREF(loop);
    if (stack != small) {
        PyMem_Free(stack);
    }
    return task;
}

#if COMPAT_FACTORY_KEYWORDS
/* create_task(coro, **kwargs) */
static const char *const TaskGroup_create_names[] = {"coro"};
static const struct args_signature TaskGroup_create_signature = {
    "TaskGroup.create_task", TaskGroup_create_names, 1, 1, 1, true, .takes_names = true};

static PyObject *
taskgroup_create(TaskGroup *g, struct state *st, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *coro, *name = NULL, *context = NULL, *task = NULL;
    bool is_known = true;
    if (args_bind(&TaskGroup_create_signature, args, n_args, kwnames, &coro) < 0
        || taskgroup_check_open(g, st, coro) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i), **slot;
        slot = future_is_keyword(key, st->str.name) ? &name : future_is_keyword(key, st->str.context) ? &context : NULL;
        is_known &= slot != NULL;
        if (slot != NULL) {
            *slot = args[1 + i];
        }
    }
    if (LIKELY(is_known) && taskgroup_make_task(g, st, coro, name, context, &task)) {
        return task;
    }
    return taskgroup_call_create_task(g, st, coro, args + 1, kwnames);
}
#else
/* create_task(coro, *, name=None, context=None) */
static const char *const TaskGroup_create_names[] = {"coro", "name", "context"};
static const struct args_signature TaskGroup_create_signature = {
    "TaskGroup.create_task", TaskGroup_create_names, 1, 1, 3, true};

/* asyncio.tasks._set_task_name of old */
static int
taskgroup_name_task(struct state *st, PyObject *task, PyObject *name)
{
    PyObject *done = PyObject_CallMethodOneArg(task, st->str.set_name, name);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
taskgroup_create(TaskGroup *g, struct state *st, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *given[3], *task = NULL;
    if (args_bind(&TaskGroup_create_signature, args, n_args, kwnames, given) < 0
        || taskgroup_check_open(g, st, given[0]) < 0) {
        return NULL;
    }
    PyObject *name = given[1] == NULL ? Py_None : given[1], *context = given[2] == NULL ? Py_None : given[2];
    if (LIKELY(taskgroup_make_task(g, st, given[0], name, context, &task))) {
        return task;
    }
    bool is_named = !st->traits.group_names_afterwards;
    PyObject *names[2], *values[2];
    Py_ssize_t n = 0;
    if (is_named) {
        names[n] = st->str.name;
        values[n++] = name;
    }
    if (context != Py_None) {
        names[n] = st->str.context;
        values[n++] = context;
    }
    PyObject *keys = PyTuple_New(n);
    for (Py_ssize_t i = 0; keys != NULL && i < n; i++) {
        PyTuple_SET_ITEM(keys, i, Py_NewRef(names[i]));
    }
    task = keys == NULL ? NULL : taskgroup_call_create_task(g, st, given[0], values, keys);
    Py_XDECREF(keys);
    if (task != NULL && !is_named && name != Py_None && taskgroup_name_task(st, task, name) < 0) {
        Py_CLEAR(task);
    }
    return task;
}
#endif

static PyObject *
TaskGroup_create_task(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    TaskGroup *g = (TaskGroup *)self;
    struct state *st = state_of(self);
    if (COMPAT_FACTORY_KEYWORDS
        && UNLIKELY(n_args == 0 && kwnames != NULL && args_find_keyword(kwnames, args, "coro") != NULL)) {
        return args_first_by_name(TaskGroup_create_task, self, "coro", args, kwnames);
    }
    PyObject *task = taskgroup_create(g, st, args, n_args, kwnames);
    if (UNLIKELY(task == NULL || taskgroup_add(g, st, task) < 0)) {
        Py_XDECREF(task);
        return NULL;
    }
    return task;
}

/* ---- what subclasses and programs reach for */

static PyObject *
TaskGroup__abort(PyObject *self, PyObject *Py_UNUSED(none))
{
    return taskgroup_abort((TaskGroup *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TaskGroup__on_task_done(PyObject *self, PyObject *task)
{
    return taskgroup_task_done((TaskGroup *)self, state_of(self), task) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
TaskGroup__is_base_error(PyObject *Py_UNUSED(self), PyObject *exception)
{
    return PyBool_FromLong(taskgroup_is_base_error(exception));
}

#if COMPAT_GROUP_CANCEL
static PyObject *
TaskGroup_cancel(PyObject *self, PyObject *Py_UNUSED(none))
{
    return taskgroup_cancel((TaskGroup *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}
#endif

static PyObject *
TaskGroup_get_errors(PyObject *self, void *Py_UNUSED(closure))
{
    TaskGroup *g = (TaskGroup *)self;
    if (g->errors == NULL && !g->has_forgotten) {
        g->errors = PyList_New(0);
        return Py_XNewRef(g->errors);
    }
    return Py_NewRef(g->errors == NULL ? Py_None : g->errors);
}

/* A list, or None: given up. */
static int
TaskGroup_set_errors(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    TaskGroup *g = (TaskGroup *)self;
    if (value == NULL || (value != Py_None && !PyList_Check(value))) {
        PyErr_SetString(value == NULL ? PyExc_AttributeError : PyExc_TypeError, "_errors must be a list or None");
        return -1;
    }
    g->has_forgotten = value == Py_None;
    Py_XSETREF(g->errors, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
TaskGroup_get_tasks(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((TaskGroup *)self)->tasks);
}

static int
TaskGroup_set_tasks(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL || !PySet_Check(value)) {
        PyErr_SetString(value == NULL ? PyExc_AttributeError : PyExc_TypeError, "_tasks must be a set");
        return -1;
    }
    Py_SETREF(((TaskGroup *)self)->tasks, Py_NewRef(value));
    return 0;
}

static const char *const TaskGroup_copied[] = {
    "_entered",
    "_exiting",
    "_aborting",
    "_loop",
    "_parent_task",
    "_parent_cancel_requested",
    "_tasks",
    "_errors",
    "_base_error",
    "_on_completed_fut",
#if COMPAT_GROUP_CANCEL
    "_cancel_on_enter",
#endif
    NULL,
};

static PyMethodDef TaskGroup_methods[] = {
    {"create_task", FUTURE_FASTCALL(TaskGroup_create_task), METH_FASTCALL | METH_KEYWORDS,
     COMPAT_FACTORY_KEYWORDS
         ? "create_task($self, coro, **kwargs)\n--\n\nA task of this group. Raises: RuntimeError outside of the block."
         : "create_task($self, coro, *, name=None, context=None)\n--\n\n"
           "A task of this group. Raises: RuntimeError outside of the block."},
    {"_abort", TaskGroup__abort, METH_NOARGS, NULL},
    {"_on_task_done", TaskGroup__on_task_done, METH_O, NULL},
    {"_is_base_error", TaskGroup__is_base_error, METH_O, NULL},
#if COMPAT_GROUP_CANCEL
    {"cancel", TaskGroup_cancel, METH_NOARGS,
     "cancel($self)\n--\n\nCancel the tasks and the rest of the block, which then ends without CancelledError; before "
     "the block: as soon as it begins."},
#endif
    {NULL},
};

static const struct coro_function taskgroup_functions[] = {
    {"TaskGroup.__aenter__", TaskGroup_aenter, "__aenter__(self)\n--\n\n"},
    {"TaskGroup.__aexit__", TaskGroup_aexit, "__aexit__(self, et, exc, tb)\n--\n\n"},
    {NULL},
};

static PyGetSetDef TaskGroup_getset[] = {
    {"__class__", twin_get_class},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict},
    {"_errors", TaskGroup_get_errors, TaskGroup_set_errors},
    {"_tasks", TaskGroup_get_tasks, TaskGroup_set_tasks},
    {"_loop", twin_get_field, twin_set_field, NULL, (void *)offsetof(TaskGroup, loop)},
    {"_parent_task", twin_get_field, twin_set_field, NULL, (void *)offsetof(TaskGroup, parent_task)},
    {"_base_error", twin_get_field, twin_set_field, NULL, (void *)offsetof(TaskGroup, base_error)},
    {"_on_completed_fut", twin_get_field, twin_set_field, NULL, (void *)offsetof(TaskGroup, on_completed)},
    {NULL},
};

static PyMemberDef TaskGroup_members[] = {
    {"_entered", T_BOOL, offsetof(TaskGroup, entered), 0},
    {"_exiting", T_BOOL, offsetof(TaskGroup, exiting), 0},
    {"_aborting", T_BOOL, offsetof(TaskGroup, aborting), 0},
    {"_parent_cancel_requested", T_BOOL, offsetof(TaskGroup, parent_cancel_requested), 0},
#if COMPAT_GROUP_CANCEL
    {"_cancel_on_enter", T_BOOL, offsetof(TaskGroup, cancel_on_enter), 0},
#endif
    {"__dictoffset__", T_PYSSIZET, offsetof(TaskGroup, dict), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TaskGroup, weakrefs), READONLY},
    {NULL},
};

PyDoc_STRVAR(
    TaskGroup_doc,
    "TaskGroup()\n--\n\n"
    "Asynchronous context manager of tasks: its end awaits them all, the first exception cancels the others.\n\n"
    "Raises at the end: ExceptionGroup of what the tasks and the block raised.  Source: asyncio.TaskGroup.  Differs: "
    "nothing.");

static PyType_Slot TaskGroup_slots[] = {
    {Py_tp_doc, (void *)TaskGroup_doc},
    {Py_tp_new, TaskGroup_new},
    {Py_tp_init, TaskGroup_init},
    {Py_tp_traverse, TaskGroup_traverse},
    {Py_tp_clear, TaskGroup_clear},
    {Py_tp_dealloc, TaskGroup_dealloc},
    {Py_tp_repr, TaskGroup_repr},
    {Py_tp_methods, TaskGroup_methods},
    {Py_tp_getset, TaskGroup_getset},
    {Py_tp_members, TaskGroup_members},
    {0, NULL},
};

static PyType_Spec TaskGroup_spec = {
    .name = "asyncloop.TaskGroup",
    .basicsize = sizeof(TaskGroup),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = TaskGroup_slots,
};

static int
taskgroup_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->TaskGroup_type, &TaskGroup_spec, NULL, true, SECTION_AT(TaskGroup, loop)) < 0
        || twin_adopt(st, st->TaskGroup_type, TWIN_GROUP, "asyncio.taskgroups", "TaskGroup") < 0
        || twin_add_copying(st, st->TaskGroup_type, TaskGroup_copied) < 0) {
        return -1;
    }
    return coro_function_add_to_type(module, st, st->TaskGroup_type, taskgroup_functions);
}
