/* module.c -- PyInit: one x_register(module, state) per type, lowest layer first. */
#include "core/aiobridge.h"
#include "core/handle.h"
#include "core/state.h"
#include "core/twin.h"
#include "net/net.h"
#include "task/bridge/chain.h"
#include "task/future/current.h"
#include "task/future/ensure.h"
#include "task/bridge/executor.h"
#include "task/future/future.h"
#include "task/wait/as_completed.h"
#include "task/wait/gather.h"
#include "task/wait/shield.h"
#include "task/wait/sleep.h"
#include "task/future/task.h"
#include "task/wait/taskgroup.h"
#include "task/wait/timeout.h"
#include "task/wait/traits.h"
#include "task/wait/wait.h"
#include "task/wait/wait_for.h"
#include "task/wait/waiter.h"

static int loop_type_register(PyObject *module, struct state *st);

/* In a forked child no loop runs: the parent's running loops are copies nobody will ever stop. */
static PyObject *
module_after_fork(PyObject *module, PyObject *Py_UNUSED(none))
{
    struct state *st = state_of_module(module);
    for (Loop *loop = LOOPS_RUNNING(st); loop != NULL;) {
        Loop *next = loop->running_next;
        loop_leave_task(loop);
        loop->running_next = NULL;
        loop = next;
    }
    LOOPS_RUNNING(st) = NULL;
#if COMPAT_FREE_THREADED
    st->lists = (PyMutex){0};
    for (Loop *loop = st->loops; loop != NULL; loop = loop->loops_next) {
        section_after_fork((PyObject *)loop);
        loop->inbox.mutex = (PyMutex){0};
    }
#endif
    Py_RETURN_NONE;
}

/* The first of this thread in the rest of the list. */
static Loop *
module_own_thread(Loop *loop)
{
    while (loop != NULL && loop->thread_id != PyThread_get_thread_ident()) {
        loop = loop->running_next;
    }
    return loop;
}

/* What waits for the end of the pass, or of a burst, must not leave twice, from the parent and from a child that leaves
 * the loop by an exception. */
static PyObject *
module_before_fork(PyObject *module, PyObject *Py_UNUSED(none))
{
    int rc = 0;
    for (Loop *loop = module_own_thread(LOOPS_RUNNING(state_of_module(module))), *next; rc == 0 && loop != NULL;
         loop = next) {
        next = module_own_thread(loop->running_next); /* it stays in the list: it is running, further out */
        Py_INCREF(loop);
        rc = net_send_all(loop);
        Py_DECREF(loop);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
module_show_native(PyObject *module, PyObject *is_shown)
{
    int rc = PyObject_IsTrue(is_shown);
    return rc < 0 || twin_show_native(state_of_module(module), rc) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef module_methods[] = {
    {"_show_native", module_show_native, METH_O,
     "For install(): whether classes and functions say asyncio's __module__."},
    {"_before_fork", module_before_fork, METH_NOARGS, "For os.register_at_fork: send what was written."},
    {"_after_fork", module_after_fork, METH_NOARGS, "For os.register_at_fork: forget the parent's running loops."},
    {NULL},
};

static int
module_register_at_fork(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os"), *before = NULL, *after = NULL, *names = NULL, *done = NULL;
    if (os != NULL && (before = PyObject_GetAttrString(module, "_before_fork")) != NULL
        && (after = PyObject_GetAttrString(module, "_after_fork")) != NULL
        && (names = Py_BuildValue("{s:O,s:O}", "before", before, "after_in_child", after)) != NULL) {
        PyObject *function = PyObject_GetAttrString(os, "register_at_fork"), *args = PyTuple_New(0);
        done = function == NULL || args == NULL ? NULL : PyObject_Call(function, args, names);
        Py_XDECREF(function);
        Py_XDECREF(args);
    }
    Py_XDECREF(os);
    Py_XDECREF(before);
    Py_XDECREF(after);
    Py_XDECREF(names);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* A free-threaded Python that we do not know without its GIL has turned it on for us, unless somebody forbade that. */
static int
module_check_gil(void)
{
    if (!COMPAT_NEEDS_GIL) {
        return 0;
    }
    PyObject *sys = PyImport_ImportModule("sys"),
             *is_on = sys == NULL ? NULL : PyObject_CallMethod(sys, "_is_gil_enabled", NULL);
    if (is_on == Py_False) {
        PyErr_SetString(PyExc_ImportError, "asyncloop without the GIL needs Python 3.14 or newer");
    }
    Py_XDECREF(sys);
    Py_XDECREF(is_on);
    return is_on != Py_True ? -1 : 0;
}

static int
module_exec(PyObject *module)
{
    struct state *st = state_of_module(module);
    if (module_check_gil() < 0 || section_register() < 0 || state_init(st) < 0 || aiobridge_init(st) < 0) {
        return -1;
    }
    if (function_register(module, st) < 0 || twin_register(module, st) < 0 || handle_register(module, st) < 0
        || deferred_register(module, st) < 0 || named_register(module, st) < 0 || future_register(module, st) < 0
        || task_register(module, st) < 0 || coro_register(module, st) < 0 || traits_read(st) < 0
        || timeout_register(module, st) < 0 || waiter_register(module, st) < 0 || wait_register(module, st) < 0
        || wait_for_register(module, st) < 0 || shield_register(module, st) < 0 || as_completed_register(module, st) < 0
        || taskgroup_register(module, st) < 0 || sleep_register(module, st) < 0 || gather_register(module, st) < 0
        || awaited_by_register(module, st) < 0 || ensure_register(module, st) < 0 || current_register(module, st) < 0
        || chain_register(module, st) < 0 || executor_register(module, st) < 0 || deque_register(st) < 0
        || lock_register(module, st) < 0 || event_register(module, st) < 0 || condition_register(module, st) < 0
        || semaphore_register(module, st) < 0 || barrier_register(module, st) < 0 || queue_register(module, st) < 0
        || net_register(module, st) < 0 || loop_type_register(module, st) < 0 || twin_finish(module, st) < 0
        || function_wrap_module(module, st) < 0) {
        return -1;
    }
    return module_register_at_fork(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = state_of_module(module);
    return st == NULL ? 0 : state_traverse(st, visit, arg);
}

static int
module_clear(PyObject *module)
{
    struct state *st = state_of_module(module);
    if (st != NULL) {
        for (Loop *loop = st->loops; loop != NULL; loop = loop->loops_next) {
            COMPAT_STORE(&loop->state, LOOP_CLOSED); /* a finalizer that runs later still gets asyncio's error */
        }
        state_clear(st);
    }
    return 0;
}

static void
module_free(void *module)
{
    struct state *st = state_of_module(module);
    if (st != NULL) {
        state_free(st);
    }
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if COMPAT_PER_INTERPRETER_GIL
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if COMPAT_FREE_THREADED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef asyncloop_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "asyncloop._asyncloop",
    .m_doc = "asyncio's event loop, Future, Task, sleep and gather in C.",
    .m_size = sizeof(struct state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__asyncloop(void)
{
    return PyModuleDef_Init(&asyncloop_module);
}
