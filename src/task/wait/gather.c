/* task/wait/gather.c -- see gather.h. */
#include "task/wait/gather.h"

#include "core/aiobridge.h"
#include "core/ask.h"
#include "core/deferred.h"
#include "core/freelist.h"
#include "core/guard.h"
#include "task/wait/child.h"
#include "task/future/task.h"

#define GATHER_CHILD_NAME "gather.<locals>._done_callback"

/* ---- a child is done */

static PyObject *
gather_cancelled_error_of(struct state *st, PyObject *child)
{
    return future_has_usual(st, child, st->str._make_cancelled_error)
               ? future_make_cancelled_error((Future *)child)
               : PyObject_CallMethodNoArgs(child, st->str._make_cancelled_error);
}

/* What stands in the list of results for a cancelled child. */
static COLD PyObject *
gather_cancelled_result(struct state *st, PyObject *child)
{
    PyObject *message = PyObject_GetAttr(child, st->str._cancel_message);
    if (message == Py_None) {
        Py_SETREF(message, PyUnicode_FromString(""));
    }
    PyObject *error = message == NULL ? NULL : PyObject_CallOneArg(st->CancelledError, message);
    Py_XDECREF(message);
    return error;
}

static PyObject *
gather_results(GatherFuture *g, struct state *st)
{
    Py_ssize_t n = PyTuple_GET_SIZE(g->children);
    PyObject *results = PyList_New(n);
    for (Py_ssize_t i = 0; results != NULL && i < n; i++) {
        PyObject *child = PyTuple_GET_ITEM(g->children, i), *value = NULL;
        int outcome = child_outcome(st, child, &value);
        if (outcome == CHILD_CANCELLED) {
            value = gather_cancelled_result(st, child);
        }
        if (value == NULL) {
            Py_CLEAR(results);
            break;
        }
        PyList_SET_ITEM(results, i, value);
    }
    return results;
}

/* The whole fails with what ended child. Steals exception (NULL: it is raised already). */
static int
gather_fail(GatherFuture *g, PyObject *exception)
{
    if (exception == NULL) {
        return -1;
    }
    int rc = g->future.state == FUTURE_PENDING ? future_finish_exception(&g->future, exception)
                                               : future_raise_invalid_state(&g->future); /* a child's methods did it */
    Py_DECREF(exception);
    return rc;
}

/* Children that outlive the whole lose their edge. */
static int
gather_forget_waiter_of_all(GatherFuture *g)
{
    struct state *st = state_of((PyObject *)g);
    for (Py_ssize_t i = 0; g->waiter != NULL && i < PyTuple_GET_SIZE(g->children); i++) {
        if (child_forget_waiter(st, PyTuple_GET_ITEM(g->children, i), g->waiter) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
gather_child_done(GatherFuture *g, struct state *st, PyObject *child)
{
    g->n_done++;
    if (child_forget_waiter(st, child, g->waiter) < 0) {
        return -1;
    }
    if (!g->is_built || g->future.state != FUTURE_PENDING) {
        return child_ignore(st, child);
    }
    if (!g->return_exceptions) {
        PyObject *value = NULL;
        int outcome = LIKELY(child_is_plainly_done(st, child)) ? 0 : child_failure(st, child, &value);
        if (outcome < 0 || (outcome > 0 && COMPAT_CALL_GRAPH && gather_forget_waiter_of_all(g) < 0)) {
            Py_XDECREF(value);
            return -1;
        }
        if (outcome > 0) {
            return gather_fail(g, outcome == CHILD_CANCELLED ? gather_cancelled_error_of(st, child) : value);
        }
        Py_XDECREF(value);
    }
    if (g->n_done < g->n_distinct) {
        return 0;
    }
    PyObject *results = gather_results(g, st);
    if (results == NULL) {
        return -1;
    }
    if (g->cancel_requested) { /* whether or not return_exceptions; with the message of the last child, as in asyncio */
        Py_DECREF(results);
        return gather_fail(
            g, gather_cancelled_error_of(st, PyTuple_GET_ITEM(g->children, PyTuple_GET_SIZE(g->children) - 1)));
    }
    if (UNLIKELY(g->future.state != FUTURE_PENDING)) { /* a child's methods did it */
        Py_DECREF(results);
        return future_raise_invalid_state(&g->future);
    }
    return future_finish(&g->future, FUTURE_FINISHED, results, NULL);
}

static int
gather_child_ready(Loop *loop, PyObject *self, PyObject *child)
{
    GatherFuture *g = (GatherFuture *)self;
    /* may call children that are not ours, and drop anything */
    if (g->n_done + 1 == g->n_distinct || !child_is_plainly_done(loop->st, child)) {
        loop_leave_task(loop);
    }
    if (LIKELY(gather_child_done(g, loop->st, child) == 0)) {
        return 0;
    }
    return deferred_report(loop, gather_child_ready, self, child, GATHER_CHILD_NAME, &child, 1);
}

static PyObject *
gather_child_called(PyObject *self, PyObject *child)
{
    SECTION_ENTER(((Future *)self)->loop);
    return gather_child_done((GatherFuture *)self, state_of(self), child) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
gather_waiter_borrowed(PyObject *self)
{
    GatherFuture *g = (GatherFuture *)self;
    return g->future.state == FUTURE_PENDING ? g->waiter : NULL;
}

static const struct watcher_kind gather_kind = {gather_child_ready,
                                                gather_waiter_borrowed,
                                                {"_done_callback", gather_child_called, METH_O, NULL},
                                                0,
                                                GATHER_CHILD_NAME};

/* ---- cancelling the whole */

/* child.cancel(msg=message) */
static COLD int
gather_cancel_other(struct state *st, PyObject *child, PyObject *message)
{
    PyObject *args[] = {child, message == NULL ? Py_None : message};
    return ask_truth(PyObject_VectorcallMethod(st->str.cancel, args, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_msg));
}

static int
gather_cancel(Future *f, PyObject *message)
{
    GatherFuture *g = (GatherFuture *)f;
    struct state *st = future_state_of(f);
    if (g->future.state != FUTURE_PENDING || !g->is_built) {
        return 0;
    }
    if (UNLIKELY(Py_EnterRecursiveCall(" while calling a Python object"))) { /* a gather of a gather of ... */
        return -1;
    }
    PyObject *children = Py_NewRef(g->children);
    int is_any = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(children); i++) {
        PyObject *child = Py_NewRef(PyTuple_GET_ITEM(children, i));
        int rc = future_has_usual(st, child, st->str.cancel) ? future_cancel_any(st, child, message)
                                                             : gather_cancel_other(st, child, message);
        Py_DECREF(child);
        if (rc < 0) {
            is_any = -1;
            break;
        }
        is_any |= rc;
    }
    Py_DECREF(children);
    Py_LeaveRecursiveCall();
    if (is_any > 0) {
        g->cancel_requested = true;
    }
    return is_any;
}

static const struct future_methods gather_methods = {.cancel = gather_cancel};

/* ---- gather() */

/* Which arguments were given before.  Those whose equality is identity (coroutines, futures) are compared by address,
 * the others by a dict, as in asyncio. */
struct gather_seen {
    PyObject **keys; /* open addressing; borrowed */
    Py_ssize_t *places;
    size_t mask;
    PyObject *others; /* {argument: place}, or NULL */
};

static int
gather_seen_init(struct gather_seen *seen, Py_ssize_t n)
{
    size_t size = 8;
    while (size < (size_t)n * 2) {
        size *= 2;
    }
    seen->others = NULL;
    seen->mask = size - 1;
    seen->keys = PyMem_Calloc(size, sizeof *seen->keys);
    seen->places = PyMem_Malloc(size * sizeof *seen->places);
    if (seen->keys == NULL || seen->places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void
gather_seen_free(struct gather_seen *seen)
{
    PyMem_Free(seen->keys);
    PyMem_Free(seen->places);
    Py_XDECREF(seen->others);
}

/* The place of an equal earlier argument, or -1 and this one is noted with its place; -2: exception. */
static Py_ssize_t
gather_seen_find(struct gather_seen *seen, PyObject *argument, Py_ssize_t place)
{
    if (LIKELY(Py_TYPE(argument)->tp_hash == PyBaseObject_Type.tp_hash)) {
        size_t i = ((uintptr_t)argument >> 4) * 0x9E3779B97F4A7C15u >> 20 & seen->mask;
        for (; seen->keys[i] != NULL; i = (i + 1) & seen->mask) {
            if (seen->keys[i] == argument) {
                return seen->places[i];
            }
        }
        seen->keys[i] = argument;
        seen->places[i] = place;
        return -1;
    }
    if (seen->others == NULL && (seen->others = PyDict_New()) == NULL) {
        return -2;
    }
    PyObject *known = PyDict_GetItemWithError(seen->others, argument);
    if (known != NULL) {
        return PyLong_AsSsize_t(known);
    }
    PyObject *number = PyErr_Occurred() ? NULL : PyLong_FromSsize_t(place);
    int rc = number == NULL ? -1 : PyDict_SetItem(seen->others, argument, number);
    Py_XDECREF(number);
    return rc < 0 ? -2 : -1;
}

/* Begin to watch a child. is_done: 1 when it is done and gather has to count it itself (3.12+). */
static int
gather_watch(GatherFuture *g, struct state *st, PyObject *child, int *is_done)
{
    *is_done = 0;
    if (LIKELY(future_has_usual(st, child, st->str.done) && future_has_usual(st, child, st->str.add_done_callback)
               && ((Future *)child)->is_own)) {
        Future *f = (Future *)child;
        if (LIKELY(f->state == FUTURE_PENDING)) {
            return callbacks_add(f, (PyObject *)g, WATCHER_MARK(&gather_kind));
        }
        struct callback cb = {(PyObject *)g, WATCHER_MARK(&gather_kind)};
        *is_done = COMPAT_GATHER_NOTES_DONE;
        return COMPAT_GATHER_NOTES_DONE ? 0 : callback_schedule(f, &cb);
    }
    if (COMPAT_GATHER_NOTES_DONE) {
        *is_done = ask_method(child, st->str.done);
        if (*is_done != 0) {
            return *is_done < 0 ? -1 : 0;
        }
    }
    return child_call_with_callable(child, st->str.add_done_callback, (PyObject *)g, &gather_kind);
}

/* One new argument: its future goes to children[i]. */
static int
gather_take(GatherFuture *g, struct state *st, PyObject *argument, Py_ssize_t i, PyObject **done_children)
{
    PyObject *child = child_ensure_future(st, argument, g->future.loop);
    if (child == NULL) {
        return -1;
    }
    PyTuple_SET_ITEM(g->children, i, child);
    if (g->future.loop == NULL) {
        if ((g->future.loop = task_loop_of(st, child)) == NULL) {
            return -1;
        }
        g->future.is_own = loop_is_own(st, g->future.loop);
    }
    if (child != argument) { /* nobody else can wait for it, so it is not reported when it is destroyed pending */
        if (LIKELY(Py_IS_TYPE(child, st->Task_type))) {
            ((Future *)child)->log_destroy = false;
        }
        else if (PyObject_SetAttr(child, st->str._log_destroy_pending, Py_False) < 0) {
            return -1;
        }
    }
    g->n_distinct++;
    int is_done;
    if (gather_watch(g, st, child, &is_done) < 0) {
        return -1;
    }
    if (is_done) {
        if (*done_children == NULL && (*done_children = PyList_New(0)) == NULL) {
            return -1;
        }
        return PyList_Append(*done_children, child);
    }
    return child_note_waiter(st, child, g->waiter);
}

static int
gather_take_all(GatherFuture *g, struct state *st, PyObject *const *args, Py_ssize_t n, PyObject **done_children)
{
    struct gather_seen seen;
    int rc = gather_seen_init(&seen, n);
    for (Py_ssize_t i = 0; rc == 0 && i < n; i++) {
        Py_ssize_t place = gather_seen_find(&seen, args[i], i);
        if (place == -2) {
            rc = -1;
        }
        else if (UNLIKELY(place >= 0)) {
            PyTuple_SET_ITEM(g->children, i, Py_NewRef(PyTuple_GET_ITEM(g->children, place)));
        }
        else {
            rc = gather_take(g, st, args[i], i, done_children);
        }
    }
    gather_seen_free(&seen);
    return rc;
}

static PyObject *
gather_nothing(struct state *st)
{
    PyObject *loop = aiobridge_event_loop(st), *empty = NULL, *done = NULL;
    PyObject *outer = loop == NULL ? NULL : PyObject_CallMethodNoArgs(loop, st->str.create_future);
    if (outer != NULL && (empty = PyList_New(0)) != NULL) {
        done = PyObject_CallMethodOneArg(outer, st->str.set_result, empty);
    }
    if (done == NULL) {
        Py_CLEAR(outer);
    }
    Py_XDECREF(loop);
    Py_XDECREF(empty);
    Py_XDECREF(done);
    return outer;
}

/* 3.14+: note the running loop's current task, which is the one that gathers. */
static int
gather_note_running(GatherFuture *g, struct state *st)
{
    PyObject *loop = aiobridge_running_loop(st);
    if (loop == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    g->future.loop = loop;
    g->future.is_own = loop_is_own(st, loop);
    if (g->future.is_own) {
        g->waiter = Py_XNewRef(((Loop *)loop)->published_task);
        return 0;
    }
    PyObject *task = PyObject_CallMethodOneArg(st->asyncio, st->str.current_task, loop);
    if (task == NULL) {
        return -1;
    }
    g->waiter = task;
    if (task == Py_None) {
        Py_CLEAR(g->waiter);
    }
    return 0;
}

/* The source traceback, and what was done before it began (3.12+). */
static int
gather_build(GatherFuture *g, struct state *st, PyObject *done_children)
{
    bool is_debug = g->future.is_own && ((Loop *)g->future.loop)->debug;
    if (!g->future.is_own) {
        int is_true = ask_method(g->future.loop, st->str.get_debug);
        if (is_true < 0) {
            return -1;
        }
        is_debug = is_true;
    }
    if (is_debug && future_note_source(&g->future, st) < 0) {
        return -1;
    }
    g->is_built = true;
    for (Py_ssize_t i = 0; done_children != NULL && i < PyList_GET_SIZE(done_children); i++) {
        if (gather_child_done(g, st, PyList_GET_ITEM(done_children, i)) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
gather(struct state *st, PyObject *const *args, Py_ssize_t n, bool return_exceptions)
{
    if (n == 0) {
        return gather_nothing(st);
    }
    if (UNLIKELY(st->GatherFuture_type == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncloop is being unloaded");
        return NULL;
    }
    GatherFuture *g = (GatherFuture *)st->GatherFuture_type->tp_alloc(st->GatherFuture_type, 0);
    PyObject *done_children = NULL;
    if (g == NULL) {
        return NULL;
    }
    g->future.kind = FUTURE_GATHER;
    g->return_exceptions = return_exceptions;
    if ((g->children = PyTuple_New(n)) == NULL || (COMPAT_CALL_GRAPH && gather_note_running(g, st) < 0)
        || gather_take_all(g, st, args, n, &done_children) < 0 || gather_build(g, st, done_children) < 0) {
        goto error;
    }
    Py_XDECREF(done_children);
    return (PyObject *)g;
error:
    Py_XDECREF(done_children);
    Py_DECREF(g);
    return NULL;
}

static PyObject *
module_gather(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    int return_exceptions = 0;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (!future_is_keyword(name, st->str.return_exceptions)) {
            PyErr_Format(PyExc_TypeError, "gather() got an unexpected keyword argument '%U'", name);
            return NULL;
        }
        if ((return_exceptions = PyObject_IsTrue(args[n_args + i])) < 0) {
            return NULL;
        }
    }
    return gather(st, args, n_args, return_exceptions);
}

/* ---- GatherFuture: the Python face */

static PyObject *
GatherFuture_cancel(PyObject *self, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    PyObject *message;
    if (future_parse_cancel(args, n_args, kwnames, &message) < 0) {
        return NULL;
    }
    int rc = gather_cancel((Future *)self, message);
    return rc < 0 ? NULL : PyBool_FromLong(rc);
}

static int
GatherFuture_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((GatherFuture *)self)->children);
    Py_VISIT(((GatherFuture *)self)->waiter);
    return future_visit((Future *)self, visit, arg);
}

static int
GatherFuture_clear(PyObject *self)
{
    GatherFuture *g = (GatherFuture *)self;
    g->is_built = false; /* nothing is counted any more */
    future_clear(&g->future);
    Py_CLEAR(g->waiter);
    Py_CLEAR(g->children);
    return 0;
}

static void
GatherFuture_dealloc(PyObject *self)
{
    if (!future_begin_dealloc(self)) {
        return;
    }
    Py_TRASHCAN_BEGIN(self, GatherFuture_dealloc)
    GatherFuture_clear(self);
    freelist_free(NULL, self);
    Py_TRASHCAN_END
}

static PyMethodDef GatherFuture_methods[] = {
    {"cancel", FUTURE_FASTCALL(GatherFuture_cancel), METH_FASTCALL | METH_KEYWORDS,
     FUTURE_SIGNATURE_CANCEL "Cancel the children that are not done; True if there was one."},
    {NULL},
};

/* A list as in asyncio, but a copy, so that nobody changes what we count on.  While gather() runs it has only the
 * children so far. */
static PyObject *
GatherFuture_get_children(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *children = ((GatherFuture *)self)->children, *list = PyList_New(0);
    for (Py_ssize_t i = 0; list != NULL && children != NULL && i < PyTuple_GET_SIZE(children); i++) {
        PyObject *child = PyTuple_GET_ITEM(children, i);
        if (child != NULL && PyList_Append(list, child) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyGetSetDef GatherFuture_getset[] = {
    {"_children", GatherFuture_get_children},
    {NULL},
};

static PyMemberDef GatherFuture_members[] = {
    {"_cancel_requested", T_BOOL, offsetof(GatherFuture, cancel_requested), 0},
    {NULL},
};

static PyType_Slot GatherFuture_slots[] = {
    {Py_tp_traverse, GatherFuture_traverse},
    {Py_tp_clear, GatherFuture_clear},
    {Py_tp_dealloc, GatherFuture_dealloc},
    {Py_tp_methods, GatherFuture_methods},
    {Py_tp_getset, GatherFuture_getset},
    {Py_tp_members, GatherFuture_members},
    {Py_am_send, Future_am_send},
    {0, NULL},
};

static PyType_Spec GatherFuture_spec = {
    .name = "asyncloop._asyncloop._GatheringFuture",
    .basicsize = sizeof(GatherFuture),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = GatherFuture_slots,
};

static PyMethodDef gather_functions[] = {
    {"gather", FUTURE_FASTCALL(module_gather), METH_FASTCALL | METH_KEYWORDS,
     "gather($module, /, *coros_or_futures, return_exceptions=False)\n--\n\n"
     "A future for the list of the results of all of them, in their order.\n\n"
     "return_exceptions: put exceptions into the list; else the first one ends the whole.\n"
     "Cancelling it cancels the children.  Source: asyncio.gather.  Differs: nothing."},
    {NULL},
};

static int
gather_register(PyObject *module, struct state *st)
{
    if ((st->kw_loop = PyTuple_Pack(1, st->str.loop)) == NULL || (st->kw_msg = PyTuple_Pack(1, st->str.msg)) == NULL
        || state_add_type(module, &st->GatherFuture_type, &GatherFuture_spec, st->Future_type, false,
                          SECTION_AT(Future, loop))
               < 0) {
        return -1;
    }
    st->future_methods[FUTURE_GATHER] = &gather_methods;
    return guard_add_functions(module, gather_functions);
}
