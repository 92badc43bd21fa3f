/* task/future/task.c -- the logic of Task: making, naming, cancelling, the lists of unfinished tasks. Steps are in
 * task_step.c. */
#include "task/future/task.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "core/context.h"
#include "core/freelist.h"

/* ---- the lists of unfinished tasks */

/* The list of those on other people's loops is one for all threads. */
static inline void
task_lock_foreign(const Task *t)
{
    if (COMPAT_FREE_THREADED && !t->future.is_own) {
        SECTION_TAKE(&future_state_of((Future *)t)->lists);
    }
}

static inline void
task_unlock_foreign(const Task *t)
{
    if (COMPAT_FREE_THREADED && !t->future.is_own) {
        SECTION_GIVE(&future_state_of((Future *)t)->lists);
    }
}

static inline void
task_unlink(Task *t)
{
    struct task_link *link = &t->link;
    if (link->prev_next == NULL) {
        return;
    }
    SECTION_ENTER(t->future.loop);
    task_lock_foreign(t);
    if (!COMPAT_FREE_THREADED || link->prev_next != NULL) {
        *link->prev_next = link->next;
        if (link->next != NULL) {
            link->next->prev_next = link->prev_next;
        }
        link->prev_next = NULL;
    }
    task_unlock_foreign(t);
}

static inline void
task_link(Task *t, struct state *st)
{
    struct task_link **first = LIKELY(t->future.is_own) ? &((Loop *)t->future.loop)->tasks : &st->foreign_tasks.first;
    struct task_link *link = &t->link;
    if (UNLIKELY(link->prev_next != NULL)) { /* by an __init__ inside of this one */
        task_unlink(t);
    }
    SECTION_LISTED(t);
    SECTION_CHECK(t->future.loop);
    task_lock_foreign(t);
    link->next = *first;
    link->prev_next = first;
    if (link->next != NULL) {
        link->next->prev_next = &link->next;
    }
    *first = link;
    task_unlock_foreign(t);
}

/* A coroutine of Python's that has ended holds nothing any more. */
static inline bool
task_coro_may_run_code(PyObject *coro)
{
    return coro != NULL && Py_REFCNT(coro) == 1
           && (!PyCoro_CheckExact(coro) || *(PyObject **)((char *)coro + PyCoro_Type.tp_weaklistoffset) != NULL);
}

static inline bool
task_may_run_code(const Task *t)
{
    const Future *f = &t->future;
    uintptr_t held = (uintptr_t)f->weakrefs | (uintptr_t)f->first.target | (uintptr_t)f->rare | (uintptr_t)f->dict
                     | (uintptr_t)t->waiting_on | (uintptr_t)t->context
                     | f->log_traceback; /* one test for all the fields that few tasks have */
    if (UNLIKELY(held != 0)
        && (future_may_run_code(f) || t->waiting_on != NULL || (t->context != NULL && Py_REFCNT(t->context) == 1))) {
        return true;
    }
    return f->state == FUTURE_PENDING || future_result_may_run_code(f) || task_coro_may_run_code(t->coro);
}

/* Tasks that are being deallocated (no reference left) are not listed. */
static int
task_list_append(PyObject *list, struct task_link *link)
{
    for (; link != NULL; link = link->next) {
        PyObject *task = (PyObject *)CONTAINER_OF(link, Task, link);
#if COMPAT_FREE_THREADED
        if (SECTION_REVIVES(task)) {
            int rc = PyList_Append(list, task);
            Py_DECREF(task);
            if (rc < 0) {
                return -1;
            }
        }
#else
        if (Py_REFCNT(task) > 0 && PyList_Append(list, task) < 0) {
            return -1;
        }
#endif
    }
    return 0;
}

#if COMPAT_FREE_THREADED
/* The loops that are alive; -1 with MemoryError. */
static int
task_list_loops(struct state *st, PyObject *list)
{
    Loop *refused = NULL;
    SECTION_TAKE(&st->lists);
    for (Loop *loop = st->loops; refused == NULL && loop != NULL; loop = loop->loops_next) {
        if (SECTION_REVIVES(loop)) {
            if (PyList_Append(list, (PyObject *)loop) < 0) {
                refused = loop;
            }
            else {
                Py_DECREF(loop);
            }
        }
    }
    SECTION_GIVE(&st->lists);
    Py_XDECREF(refused);
    return refused == NULL ? 0 : -1;
}

static int
task_list_append_of(PyObject *list, PyObject *loop)
{
    SECTION_ENTER(loop);
    return task_list_append(list, ((Loop *)loop)->tasks);
}

static PyObject *
task_list_own(struct state *st)
{
    PyObject *list = PyList_New(0), *loops = PyList_New(0);
    int rc = list == NULL || loops == NULL ? -1 : task_list_loops(st, loops);
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(loops); i++) {
        rc = task_list_append_of(list, PyList_GET_ITEM(loops, i));
    }
    if (rc == 0) {
        SECTION_TAKE(&st->lists);
        rc = task_list_append(list, st->foreign_tasks.first);
        SECTION_GIVE(&st->lists);
    }
    Py_XDECREF(loops);
    if (rc < 0) {
        Py_CLEAR(list);
    }
    return list;
}
#else

static PyObject *
task_list_own(struct state *st)
{
    PyObject *list = PyList_New(0);
    for (Loop *loop = st->loops; list != NULL && loop != NULL; loop = loop->loops_next) {
        if (task_list_append(list, loop->tasks) < 0) {
            Py_CLEAR(list);
        }
    }
    if (list != NULL && task_list_append(list, st->foreign_tasks.first) < 0) {
        Py_CLEAR(list);
    }
    return list;
}
#endif

/* ---- names */

static inline uint64_t
task_next_number(struct state *st)
{
#if COMPAT_FREE_THREADED
    return __atomic_add_fetch(&st->n_task_names, 1, __ATOMIC_RELAXED);
#else
    return ++st->n_task_names;
#endif
}

static inline void
task_drop_name(Task *t)
{
    uintptr_t name = t->name;
    t->name = 0;
    if (name != 0 && (name & 1) == 0) {
        Py_DECREF((PyObject *)name);
    }
}

static PyObject *
task_name(Task *t)
{
    if (t->name == 0) {
        return Py_NewRef(Py_None);
    }
    if (t->name & 1) {
        PyObject *text = PyUnicode_FromFormat("Task-%llu", (unsigned long long)(t->name >> 1));
        if (text == NULL) {
            return NULL;
        }
        t->name = (uintptr_t)text;
    }
    return Py_NewRef((PyObject *)t->name);
}

static int
task_set_name(Task *t, PyObject *name)
{
    PyObject *text = PyUnicode_CheckExact(name) ? Py_NewRef(name) : PyObject_Str(name);
    if (text == NULL) {
        return -1;
    }
    task_drop_name(t);
    t->name = (uintptr_t)text;
    return 0;
}

/* ---- making */

static COLD int
task_ask_iscoroutine(struct state *st, PyObject *object)
{
    return ask_truth(PyObject_CallOneArg(st->iscoroutine, object));
}

static inline int
task_is_coroutine(struct state *st, PyObject *object)
{
    return LIKELY(PyCoro_CheckExact(object)) || Py_IS_TYPE(object, st->Coro_type) ? 1
                                                                                  : task_ask_iscoroutine(st, object);
}

/* Everything after the part that is a Future: name and context may be NULL. The task is tracked; what is set so far is
 * kept when it fails. */
static inline int
task_set_up(Task *t, struct state *st, PyObject *coro, PyObject *name, PyObject *context)
{
    int is_coroutine = task_is_coroutine(st, coro);
    if (UNLIKELY(is_coroutine <= 0)) {
        if (is_coroutine == 0) {
            PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
        }
        return -1;
    }
    PyObject *own_context = NULL;
    if (context == NULL) {
        if (context_copy_current(&own_context) < 0) {
            return -1;
        }
    }
    else if (COMPAT_TASK_CONTEXT_CHECKED && !PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %s", Py_TYPE(context)->tp_name);
        return -1;
    }
    else {
        own_context = Py_NewRef(context);
    }
    Py_XSETREF(t->context, own_context); /* there may be one: what ran since task_reset may have called __init__ too */
    Py_XSETREF(t->coro, Py_NewRef(coro));
    t->future.log_destroy = true;
    if (name == NULL) {
        t->name = (uintptr_t)task_next_number(st) << 1 | 1;
    }
    else if (task_set_name(t, name) < 0) {
        return -1;
    }
    return 0;
}

static int
task_loop_is_running(Task *t, struct state *st)
{
    if (t->future.is_own) {
        return ((Loop *)t->future.loop)->state == LOOP_RUNNING;
    }
    return ask_method(t->future.loop, st->str.is_running);
}

/* Called before anything begins, so that after an error the task and the coroutine are as before. */
static inline int
task_check_context(Task *t)
{
    if (COMPAT_TASK_CONTEXT_CHECKED || LIKELY(t->context == NULL || PyContext_CheckExact(t->context))) {
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "an instance of Context was expected");
    t->future.log_destroy = false;
    return -1;
}

static inline int
task_begin(Task *t, struct state *st, int is_eager)
{
    if (UNLIKELY(is_eager)) {
        int is_running = task_loop_is_running(t, st);
        if (is_running < 0) {
            return -1;
        }
        if (is_running) {
            if (UNLIKELY(task_check_context(t) < 0)) {
                return -1;
            }
            task_link(t, st);
            int rc = task_start_eagerly(t, st);
            if (rc < 0 && t->future.state == FUTURE_PENDING) {
                task_unlink(t);
                t->future.log_destroy = !COMPAT_TASK_CONTEXT_CHECKED;
            }
            return rc;
        }
    }
    if (UNLIKELY(task_step_soon(t, NULL) < 0)) {
        return -1;
    }
    task_link(t, st);
    return 0;
}

/* What a task has beyond a Future, before another __init__, perhaps in the middle of a step: that one holds its
 * coroutine and its context. */
static void
task_reset(Task *t)
{
    task_unlink(t);
    t->future.log_destroy = false;
    t->n_cancels = 0;
    Py_CLEAR(t->waiting_on);
    Py_CLEAR(t->coro);
    Py_CLEAR(t->context);
    task_drop_name(t);
}

static int
task_init(Task *t, struct state *st, PyObject *coro, PyObject *loop, PyObject *name, PyObject *context, int is_eager)
{
    if (UNLIKELY(t->future.loop != NULL) && !COMPAT_SINGLE_INIT) {
        task_reset(t);
    }
    if (future_init(&t->future, st, loop) < 0) {
        return -1;
    }
    SECTION_ENTER(t->future.loop);
    return task_set_up(t, st, coro, name, context) < 0 ? -1 : task_begin(t, st, is_eager);
}

static inline Task *
task_alloc(struct state *st)
{
    return (Task *)future_alloc(st->Task_type, freelist_of(st, FREELIST_TASK), sizeof(Task), FUTURE_TASK);
}

static PyObject *
task_new(Loop *loop, PyObject *coro, PyObject *name, PyObject *context, int is_eager)
{
    struct state *st = loop->st;
    SECTION_ENTER(loop);
    Task *t = task_alloc(st);
    if (t == NULL) {
        return NULL;
    }
    PyObject_GC_Track(t);
    if (UNLIKELY(future_start(&t->future, st, loop) < 0 || task_set_up(t, st, coro, name, context) < 0
                 || task_begin(t, st, is_eager) < 0)) {
        Py_CLEAR(t);
    }
    return (PyObject *)t;
}

static bool
task_factory_is_eager(struct state *st, PyObject *factory)
{
    return factory != NULL && factory == st->eager_task_factory;
}

/* ---- cancelling */

static int
task_cancel(Task *t, PyObject *message)
{
    struct state *st = future_state_of(&t->future);
    t->future.log_traceback = false;
    if (t->future.state != FUTURE_PENDING) {
        return 0;
    }
    t->n_cancels++;
    if (t->waiting_on != NULL) {
        /* tasks that wait for one another in a circle */
        if (UNLIKELY(Py_EnterRecursiveCall(" while calling a Python object"))) {
            return -1;
        }
        PyObject *future = Py_NewRef(t->waiting_on);
        int rc = future_cancel_any(st, future, message);
        Py_DECREF(future);
        Py_LeaveRecursiveCall();
        if (rc != 0) {
            return rc;
        }
    }
    t->future.must_cancel = true; /* its step is scheduled, or running */
    return future_set_cancel_message(&t->future, message) < 0 ? -1 : 1;
}

static uint32_t
task_uncancel(Task *t)
{
    if (t->n_cancels > 0 && --t->n_cancels == 0 && COMPAT_UNCANCEL_CLEARS) {
        t->future.must_cancel = false;
    }
    return t->n_cancels;
}

static PyObject *
task_current(struct state *st, PyObject *loop)
{
    PyObject *task = NULL;
    if (UNLIKELY(aiobridge_current_task(st, loop, &task) == 0)
        && (task = PyObject_CallMethodOneArg(st->asyncio, st->str.current_task, loop)) == Py_None) {
        Py_CLEAR(task);
    }
    return task;
}

static PyObject *
task_current_here(struct state *st)
{
    PyObject *loop = Py_XNewRef(loop_running_borrowed(st)), *task;
    if (LIKELY(loop != NULL)) {
        task = task_current(st, loop);
        Py_DECREF(loop);
        return task;
    }
    /* by name, as a program may have replaced it: trio-asyncio does */
    PyObject *current_task = PyObject_GetAttr(st->tasks, st->str.current_task);
    task = current_task == NULL ? NULL : PyObject_CallNoArgs(current_task);
    Py_XDECREF(current_task);
    if (task == Py_None) {
        Py_CLEAR(task);
    }
    return task;
}

static COLD long
task_count_other(PyObject *task, PyObject *method)
{
    PyObject *count = PyObject_CallMethodNoArgs(task, method);
    long n = count == NULL ? -1 : PyLong_AsLong(count);
    Py_XDECREF(count);
    return n;
}

static long
task_cancelling_any(struct state *st, PyObject *task)
{
    return LIKELY(Py_IS_TYPE(task, st->Task_type) && future_has_usual(st, task, st->str.cancelling))
               ? (long)((Task *)task)->n_cancels
               : task_count_other(task, st->str.cancelling);
}

static long
task_uncancel_any(struct state *st, PyObject *task)
{
    return LIKELY(Py_IS_TYPE(task, st->Task_type) && future_has_usual(st, task, st->str.uncancel))
               ? (long)task_uncancel((Task *)task)
               : task_count_other(task, st->str.uncancel);
}
