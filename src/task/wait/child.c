/* task/wait/child.c -- see child.h. */
#include "task/wait/child.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "task/coro/coro.h"
#include "task/future/task.h"

/* ---- reading one */

static inline int
child_is_done(struct state *st, PyObject *child)
{
    return LIKELY(future_has_usual(st, child, st->str.done)) ? ((Future *)child)->state != FUTURE_PENDING
                                                             : ask_method(child, st->str.done);
}

static inline int
child_is_cancelled(struct state *st, PyObject *child)
{
    return LIKELY(future_has_usual(st, child, st->str.cancelled)) ? ((Future *)child)->state == FUTURE_CANCELLED
                                                                  : ask_method(child, st->str.cancelled);
}

static inline int
child_cancel(struct state *st, PyObject *child)
{
    return LIKELY(future_has_usual(st, child, st->str.cancel)) ? future_cancel_any(st, child, NULL)
                                                               : ask_method(child, st->str.cancel);
}

static inline PyObject *
child_result(struct state *st, PyObject *child)
{
    SECTION_ENTER(future_owner_borrowed(st, child));
    return LIKELY(future_has_usual(st, child, st->str.result)) ? future_result((Future *)child)
                                                               : PyObject_CallMethodNoArgs(child, st->str.result);
}

static inline bool
child_reads_as_usual(struct state *st, PyObject *child)
{
    return LIKELY(future_is_exact(st, child))
           && (LIKELY(((Future *)child)->dict == NULL)
               || (future_has_usual(st, child, st->str.cancelled) && future_has_usual(st, child, st->str.exception)
                   && future_has_usual(st, child, st->str.result)));
}

static inline bool
child_is_plainly_done(struct state *st, PyObject *child)
{
    Future *f = (Future *)child;
    return future_is_exact(st, child) && f->state == FUTURE_FINISHED && !f->has_exception
           && child_reads_as_usual(st, child);
}

static int
child_ignore(struct state *st, PyObject *child)
{
    if (LIKELY(child_reads_as_usual(st, child))) {
        ((Future *)child)->log_traceback = false;
        return 0;
    }
    int is_cancelled = ask_method(child, st->str.cancelled);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    PyObject *exception = PyObject_CallMethodNoArgs(child, st->str.exception);
    Py_XDECREF(exception);
    return exception == NULL ? -1 : 0;
}

/* The exception of any done child, by cancelled() and exception(); *value stays as it is where there is none. */
static int
child_ask_failure(struct state *st, PyObject *child, PyObject **value)
{
    int is_cancelled = ask_method(child, st->str.cancelled);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : CHILD_CANCELLED;
    }
    PyObject *exception = PyObject_CallMethodNoArgs(child, st->str.exception);
    if (exception == Py_None) {
        Py_DECREF(exception);
        return CHILD_RESULT;
    }
    *value = exception;
    return exception == NULL ? -1 : CHILD_EXCEPTION;
}

static int
child_read(Future *f, PyObject **value)
{
    if (f->state == FUTURE_CANCELLED) {
        return CHILD_CANCELLED;
    }
    if (UNLIKELY(f->state == FUTURE_PENDING)) {
        future_raise(f);
        return -1;
    }
    f->log_traceback = false;
    *value = Py_NewRef(f->result);
    return f->has_exception ? CHILD_EXCEPTION : CHILD_RESULT;
}

static int
child_outcome(struct state *st, PyObject *child, PyObject **value)
{
    SECTION_ENTER(future_owner_borrowed(st, child));
    if (LIKELY(child_reads_as_usual(st, child))) {
        return child_read((Future *)child, value);
    }
    int outcome = child_ask_failure(st, child, value);
    if (outcome == CHILD_RESULT) {
        *value = PyObject_CallMethodNoArgs(child, st->str.result);
        outcome = *value == NULL ? -1 : CHILD_RESULT;
    }
    return outcome;
}

static int
child_failure(struct state *st, PyObject *child, PyObject **value)
{
    SECTION_ENTER(future_owner_borrowed(st, child));
    return LIKELY(child_reads_as_usual(st, child)) ? child_read((Future *)child, value)
                                                   : child_ask_failure(st, child, value);
}

/* ---- making one */

static bool
child_loop_makes_tasks(struct state *st, Loop *loop)
{
    PyObject *name = st->str.create_task, *foreign = aiobridge_foreign_task_class(st);
    if (UNLIKELY(foreign != NULL)) {
        Py_DECREF(foreign);
        return false;
    }
    if (loop->task_factory != NULL || loop->state == LOOP_CLOSED
        || _PyType_Lookup(Py_TYPE(loop), name) != _PyType_Lookup(st->Loop_type, name)) {
        return false;
    }
    int is_replaced = loop->dict == NULL ? 0 : PyDict_Contains(loop->dict, name);
    if (UNLIKELY(is_replaced < 0)) { /* a key of the dict that cannot be compared: to be looked up by who calls it */
        PyErr_Clear();
    }
    return is_replaced == 0;
}

static PyObject *
child_ensure_future(struct state *st, PyObject *argument, PyObject *loop)
{
    if (PyCoro_CheckExact(argument) || coro_is(st, argument)) {
        Loop *own = loop == NULL ? loop_running_borrowed(st) : loop_is_own(st, loop) ? (Loop *)loop : NULL;
        if (own != NULL && child_loop_makes_tasks(st, own)) {
            return task_new(own, argument, NULL, NULL, false);
        }
    }
    else if (future_has_usual(st, argument, st->str.get_loop) && (loop == NULL || ((Future *)argument)->loop == loop)) {
        return Py_NewRef(argument);
    }
    PyObject *args[] = {argument, loop == NULL ? Py_None : loop};
    return PyObject_Vectorcall(st->ensure_future, args, 1, st->kw_loop);
}

/* ---- watching one */

/* What child.METHOD(callback) would do can be done without a callable. */
static inline bool
child_takes_entry(struct state *st, PyObject *child, PyObject *method)
{
    return LIKELY(future_has_usual(st, child, method) && ((Future *)child)->is_own);
}

/* Its callbacks may be entries: awaited_by.c reads the call graph from them. */
static inline bool
child_is_in_graph(struct state *st, PyObject *child)
{
    return child_takes_entry(st, child, st->str.add_done_callback);
}

static inline int
child_note_waiter(struct state *st, PyObject *child, PyObject *waiter)
{
    if (!COMPAT_CALL_GRAPH || waiter == NULL || child_is_in_graph(st, child)) {
        return 0;
    }
    return awaited_by_note(st, child, waiter, true);
}

static inline int
child_forget_waiter(struct state *st, PyObject *child, PyObject *waiter)
{
    if (!COMPAT_CALL_GRAPH || waiter == NULL || child_is_in_graph(st, child)) {
        return 0;
    }
    return awaited_by_note(st, child, waiter, false);
}

static COLD int
child_call_with_callable(PyObject *child, PyObject *method, PyObject *watcher, const struct watcher_kind *kind)
{
    PyObject *callable = callback_callable(watcher, kind);
    PyObject *done = callable == NULL ? NULL : PyObject_CallMethodOneArg(child, method, callable);
    Py_XDECREF(callable);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
child_watch(struct state *st, PyObject *child, PyObject *watcher, const struct watcher_kind *kind)
{
    SECTION_ENTER(future_owner_borrowed(st, child));
    if (child_takes_entry(st, child, st->str.add_done_callback)) {
        Future *f = (Future *)child;
        struct callback cb = {watcher, WATCHER_MARK(kind)};
        return LIKELY(f->state == FUTURE_PENDING) ? callbacks_add(f, cb.target, cb.context) : callback_schedule(f, &cb);
    }
    if (child_note_waiter(st, child, kind->waiter_borrowed(watcher)) < 0) {
        return -1;
    }
    return child_call_with_callable(child, st->str.add_done_callback, watcher, kind);
}

static int
child_unwatch(struct state *st, PyObject *child, PyObject *watcher, const struct watcher_kind *kind)
{
    SECTION_ENTER(future_owner_borrowed(st, child));
    if (child_takes_entry(st, child, st->str.remove_done_callback)) {
        callbacks_remove_entry((Future *)child, watcher, WATCHER_MARK(kind));
        /* else it may have been watched by a callable, when add_done_callback was somebody's */
        if (LIKELY(((Future *)child)->dict == NULL)) {
            return 0;
        }
    }
    if (child_forget_waiter(st, child, kind->waiter_borrowed(watcher)) < 0) {
        return -1;
    }
    return child_call_with_callable(child, st->str.remove_done_callback, watcher, kind);
}
