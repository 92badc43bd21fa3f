/* core/aiobridge.c -- see the header; the one place beside base/compat.h that knows interpreter versions. */
#include "core/aiobridge.h"

/* ---- where the thread state keeps asyncio's running loop (3.13+) and current task (3.14+)
 *
 * The two fields lie behind the public part of PyThreadState, at offsets that no header tells an extension.  They are
 * found by experiment: with a sentinel as the running loop, the first word that points at it is the loop's; the next
 * must become a second sentinel when that is made the current task. Found twice with different sentinels, or not used
 * at all: then asyncio's own C functions do the work. */

#if COMPAT_TSTATE_LOOP
static int
aiobridge_set_natively(struct state *st, PyObject *loop_or_none)
{
    PyObject *done = PyObject_CallOneArg(st->native_set_running_loop, loop_or_none);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

enum { AIOBRIDGE_WINDOW_WORDS = 26 };

static inline PyObject **
aiobridge_tstate_field(ptrdiff_t offset)
{
    return (PyObject **)((char *)PyThreadState_GetUnchecked() + offset);
}

/* With loop as the running one: does the word after its own become the current task? 1, 0, -1. */
static int
aiobridge_probe_task(struct state *st, PyObject *loop, PyObject *const *word)
{
#  if COMPAT_TSTATE_TASK
    PyObject *task = PyDict_New(), *args[] = {loop, task}, *previous = NULL, *restored = NULL;
    int found = -1;
    if (task != NULL && (previous = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL)) != NULL) {
        found = *word == task;
        args[1] = previous;
        restored = PyObject_Vectorcall(st->swap_current_task, args, 2, NULL);
    }
    Py_XDECREF(task);
    Py_XDECREF(previous);
    Py_XDECREF(restored);
    return restored == NULL ? -1 : found;
#  else
    (void)st, (void)loop, (void)word;
    return 1;
#  endif
}

/* 1: *offset is that of the running loop; 0: not found; -1: exception. */
static int
aiobridge_probe_once(struct state *st, ptrdiff_t *offset)
{
    PyObject *loop = PyDict_New();
    int found = loop == NULL ? -1 : aiobridge_set_natively(st, loop);
    PyObject **word = (PyObject **)((char *)PyThreadState_GetUnchecked() + sizeof(PyThreadState));
    int i = 0;
    while (found == 0 && i < AIOBRIDGE_WINDOW_WORDS && word[i] != loop) {
        i++;
    }
    if (found == 0 && i < AIOBRIDGE_WINDOW_WORDS) {
        *offset = (char *)&word[i] - (char *)PyThreadState_GetUnchecked();
        found = aiobridge_probe_task(st, loop, &word[i + 1]);
    }
    Py_XDECREF(loop);
    return found;
}

static int
aiobridge_probe(struct state *st)
{
    ptrdiff_t first = 0, second = 0;
    PyObject *running = PyObject_CallNoArgs(st->native_running_loop);
    if (running == NULL) {
        return -1;
    }
    int found = aiobridge_probe_once(st, &first);
    if (found > 0) {
        found = aiobridge_probe_once(st, &second);
    }
    if (aiobridge_set_natively(st, running) < 0) {
        found = -1;
    }
    Py_DECREF(running);
    if (found > 0 && first == second) {
        st->tstate_loop_offset = first;
        st->tstate_task_offset = first + (ptrdiff_t)sizeof(PyObject *);
    }
    return found < 0 ? -1 : 0;
}
#else
static int
aiobridge_probe(struct state *Py_UNUSED(st))
{
    return 0;
}
#endif

/* ---- names of asyncio.events and asyncio.tasks that somebody binds anew
 *
 * Up to 3.13 the version of the module's dict tells that one was; from 3.14 on a dict watcher counts, one for both and
 * all of our modules in an interpreter. */

#if !COMPAT_DICT_VERSIONS
static const char *const aiobridge_watch_name = "asyncloop.events";

static void
aiobridge_free_watch(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, aiobridge_watch_name)); /* the interpreter ends */
}

/* The counter of changes, of this interpreter. Borrowed capsule; NULL with or without exception. */
static PyObject *
aiobridge_watch_borrowed(void)
{
    PyObject *interpreter_dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    return interpreter_dict == NULL ? NULL : PyDict_GetItemString(interpreter_dict, aiobridge_watch_name);
}

static int
aiobridge_events_changed(PyDict_WatchEvent Py_UNUSED(event), PyObject *Py_UNUSED(dict), PyObject *Py_UNUSED(key),
                         PyObject *Py_UNUSED(value))
{
    PyObject *raised = compat_take_raised(), *capsule = aiobridge_watch_borrowed();
    uint64_t *n_changes = capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, aiobridge_watch_name);
    if (n_changes != NULL) {
        COMPAT_COUNT(n_changes);
    }
    PyErr_Clear();
    compat_set_raised(raised);
    return 0;
}

/* Also 0 when CPython has no dict watcher left to give; the names are then looked at each time. */
static int
aiobridge_watch_names(struct state *st)
{
    PyObject *capsule = Py_XNewRef(aiobridge_watch_borrowed()),
             *interpreter_dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    if (capsule == NULL && interpreter_dict != NULL) {
        uint64_t *n_changes = PyMem_Calloc(1, sizeof *n_changes);
        capsule =
            n_changes == NULL ? PyErr_NoMemory() : PyCapsule_New(n_changes, aiobridge_watch_name, aiobridge_free_watch);
        if (capsule == NULL) {
            PyMem_Free(n_changes);
            return -1;
        }
        int id = PyDict_AddWatcher(aiobridge_events_changed);
        if (id < 0 || PyDict_Watch(id, PyModule_GetDict(st->events)) < 0
            || PyDict_Watch(id, PyModule_GetDict(st->tasks)) < 0
            || PyDict_SetItemString(interpreter_dict, aiobridge_watch_name, capsule) < 0) {
            PyErr_Clear();
            Py_CLEAR(capsule);
        }
    }
    if (capsule != NULL) {
        st->names_version = st->tasks_version = PyCapsule_GetPointer(capsule, aiobridge_watch_name);
        st->names_seen = st->tasks_seen = *st->names_version - 1;
        st->events_watch = capsule;
    }
    return 0;
}
#else
static int
aiobridge_watch_names(struct state *st)
{
    st->names_version = compat_dict_version(PyModule_GetDict(st->events));
    st->tasks_version = compat_dict_version(PyModule_GetDict(st->tasks));
    return 0;
}
#endif

static inline bool
aiobridge_names_are_known(struct state *st)
{
    return COMPAT_LOAD(st->names_version) == COMPAT_LOAD(&st->names_seen);
}

/* None is what a name is bound to when the interpreter ends. */
static bool
aiobridge_name_is_asyncios(struct state *st, PyObject *name, PyObject *native)
{
    PyObject *value = PyDict_GetItemWithError(PyModule_GetDict(st->events), name);
    return value == native || value == Py_None;
}

static COLD bool
aiobridge_names_look(struct state *st)
{
    if (st->events == NULL) { /* the module is being cleared */
        return true;
    }
    PyObject *raised = compat_take_raised(), *names = PyModule_GetDict(st->events);
    bool are_asyncios;
    COMPAT_BEGIN_STILL(names); /* it is counted just before a name changes */
    are_asyncios = aiobridge_name_is_asyncios(st, st->str._get_running_loop, st->native_running_loop)
                   && aiobridge_name_is_asyncios(st, st->str.get_running_loop, st->native_need_running_loop)
                   && aiobridge_name_is_asyncios(
                       st, COMPAT_EVENT_LOOP_UNDERSCORED ? st->str._get_event_loop : st->str.get_event_loop,
                       st->native_event_loop);
    if (are_asyncios && st->names_version != &st->names_unknown) {
        COMPAT_STORE(&st->names_seen, COMPAT_LOAD(st->names_version));
    }
    COMPAT_END_STILL();
    PyErr_Clear();
    compat_set_raised(raised);
    return are_asyncios;
}

static COLD PyObject *
aiobridge_task_class_look(struct state *st)
{
    if (st->tasks == NULL) { /* the module is being cleared */
        return NULL;
    }
    PyObject *raised = compat_take_raised(), *names = PyModule_GetDict(st->tasks), *bound;
    bool is_usual;
    COMPAT_BEGIN_STILL(names);
    bound = Py_XNewRef(PyDict_GetItemWithError(names, st->str.Task));
    is_usual = bound == NULL || bound == Py_None || bound == st->asyncio_Task || bound == (PyObject *)st->Task_type;
    if (is_usual && st->tasks_version != &st->names_unknown) {
        COMPAT_STORE(&st->tasks_seen, COMPAT_LOAD(st->tasks_version));
    }
    COMPAT_END_STILL();
    PyErr_Clear();
    compat_set_raised(raised);
    if (!is_usual) {
        return bound;
    }
    Py_XDECREF(bound);
    return NULL;
}

static inline PyObject *
aiobridge_foreign_task_class(struct state *st)
{
    return LIKELY(COMPAT_LOAD(st->tasks_version) == COMPAT_LOAD(&st->tasks_seen)) ? NULL
                                                                                  : aiobridge_task_class_look(st);
}

/* What asyncio's Python code would call; native when the interpreter has cleared the module. New reference. */
static PyObject *
aiobridge_name(struct state *st, PyObject *name, PyObject *native)
{
    if (UNLIKELY(st->events == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncloop is being unloaded");
        return NULL;
    }
    PyObject *function = PyObject_GetAttr(st->events, name);
    if (function == Py_None) {
        Py_SETREF(function, Py_NewRef(native));
    }
    return function;
}

static PyObject *
aiobridge_call_name(struct state *st, PyObject *name, PyObject *native)
{
    PyObject *function = aiobridge_name(st, name, native),
             *loop = function == NULL ? NULL : PyObject_CallNoArgs(function);
    Py_XDECREF(function);
    return loop;
}

static int
aiobridge_init(struct state *st)
{
    st->names_version = st->tasks_version = &st->names_unknown;
    st->names_seen = st->tasks_seen = st->names_unknown + 1;
    PyObject *native = aiobridge_watch_names(st) < 0 ? NULL : PyImport_ImportModule("_asyncio");
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
        PyErr_SetString(PyExc_ImportError,
                        "_asyncio._current_tasks is not a dict: this CPython is not one asyncloop knows");
        return -1;
    }
    return aiobridge_probe(st);
#endif
}

/* ---- running loop */

static int
aiobridge_set_running(struct state *st, PyObject *loop_or_none)
{
    PyObject *set_running = aiobridge_name(st, st->str._set_running_loop, st->native_set_running_loop);
    PyObject *done = set_running == NULL ? NULL : PyObject_CallOneArg(set_running, loop_or_none);
    if (done == NULL && set_running != NULL && loop_or_none == Py_None && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        /* 3.11 allocates here.  If this fails, the thread seems to run a loop for ever, and can run no other.  So try
         * once more: there may be memory now */
        PyErr_Clear();
        done = PyObject_CallOneArg(set_running, loop_or_none);
    }
    Py_XDECREF(set_running);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static inline uint64_t
aiobridge_running_mark(struct state *st)
{
#if COMPAT_TSTATE_LOOP
    return LIKELY(st->tstate_loop_offset != 0) ? (uintptr_t)*aiobridge_tstate_field(st->tstate_loop_offset)
                                               : AIOBRIDGE_UNKNOWN;
#else
    (void)st;
    PyObject *dict = compat_tstate_borrowed()->dict;
    return LIKELY(dict != NULL) ? *compat_dict_version(dict) : AIOBRIDGE_NO_LOOP;
#endif
}

static COLD Loop *
aiobridge_find_running(struct state *st)
{
    PyObject *raised = compat_take_raised();
    PyObject *running = PyObject_CallNoArgs(st->native_running_loop);
    Loop *loop = LOOPS_RUNNING(st);
    while (loop != NULL && (PyObject *)loop != running) {
        loop = loop->running_next;
    }
    uint64_t mark = aiobridge_running_mark(st);
    if (loop != NULL && mark != AIOBRIDGE_UNKNOWN) {
        loop->running_mark = mark;
    }
    Py_XDECREF(running); /* the registry holds it as well */
    PyErr_Clear();
    compat_set_raised(raised);
    return loop;
}

static PyObject *
aiobridge_running_loop(struct state *st)
{
    Loop *own = loop_running_borrowed(st);
    if (own != NULL) {
        return Py_NewRef(own);
    }
    PyObject *loop = aiobridge_call_name(st, st->str._get_running_loop, st->native_running_loop);
    if (loop == Py_None) {
        Py_CLEAR(loop);
    }
    return loop;
}

static PyObject *
aiobridge_need_running_loop(struct state *st)
{
    Loop *own = loop_running_borrowed(st);
    return own != NULL ? Py_NewRef(own)
                       : aiobridge_call_name(st, st->str.get_running_loop, st->native_need_running_loop);
}

static PyObject *
aiobridge_event_loop(struct state *st)
{
    Loop *own = loop_running_borrowed(st);
    PyObject *name = COMPAT_EVENT_LOOP_UNDERSCORED ? st->str._get_event_loop : st->str.get_event_loop;
    return own != NULL ? Py_NewRef(own) : aiobridge_call_name(st, name, st->native_event_loop);
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
    if (loop_is_own(st, loop)) { /* what asyncio's own tasks put there, and is put back now, is theirs to take away */
        bool is_ours = task_or_null != NULL && PyObject_TypeCheck(task_or_null, st->Task_type);
        ((Loop *)loop)->published_task = is_ours ? task_or_null : NULL;
    }
    *previous = before;
    return 0;
}
