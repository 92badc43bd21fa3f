/* task/wait/waiter.c -- see waiter.h. */
#include "task/wait/waiter.h"

#include "core/aiobridge.h"
#include "core/deferred.h"
#include "task/wait/child.h"
#include "task/future/task.h"

#define WAITER_CHILD_NAME "_wait.<locals>._on_completion"

/* ---- releasing */

static void
waiter_stop_timer(Waiter *w, struct state *st)
{
    deadline_stop(&w->deadline, st, w->loop, (PyObject *)w);
}

static int
waiter_release(Waiter *w, struct state *st)
{
    if (UNLIKELY(w->future == NULL)) { /* cleared by the collector */
        return 0;
    }
    return future_wake_any(st, w->future, st->str.done, Py_None, NULL) < 0 ? -1 : 0;
}

/* 1 when it ended with an exception, which counts as retrieved; 0; -1 */
static int
waiter_has_failed(struct state *st, PyObject *child)
{
    if (LIKELY(child_reads_as_usual(st, child))) {
        Future *f = (Future *)child;
        f->log_traceback = false;
        return f->state == FUTURE_FINISHED && f->has_exception;
    }
    int is_cancelled = child_is_cancelled(st, child);
    if (is_cancelled != 0) {
        return is_cancelled < 0 ? -1 : 0;
    }
    PyObject *exception = PyObject_CallMethodNoArgs(child, st->str.exception);
    int has_failed = exception == NULL ? -1 : exception != Py_None;
    Py_XDECREF(exception);
    return has_failed;
}

static inline int
waiter_child_done(Waiter *w, struct state *st, PyObject *child)
{
    w->n_left--;
    if (child_forget_waiter(st, child, w->task) < 0) {
        return -1;
    }
    if (w->n_left > 0 && w->mode != WAITER_FIRST_COMPLETED) {
        int has_failed = w->mode == WAITER_FIRST_EXCEPTION ? waiter_has_failed(st, child) : 0;
        if (has_failed <= 0) {
            return has_failed;
        }
    }
    waiter_stop_timer(w, st);
    return waiter_release(w, st);
}

static int
waiter_child_ready(Loop *loop, PyObject *self, PyObject *child)
{
    if (UNLIKELY(!child_is_plainly_done(loop->st, child))) { /* may call children that are not ours */
        loop_leave_task(loop);
    }
    if (LIKELY(waiter_child_done((Waiter *)self, loop->st, child) == 0)) {
        return 0;
    }
    return deferred_report(loop, waiter_child_ready, self, child, WAITER_CHILD_NAME, &child, 1);
}

static PyObject *
waiter_child_called(PyObject *self, PyObject *child)
{
    SECTION_ENTER(((Waiter *)self)->loop);
    return waiter_child_done((Waiter *)self, state_of(self), child) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
waiter_task_borrowed(PyObject *self)
{
    return ((Waiter *)self)->task;
}

static const struct watcher_kind waiter_kind = {waiter_child_ready,
                                                waiter_task_borrowed,
                                                {"_on_completion", waiter_child_called, METH_O, NULL},
                                                0,
                                                WAITER_CHILD_NAME};

static int
waiter_on_due(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Waiter *w = (Waiter *)self;
    if (UNLIKELY(!w->is_own)) {
        loop_leave_task(loop);
    }
    if (LIKELY(waiter_release(w, loop->st) == 0)) {
        return 0;
    }
    PyObject *future = Py_XNewRef(w->future);
    int rc = deferred_report(loop, waiter_on_due, self, NULL, "_release_waiter", &future, future != NULL);
    Py_XDECREF(future);
    return rc;
}

static PyObject *
waiter_due_called(PyObject *self, PyObject *Py_UNUSED(none))
{
    SECTION_ENTER(((Waiter *)self)->loop);
    return waiter_release((Waiter *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef waiter_due_def = {"_release_waiter", waiter_due_called, METH_NOARGS, NULL};

/* ---- life */

static Waiter *
waiter_new(struct state *st, PyObject *children, enum waiter_mode mode, bool is_edge)
{
    PyObject *loop = aiobridge_need_running_loop(st);
    Waiter *w = loop == NULL ? NULL : PyObject_GC_New(Waiter, st->Waiter_type);
    if (w == NULL) {
        Py_XDECREF(loop);
        return NULL;
    }
    memset((char *)w + sizeof(PyObject), 0, sizeof *w - sizeof(PyObject));
    timer_init(&w->deadline.timer, TIMER_KIND_WAITER);
    w->loop = loop;
    w->is_own = future_is_made_by(st, loop);
    w->children = Py_NewRef(children);
    w->n_left = PyTuple_GET_SIZE(children);
    w->mode = (uint8_t)mode;
    PyObject_GC_Track(w);
    w->future = future_new_on(st, loop);
    if (w->future != NULL && is_edge) {
        w->task = task_current_here(st);
    }
    if (w->future == NULL || (w->task == NULL && PyErr_Occurred())) {
        Py_CLEAR(w);
    }
    return w;
}

static int
waiter_start_timer(Waiter *w, struct state *st, PyObject *delay)
{
    return deadline_start(&w->deadline, st, w->loop, (PyObject *)w, delay, &waiter_due_def);
}

static int
waiter_watch(Waiter *w, struct state *st)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(w->children); i++) {
        if (child_watch(st, PyTuple_GET_ITEM(w->children, i), (PyObject *)w, &waiter_kind) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
waiter_stop(Waiter *w, struct state *st)
{
    PyObject *raised = compat_take_raised();
    waiter_stop_timer(w, st);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(w->children); i++) {
        if (child_unwatch(st, PyTuple_GET_ITEM(w->children, i), (PyObject *)w, &waiter_kind) < 0) {
            Py_XDECREF(raised);
            return -1;
        }
    }
    compat_set_raised(raised);
    return 0;
}

static int
Waiter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Waiter *w = (Waiter *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(w->loop);
    Py_VISIT(w->future);
    Py_VISIT(w->children);
    Py_VISIT(w->deadline.handle);
    Py_VISIT(w->task);
    return 0;
}

static int
Waiter_clear(PyObject *self)
{
    Waiter *w = (Waiter *)self;
    Py_CLEAR(w->future);
    Py_CLEAR(w->children);
    Py_CLEAR(w->deadline.handle);
    Py_CLEAR(w->task);
    /* else what holds us by the timer takes it out first, and needs the loop for it */
    if (!timer_is_scheduled(&w->deadline.timer)) {
        Py_CLEAR(w->loop);
    }
    return 0;
}

static void
Waiter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Waiter_dealloc)
    Waiter_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot Waiter_slots[] = {
    {Py_tp_traverse, Waiter_traverse},
    {Py_tp_clear, Waiter_clear},
    {Py_tp_dealloc, Waiter_dealloc},
    {0, NULL},
};

static PyType_Spec Waiter_spec = {
    .name = "asyncloop._asyncloop.Waiter",
    .basicsize = sizeof(Waiter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Waiter_slots,
};

static int
waiter_register(PyObject *module, struct state *st)
{
    st->timer_kinds[TIMER_KIND_WAITER].on_due = waiter_on_due;
    st->timer_kinds[TIMER_KIND_WAITER].offset = offsetof(Waiter, deadline.timer);
    return state_add_type(module, &st->Waiter_type, &Waiter_spec, NULL, false, SECTION_AT(Waiter, loop));
}
