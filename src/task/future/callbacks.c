/* task/future/callbacks.c -- who is told when a future is done: kept in order, scheduled in order. See future.h. */
#include "core/context.h"
#include "core/handle.h"
#include "core/named.h"
#include "task/future/future.h"

enum { CALLBACKS_FIRST_CAPACITY = 4 };

static PyObject *
callback_callable(PyObject *target, const struct watcher_kind *kind)
{
    return kind->qualname != NULL ? named_new(state_of(target), &kind->callable, target, kind->qualname)
                                  : PyCFunction_New((PyMethodDef *)&kind->callable, target); /* nobody writes to it */
}

static bool
callback_is_callable_of(PyObject *callable, PyObject *target, const struct watcher_kind *kind)
{
    if (kind->qualname != NULL) {
        return named_is(state_of(target), callable, &kind->callable, target);
    }
    return PyCFunction_CheckExact(callable) && ((PyCFunctionObject *)callable)->m_ml == &kind->callable
           && PyCFunction_GET_SELF(callable) == target;
}

static inline bool
callback_has_context(const struct callback *cb)
{
    return ((uintptr_t)cb->context & 1) == 0 && cb->context != NULL;
}

/* NULL: the target is a callable. */
static inline const struct watcher_kind *
callback_kind_of(const struct callback *cb)
{
    return (uintptr_t)cb->context & 1 ? (const struct watcher_kind *)((uintptr_t)cb->context - 1) : NULL;
}

static inline void
callback_clear(struct callback *cb)
{
    struct callback old = *cb;
    *cb = (struct callback){NULL, NULL};
    if (callback_has_context(&old)) {
        Py_DECREF(old.context);
    }
    Py_XDECREF(old.target);
}

static inline int
callback_visit(const struct callback *cb, visitproc visit, void *arg)
{
    if (callback_has_context(cb)) {
        Py_VISIT(cb->context);
    }
    Py_VISIT(cb->target);
    return 0;
}

static int
callbacks_append(struct future_rare *rare, struct callback cb)
{
    if (rare->n_more == rare->capacity) {
        uint32_t capacity = rare->capacity == 0 ? CALLBACKS_FIRST_CAPACITY : rare->capacity * 2;
        struct callback *more = capacity == 0 ? NULL : PyMem_Realloc(rare->more, capacity * sizeof *more);
        if (more == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        rare->more = more;
        rare->capacity = capacity;
    }
    rare->more[rare->n_more++] = cb;
    return 0;
}

static int
callbacks_add(Future *f, PyObject *target, PyObject *context)
{
    INVARIANT(f->state == FUTURE_PENDING);
    struct callback cb = {target, context};
    if (LIKELY(f->first.target == NULL && (f->rare == NULL || f->rare->n_more == 0))) {
        f->first = cb;
    }
    else if (future_need_rare(f) == NULL || callbacks_append(f->rare, cb) < 0) {
        return -1;
    }
    Py_INCREF(target);
    if (callback_has_context(&cb)) {
        Py_INCREF(context);
    }
    return 0;
}

/* ---- scheduling */

static PyObject *callback_as_pair(struct callback *cb);

/* loop.call_soon(callback, future, context=context) of a loop that is not ours. */
static int
callback_call_soon(PyObject *loop, PyObject *callback, PyObject *future, PyObject *context)
{
    struct state *st = state_of(future);
    PyObject *args[] = {loop, callback, future, context};
    PyObject *handle =
        PyObject_VectorcallMethod(st->str.call_soon, args, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kw_context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* ---- tasks of asyncio's own
 *
 * What wakes one of them asks a future of a type that it does not know for result(), by name, only to learn that there
 * is one: that costs more than the rest of the wake-up.  A future of its own type it just looks at, and nothing of it
 * is kept or seen.  So where ours has a result, and result() is what it always was, one of asyncio's that has a result
 * is given in its place. */

static PyObject *
callback_wakeup_argument_borrowed(struct state *st, PyObject *future)
{
    bool has_result = future_has_usual(st, future, st->str.result) && ((Future *)future)->state == FUTURE_FINISHED
                      && !((Future *)future)->has_exception;
    return LIKELY(has_result) ? st->native_done : future;
}

/* Is this what asyncio's own tasks are woken with?  All of them share one definition, which is told by its name the
 * first time. */
static COLD void
callback_learn_wakeup(struct state *st, PyObject *callable)
{
    const PyMethodDef *def = ((PyCFunctionObject *)callable)->m_ml;
    PyObject *self = PyCFunction_GET_SELF(callable);
    if (def->ml_flags != METH_O || self == NULL || !PyObject_TypeCheck(self, (PyTypeObject *)st->asyncio_Task)
        || strcmp(def->ml_name, "task_wakeup") != 0) {
        return;
    }
    PyObject *raised = compat_take_raised(), *future = future_new_native(st);
    PyObject *done = future == NULL ? NULL : PyObject_CallMethodOneArg(future, st->str.set_result, Py_None);
    if (done != NULL && st->native_done == NULL) { /* another one may have been learnt from meanwhile: code ran */
        st->native_done = Py_NewRef(future);
        st->wakeup_argument_borrowed = callback_wakeup_argument_borrowed;
        st->native_wakeup = def;
    }
    Py_XDECREF(done);
    Py_XDECREF(future);
    PyErr_Clear(); /* then it is called as any other callback */
    compat_set_raised(raised);
}

/* Where both the kept and the current context are empty, the Handle need not be given one. */
static int
callback_make_handle(Loop *loop, const struct callback *cb, Future *f)
{
    PyObject *args[] = {(PyObject *)f}, *context = Py_XNewRef(cb->context), *current = NULL;
    if (context == NULL) {
        if (context_copy_current(&current) < 0) {
            return -1;
        }
        if (current != NULL && (Py_DECREF(current), context = PyContext_New()) == NULL) {
            return -1;
        }
    }
    if (UNLIKELY(loop->st->native_wakeup == NULL) && PyCFunction_CheckExact(cb->target)) {
        callback_learn_wakeup(loop->st, cb->target);
    }
    PyObject *handle = handle_call_soon(loop, cb->target, args, 1, context);
    Py_XDECREF(context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* What call_soon checks. */
static COLD int
callback_check_loop(Loop *loop)
{
    return loop_check_closed(loop) < 0 ? -1 : loop->debug ? loop_check_thread(loop) : 0;
}

/* On a loop of ours whose call_soon was replaced: give it the callable and the context that asyncio would give it. */
static COLD int
callback_schedule_by_name(Future *f, const struct callback *cb)
{
    struct callback held = {Py_NewRef(cb->target), cb->context == NULL ? PyContext_New() : cb->context};
    if (cb->context != NULL && callback_has_context(cb)) {
        Py_INCREF(held.context);
    }
    PyObject *pair = held.context == NULL ? NULL : callback_as_pair(&held);
    int rc = pair == NULL
                 ? -1
                 : callback_call_soon(f->loop, PyTuple_GET_ITEM(pair, 0), (PyObject *)f, PyTuple_GET_ITEM(pair, 1));
    PyObject *raised = compat_take_raised();
    callback_clear(&held);
    Py_XDECREF(pair);
    compat_set_raised(raised);
    return rc;
}

static int
callback_schedule(Future *f, const struct callback *cb)
{
    if (UNLIKELY(!f->is_own)) {
        PyObject *context = Py_XNewRef(cb->context);
        if (context == NULL && (context = PyContext_New()) == NULL) {
            return -1;
        }
        int rc = callback_call_soon(f->loop, cb->target, (PyObject *)f, context);
        Py_DECREF(context);
        return rc;
    }
    Loop *loop = (Loop *)f->loop;
    if (UNLIKELY(loop->overrides & LOOP_OWN_CALL_SOON)) {
        return callback_schedule_by_name(f, cb);
    }
    if (UNLIKELY(loop->state == LOOP_CLOSED || loop->debug) && callback_check_loop(loop) < 0) {
        return -1;
    }
    const struct watcher_kind *kind = callback_kind_of(cb);
    return LIKELY(kind != NULL) ? loop_ready_push(loop, kind->run, cb->target, (PyObject *)f)
                                : callback_make_handle(loop, cb, f);
}

/* After an error the rest is dropped, as asyncio drops it. */
static int
callbacks_schedule(Future *f, struct callback *first)
{
    struct future_rare *rare = f->rare;
    struct callback *more = NULL;
    uint32_t n = 0;
    /* taken out before the first is scheduled: that may run code, which may init the future anew */
    if (UNLIKELY(rare != NULL)) {
        more = rare->more;
        n = rare->n_more;
        rare->more = NULL;
        rare->n_more = rare->capacity = 0;
    }
    int rc = first->target == NULL ? 0 : callback_schedule(f, first);
    callback_clear(first);
    if (LIKELY(more == NULL)) {
        return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (rc == 0) {
            rc = callback_schedule(f, &more[i]);
        }
        if (UNLIKELY(rc < 0)) { /* dropping may run code that must not see the error */
            PyObject *raised = compat_take_raised();
            callback_clear(&more[i]);
            compat_set_raised(raised);
        }
        else {
            callback_clear(&more[i]);
        }
    }
    PyMem_Free(more);
    return rc;
}

/* ---- the Python view */

static inline uint32_t
callbacks_count(const Future *f)
{
    return (f->first.target != NULL) + (f->rare == NULL ? 0 : f->rare->n_more);
}

/* The i-th, counting those there are. */
static inline struct callback *
callbacks_at(Future *f, uint32_t i)
{
    if (f->first.target != NULL) {
        if (i == 0) {
            return &f->first;
        }
        i--;
    }
    return &f->rare->more[i];
}

/* (callback, context), the way asyncio keeps it. */
static PyObject *
callback_as_pair(struct callback *cb)
{
    PyObject *callable, *context, *pair = NULL;
    const struct watcher_kind *kind = callback_kind_of(cb);
    if (kind == NULL) {
        callable = Py_NewRef(cb->target);
        context = Py_NewRef(cb->context);
    }
    else {
        callable = callback_callable(cb->target, kind);
        context = kind->context_at == 0
                      ? PyContext_CopyCurrent()
                      : Py_XNewRef(context_materialise_borrowed((PyObject **)((char *)cb->target + kind->context_at)));
    }
    if (callable != NULL && context != NULL) {
        pair = PyTuple_Pack(2, callable, context);
    }
    Py_XDECREF(callable);
    Py_XDECREF(context);
    return pair;
}

static PyObject *
callbacks_as_list(Future *f)
{
    PyObject *list = PyList_New(0);
    const struct future_methods *own = f->kind == FUTURE_PLAIN ? NULL : future_methods_of(future_state_of(f), f);
    if (list != NULL && own != NULL && own->list_callbacks != NULL && own->list_callbacks(f, list) < 0) {
        Py_CLEAR(list);
    }
    for (uint32_t i = 0; list != NULL && f->state == FUTURE_PENDING && i < callbacks_count(f); i++) {
        struct callback *cb = callbacks_at(f, i), held = *cb;
        Py_INCREF(held.target);
        /* kept, so that it is the same each time; making it may collect garbage, which may change the callbacks */
        if (held.context == NULL) {
            PyObject *context = PyContext_New();
            bool is_there =
                f->state == FUTURE_PENDING && i < callbacks_count(f) && callbacks_at(f, i)->target == held.target;
            if (is_there && callbacks_at(f, i)->context == NULL) {
                callbacks_at(f, i)->context = Py_XNewRef(context);
            }
            held.context = context;
        }
        else if (callback_has_context(&held)) {
            Py_INCREF(held.context);
        }
        PyObject *pair = held.context == NULL ? NULL : callback_as_pair(&held);
        callback_clear(&held);
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    return list;
}

static int
callback_equals(const struct callback *cb, PyObject *callback)
{
    const struct watcher_kind *kind = callback_kind_of(cb);
    return kind != NULL ? callback_is_callable_of(callback, cb->target, kind)
                        : PyObject_RichCompareBool(cb->target, callback, Py_EQ);
}

/* Take entry i out. */
static void
callbacks_remove_at(Future *f, uint32_t i)
{
    struct callback *cb = callbacks_at(f, i), removed = *cb;
    if (cb == &f->first) {
        f->first = (struct callback){NULL, NULL};
    }
    else {
        struct future_rare *rare = f->rare;
        struct callback *end = rare->more + rare->n_more--;
        memmove(cb, cb + 1, (size_t)(end - cb - 1) * sizeof *cb);
    }
    callback_clear(&removed);
}

/* Take out every entry with this target. */
static Py_ssize_t
callbacks_remove_target(Future *f, PyObject *target)
{
    Py_ssize_t n_removed = 0;
    for (uint32_t i = 0; f->state == FUTURE_PENDING && i < callbacks_count(f);) {
        if (callbacks_at(f, i)->target == target) {
            callbacks_remove_at(f, i);
            n_removed++;
        }
        else {
            i++;
        }
    }
    return n_removed;
}

static void
callbacks_remove_entry(Future *f, PyObject *target, PyObject *mark)
{
    for (uint32_t i = 0; f->state == FUTURE_PENDING && i < callbacks_count(f);) {
        struct callback *cb = callbacks_at(f, i);
        if (cb->target == target && cb->context == mark) {
            callbacks_remove_at(f, i);
        }
        else {
            i++;
        }
    }
}

/* Each comparison may run code that changes the callbacks. So a copy of them is compared, and each that is equal is
 * then taken out of the list as it is by then. */
static Py_ssize_t
callbacks_remove(Future *f, PyObject *callback)
{
    uint32_t n = f->state == FUTURE_PENDING ? callbacks_count(f) : 0;
    struct callback *copy = n == 0 ? NULL : PyMem_Malloc(n * sizeof *copy);
    if (n == 0) {
        return 0;
    }
    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_ssize_t n_removed = 0;
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = *callbacks_at(f, i);
        Py_INCREF(copy[i].target);
    }
    for (uint32_t i = 0; i < n && n_removed >= 0 && f->state == FUTURE_PENDING; i++) {
        int equal = callback_equals(&copy[i], callback);
        n_removed = equal < 0 ? -1 : n_removed + (equal ? callbacks_remove_target(f, copy[i].target) : 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        Py_DECREF(copy[i].target);
    }
    PyMem_Free(copy);
    return n_removed;
}
