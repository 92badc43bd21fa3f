/* core/handle.c -- Handle and TimerHandle: scheduled, run, cancelled, freed; their Python face. */
#include "core/handle.h"

#include "core/context.h"
#include "core/freelist.h"
#include "core/inbox.h"

enum {
    HANDLE_CANCELLED = 1 << 0,
    HANDLE_HAS_CONTEXT = 1 << 1, /* slots[n_args] is the context; without it the context is empty and not made */
    HANDLE_HAS_SOURCE = 1 << 2,  /* the last slot is the source traceback (debug mode) */
    HANDLE_PAIRED = 1 << 3, /* callback is a tuple (callback, context): a context that had to be made after all */
    HANDLE_CANCELLING = 1 << 4, /* cancel() asks for the repr: cancelled, but the call is still there to be shown */
    HANDLE_THREADSAFE = 1 << 5, /* of call_soon_threadsafe, where that makes a difference */
    HANDLE_RUNNING = 1 << 6, /* its callback runs (threadsafe ones only) */
    HANDLE_UNTRACKED = 1 << 7, /* the collector does not know it (yet), see handle.h */
};

enum { HANDLE_INLINE_ARGS = 6, HANDLE_FREELIST_SLOTS = 3 };

/* Handle.is_timer */
enum {
    HANDLE_TIMER = 1,
    /* the deadline was not a plain float: what was given is in the slot behind the arguments and the context */
    HANDLE_TIMER_GIVEN = 2,
};

/* ob_size's place holds what a Handle needs: PyObject_GC_NewVar writes there, nothing reads it afterwards. */
typedef struct {
    PyObject_HEAD
    uint32_t n_args;
    uint16_t n_slots;
    uint8_t flags;
    uint8_t is_timer;
    Loop *loop;
    PyObject *callback; /* NULL when cancelled, or what repr() said before (debug mode) */
    PyObject *weakrefs;
} Handle;

static PyObject *handle_args(Handle *h);
static int Handle_traverse(PyObject *self, visitproc visit, void *arg);

typedef struct {
    Handle base;
    struct timer timer;
} TimerHandle;

static inline PyObject **
handle_slots(Handle *h)
{
    return (PyObject **)((char *)h + (h->is_timer ? sizeof(TimerHandle) : sizeof(Handle)));
}

static inline struct freelist *
handle_freelist(struct state *st, bool is_timer, Py_ssize_t n_slots)
{
    return n_slots > HANDLE_FREELIST_SLOTS
               ? NULL
               : freelist_of(st, (is_timer ? FREELIST_TIMER_0 : FREELIST_HANDLE_0) + n_slots);
}

static COLD PyObject *
handle_extract_source(struct state *st)
{
    return PyObject_CallNoArgs(st->extract_stack);
}

/* A new handle, not tracked by the collector yet; everything set but the timer's place in the heap. */
static ALWAYS_INLINE Handle *
handle_alloc(Loop *loop, uint8_t is_timer, PyObject *given, PyObject *callback, PyObject *const *args,
             Py_ssize_t n_args, PyObject *context)
{
    struct state *st = loop->st;
    PyObject *own_context = NULL, *source = NULL;
    if (context != NULL) {
        own_context = Py_NewRef(context);
    }
    else if (context_copy_current(&own_context) < 0) {
        return NULL;
    }
    if (UNLIKELY(loop->debug) && (source = handle_extract_source(st)) == NULL) {
        Py_XDECREF(own_context);
        return NULL;
    }
    Py_ssize_t n_slots = n_args + (own_context != NULL) + (given != NULL) + (source != NULL);
    PyTypeObject *type = is_timer ? st->TimerHandle_type : st->Handle_type;
    struct freelist *freelist = handle_freelist(st, is_timer, n_slots);
    Handle *h = NULL;
    if (n_slots <= UINT16_MAX) {
        h = freelist == NULL ? NULL : (Handle *)freelist_pop(freelist, type);
        if (h == NULL) {
            h = (Handle *)PyObject_GC_NewVar(PyVarObject, type, n_slots);
        }
    }
    else {
        PyErr_SetString(PyExc_OverflowError, "too many arguments");
    }
    if (h == NULL) {
        Py_XDECREF(own_context);
        Py_XDECREF(source);
        return NULL;
    }
    h->n_args = (uint32_t)n_args;
    h->n_slots = (uint16_t)n_slots;
    h->flags = (own_context != NULL ? HANDLE_HAS_CONTEXT : 0) | (source != NULL ? HANDLE_HAS_SOURCE : 0);
    h->is_timer = is_timer;
    h->loop = (Loop *)Py_NewRef(loop);
    h->callback = Py_NewRef(callback);
    h->weakrefs = NULL;
    PyObject **slots = handle_slots(h);
    for (Py_ssize_t i = 0; i < n_args; i++) {
        slots[i] = Py_NewRef(args[i]);
    }
    if (own_context != NULL) {
        slots[n_args] = own_context;
    }
    if (UNLIKELY(given != NULL)) {
        slots[n_args + (own_context != NULL)] = Py_NewRef(given);
    }
    if (source != NULL) {
        slots[n_slots - 1] = source;
    }
    return h;
}

static PyObject *
handle_new(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args, PyObject *context)
{
    Handle *h = handle_alloc(loop, 0, NULL, callback, args, n_args, context);
    if (h != NULL) {
        PyObject_GC_Track(h);
    }
    return (PyObject *)h;
}

static PyObject *
handle_call_soon(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args, PyObject *context)
{
    Handle *h = handle_alloc(loop, 0, NULL, callback, args, n_args, context);
    if (h != NULL) {
        if (LIKELY(loop->thread_id != 0) && SECTION_HOLDS(loop)) {
            h->flags |= HANDLE_UNTRACKED;
        }
        else {
            PyObject_GC_Track(h);
        }
        if (UNLIKELY(loop_ready_push(loop, handle_run, (PyObject *)h, NULL) < 0)) {
            Py_CLEAR(h);
        }
    }
    return (PyObject *)h;
}

#if COMPAT_FREE_THREADED
/* From a thread that is not in the loop's section: by the inbox, without waiting for what the loop does now. */
static PyObject *
handle_send(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args, PyObject *context)
{
    Handle *h = handle_alloc(loop, 0, NULL, callback, args, n_args, context);
    if (h == NULL) {
        return NULL;
    }
    h->flags |= COMPAT_THREADSAFE_HANDLE ? HANDLE_THREADSAFE : 0;
    PyObject_GC_Track(h);
    if (inbox_push(loop, handle_run, (PyObject *)h, NULL) < 0) {
        Py_DECREF(h);
        return NULL;
    }
    loop_wake(loop);
    loop_hold_back_pusher(loop);
    return (PyObject *)h;
}
#endif

static PyObject *
handle_call_soon_threadsafe(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args, PyObject *context)
{
#if COMPAT_FREE_THREADED
    if (!SECTION_HOLDS(loop)) {
        return handle_send(loop, callback, args, n_args, context);
    }
#endif
    PyObject *h = handle_call_soon(loop, callback, args, n_args, context);
    if (h != NULL) {
        ((Handle *)h)->flags |= COMPAT_THREADSAFE_HANDLE ? HANDLE_THREADSAFE : 0;
        loop_wake(loop);
        loop_hold_back_pusher(loop);
    }
    return h;
}

static PyObject *
handle_call_at(Loop *loop, double when, PyObject *given, PyObject *callback, PyObject *const *args, Py_ssize_t n_args,
               PyObject *context)
{
    TimerHandle *h = (TimerHandle *)handle_alloc(loop, given == NULL ? HANDLE_TIMER : HANDLE_TIMER_GIVEN, given,
                                                 callback, args, n_args, context);
    if (h == NULL) {
        return NULL;
    }
    timer_init(&h->timer, TIMER_KIND_HANDLE);
    h->timer.when = when;
    PyObject_GC_Track(h);
    if (loop_timer_push(loop, &h->timer, (PyObject *)h, when) < 0) {
        Py_CLEAR(h);
    }
    return (PyObject *)h;
}

static void
handle_track(PyObject *self)
{
    Handle *h = (Handle *)self;
    if (h->flags & HANDLE_UNTRACKED) {
        h->flags &= (uint8_t)~HANDLE_UNTRACKED;
        PyObject_GC_Track(self);
    }
}

static inline void
handle_left_ring(PyObject *self)
{
    if (UNLIKELY(Py_REFCNT(self) > 1)) {
        handle_track(self);
    }
}

/* ---- running and cancelling */

static inline PyObject *
handle_callback_borrowed(Handle *h)
{
    return h->flags & HANDLE_PAIRED ? PyTuple_GET_ITEM(h->callback, 0) : h->callback;
}

static inline PyObject *
handle_context_borrowed(Handle *h)
{
    return h->flags & HANDLE_PAIRED        ? PyTuple_GET_ITEM(h->callback, 1)
           : h->flags & HANDLE_HAS_CONTEXT ? handle_slots(h)[h->n_args]
                                           : NULL;
}

/* Drop callback and arguments; the context stays, as asyncio's does.  repr (or NULL, stolen) takes the callback's
 * place. */
static void
handle_drop_call(Handle *h, PyObject *repr)
{
    PyObject **slots = handle_slots(h);
    h->flags &= (uint8_t)~HANDLE_PAIRED;
    Py_XSETREF(h->callback, repr);
    for (uint32_t i = 0; i < h->n_args; i++) {
        Py_CLEAR(slots[i]);
    }
}

/* Keep a context for a handle that was made without one.  Steals context; keeps a raised exception; when there is no
 * memory the context is lost. */
static COLD void
handle_attach_context(Handle *h, PyObject *context)
{
    PyObject *raised = compat_take_raised();
    PyObject *pair = PyTuple_Pack(2, h->callback, context);
    Py_DECREF(context);
    if (pair == NULL) {
        PyErr_WriteUnraisable((PyObject *)h);
    }
    else {
        Py_SETREF(h->callback, pair);
        h->flags |= HANDLE_PAIRED;
    }
    compat_set_raised(raised);
}

static COLD int
handle_report(Handle *h)
{
    struct state *st = h->loop->st;
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    PyObject *callback = PyObject_GetAttrString((PyObject *)h, "_callback");
    PyObject *args = PyObject_GetAttrString((PyObject *)h, "_args");
    PyObject *text = NULL, *context = NULL;
    int rc = -1;
    if (callback != NULL && args != NULL) {
        PyObject *call_args[] = {callback, args, h->loop->debug ? Py_True : Py_False};
        text = PyObject_Vectorcall(st->format_callback_source, call_args, 2,
                                   st->callback_source_takes_debug ? st->kw_debug : NULL);
    }
    PyObject *message = text == NULL ? NULL : PyUnicode_FromFormat("Exception in callback %U", text);
    if (message != NULL) {
        context = PyDict_New();
    }
    if (context == NULL || PyDict_SetItem(context, st->str.message, message) < 0
        || PyDict_SetItem(context, st->str.exception, exception) < 0
        || PyDict_SetItem(context, st->str.handle, (PyObject *)h) < 0
        || (h->flags & HANDLE_HAS_SOURCE
            && PyDict_SetItem(context, st->str.source_traceback, handle_slots(h)[h->n_slots - 1]) < 0)) {
        goto end;
    }
    rc = loop_call_exception_handler(h->loop, context, exception);
end:
    Py_DECREF(exception);
    Py_XDECREF(callback);
    Py_XDECREF(args);
    Py_XDECREF(text);
    Py_XDECREF(message);
    Py_XDECREF(context);
    return rc;
}

/* The exception, with a handle that was made for its report; NULL: it could not be.  Steals both. */
static COLD int
handle_report_with(Loop *loop, PyObject *handle, PyObject *exception)
{
    PyErr_Clear(); /* go on: a report without it is better than none */
    loop_leave_task(loop);
    compat_set_raised(exception);
    int rc = handle == NULL ? loop_report(loop, "Exception in callback", NULL) : handle_report((Handle *)handle);
    Py_XDECREF(handle);
    return rc;
}

static COLD int
handle_report_call(Loop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t n_args, PyObject *context)
{
    PyObject *exception = compat_take_raised();
    PyObject *handle = callback == NULL ? NULL : handle_new(loop, callback, args, n_args, context);
    return handle_report_with(loop, handle, exception);
}

static COLD int
handle_report_cancelled(Loop *loop)
{
    PyObject *exception = compat_take_raised();
    PyObject *handle = handle_new(loop, Py_None, NULL, 0, NULL);
    if (handle != NULL) {
        handle_cancel(handle);
    }
    return handle_report_with(loop, handle, exception);
}

static COLD int
handle_report_method(Loop *loop, PyObject *object, const char *method, PyObject *argument)
{
    PyObject *exception = compat_take_raised();
    PyObject *callback = object == NULL ? NULL : PyObject_GetAttrString(object, method);
    PyErr_Clear();
    compat_set_raised(exception);
    int rc = handle_report_call(loop, callback, &argument, argument != NULL, NULL);
    Py_XDECREF(callback);
    return rc;
}

static inline bool
handle_is_native_wakeup(struct state *st, PyObject *callback)
{
    return PyCFunction_CheckExact(callback) && ((PyCFunctionObject *)callback)->m_ml == st->native_wakeup;
}

static PyObject *
handle_wake_native(struct state *st, PyObject *callback, PyObject *future)
{
    PyObject *argument = Py_NewRef(st->wakeup_argument_borrowed(st, future)); /* what runs may unload the module */
    PyObject *result = PyObject_CallOneArg(callback, argument);
    Py_DECREF(argument);
    return result;
}

/* callback(*args), held here as the call may cancel the handle.  The spare slot before the arguments lets a bound
 * method put its self there. */
static inline PyObject *
handle_call(Handle *h)
{
    PyObject **slots = handle_slots(h), *stack[1 + HANDLE_INLINE_ARGS];
    PyObject *callback = Py_NewRef(handle_callback_borrowed(h)), *result;
    size_t n = h->n_args;
    if (LIKELY(n <= HANDLE_INLINE_ARGS)) {
        stack[0] = NULL;
        for (size_t i = 0; i < n; i++) {
            stack[1 + i] = Py_NewRef(slots[i]);
        }
        result = UNLIKELY(n == 1 && handle_is_native_wakeup(h->loop->st, callback))
                     ? handle_wake_native(h->loop->st, callback, stack[1])
                     : PyObject_Vectorcall(callback, stack + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        for (size_t i = 0; i < n; i++) {
            Py_DECREF(stack[1 + i]);
        }
    }
    else {
        PyObject *args = handle_args(h);
        result = args == NULL ? NULL : PyObject_Call(callback, args, NULL);
        Py_XDECREF(args);
    }
    Py_DECREF(callback);
    return result;
}

/* Another thread waits until a threadsafe handle's callback has returned; the loop's own goes on. */
static void
handle_await_run(Handle *h)
{
    struct gate *gate = &h->loop->handle_done;
    /* else the program called _run(), perhaps in this very thread */
    while (UNLIKELY(h->flags & HANDLE_RUNNING) && loop_runs_elsewhere(h->loop)) {
        uint64_t generation = gate->generation;
        gate->n_waiting++;
        Py_BEGIN_ALLOW_THREADS
        gate_wait(gate, generation);
        Py_END_ALLOW_THREADS
        gate->n_waiting--;
    }
}

static COLD void
handle_end_run(Handle *h)
{
    h->flags &= (uint8_t)~HANDLE_RUNNING;
    if (h->loop->handle_done.n_waiting > 0) {
        gate_open(&h->loop->handle_done);
    }
}

/* After a callback in C: asyncio's Handle, which is in Python, would have looked at signals by now.  What their
 * handlers raise is the callback's. */
static COLD void
handle_look_at_signals(PyObject **result)
{
    if (*result != NULL && PyErr_CheckSignals() < 0) {
        Py_CLEAR(*result);
    }
}

/* Did the interpreter look at signals during the call?  Not known when the handle was cancelled meanwhile. */
static inline bool
handle_called_python(const Handle *h)
{
    return h->callback != NULL
           && (Py_IS_TYPE(h->callback, &PyFunction_Type) || Py_IS_TYPE(h->callback, &PyMethod_Type));
}

/* The context to enter: the handle's, or an empty one on trial that the handle keeps only if it did not stay empty. */
static int
handle_run(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    Handle *h = (Handle *)self;
    /* first: it may drop the last reference to a task, and what that drops may cancel this handle */
    loop_leave_task(loop);
    if (h->flags & (HANDLE_CANCELLED | HANDLE_CANCELLING)) {
        handle_left_ring(self);
        return 0;
    }
    PyObject *context = Py_XNewRef(handle_context_borrowed(h)), *result = NULL;
    bool is_trial = context == NULL;
    h->flags |= UNLIKELY(h->flags & HANDLE_THREADSAFE) ? HANDLE_RUNNING : 0;
    if (LIKELY(context_enter(loop, &context) == 0)) {
        result = handle_call(h);
        context_leave(loop, &context);
    }
    if (UNLIKELY(!handle_called_python(h))) {
        handle_look_at_signals(&result);
    }
    if (UNLIKELY(h->flags & HANDLE_RUNNING)) {
        handle_end_run(h);
    }
    if (UNLIKELY(context != NULL)) {
        if (!is_trial || (h->flags & (HANDLE_PAIRED | HANDLE_CANCELLED))) {
            Py_DECREF(context);
        }
        else {
            handle_attach_context(h, context);
        }
    }
    int rc = 0;
    if (LIKELY(result != NULL)) {
        Py_DECREF(result);
    }
    else {
        rc = handle_report(h);
    }
    /* last, as the exception handler, or a finalizer through a weak reference, may keep the handle */
    handle_left_ring(self);
    return rc;
}

static inline bool
handle_is_cancelled(PyObject *self)
{
    return ((Handle *)self)->flags & (HANDLE_CANCELLED | HANDLE_CANCELLING);
}

static void
handle_cancel(PyObject *self)
{
    Handle *h = (Handle *)self;
    handle_await_run(h);
    if (h->flags & (HANDLE_CANCELLED | HANDLE_CANCELLING)) {
        return;
    }
    h->flags |= HANDLE_CANCELLING;
    PyObject *repr = NULL;
    if (UNLIKELY(h->loop->debug) && (repr = PyObject_Repr(self)) == NULL) { /* kept for the slow callback warning */
        PyErr_Clear();
    }
    h->flags |= HANDLE_CANCELLED;
    if (h->is_timer && timer_is_scheduled(&((TimerHandle *)h)->timer)) {
        loop_timer_remove(h->loop, &((TimerHandle *)h)->timer, self);
    }
    handle_drop_call(h, repr);
}

/* ---- the Python face */

/* The arguments as a tuple. New reference. */
static PyObject *
handle_args(Handle *h)
{
    PyObject *args = PyTuple_New(h->n_args);
    for (uint32_t i = 0; args != NULL && i < h->n_args; i++) {
        PyTuple_SET_ITEM(args, i, Py_NewRef(handle_slots(h)[i]));
    }
    return args;
}

static int
Handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Handle *h = (Handle *)self;
    PyObject **slots = handle_slots(h);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(h->loop);
    Py_VISIT(h->callback);
    for (uint32_t i = 0; i < h->n_slots; i++) {
        Py_VISIT(slots[i]);
    }
    return 0;
}

/* Breaks cycles, which go through the callback and its arguments.  The loop stays, as methods need it. */
static int
Handle_clear(PyObject *self)
{
    Handle *h = (Handle *)self;
    if (h->flags & HANDLE_CANCELLED) {
        return 0;
    }
    h->flags |= HANDLE_CANCELLED;
    handle_drop_call(h, NULL);
    return 0;
}

static inline void
Handle_free(PyObject *self)
{
    Handle *h = (Handle *)self;
    struct state *st = h->loop->st;
    PyObject **slots = handle_slots(h), *loop = (PyObject *)h->loop;
    /* first, as asyncio's Handle lets go of its _args before its _callback */
    for (uint32_t i = 0; i < h->n_slots; i++) {
        Py_XDECREF(slots[i]);
    }
    Py_XDECREF(h->callback);
    struct freelist *freelist = handle_freelist(st, h->is_timer, h->n_slots);
    if (LIKELY(freelist != NULL)) {
        freelist_push(freelist, self);
    }
    else {
        PyTypeObject *type = Py_TYPE(self);
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
    Py_DECREF(loop); /* last: it may take the module's state, and the free list, with it */
}

static inline bool
handle_goes_deeper(Handle *h)
{
    PyObject **slots = handle_slots(h);
    for (uint32_t i = 0; i < h->n_args; i++) {
        if (dealloc_goes_deeper(slots[i])) {
            return true;
        }
    }
    return dealloc_goes_deeper(h->callback);
}

static void
Handle_dealloc(PyObject *self)
{
    Handle *h = (Handle *)self;
    if (!(h->flags & HANDLE_UNTRACKED)) {
        PyObject_GC_UnTrack(self);
    }
    INVARIANT(!h->is_timer || !timer_is_scheduled(&((TimerHandle *)h)->timer));
    if (h->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    if (LIKELY(!handle_goes_deeper(h))) {
        Handle_free(self);
        return;
    }
    Py_TRASHCAN_BEGIN(self, Handle_dealloc)
    Handle_free(self);
    Py_TRASHCAN_END
}

static PyObject *
Handle_cancel(PyObject *self, PyObject *Py_UNUSED(none))
{
    handle_cancel(self);
    Py_RETURN_NONE;
}

static PyObject *
Handle_cancelled(PyObject *self, PyObject *Py_UNUSED(none))
{
    handle_await_run((Handle *)self);
    return PyBool_FromLong(((Handle *)self)->flags & (HANDLE_CANCELLED | HANDLE_CANCELLING));
}

static PyObject *
Handle_get_context(PyObject *self, PyObject *Py_UNUSED(none))
{
    Handle *h = (Handle *)self;
    PyObject *context = Py_XNewRef(handle_context_borrowed(h));
    if (context == NULL && (context = PyContext_New()) != NULL && !(h->flags & HANDLE_CANCELLED)) {
        handle_attach_context(h, Py_NewRef(context));
    }
    return context;
}

static PyObject *
Handle__run(PyObject *self, PyObject *Py_UNUSED(none))
{
    if (handle_run(((Handle *)self)->loop, self, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static inline PyObject *
handle_twin_borrowed(PyObject *self)
{
    Handle *h = (Handle *)self;
    return h->is_timer ? h->loop->st->asyncio_TimerHandle : h->loop->st->asyncio_Handle;
}

/* asyncio's own formatting: it needs only attributes that we have. */
static PyObject *
Handle__repr_info(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyObject_CallMethod(handle_twin_borrowed(self), "_repr_info", "O", self);
}

static PyObject *
Handle_repr(PyObject *self)
{
    return PyObject_CallMethod(handle_twin_borrowed(self), "__repr__", "O", self);
}

static PyObject *
Handle_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    if (((Handle *)self)->flags & HANDLE_THREADSAFE) {
        return Py_NewRef(((Handle *)self)->loop->st->asyncio_ThreadSafeHandle);
    }
    return Py_NewRef(handle_twin_borrowed(self));
}

static PyObject *
Handle_get_callback(PyObject *self, void *Py_UNUSED(closure))
{
    Handle *h = (Handle *)self;
    return Py_NewRef(h->flags & HANDLE_CANCELLED ? Py_None : handle_callback_borrowed(h));
}

static PyObject *
Handle_get_args(PyObject *self, void *Py_UNUSED(closure))
{
    Handle *h = (Handle *)self;
    return h->flags & HANDLE_CANCELLED ? Py_NewRef(Py_None) : handle_args(h);
}

static PyObject *
Handle_get_is_cancelled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Handle *)self)->flags & (HANDLE_CANCELLED | HANDLE_CANCELLING));
}

static PyObject *
Handle_get_context_attribute(PyObject *self, void *Py_UNUSED(closure))
{
    return Handle_get_context(self, NULL);
}

static PyObject *
Handle_get_source(PyObject *self, void *Py_UNUSED(closure))
{
    Handle *h = (Handle *)self;
    return Py_NewRef(h->flags & HANDLE_HAS_SOURCE ? handle_slots(h)[h->n_slots - 1] : Py_None);
}

static PyObject *
Handle_get_repr(PyObject *self, void *Py_UNUSED(closure))
{
    Handle *h = (Handle *)self;
    return Py_NewRef(h->flags & HANDLE_CANCELLED && h->callback != NULL ? h->callback : Py_None);
}

PyDoc_STRVAR(Handle_doc,
             "What call_soon, call_soon_threadsafe and add_reader schedule; isinstance of asyncio.Handle.\n\n"
             "Made by the loop, not by calling the type.  Source: asyncio.Handle.");
PyDoc_STRVAR(TimerHandle_doc, "What call_later and call_at return; isinstance of asyncio.TimerHandle.\n\n"
                              "Made by the loop, not by calling the type.  Source: asyncio.TimerHandle.");

static PyMethodDef Handle_methods[] = {
    {"cancel", Handle_cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\nDo not run the callback; drop it and its arguments at once."},
    {"cancelled", Handle_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nTrue after cancel()."},
#if COMPAT_HANDLE_GET_CONTEXT
    {"get_context", Handle_get_context, METH_NOARGS,
     "get_context($self, /)\n--\n\nThe contextvars.Context the callback runs in."},
#endif
    {"_run", Handle__run, METH_NOARGS, NULL},
    {"_repr_info", Handle__repr_info, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef Handle_getset[] = {
    {"__class__", Handle_get_class},
    {"_callback", Handle_get_callback},
    {"_args", Handle_get_args},
    {"_cancelled", Handle_get_is_cancelled},
    {"_context", Handle_get_context_attribute},
    {"_source_traceback", Handle_get_source},
    {"_repr", Handle_get_repr},
    {NULL},
};

static PyMemberDef Handle_members[] = {
    {"_loop", T_OBJECT, offsetof(Handle, loop), READONLY},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Handle, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot Handle_slots[] = {
    {Py_tp_doc, (void *)Handle_doc}, {Py_tp_traverse, Handle_traverse}, {Py_tp_clear, Handle_clear},
    {Py_tp_dealloc, Handle_dealloc}, {Py_tp_repr, Handle_repr},         {Py_tp_methods, Handle_methods},
    {Py_tp_getset, Handle_getset},   {Py_tp_members, Handle_members},   {0, NULL},
};

static PyType_Spec Handle_spec = {
    .name = "asyncloop._asyncloop.Handle",
    .basicsize = sizeof(Handle),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Handle_slots,
};

/* ---- TimerHandle */

static int
TimerHandle_on_due(Loop *loop, PyObject *self, PyObject *arg)
{
    return handle_run(loop, self, arg);
}

static PyObject *
TimerHandle_when(PyObject *self, PyObject *Py_UNUSED(none))
{
    Handle *h = (Handle *)self;
    if (UNLIKELY(h->is_timer == HANDLE_TIMER_GIVEN)) {
        return Py_NewRef(handle_slots(h)[h->n_args + (h->flags & HANDLE_HAS_CONTEXT ? 1 : 0)]);
    }
    return PyFloat_FromDouble(((TimerHandle *)self)->timer.when);
}

static PyObject *
TimerHandle_get_when(PyObject *self, void *Py_UNUSED(closure))
{
    return TimerHandle_when(self, NULL);
}

static PyObject *
TimerHandle_get_scheduled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(timer_is_scheduled(&((TimerHandle *)self)->timer));
}

static Py_hash_t
TimerHandle_hash(PyObject *self)
{
    PyObject *when = TimerHandle_when(self, NULL);
    Py_hash_t hash = when == NULL ? -1 : PyObject_Hash(when);
    Py_XDECREF(when);
    return hash;
}

/* asyncio's own comparisons, which read attributes only. */
static PyObject *
TimerHandle_richcompare(PyObject *self, PyObject *other, int op)
{
    static const char *const names[] = {"__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"};
    PyObject *twin = handle_twin_borrowed(self);
    if (op == Py_NE) { /* asyncio has none: the inverse of __eq__ */
        PyObject *equal = PyObject_CallMethod(twin, "__eq__", "OO", self, other);
        if (equal == NULL || equal == Py_NotImplemented) {
            return equal;
        }
        int is_equal = PyObject_IsTrue(equal);
        Py_DECREF(equal);
        return is_equal < 0 ? NULL : PyBool_FromLong(!is_equal);
    }
    return PyObject_CallMethod(twin, names[op], "OO", self, other);
}

static PyMethodDef TimerHandle_methods[] = {
    {"when", TimerHandle_when, METH_NOARGS, "when($self, /)\n--\n\nThe deadline, in seconds of loop.time()."},
    {NULL},
};

static PyGetSetDef TimerHandle_getset[] = {
    {"_when", TimerHandle_get_when},
    {"_scheduled", TimerHandle_get_scheduled},
    {NULL},
};

static PyType_Slot TimerHandle_slots[] = {
    {Py_tp_doc, (void *)TimerHandle_doc},
    {Py_tp_traverse, Handle_traverse},
    {Py_tp_clear, Handle_clear},
    {Py_tp_dealloc, Handle_dealloc},
    {Py_tp_hash, TimerHandle_hash},
    {Py_tp_richcompare, TimerHandle_richcompare},
    {Py_tp_methods, TimerHandle_methods},
    {Py_tp_getset, TimerHandle_getset},
    {0, NULL},
};

static PyType_Spec TimerHandle_spec = {
    .name = "asyncloop._asyncloop.TimerHandle",
    .basicsize = sizeof(TimerHandle),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = TimerHandle_slots,
};

static int
handle_register(PyObject *module, struct state *st)
{
    if (COMPAT_THREADSAFE_HANDLE
        && state_import(&st->asyncio_ThreadSafeHandle, "asyncio.events", "_ThreadSafeHandle") < 0) {
        return -1;
    }
    st->timer_kinds[TIMER_KIND_HANDLE].on_due = TimerHandle_on_due;
    st->timer_kinds[TIMER_KIND_HANDLE].offset = offsetof(TimerHandle, timer);
    PyObject *defaults = PyObject_GetAttrString(st->format_callback_source, "__kwdefaults__");
    if (defaults == NULL) {
        return -1;
    }
    st->callback_source_takes_debug = PyDict_Check(defaults) && PyDict_Contains(defaults, st->str.debug) > 0;
    Py_DECREF(defaults);
    if ((st->kw_debug = PyTuple_Pack(1, st->str.debug)) == NULL) {
        return -1;
    }
    return state_add_type(module, &st->Handle_type, &Handle_spec, NULL, true, SECTION_AT(Handle, loop)) < 0
               ? -1
               : state_add_type(module, &st->TimerHandle_type, &TimerHandle_spec, st->Handle_type, true,
                                SECTION_AT(Handle, loop));
}
