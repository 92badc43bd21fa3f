/* task/future/future.c -- the logic of Future: life, results, finishing. See future.h; its Python face is
 * future_type.c. */
#include "task/future/future.h"

#include "core/ask.h"
#include "core/context.h"
#include "core/freelist.h"
#include "task/future/task.h"

static inline struct state *
future_state_of(Future *f)
{
    return LIKELY(f->is_own) ? ((Loop *)f->loop)->st : state_of((PyObject *)f);
}

static inline bool
future_is_exact(struct state *st, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == st->Future_type || type == st->Task_type || type == st->SleepFuture_type
           || type == st->GatherFuture_type || type == st->ShieldFuture_type;
}

static inline bool
future_is_own(struct state *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->Future_type);
}

/* A key that cannot be compared counts as the name: who then looks it up gets the exception. */
static COLD bool
future_dict_has(Future *f, PyObject *name)
{
    int has = PyDict_Contains(f->dict, name);
    if (has < 0) {
        PyErr_Clear();
    }
    return has != 0;
}

static inline bool
future_has_usual(struct state *st, PyObject *object, PyObject *name)
{
    return LIKELY(future_is_exact(st, object))
           && (LIKELY(((Future *)object)->dict == NULL) || !future_dict_has((Future *)object, name));
}

/* Whose section guards any future; NULL: nobody's. */
static inline PyObject *
future_owner_borrowed(struct state *st, PyObject *future)
{
    return LIKELY(future_is_exact(st, future)) ? ((Future *)future)->loop : NULL;
}

static const char *
future_short_name(PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');
    return dot == NULL ? type->tp_name : dot + 1;
}

static const char *
future_type_name(Future *f)
{
    return future_short_name(Py_TYPE(f));
}

/* ---- what few futures have */

static COLD struct future_rare *
future_need_rare(Future *f)
{
    if (f->rare == NULL && (f->rare = PyMem_Calloc(1, sizeof *f->rare)) == NULL) {
        PyErr_NoMemory();
    }
    return f->rare;
}

static void
future_drop_rare(Future *f)
{
    struct future_rare *rare = f->rare;
    f->rare = NULL;
    for (uint32_t i = 0; i < rare->n_more; i++) {
        callback_clear(&rare->more[i]);
    }
    PyMem_Free(rare->more);
    Py_XDECREF(rare->cancel_message);
    Py_XDECREF(rare->source_traceback);
    Py_XDECREF(rare->awaited_by);
    PyMem_Free(rare);
}

static inline PyObject *
future_cancel_message_borrowed(const Future *f)
{
    return f->rare == NULL ? NULL : f->rare->cancel_message;
}

/* None is kept as no message. */
static inline int
future_set_cancel_message(Future *f, PyObject *message)
{
    if (LIKELY(message == NULL || message == Py_None)) {
        if (f->rare != NULL) {
            Py_CLEAR(f->rare->cancel_message);
        }
        return 0;
    }
    if (future_need_rare(f) == NULL) {
        return -1;
    }
    Py_XSETREF(f->rare->cancel_message, Py_NewRef(message));
    return 0;
}

/* The whole stack, its lines read now, as _asyncio does: at the interpreter's end, when a task left over is reported,
 * nothing can be read any more. */
static COLD int
future_note_source(Future *f, struct state *st)
{
    PyObject *source = PyObject_CallNoArgs(st->traceback_extract_stack);
    if (source == NULL || future_need_rare(f) == NULL) {
        Py_XDECREF(source);
        return -1;
    }
    Py_XSETREF(f->rare->source_traceback, source);
    return 0;
}

/* ---- life */

/* An object of this exact type with all its fields zero but kind; not tracked. */
static inline Future *
future_alloc(PyTypeObject *type, struct freelist *list, size_t size, enum future_kind kind)
{
    PyObject *self = freelist_pop(list, type);
    if (self == NULL && (self = (PyObject *)PyObject_GC_New(Future, type)) == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, size - sizeof(PyObject));
    ((Future *)self)->kind = (uint8_t)kind;
    return (Future *)self;
}

static inline int
future_start(Future *f, struct state *st, Loop *loop)
{
    f->loop = Py_NewRef(loop);
    f->is_own = true;
    return UNLIKELY(loop->debug) ? future_note_source(f, st) : 0;
}

static inline bool
future_is_made_by(struct state *st, PyObject *loop)
{
    return loop_is_own(st, loop) && !(((Loop *)loop)->overrides & LOOP_OWN_CREATE_FUTURE);
}

static inline PyObject *
future_new_on(struct state *st, PyObject *loop)
{
    if (LIKELY(future_is_made_by(st, loop))) {
        return future_new((Loop *)loop);
    }
    Py_INCREF(loop); /* its own code may take it out of the object that asks */
    PyObject *future = PyObject_CallMethodNoArgs(loop, st->str.create_future);
    Py_DECREF(loop);
    return future;
}

static PyObject *
future_new(Loop *loop)
{
    struct state *st = loop->st;
    Future *f = future_alloc(st->Future_type, freelist_of(st, FREELIST_FUTURE), sizeof *f, FUTURE_PLAIN);
    if (f == NULL) {
        return NULL;
    }
    PyObject_GC_Track(f);
    if (UNLIKELY(future_start(f, st, loop) < 0)) {
        Py_CLEAR(f);
    }
    return (PyObject *)f;
}

/* __init__, perhaps not the first one. */
static int
future_init(Future *f, struct state *st, PyObject *loop)
{
    if (f->loop != NULL) {
        if (COMPAT_SINGLE_INIT) {
            PyErr_Format(PyExc_RuntimeError, "%s object is already initialized", future_type_name(f));
            return -1;
        }
        if (f->kind != FUTURE_PLAIN && f->kind != FUTURE_TASK) { /* a timer or children depend on what it is */
            PyErr_SetString(PyExc_RuntimeError, "Future object is already initialized");
            return -1;
        }
        if (f->kind == FUTURE_TASK) { /* the list it is in belongs to a loop that it lets go now */
            task_unlink((Task *)f);
        }
        PyObject *dict = f->dict;
        f->dict = NULL;
        future_clear(f);
        Py_XSETREF(f->dict, dict);
        f->state = FUTURE_PENDING;
        f->blocking = f->has_exception = f->log_traceback = f->must_cancel = f->log_destroy = false;
    }
    if (loop == Py_None) {
        Loop *running = loop_running_borrowed(st);
        loop = running != NULL ? Py_NewRef(running) : PyObject_CallNoArgs(st->native_event_loop);
        if (loop == NULL) {
            return -1;
        }
    }
    else {
        Py_INCREF(loop);
    }
    /* a finalizer, or who was asked for the loop, called __init__ too: now this one is the last */
    if (UNLIKELY(f->loop != NULL)) {
        PyObject *before = f->loop;
        if (f->kind == FUTURE_TASK) {
            task_unlink((Task *)f);
        }
        f->loop = NULL;
        f->is_own = false;
        Py_DECREF(before);
    }
    Py_XSETREF(f->loop, loop);
    f->is_own = loop_is_own(st, loop);
    if (f->is_own) {
        return UNLIKELY(((Loop *)loop)->debug) ? future_note_source(f, st) : 0;
    }
    int is_debug = ask_method(loop, st->str.get_debug);
    return is_debug > 0 ? future_note_source(f, st) : is_debug;
}

static int
future_visit(Future *f, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(f));
    Py_VISIT(f->loop);
    Py_VISIT(f->result);
    Py_VISIT(f->dict);
    int rc = callback_visit(&f->first, visit, arg);
    struct future_rare *rare = f->rare;
    if (rc != 0 || rare == NULL) {
        return rc;
    }
    Py_VISIT(rare->cancel_message);
    Py_VISIT(rare->source_traceback);
    Py_VISIT(rare->awaited_by);
    for (uint32_t i = 0; rc == 0 && i < rare->n_more; i++) {
        rc = callback_visit(&rare->more[i], visit, arg);
    }
    return rc;
}

static void
future_clear(Future *f)
{
    f->is_own = false;
    Py_CLEAR(f->loop);
    Py_CLEAR(f->result);
    callback_clear(&f->first);
    if (UNLIKELY(f->rare != NULL)) {
        future_drop_rare(f);
    }
    Py_CLEAR(f->dict);
}

/* Nothing in it can lead to a long chain of deallocations. */
static inline bool
future_is_leaf(const Future *f)
{
    return f->first.target == NULL && f->first.context == NULL && f->rare == NULL && f->dict == NULL
           && !dealloc_goes_deeper(f->result);
}

static inline bool
future_result_may_run_code(const Future *f)
{
    return f->result != NULL && Py_REFCNT(f->result) == 1 && PyObject_IS_GC(f->result);
}

static inline bool
future_may_run_code(const Future *f)
{
    return f->log_traceback || f->weakrefs != NULL || f->first.target != NULL || f->rare != NULL || f->dict != NULL
           || future_result_may_run_code(f);
}

/* Its state is at hand on a loop of ours only; a type that the collector has taken down knows none. */
static inline bool
future_has_leftover(const Future *f)
{
    return UNLIKELY(!f->is_own) || loop_has_leftover(((Loop *)f->loop)->st);
}

/* Without a GIL a thread knows what it runs, and nothing is asked of the type of an object that the collector ends. */
static inline void
future_leave_task_here(Future *f)
{
#if COMPAT_FREE_THREADED
    (void)f;
    if (section_here.st != NULL) {
        loop_leave_task_here(section_here.st);
    }
#else
    loop_leave_task_here(future_state_of(f));
#endif
}

static inline bool
future_begin_dealloc(PyObject *self)
{
    Future *f = (Future *)self;
    if (future_has_leftover(f) && UNLIKELY(future_may_run_code(f))) {
        future_leave_task_here(f);
    }
    if (UNLIKELY(f->log_traceback) && PyObject_CallFinalizerFromDealloc(self) < 0) {
        return false;
    }
    PyObject_GC_UnTrack(self);
    if (f->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    return true;
}

/* ---- reading it */

/* The CancelledError that a cancelled future raises: the first time the one that ended it, then new ones. */
static PyObject *
future_make_cancelled_error(Future *f)
{
    if (f->state == FUTURE_CANCELLED && f->result != NULL) {
        PyObject *exception = f->result;
        f->result = NULL;
        return exception;
    }
    struct state *st = future_state_of(f);
    PyObject *message = future_cancel_message_borrowed(f);
    return message == NULL ? PyObject_CallNoArgs(st->CancelledError) : PyObject_CallOneArg(st->CancelledError, message);
}

static PyObject *
future_take_exception(Future *f)
{
    if (f->state == FUTURE_CANCELLED) {
        return future_make_cancelled_error(f);
    }
    if (f->state == FUTURE_PENDING) { /* another __init__ came between its end and whoever was told of it */
        return PyObject_CallFunction(state_of((PyObject *)f)->InvalidStateError, "s",
                                     f->loop == NULL ? "Future object is not initialized." : "Result is not set.");
    }
    INVARIANT(f->has_exception);
    f->log_traceback = false;
    PyObject *exception = Py_NewRef(f->result), *traceback = f->finished.traceback;
    f->finished.traceback = NULL;
    int rc = PyException_SetTraceback(exception, traceback == NULL ? Py_None : traceback);
    Py_XDECREF(traceback);
    if (rc < 0) {
        Py_CLEAR(exception);
    }
    return exception;
}

/* Raise what a done future ended with, or that it is not done. */
static COLD PyObject *
future_raise(Future *f)
{
    PyObject *exception = future_take_exception(f);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

static inline PyObject *
future_result(Future *f)
{
    if (LIKELY(f->state == FUTURE_FINISHED && !f->has_exception)) {
        return Py_NewRef(f->result);
    }
    return future_raise(f);
}

/* ---- finishing */

static COLD int
future_raise_invalid_state(Future *f)
{
    if (f->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
    }
    else {
        PyErr_SetString(future_state_of(f)->InvalidStateError, "invalid state");
    }
    return -1;
}

static inline int
future_finish_own_way(Future *f)
{
    const struct future_methods *own = f->is_own ? future_methods_of(((Loop *)f->loop)->st, f) : NULL;
    return own == NULL || own->finished == NULL ? 0 : own->finished(f);
}

/* f is pending. Its callbacks are scheduled; whatever stood for its being pending is undone. */
static inline int
future_finish(Future *f, enum future_state state, PyObject *result, PyObject *traceback)
{
    INVARIANT(f->state == FUTURE_PENDING && f->result == NULL);
    struct callback first = f->first;
    f->state = (uint8_t)state;
    f->result = result;
    f->first.target = NULL;
    f->finished.traceback = traceback;
    if (f->kind == FUTURE_TASK) {
        task_unlink((Task *)f);
    }
    else if (f->kind != FUTURE_PLAIN && future_finish_own_way(f) < 0) {
        return -1;
    }
    if (first.target == NULL && f->rare == NULL) {
        return 0;
    }
    return callbacks_schedule(f, &first);
}

static inline int
future_set_result(Future *f, PyObject *result)
{
    if (UNLIKELY(f->state != FUTURE_PENDING || f->loop == NULL)) {
        return future_raise_invalid_state(f);
    }
    return future_finish(f, FUTURE_FINISHED, Py_NewRef(result), NULL);
}

/* StopIteration cannot travel through an await: refused, or wrapped where asyncio's Future does so. Steals exception,
 * returns what to store. */
static COLD PyObject *
future_wrap_stop_iteration(struct state *st, PyObject *exception)
{
    static const char message[] = "StopIteration interacts badly with generators and cannot be raised into a Future";
    PyObject *wrapper = NULL;
    if (st->wraps_stop_iteration == Py_True) {
        if ((wrapper = PyObject_CallFunction(PyExc_RuntimeError, "s", message)) != NULL) {
            PyException_SetCause(wrapper, Py_NewRef(exception));
            PyException_SetContext(wrapper, Py_NewRef(exception));
        }
    }
    else if (!Py_IS_TYPE(exception, (PyTypeObject *)PyExc_StopIteration)) {
        return exception;
    }
    else {
        PyErr_SetString(PyExc_TypeError, message);
    }
    Py_DECREF(exception);
    return wrapper;
}

static PyObject *
future_new_native(struct state *st)
{
    PyObject *types = PyImport_ImportModule("types"),
             *names = Py_BuildValue("{s:O}", "get_debug", (PyObject *)&PyBool_Type);
    PyObject *class = types == NULL || names == NULL ? NULL : PyObject_GetAttrString(types, "SimpleNamespace");
    PyObject *loop = class == NULL ? NULL : PyObject_Call(class, st->empty_tuple, names), *future = NULL;
    if (loop != NULL && PyDict_DelItemString(names, "get_debug") == 0
        && PyDict_SetItem(names, st->str.loop, loop) == 0) {
        future = PyObject_Call(st->asyncio_Future, st->empty_tuple, names);
    }
    Py_XDECREF(types);
    Py_XDECREF(names);
    Py_XDECREF(class);
    Py_XDECREF(loop);
    return future;
}

/* Patch releases of one version differ in this, so asyncio's own Future is asked once. */
static int
future_ask_about_stop_iteration(struct state *st)
{
    PyObject *future = future_new_native(st);
    PyObject *done = future == NULL ? NULL : PyObject_CallMethod(future, "set_exception", "O", PyExc_StopIteration);
    if (future != NULL && (done != NULL || PyErr_ExceptionMatches(PyExc_TypeError))) {
        PyErr_Clear();
        if (PyObject_SetAttrString(future, "_log_traceback", Py_False) == 0) {
            st->wraps_stop_iteration = Py_NewRef(done == NULL ? Py_False : Py_True);
        }
    }
    Py_XDECREF(future);
    Py_XDECREF(done);
    return st->wraps_stop_iteration == NULL ? -1 : 0;
}

/* exception: an instance. f is pending. */
static int
future_finish_exception(Future *f, PyObject *exception)
{
    Py_INCREF(exception);
    if (UNLIKELY(PyErr_GivenExceptionMatches(exception, PyExc_StopIteration))
        && (exception = future_wrap_stop_iteration(future_state_of(f), exception)) == NULL) {
        return -1;
    }
    f->has_exception = true;
    if (future_finish(f, FUTURE_FINISHED, exception, PyException_GetTraceback(exception)) < 0) {
        return -1;
    }
    f->log_traceback = true;
    return 0;
}

static int
future_set_exception(Future *f, PyObject *exception)
{
    if (f->state != FUTURE_PENDING || f->loop == NULL) {
        return future_raise_invalid_state(f);
    }
    Py_INCREF(exception);
    if (PyExceptionClass_Check(exception)) {
        Py_SETREF(exception, PyObject_CallNoArgs(exception));
        if (exception == NULL) {
            return -1;
        }
    }
    int rc = -1;
    if (f->state != FUTURE_PENDING) { /* the class did it */
        future_raise_invalid_state(f);
    }
    else if (!PyExceptionInstance_Check(exception)) {
        PyErr_SetString(PyExc_TypeError, "invalid exception object");
    }
    else {
        rc = future_finish_exception(f, exception);
    }
    Py_DECREF(exception);
    return rc;
}

static inline int
future_cancel(Future *f, PyObject *message)
{
    f->log_traceback = false;
    if (f->state != FUTURE_PENDING) {
        return 0;
    }
    if (UNLIKELY(future_set_cancel_message(f, message) < 0)) {
        return -1;
    }
    if (UNLIKELY(f->state != FUTURE_PENDING)) { /* the old message's finalizer did it */
        return 0;
    }
    return UNLIKELY(future_finish(f, FUTURE_CANCELLED, NULL, NULL) < 0) ? -1 : 1;
}

static inline int
future_cancel_any(struct state *st, PyObject *future, PyObject *message)
{
    if (LIKELY(future_has_usual(st, future, st->str.cancel))) {
        SECTION_ENTER(((Future *)future)->loop);
        Future *f = (Future *)future;
        if (f->kind == FUTURE_TASK) {
            return task_cancel((Task *)f, message);
        }
        const struct future_methods *own = future_methods_of(st, f);
        return own == NULL || own->cancel == NULL ? future_cancel(f, message) : own->cancel(f, message);
    }
    return ask_truth(PyObject_CallMethodOneArg(future, st->str.cancel, message == NULL ? Py_None : message));
}

static inline int
future_set_any(struct state *st, PyObject *future, PyObject *result, PyObject *exception)
{
    PyObject *method = LIKELY(exception == NULL) ? st->str.set_result : st->str.set_exception;
    SECTION_ENTER(future_owner_borrowed(st, future));
    if (LIKELY(future_has_usual(st, future, method))) {
        return LIKELY(exception == NULL) ? future_set_result((Future *)future, result)
                                         : future_set_exception((Future *)future, exception);
    }
    PyObject *done = PyObject_CallMethodOneArg(future, method, exception == NULL ? result : exception);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static inline int
future_wake_any(struct state *st, PyObject *future, PyObject *unless, PyObject *result, PyObject *exception)
{
    Future *f = (Future *)Py_NewRef(future);
    SECTION_ENTER(future_owner_borrowed(st, future));
    int leave = UNLIKELY(!future_has_usual(st, future, unless)) ? ask_method(future, unless)
                : unless == st->str.done                        ? future_is_done(f)
                                                                : future_is_cancelled(f);
    int rc = UNLIKELY(leave != 0) ? (leave < 0 ? -1 : 0) : future_set_any(st, future, result, exception) < 0 ? -1 : 1;
    Py_DECREF(f);
    return rc;
}

static int
future_add_done_callback(Future *f, PyObject *callback, PyObject *context)
{
    if (UNLIKELY(f->loop == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Future object");
        return -1;
    }
    struct callback cb = {callback, Py_XNewRef(context)};
    if (cb.context == NULL && context_copy_current(&cb.context) < 0) {
        return -1;
    }
    int rc = LIKELY(f->state == FUTURE_PENDING) ? callbacks_add(f, callback, cb.context) : callback_schedule(f, &cb);
    Py_XDECREF(cb.context);
    return rc;
}

/* ---- reports */

static COLD void
future_report_unretrieved(Future *f)
{
    if (!f->log_traceback) {
        return;
    }
    f->log_traceback = false;
    PyObject *raised = compat_take_raised();
    struct state *st = future_state_of(f);
    PyObject *context = PyDict_New();
    PyObject *message = PyUnicode_FromFormat("%s exception was never retrieved", future_type_name(f));
    PyObject *source = f->rare == NULL ? NULL : f->rare->source_traceback;
    if (context == NULL || message == NULL || PyDict_SetItem(context, st->str.message, message) < 0
        || PyDict_SetItem(context, st->str.exception, f->result) < 0
        || PyDict_SetItem(context, st->str.future, (PyObject *)f) < 0
        || (source != NULL && PyDict_SetItem(context, st->str.source_traceback, source) < 0)) {
        PyErr_WriteUnraisable((PyObject *)f);
    }
    else {
        loop_report_unraised(f->loop, context);
    }
    Py_XDECREF(context);
    Py_XDECREF(message);
    compat_set_raised(raised);
}
