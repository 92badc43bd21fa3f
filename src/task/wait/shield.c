/* task/wait/shield.c -- see shield.h. */
#include "task/wait/shield.h"

#include "core/args.h"
#include "core/deferred.h"
#include "core/freelist.h"
#include "core/guard.h"
#include "core/named.h"
#include "task/wait/child.h"
#include "task/future/task.h"

#define SHIELD_INNER_NAME "shield.<locals>._inner_done_callback"
#define SHIELD_OUTER_NAME "shield.<locals>._outer_done_callback"

/* ---- inner is done */

static int
shield_end_with(ShieldFuture *outer, struct state *st, PyObject *inner)
{
    PyObject *value = NULL;
    int outcome = child_outcome(st, inner, &value), rc = -1;
    switch (outcome) {
    case CHILD_CANCELLED:
        rc = future_cancel(&outer->future, NULL) < 0 ? -1 : 0;
        break;
    case CHILD_EXCEPTION:
        rc = future_set_exception(&outer->future, value);
        break;
    case CHILD_RESULT:
        rc = future_set_result(&outer->future, value);
        break;
    }
    Py_XDECREF(value);
    return rc;
}

static inline int
shield_inner_done(ShieldFuture *outer, struct state *st, PyObject *inner)
{
    int rc = child_forget_waiter(st, inner, outer->waiter);
    if (rc == 0) {
        if (outer->future.state == FUTURE_CANCELLED) {
            rc = st->traits.shield_retrieves ? child_ignore(st, inner) : 0;
        }
        else {
            rc = shield_end_with(outer, st, inner);
        }
    }
    if (outer->inner != NULL) {
        PyObject *raised = rc < 0 ? compat_take_raised() : NULL;
        Py_CLEAR(outer->inner);
        if (raised != NULL) {
            compat_set_raised(raised);
        }
    }
    return rc;
}

static int
shield_inner_ready(Loop *loop, PyObject *self, PyObject *inner)
{
    if (!child_reads_as_usual(loop->st, inner)) {
        loop_leave_task(loop);
    }
    if (LIKELY(shield_inner_done((ShieldFuture *)self, loop->st, inner) == 0)) {
        return 0;
    }
    return deferred_report(loop, shield_inner_ready, self, inner, SHIELD_INNER_NAME, &inner, 1);
}

static PyObject *
shield_inner_called(PyObject *self, PyObject *inner)
{
    SECTION_ENTER(((Future *)self)->loop);
    return shield_inner_done((ShieldFuture *)self, state_of(self), inner) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
shield_waiter_borrowed(PyObject *self)
{
    return ((ShieldFuture *)self)->waiter;
}

static const struct watcher_kind shield_kind = {shield_inner_ready,
                                                shield_waiter_borrowed,
                                                {"_inner_done_callback", shield_inner_called, METH_O, NULL},
                                                0,
                                                SHIELD_INNER_NAME};

/* ---- outer is done */

static int
shield_take_back(ShieldFuture *outer, struct state *st)
{
    PyObject *inner = outer->inner;
    if (inner == NULL) {
        return 0;
    }
    Py_INCREF(inner);
    int rc = child_is_done(st, inner);
    if (rc == 0) { /* else its callback is on the way */
        Py_CLEAR(outer->inner);
        rc = child_unwatch(st, inner, (PyObject *)outer, &shield_kind);
    }
    Py_DECREF(inner);
    return rc < 0 ? -1 : 0;
}

static int
shield_outer_ready(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    loop_leave_task(loop); /* what is dropped may run any code */
    if (LIKELY(shield_take_back((ShieldFuture *)self, loop->st) == 0)) {
        return 0;
    }
    return deferred_report(loop, shield_outer_ready, self, NULL, SHIELD_OUTER_NAME, &self, 1);
}

static int
shield_outer_finished(Future *outer)
{
    Loop *loop = (Loop *)outer->loop;
    PyObject *inner = ((ShieldFuture *)outer)->inner;
    if (inner == NULL || (future_has_usual(loop->st, inner, loop->st->str.done) && future_is_done((Future *)inner))) {
        return 0;
    }
    return loop_ready_push(loop, shield_outer_ready, (PyObject *)outer, NULL);
}

static PyObject *
shield_outer_called(PyObject *self, PyObject *Py_UNUSED(outer))
{
    SECTION_ENTER(((Future *)self)->loop);
    return shield_take_back((ShieldFuture *)self, state_of(self)) < 0 ? NULL : Py_NewRef(Py_None);
}

static const PyMethodDef shield_outer_def = {"_outer_done_callback", shield_outer_called, METH_O, NULL};

static PyObject *
shield_outer_callable(PyObject *outer)
{
    return named_new(state_of(outer), &shield_outer_def, outer, SHIELD_OUTER_NAME);
}

static int
shield_list_outer_callback(Future *outer, PyObject *list)
{
    if (!outer->is_own || outer->state != FUTURE_PENDING || ((ShieldFuture *)outer)->inner == NULL) {
        return 0;
    }
    PyObject *callable = shield_outer_callable((PyObject *)outer), *context = PyContext_CopyCurrent();
    PyObject *pair = callable == NULL || context == NULL ? NULL : PyTuple_Pack(2, callable, context);
    int rc = pair == NULL ? -1 : PyList_Append(list, pair);
    Py_XDECREF(callable);
    Py_XDECREF(context);
    Py_XDECREF(pair);
    return rc;
}

static const struct future_methods shield_methods = {
    .finished = shield_outer_finished,
    .list_callbacks = shield_list_outer_callback,
};

/* On a loop that is not ours outer has a callback like any other. */
static COLD int
shield_watch_outer(ShieldFuture *outer)
{
    PyObject *callable = shield_outer_callable((PyObject *)outer);
    int rc = callable == NULL ? -1 : future_add_done_callback(&outer->future, callable, NULL);
    Py_XDECREF(callable);
    return rc;
}

/* ---- shield() */

static ShieldFuture *
shield_new(struct state *st, PyObject *loop)
{
    if (UNLIKELY(st->ShieldFuture_type == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncloop is being unloaded");
        return NULL;
    }
    ShieldFuture *outer = (ShieldFuture *)future_alloc(st->ShieldFuture_type, freelist_of(st, FREELIST_SHIELD),
                                                       sizeof *outer, FUTURE_SHIELD);
    if (outer == NULL) {
        return NULL;
    }
    PyObject_GC_Track(outer);
    if (UNLIKELY((loop_is_own(st, loop) ? future_start(&outer->future, st, (Loop *)loop)
                                        : future_init(&outer->future, st, loop))
                 < 0)) {
        Py_CLEAR(outer);
    }
    return outer;
}

/* inner is not done. Steals it. */
static PyObject *
shield_pending(struct state *st, PyObject *inner)
{
    bool is_own = future_has_usual(st, inner, st->str.get_loop) && ((Future *)inner)->loop != NULL;
    PyObject *loop = LIKELY(is_own) ? Py_NewRef(((Future *)inner)->loop) : task_loop_of(st, inner);
    ShieldFuture *outer = NULL;
    if (UNLIKELY(loop != NULL && loop_is_own(st, loop)
                 && ((Loop *)loop)->overrides & (LOOP_OWN_CALL_SOON | LOOP_OWN_CREATE_FUTURE))) {
        /* each callback and future is to be seen: all as on asyncio */
        PyObject *shielded = PyObject_CallOneArg(st->native_shield, inner);
        Py_DECREF(loop);
        Py_DECREF(inner);
        return shielded;
    }
    if (loop == NULL || (outer = shield_new(st, loop)) == NULL) {
        goto error;
    }
    outer->inner = Py_NewRef(inner);
    if (COMPAT_CALL_GRAPH && (outer->waiter = task_current(st, loop)) == NULL && PyErr_Occurred()) {
        goto error;
    }
    if (child_watch(st, inner, (PyObject *)outer, &shield_kind) < 0
        || (UNLIKELY(!outer->future.is_own) && shield_watch_outer(outer) < 0)) {
        goto error;
    }
    Py_DECREF(loop);
    Py_DECREF(inner);
    return (PyObject *)outer;
error:
    Py_XDECREF(loop);
    Py_XDECREF(outer);
    Py_DECREF(inner);
    return NULL;
}

static const char *const shield_names[] = {"arg"};
static const struct args_signature shield_signature = {"shield", shield_names, 1, 1, 1, false};

static PyObject *
module_shield(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *argument;
    if (args_bind(&shield_signature, args, n_args, kwnames, &argument) < 0) {
        return NULL;
    }
    PyObject *inner = child_ensure_future(st, argument, NULL);
    int is_done = inner == NULL ? -1 : child_is_done(st, inner);
    if (UNLIKELY(is_done != 0)) {
        if (is_done < 0) {
            Py_CLEAR(inner);
        }
        return inner;
    }
    return shield_pending(st, inner);
}

/* ---- ShieldFuture */

static int
ShieldFuture_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((ShieldFuture *)self)->inner);
    Py_VISIT(((ShieldFuture *)self)->waiter);
    return future_visit((Future *)self, visit, arg);
}

static int
ShieldFuture_clear(PyObject *self)
{
    future_clear((Future *)self);
    Py_CLEAR(((ShieldFuture *)self)->inner);
    Py_CLEAR(((ShieldFuture *)self)->waiter);
    return 0;
}

static void
ShieldFuture_dealloc(PyObject *self)
{
    if (!future_begin_dealloc(self)) {
        return;
    }
    struct freelist *list = freelist_of_dying(self, ShieldFuture_dealloc, FREELIST_SHIELD);
    Py_TRASHCAN_BEGIN(self, ShieldFuture_dealloc)
    ShieldFuture_clear(self);
    freelist_free(list, self);
    Py_TRASHCAN_END
}

static PyType_Slot ShieldFuture_slots[] = {
    {Py_tp_traverse, ShieldFuture_traverse},
    {Py_tp_clear, ShieldFuture_clear},
    {Py_tp_dealloc, ShieldFuture_dealloc},
    {Py_am_send, Future_am_send},
    {0, NULL},
};

static PyType_Spec ShieldFuture_spec = {
    .name = "asyncloop._asyncloop.Future",
    .basicsize = sizeof(ShieldFuture),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = ShieldFuture_slots,
};

static PyMethodDef shield_functions[] = {
    {"shield", FUTURE_FASTCALL(module_shield), METH_FASTCALL | METH_KEYWORDS,
     "shield($module, /, arg)\n--\n\n"
     "A future that ends as arg does; cancelling it leaves arg alone.\n\n"
     "arg: a future, coroutine or awaitable.  Returns: a future, arg itself when that is done.\n"
     "Source: asyncio.shield.  Differs: nothing."},
    {NULL},
};

static int
shield_register(PyObject *module, struct state *st)
{
    if (state_add_type(module, &st->ShieldFuture_type, &ShieldFuture_spec, st->Future_type, false,
                       SECTION_AT(Future, loop))
            < 0
        || future_import(&st->native_shield, "asyncio.tasks", "shield") < 0) {
        return -1;
    }
    st->future_methods[FUTURE_SHIELD] = &shield_methods;
    return guard_add_functions(module, shield_functions);
}
