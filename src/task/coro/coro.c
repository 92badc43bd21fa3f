/* task/coro/coro.c -- see coro.h. */
#include "task/coro/coro.h"

#include "core/freelist.h"

static void Coro_dealloc(PyObject *self);

/* ---- life */

static inline bool
coro_is(struct state *st, PyObject *object)
{
    return Py_IS_TYPE(object, st->Coro_type);
}

static inline void
coro_track(Coro *c)
{
    if (!PyObject_GC_IsTracked((PyObject *)c)) {
        PyObject_GC_Track(c);
    }
}

static inline Coro *
coro_new(struct state *st, const struct coro_kind *kind, PyObject *self)
{
    if (UNLIKELY(st->Coro_type == NULL)) {
        PyErr_SetString(PyExc_RuntimeError, "asyncloop is being unloaded");
        return NULL;
    }
    Coro *c = (Coro *)freelist_pop(freelist_of(st, FREELIST_CORO), st->Coro_type);
    if (c == NULL && (c = PyObject_GC_New(Coro, st->Coro_type)) == NULL) {
        return NULL;
    }
    memset((char *)c + sizeof(PyObject), 0, sizeof *c - sizeof(PyObject));
    c->kind = kind;
#if COMPAT_FREE_THREADED
    c->loop = self == NULL ? Py_XNewRef(section_here.loop) : NULL;
#endif
    if (self != NULL) {
        c->self = Py_NewRef(self);
        PyObject_GC_Track(c);
    }
    return c;
}

/* It is over: a coroutine's variables go with its frame. Keeps a raised exception. */
static inline void
coro_end(Coro *c)
{
    c->state = CORO_DONE;
    Py_CLEAR(c->awaited);
    for (int i = 0; i < CORO_SLOTS; i++) {
        Py_CLEAR(c->slots[i]);
    }
    Py_CLEAR(c->self);
}

/* ---- what a body returns */

static inline PySendResult
coro_return(PyObject **result, PyObject *value)
{
    *result = Py_NewRef(value);
    return PYGEN_RETURN;
}

static inline PySendResult
coro_yield(Coro *c)
{
    INVARIANT(c->awaited == NULL);
    return PYGEN_NEXT;
}

static inline PySendResult
coro_wait(Coro *c, PyObject *future)
{
    INVARIANT(c->awaited == NULL);
    c->awaited = future;
    return LIKELY(future != NULL) ? PYGEN_NEXT : PYGEN_ERROR;
}

static PySendResult
coro_await(Coro *c, struct state *st, PyObject *awaitable)
{
    return coro_wait(c, coro_await_iter(st, awaitable));
}

/* A coroutine or generator-based coroutine is its own iterator; one that somebody awaits already is refused, as by
 * `await`. */
static int
coro_check_not_awaited(struct state *st, PyObject *coroutine)
{
    PyObject *awaited = PyObject_GetAttr(coroutine, st->str.cr_await);
    if (awaited == Py_None) {
        Py_DECREF(awaited);
        return 0;
    }
    if (awaited != NULL) {
        Py_DECREF(awaited);
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    }
    return -1;
}

static bool
coro_is_generator_based(PyObject *object)
{
    if (!PyGen_CheckExact(object)) {
        return false;
    }
    PyObject *code = PyObject_GetAttrString(object, "gi_code");
    bool is = code != NULL && PyCode_Check(code) && (((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE) != 0;
    Py_XDECREF(code);
    PyErr_Clear();
    return is;
}

/* What __await__() gave is no iterator to go on with. */
static COLD void
coro_refuse_iter(PyObject *awaitable, PyObject *iterator, bool is_coroutine)
{
    if (COMPAT_AWAIT_NAMES_TYPE) {
        const char *format = is_coroutine ? "%T.__await__() must return an iterator, not coroutine"
                                          : "%T.__await__() must return an iterator, not %T";
        PyErr_Format(PyExc_TypeError, format, awaitable, iterator);
    }
    else if (is_coroutine) {
        PyErr_SetString(PyExc_TypeError, "__await__() returned a coroutine");
    }
    else {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'", Py_TYPE(iterator)->tp_name);
    }
}

static PyObject *
coro_await_iter(struct state *st, PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) {
        return coro_check_not_awaited(st, awaitable) < 0 ? NULL : Py_NewRef(awaitable);
    }
    PyTypeObject *type = Py_TYPE(awaitable);
    unaryfunc am_await = type->tp_as_async == NULL ? NULL : type->tp_as_async->am_await;
    if (am_await == NULL) {
        if (coro_is_generator_based(awaitable)) {
            return Py_NewRef(awaitable);
        }
        PyErr_Format(PyExc_TypeError, COMPAT_AWAIT_TEXT, type->tp_name);
        return NULL;
    }
    PyObject *iterator = am_await(awaitable);
    if (iterator == NULL || (iterator == awaitable && (future_is_exact(st, awaitable) || coro_is(st, awaitable)))) {
        return iterator;
    }
    bool is_coroutine = PyCoro_CheckExact(iterator) || coro_is(st, iterator) || coro_is_generator_based(iterator);
    if (is_coroutine || !PyIter_Check(iterator)) {
        coro_refuse_iter(awaitable, iterator, is_coroutine);
        Py_CLEAR(iterator);
    }
    return iterator;
}

/* ---- stepping */

/* Who steps it says so first: without a GIL two threads may try.  false: it runs. */
static inline bool
coro_claim(Coro *c, uint8_t state)
{
#if COMPAT_FREE_THREADED
    return __atomic_compare_exchange_n(&c->state, &state, CORO_RUNNING, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
#else
    (void)c, (void)state;
    return true;
#endif
}

static COLD PySendResult
coro_refuse(Coro *c, PyObject **result)
{
    if (c->state == CORO_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    else {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    *result = NULL;
    return PYGEN_ERROR;
}

static inline PySendResult
coro_step_awaited(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    PyObject *awaited = c->awaited;
    if (LIKELY(future_is_exact(st, awaited))) {
        return future_send((Future *)awaited, result);
    }
    if (!coro_is(st, awaited)) {
        return PyIter_Send(awaited, value, result);
    }
    *result = NULL;
    if (UNLIKELY(Py_EnterRecursiveCall(""))) {
        return PYGEN_ERROR;
    }
    PySendResult status = coro_send((Coro *)awaited, st, value, result);
    Py_LeaveRecursiveCall();
    return status;
}

/* The value of the StopIteration that is raised, which is no more then.  New reference. */
static PyObject *
coro_take_stop_value(void)
{
    PyObject *stop = compat_take_raised(), *value = ((PyStopIterationObject *)stop)->value;
    value = Py_NewRef(value == NULL ? Py_None : value);
    Py_DECREF(stop);
    return value;
}

static COLD void
coro_mend_stop_iteration(const char *what)
{
    PyObject *stop = compat_take_raised();
    PyErr_Format(PyExc_RuntimeError, "%s raised StopIteration", what);
    PyObject *error = compat_take_raised();
    PyException_SetCause(error, Py_NewRef(stop));
    PyException_SetContext(error, stop);
    compat_set_raised(error);
}

static inline void
coro_mend_raised(void)
{
    if (UNLIKELY(PyErr_ExceptionMatches(PyExc_StopIteration))) {
        coro_mend_stop_iteration("coroutine");
    }
}

/* What was thrown is raised where the body waits.  StopIteration is no error there, but the end of what is awaited, and
 * its value that of the `await`; a bare yield is in a generator, to which PEP 479 applies. */
static PySendResult
coro_raise_at_await(Coro *c, struct state *st, PyObject **result)
{
    if (LIKELY(!PyErr_ExceptionMatches(PyExc_StopIteration))) {
        return PYGEN_ERROR;
    }
    if (c->awaited == NULL) {
        coro_mend_stop_iteration("generator");
        return PYGEN_ERROR;
    }
    if (!COMPAT_THROWN_STOP_ENDS_AWAIT && !future_is_exact(st, c->awaited)) {
        return PYGEN_ERROR;
    }
    *result = coro_take_stop_value();
    return PYGEN_RETURN;
}

/* Run the body from what its await gave (stolen; NULL: raised) until it has to wait or ends. */
static inline PySendResult
coro_run(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    c->state = CORO_RUNNING;
    for (;;) {
        *result = NULL;
        PySendResult status = c->kind->step(c, st, value, result);
        Py_XDECREF(value);
        if (status != PYGEN_NEXT) {
            if (status == PYGEN_ERROR) {
                coro_mend_raised();
            }
            coro_end(c);
            return status;
        }
        if (c->awaited == NULL) {
            *result = Py_NewRef(Py_None);
            break;
        }
        status = coro_step_awaited(c, st, Py_None, result);
        if (LIKELY(status == PYGEN_NEXT)) {
            coro_track(c);
            break;
        }
        value = status == PYGEN_RETURN ? *result : NULL;
        Py_CLEAR(c->awaited);
    }
    c->state = CORO_WAITING;
    return PYGEN_NEXT;
}

/* What is awaited was stepped, or thrown into: it yielded, or the body goes on. */
static inline PySendResult
coro_go_on(Coro *c, struct state *st, PySendResult status, PyObject **result)
{
    if (status == PYGEN_NEXT) {
        c->state = CORO_WAITING;
        return status;
    }
    PyObject *value = status == PYGEN_RETURN ? *result : NULL;
    Py_CLEAR(c->awaited);
    return coro_run(c, st, value, result);
}

static inline PySendResult
coro_send(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (LIKELY(c->state == CORO_CREATED)) {
        if (UNLIKELY(value != Py_None)) {
            *result = NULL;
            PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
            return PYGEN_ERROR;
        }
        if (UNLIKELY(!coro_claim(c, CORO_CREATED))) {
            return coro_refuse(c, result);
        }
        return coro_run(c, st, Py_NewRef(Py_None), result);
    }
    if (UNLIKELY(c->state != CORO_WAITING || !coro_claim(c, CORO_WAITING))) {
        return coro_refuse(c, result);
    }
    if (c->awaited == NULL) {
        return coro_run(c, st, Py_NewRef(value), result);
    }
    c->state = CORO_RUNNING;
    return coro_go_on(c, st, coro_step_awaited(c, st, value, result), result);
}

/* A generator's close(): of what is awaited, if it has one. */
static int
coro_close_awaited(Coro *c, struct state *st)
{
    PyObject *awaited = c->awaited, *method = NULL;
    if (awaited == NULL || future_is_exact(st, awaited)) {
        return 0;
    }
    if (compat_get_optional_attr(awaited, st->str.close, &method) < 0) {
        PyErr_WriteUnraisable(awaited);
    }
    PyObject *done = method == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(method);
    Py_XDECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Throw into what is awaited: 1 and *status when that took it, 0 when the body is to have it (exception is borrowed).
 */
static int
coro_throw_into_awaited(Coro *c, struct state *st, PyObject *exception, PySendResult *status, PyObject **result)
{
    PyObject *awaited = c->awaited, *method = NULL;
    *result = NULL;
    if (awaited == NULL || future_is_exact(st, awaited)) { /* futures have no throw() */
        return 0;
    }
    if (PyErr_GivenExceptionMatches(exception, PyExc_GeneratorExit)) {
        if (coro_close_awaited(c, st) == 0) {
            return 0;
        }
        *status = PYGEN_ERROR;
        return 1;
    }
    if (coro_is(st, awaited)) {
        if (Py_EnterRecursiveCall("") == 0) {
            *status = coro_throw((Coro *)awaited, st, exception, result);
            Py_LeaveRecursiveCall();
        }
        return 1;
    }
    int found = compat_get_optional_attr(awaited, st->str.throw, &method);
    if (found <= 0) {
        *status = PYGEN_ERROR;
        return found < 0;
    }
    *result = PyObject_CallOneArg(method, exception);
    Py_DECREF(method);
    if (*result != NULL) {
        *status = PYGEN_NEXT;
    }
    else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        *result = coro_take_stop_value();
        *status = PYGEN_RETURN;
    }
    else {
        *status = PYGEN_ERROR;
    }
    return 1;
}

static PySendResult
coro_throw(Coro *c, struct state *st, PyObject *exception, PyObject **result)
{
    PySendResult status = PYGEN_ERROR;
    if (c->state == CORO_RUNNING || c->state == CORO_DONE) {
        return coro_refuse(c, result);
    }
    if (c->state == CORO_CREATED) {
        *result = NULL;
        coro_end(c);
        compat_set_raised(Py_NewRef(exception));
        if (!COMPAT_THROWN_STOP_ENDS_AWAIT) {
            coro_mend_raised();
        }
        return PYGEN_ERROR;
    }
    if (UNLIKELY(!coro_claim(c, CORO_WAITING))) {
        return coro_refuse(c, result);
    }
    c->state = CORO_RUNNING;
    if (coro_throw_into_awaited(c, st, exception, &status, result) == 0) {
        compat_set_raised(Py_NewRef(exception));
        status = coro_raise_at_await(c, st, result);
    }
    return coro_go_on(c, st, status, result);
}

static int
coro_close(Coro *c, struct state *st)
{
    if (c->state == CORO_RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    if (c->state != CORO_WAITING) {
        coro_end(c);
        return 0;
    }
    PyObject *result;
    if (UNLIKELY(!coro_claim(c, CORO_WAITING))) {
        return coro_close(c, st);
    }
    c->state = CORO_RUNNING;
    if (coro_close_awaited(c, st) == 0) {
        PyErr_SetNone(PyExc_GeneratorExit);
    }
    PySendResult status = coro_go_on(c, st, coro_raise_at_await(c, st, &result), &result);
    Py_XDECREF(result);
    if (status == PYGEN_NEXT) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return -1;
    }
    if (status == PYGEN_ERROR) {
        if (!PyErr_ExceptionMatches(PyExc_GeneratorExit) && !PyErr_ExceptionMatches(PyExc_StopIteration)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

/* ---- the Python face
 *
 * The state is NULL, and an exception raised, when the collector has taken the type down first. */

static inline struct state *
coro_state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

static PySendResult
Coro_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    struct state *st = coro_state_of(self);
    if (UNLIKELY(st == NULL)) {
        *result = NULL;
        return PYGEN_ERROR;
    }
    SECTION_ENTER_HOME(self, CORO_HOME);
    return coro_send((Coro *)self, st, value, result);
}

static PyObject *
Coro_iternext(PyObject *self)
{
    PyObject *result;
    PySendResult status = Coro_am_send(self, Py_None, &result);
    return status == PYGEN_RETURN ? future_give_stop_iteration(coro_state_of(self), result) : result;
}

static PyObject *
Coro_am_await(PyObject *self)
{
    Coro *c = (Coro *)self;
    if (UNLIKELY(c->state == CORO_WAITING || c->state == CORO_RUNNING)) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

static PyObject *
Coro_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = Coro_am_send(self, value, &result);
    return future_give(status, result);
}

static PyObject *
Coro_throw(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    struct state *st = coro_state_of(self);
    PyObject *result, *exception = st == NULL ? NULL : future_thrown(args, n_args);
    if (exception == NULL) {
        return NULL;
    }
    PySendResult status = coro_throw((Coro *)self, st, exception, &result);
    Py_DECREF(exception);
    return future_give(status, result);
}

static PyObject *
Coro_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    struct state *st = coro_state_of(self);
    return st == NULL || coro_close((Coro *)self, st) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
Coro_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<coroutine object %s at %p>", ((Coro *)self)->kind->qualname, self);
}

static PyObject *
Coro_get_class(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    return Py_NewRef(&PyCoro_Type);
}

static PyObject *
Coro_get_name(PyObject *self, void *Py_UNUSED(closure))
{
    const char *qualname = ((Coro *)self)->kind->qualname, *dot = strrchr(qualname, '.');
    return PyUnicode_InternFromString(dot == NULL ? qualname : dot + 1);
}

static PyObject *
Coro_get_qualname(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_InternFromString(((Coro *)self)->kind->qualname);
}

static PyObject *
Coro_get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *
Coro_get_running(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Coro *)self)->state == CORO_RUNNING);
}

static PyObject *
Coro_get_suspended(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((Coro *)self)->state == CORO_WAITING);
}

static PyObject *
Coro_get_await(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *awaited = ((Coro *)self)->awaited;
    return Py_NewRef(awaited == NULL ? Py_None : awaited);
}

static int
Coro_traverse(PyObject *self, visitproc visit, void *arg)
{
    Coro *c = (Coro *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->self);
#if COMPAT_FREE_THREADED
    Py_VISIT(c->loop);
#endif
    Py_VISIT(c->awaited);
    for (int i = 0; i < CORO_SLOTS; i++) {
        Py_VISIT(c->slots[i]);
    }
    return 0;
}

static int
Coro_clear(PyObject *self)
{
    coro_end((Coro *)self);
    return 0;
}

static void
Coro_finalize(PyObject *self)
{
    Coro *c = (Coro *)self;
    PyObject *raised = compat_take_raised();
    if (c->state == CORO_CREATED) {
        c->state = CORO_DONE;
        if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited", c->kind->qualname) < 0) {
            PyErr_WriteUnraisable(self);
        }
    }
    else if (c->state == CORO_WAITING) { /* dropped in mid-wait: a coroutine would be closed */
        struct state *st = coro_state_of(self);
        if (st == NULL || coro_close(c, st) < 0) {
            PyErr_WriteUnraisable(self);
        }
    }
    compat_set_raised(raised);
}

static inline void
coro_free(Coro *c)
{
    PyObject *self = (PyObject *)c;
    struct freelist *list = freelist_of_dying(self, Coro_dealloc, FREELIST_CORO);
    coro_end(c);
#if COMPAT_FREE_THREADED
    Py_CLEAR(c->loop);
#endif
    freelist_free(list, self);
}

static inline bool
coro_goes_deeper(const Coro *c)
{
    for (int i = 0; i < CORO_SLOTS; i++) {
        if (dealloc_goes_deeper(c->slots[i])) {
            return true;
        }
    }
    return dealloc_goes_deeper(c->awaited) || dealloc_goes_deeper(c->self);
}

static void
Coro_dealloc(PyObject *self)
{
    Coro *c = (Coro *)self;
    if (UNLIKELY(c->state != CORO_DONE)) {
        coro_track(c); /* who reports the warning may keep it alive: the collector must know it then */
        if (PyObject_CallFinalizerFromDealloc(self) < 0) {
            return;
        }
    }
    PyObject_GC_UnTrack(self);
    if (UNLIKELY(c->weakrefs != NULL)) {
        PyObject_ClearWeakRefs(self);
    }
    if (LIKELY(!coro_goes_deeper(c))) {
        coro_free(c);
        return;
    }
    Py_TRASHCAN_BEGIN(self, Coro_dealloc)
    coro_free(c);
    Py_TRASHCAN_END
}

/* In coro_iter.c. */
static PyObject *Coro_await(PyObject *self, PyObject *none);
static int coro_iter_register(PyObject *module, struct state *st) MUST_CHECK;

/* In coro_frame.c. */
static PyObject *Coro_get_code(PyObject *self, void *closure);
static PyObject *Coro_get_frame(PyObject *self, void *closure);
#if COMPAT_CORO_STATE
static PyObject *Coro_get_state(PyObject *self, void *closure);
#endif
static int coro_frame_register(PyObject *module, struct state *st) MUST_CHECK;

static PyMethodDef Coro_methods[] = {
    {"__await__", Coro_await, METH_NOARGS | METH_COEXIST, NULL},
    {"send", Coro_send, METH_O, NULL},
    {"throw", FUTURE_FASTCALL(Coro_throw), METH_FASTCALL, NULL},
    {"close", Coro_close, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef Coro_getset[] = {
    {"__class__", Coro_get_class},        {"__name__", Coro_get_name},
    {"__qualname__", Coro_get_qualname},  {"cr_await", Coro_get_await},
    {"cr_code", Coro_get_code},           {"cr_frame", Coro_get_frame},
    {"cr_origin", Coro_get_none},         {"cr_running", Coro_get_running},
#if COMPAT_CORO_STATE
    {"cr_state", Coro_get_state},
#endif
    {"cr_suspended", Coro_get_suspended}, {NULL},
};

static PyMemberDef Coro_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Coro, weakrefs), READONLY},
    {NULL},
};

static PyType_Slot Coro_slots[] = {
    {Py_tp_traverse, Coro_traverse}, {Py_tp_clear, Coro_clear},     {Py_tp_finalize, Coro_finalize},
    {Py_tp_dealloc, Coro_dealloc},   {Py_tp_repr, Coro_repr},       {Py_tp_iternext, Coro_iternext},
    {Py_am_await, Coro_am_await},    {Py_am_send, Coro_am_send},    {Py_tp_methods, Coro_methods},
    {Py_tp_getset, Coro_getset},     {Py_tp_members, Coro_members}, {0, NULL},
};

static PyType_Spec Coro_spec = {
    .name = "asyncloop._asyncloop.coroutine",
    .basicsize = sizeof(Coro),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Coro_slots,
};

static int
coro_register(PyObject *module, struct state *st)
{
    if (coro_iter_register(module, st) < 0 || coro_frame_register(module, st) < 0
        || state_add_type(module, &st->Coro_type, &Coro_spec, NULL, false, CORO_HOME) < 0) {
        return -1;
    }
    return future_hide_next(st->Coro_type);
}
