/* task/future/current.c -- the functions of the module, with asyncio's errors. */
#include "task/future/current.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/ask.h"
#include "core/guard.h"
#include "task/future/ensure.h"
#include "task/future/future.h"
#include "task/future/task.h"

static PyObject *
module_current_task(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"loop"};
    static const struct args_signature signature = {"current_task", names, 0, 1, 1, false};
    struct state *st = state_of_module(module);
    PyObject *given[1], *task = NULL;
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    if (given[0] == NULL || given[0] == Py_None) {
        Loop *own = loop_running_borrowed(st);
        if (UNLIKELY(own == NULL)) {
            return PyObject_CallNoArgs(st->native_current_task);
        }
        Py_INCREF(own);
        task = task_current(st, (PyObject *)own);
        Py_DECREF(own);
    }
    else if (aiobridge_current_task(st, given[0], &task) == 0) {
        return PyObject_CallOneArg(st->native_current_task, given[0]);
    }
    return task == NULL && !PyErr_Occurred() ? Py_NewRef(Py_None) : task;
}

/* ---- all_tasks */

#if COMPAT_ALL_TASKS_IN_PYTHON

static int
current_add_own(PyObject *set, PyObject *loop, struct state *st)
{
    PyObject *own = task_list_own(st);
    int rc = own == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(own); i++) {
        Future *f = (Future *)PyList_GET_ITEM(own, i);
        if (f->loop == loop && f->state == FUTURE_PENDING) {
            rc = PySet_Add(set, (PyObject *)f);
        }
    }
    Py_XDECREF(own);
    return rc;
}

static int
current_add_if_unfinished(PyObject *set, PyObject *loop, struct state *st, PyObject *task)
{
    PyObject *its = ensure_loop_of(st, task);
    int rc = its == NULL ? -1 : 0;
    if (rc == 0 && its == loop) {
        int is_done = ask_method(task, st->str.done);
        rc = is_done < 0 ? -1 : is_done ? 0 : PySet_Add(set, task);
    }
    Py_XDECREF(its);
    return rc;
}

/* Those in one of asyncio's registries, of tasks or of weak references to tasks. */
static int
current_add_registered(PyObject *set, PyObject *loop, struct state *st, PyObject *registry)
{
    PyObject *members = PySequence_List(registry); /* in one go, other threads may change it */
    int rc = members == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(members); i++) {
        PyObject *task = PyList_GET_ITEM(members, i);
        if (PyWeakref_Check(task)) {
            rc = compat_weakref_get(task, &task);
        }
        else {
            Py_INCREF(task);
        }
        if (rc >= 0 && task != NULL) {
            rc = current_add_if_unfinished(set, loop, st, task);
            Py_DECREF(task);
        }
    }
    Py_XDECREF(members);
    return rc < 0 ? -1 : 0;
}

/* The attributes of asyncio.tasks that are its registries. 1: all added; 0: one is not what it was when this was
 * written; -1. */
static int
current_add_theirs(PyObject *set, PyObject *loop, struct state *st)
{
    static const char *const names[] = {COMPAT_EAGER_TASKS ? "_scheduled_tasks" : "_all_tasks",
                                        COMPAT_EAGER_TASKS ? "_eager_tasks" : NULL};
    PyObject *tasks = PyImport_ImportModule("asyncio.tasks");
    int rc = tasks == NULL ? -1 : 1;
    for (size_t i = 0; rc > 0 && i < ARRAY_LENGTH(names) && names[i] != NULL; i++) {
        PyObject *registry = PyObject_GetAttrString(tasks, names[i]), *members = NULL, *elsewhere = NULL;
        rc = registry == NULL || compat_get_optional_attr(registry, st->str.elsewhere, &elsewhere) < 0
                     || compat_get_optional_attr(registry, st->str.data, &members) < 0
                 ? -1
                 : 1;
        bool is_known = elsewhere == NULL || elsewhere == st->empty_tuple;
        if (rc > 0 && (!is_known || (members == NULL && !PySet_Check(registry)))) {
            rc = 0;
        }
        else if (rc > 0) {
            rc = current_add_registered(set, loop, st, members != NULL ? members : registry) < 0 ? -1 : 1;
        }
        Py_XDECREF(registry);
        Py_XDECREF(members);
        Py_XDECREF(elsewhere);
    }
    Py_XDECREF(tasks);
    return rc;
}

static PyObject *
current_all_tasks(struct state *st, PyObject *loop)
{
    PyObject *set = PySet_New(NULL);
    if (set == NULL) {
        return NULL;
    }
    int rc = current_add_own(set, loop, st) < 0 ? -1 : current_add_theirs(set, loop, st);
    if (rc <= 0) {
        Py_CLEAR(set);
    }
    return rc == 0 ? PyObject_CallOneArg(st->native_all_tasks, loop) : set;
}

#else

static PyObject *
current_all_tasks(struct state *st, PyObject *loop)
{
    return PyObject_CallOneArg(st->native_all_tasks, loop);
}

#endif

/* asyncio.all_tasks is a Python function up to 3.13, and asks as such. */
static PyObject *
current_running_loop(struct state *st)
{
    return COMPAT_ALL_TASKS_IN_PYTHON ? aiobridge_need_running_loop(st)
                                      : PyObject_CallNoArgs(st->native_need_running_loop);
}

static PyObject *
module_all_tasks(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    static const char *const names[] = {"loop"};
    static const struct args_signature signature = {"all_tasks", names, 0, 1, 1, false};
    struct state *st = state_of_module(module);
    PyObject *given[1];
    if (args_bind(&signature, args, n_args, kwnames, given) < 0) {
        return NULL;
    }
    PyObject *loop = Py_XNewRef(given[0]);
    if (loop == NULL || loop == Py_None) {
        Py_XSETREF(loop, current_running_loop(st));
    }
    PyObject *set = loop == NULL ? NULL : current_all_tasks(st, loop);
    Py_XDECREF(loop);
    return set;
}

static PyMethodDef current_functions[] = {
    {"current_task", FUTURE_FASTCALL(module_current_task), METH_FASTCALL | METH_KEYWORDS,
     "current_task($module, /, loop=None)\n--\n\nThe task that runs now on the loop, or None.\n\n"
     "loop: None takes the running one.  Raises: RuntimeError (no loop runs).  Source: asyncio.current_task."},
    {"all_tasks", FUTURE_FASTCALL(module_all_tasks), METH_FASTCALL | METH_KEYWORDS,
     "all_tasks($module, /, loop=None)\n--\n\nThe set of all unfinished tasks of the loop.\n\n"
     "loop: None takes the running one.  Raises: RuntimeError (no loop runs).  Source: asyncio.all_tasks."},
    {NULL},
};

static int
current_register(PyObject *module, struct state *st)
{
    if (future_import(&st->native_current_task, "asyncio.tasks", "current_task") < 0
        || future_import(&st->native_all_tasks, "asyncio.tasks", "all_tasks") < 0) {
        return -1;
    }
    return guard_add_functions(module, current_functions);
}
