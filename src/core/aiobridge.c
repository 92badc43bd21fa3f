/* core/aiobridge.c -- see the header; the one place beside base/compat.h that knows interpreter versions. */
#include "core/aiobridge.h"

/* ---- where the thread state keeps asyncio's running loop and current task (3.14+)
 *
 * The two fields lie behind the public part of PyThreadState, at offsets that no header tells an extension.  They are found by experiment: with a
 * sentinel as the running loop, the first word that points at it is the loop's; the next must become a second sentinel when that is made the current task.
 * Found twice with different sentinels, or not used at all: then asyncio's own C function does the work. */

#if COMPAT_TSTATE_TASK
enum { AIOBRIDGE_WINDOW_WORDS = 26 };

static inline PyObject **
aiobridge_tstate_field(ptrdiff_t offset)
{
    return (PyObject **)((char *)PyThreadState_GetUnchecked() + offset);
}

/* 1: *offset is that of the running loop; 0: not found; -1: exception. */
static int
aiobridge_probe_once(struct state *st, ptrdiff_t *offset)
{
    PyObject *loop = PyDict_New(), *task = PyDict_New(), *previous = NULL, *restored = NULL;
    int found = -1;
    if (loop == NULL || task == NULL || aiobridge_set_running(st, loop) < 0) {
        goto done;
    }
    PyObject **word = (PyObject **)((char *)PyThreadState_GetUnchecked() + sizeof(PyThreadState));
    int i = 0;
    while (i < AIOBRIDGE_WINDOW_WORDS && word[i] != loop) {
        i++;
    }
    PyObject *args[] = {loop, task};
    if ((previous = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL)) == NULL) {
        goto done;
    }
    found = i < AIOBRIDGE_WINDOW_WORDS && word[i + 1] == task;
    args[1] = previous;
    if ((restored = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL)) == NULL) {
        found = -1;
        goto done;
    }
    *offset = (char *)&word[i] - (char *)PyThreadState_GetUnchecked();
done:
    Py_XDECREF(loop);
    Py_XDECREF(task);
    Py_XDECREF(previous);
    Py_XDECREF(restored);
    return found;
}

static int
aiobridge_probe(struct state *st)
{
    ptrdiff_t first = 0, second = 0;
    PyObject *running = PyObject_CallNoArgs(st->get_running_loop);
    if (running == NULL) {
        return -1;
    }
    int found = aiobridge_probe_once(st, &first);
    if (found > 0) {
        found = aiobridge_probe_once(st, &second);
    }
    if (aiobridge_set_running(st, running) < 0) {
        found = -1;
    }
    Py_DECREF(running);
    if (found > 0 && first == second) {
        st->tstate_task_offset = first + (ptrdiff_t)sizeof(PyObject *);
    }
    return found < 0 ? -1 : 0;
}
#endif

static int
aiobridge_init(struct state *st)
{
    PyObject *native = PyImport_ImportModule("_asyncio");
    if (native == NULL) {
        return -1;
    }
#if COMPAT_TSTATE_TASK
    st->swap_current_task = PyObject_GetAttrString(native, "_swap_current_task");
    Py_DECREF(native);
    return st->swap_current_task == NULL ? -1 : aiobridge_probe(st);
#else
    st->current_tasks = PyObject_GetAttrString(native, "_current_tasks");
    Py_DECREF(native);
    if (st->current_tasks == NULL) {
        return -1;
    }
    if (!PyDict_CheckExact(st->current_tasks)) {
        PyErr_SetString(PyExc_ImportError, "_asyncio._current_tasks is not a dict: this CPython is not one asyncloop knows");
        return -1;
    }
    return 0;
#endif
}

/* ---- running loop */

static int
aiobridge_set_running(struct state *st, PyObject *loop_or_none)
{
    PyObject *done = PyObject_CallOneArg(st->set_running_loop, loop_or_none);
    if (done == NULL && loop_or_none == Py_None && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear(); /* 3.11 allocates here; a run that is never left shuts every loop of the thread out: once more, memory may be back */
        done = PyObject_CallOneArg(st->set_running_loop, loop_or_none);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
aiobridge_running_loop(struct state *st)
{
    Loop *own = loop_running_borrowed(st);
    if (own != NULL) {
        return Py_NewRef(own);
    }
    PyObject *loop = PyObject_CallNoArgs(st->get_running_loop);
    if (loop == Py_None) {
        Py_CLEAR(loop);
    }
    return loop;
}

/* ---- current task */

/* Write the slot without reading it back; task may be NULL. */
static inline int
aiobridge_store_current(struct state *st, PyObject *loop, PyObject *task)
{
#if COMPAT_TSTATE_TASK
    if (LIKELY(st->tstate_task_offset != 0)) {
        Py_XSETREF(*aiobridge_tstate_field(st->tstate_task_offset), Py_XNewRef(task));
        return 0;
    }
    PyObject *args[] = {loop, task == NULL ? Py_None : task};
    PyObject *previous = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL);
    Py_XDECREF(previous);
    return previous == NULL ? -1 : 0;
#else
    if (task != NULL) {
        return PyDict_SetItem(st->current_tasks, loop, task);
    }
    if (PyDict_DelItem(st->current_tasks, loop) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
#endif
}

static int
aiobridge_current_task(struct state *st, PyObject *loop, PyObject **task)
{
#if COMPAT_TSTATE_TASK
    if (st->tstate_task_offset == 0 || (PyObject *)loop_running_borrowed(st) != loop) {
        return 0;
    }
    *task = Py_XNewRef(*aiobridge_tstate_field(st->tstate_task_offset));
    return 1;
#else
    *task = Py_XNewRef(PyDict_GetItemWithError(st->current_tasks, loop));
    return *task == NULL && PyErr_Occurred() ? -1 : 1;
#endif
}

static inline int
aiobridge_publish(Loop *loop, PyObject *task)
{
    if (loop->published_task == task) {
        return 0;
    }
    loop->published_task = task;
    if (UNLIKELY(aiobridge_store_current(loop->st, (PyObject *)loop, task) < 0)) {
        loop->published_task = NULL;
        return -1;
    }
    if (LIKELY(loop->published_task == task)) {
        return 0;
    }
    /* the task before was dropped, and what that ran has left: the slot is empty again */
    loop->published_task = task;
    return aiobridge_store_current(loop->st, (PyObject *)loop, task);
}

static void
aiobridge_unpublish(Loop *loop)
{
    PyObject *raised = compat_take_raised();
    loop->published_task = NULL;
    if (aiobridge_store_current(loop->st, (PyObject *)loop, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)loop);
    }
    compat_set_raised(raised);
}

static int
aiobridge_swap_current(struct state *st, PyObject *loop, PyObject *task_or_null, PyObject **previous)
{
#if COMPAT_TSTATE_TASK
    PyObject *args[] = {loop, task_or_null == NULL ? Py_None : task_or_null};
    PyObject *before = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL);
    if (before == NULL) {
        return -1;
    }
    if (before == Py_None) {
        Py_CLEAR(before);
    }
#else
    PyObject *before = Py_XNewRef(PyDict_GetItemWithError(st->current_tasks, loop));
    if ((before == NULL && PyErr_Occurred()) || aiobridge_store_current(st, loop, task_or_null) < 0) {
        Py_XDECREF(before);
        return -1;
    }
#endif
    if (loop_is_own(st, loop)) {
        ((Loop *)loop)->published_task = task_or_null;
    }
    *previous = before;
    return 0;
}
