/* task/wait/sleep.c -- see sleep.h. */
#include "task/wait/sleep.h"

#include "core/aiobridge.h"
#include "core/args.h"
#include "core/freelist.h"
#include "core/handle.h"
#include "task/coro/coro.h"
#include "task/coro/coro_function.h"
#include "task/wait/deadline.h"

#include <math.h>

/* What a sleep's coroutine holds. */
enum {
    SLEEP_DELAY,
    SLEEP_RESULT,
    SLEEP_FUTURE /* with the timer, on an own loop */,
    SLEEP_HANDLE /* another loop's TimerHandle */
};

/* ---- SleepFuture */

static inline void
sleep_future_stop(SleepFuture *s)
{
    if (timer_is_scheduled(&s->timer) && s->future.loop != NULL) {
        loop_timer_remove((Loop *)s->future.loop, &s->timer, (PyObject *)s);
    }
}

static int
sleep_future_finished(Future *f)
{
    sleep_future_stop((SleepFuture *)f);
    return 0;
}

static const struct future_methods sleep_future_methods = {.finished = sleep_future_finished};

static PyObject *
sleep_future_new(Loop *loop, double when, PyObject *value)
{
    struct state *st = loop->st;
    SleepFuture *s = (SleepFuture *)future_alloc(st->SleepFuture_type, freelist_of(st, FREELIST_SLEEP_FUTURE),
                                                 sizeof *s, FUTURE_SLEEP);
    if (s == NULL) {
        return NULL;
    }
    timer_init(&s->timer, TIMER_KIND_SLEEP);
    s->value = Py_NewRef(value);
    PyObject_GC_Track(s);
    if (UNLIKELY(future_start(&s->future, st, loop) < 0 || loop_timer_push(loop, &s->timer, (PyObject *)s, when) < 0)) {
        Py_CLEAR(s);
    }
    return (PyObject *)s;
}

static int
sleep_future_on_due(Loop *loop, PyObject *self, PyObject *Py_UNUSED(arg))
{
    SleepFuture *s = (SleepFuture *)self;
    if (s->future.state != FUTURE_PENDING || s->future.loop == NULL) {
        return 0;
    }
    PyObject *value = s->value;
    s->value = NULL;
    if (LIKELY(future_finish(&s->future, FUTURE_FINISHED, value, NULL) == 0)) {
        return 0;
    }
    PyObject *args[] = {self, Py_NewRef(s->future.result != NULL ? s->future.result : Py_None)};
    int rc = handle_report_call(loop, loop->st->set_result_unless_cancelled, args, 2, NULL);
    Py_DECREF(args[1]);
    return rc;
}

static int
SleepFuture_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((SleepFuture *)self)->value);
    return future_visit((Future *)self, visit, arg);
}

static int
SleepFuture_clear(PyObject *self)
{
    future_clear((Future *)self);
    Py_CLEAR(((SleepFuture *)self)->value);
    return 0;
}

static void
SleepFuture_dealloc(PyObject *self)
{
    if (!future_begin_dealloc(self)) {
        return;
    }
    struct freelist *list = freelist_of_dying(self, SleepFuture_dealloc, FREELIST_SLEEP_FUTURE);
    Py_TRASHCAN_BEGIN(self, SleepFuture_dealloc)
    SleepFuture_clear(self);
    freelist_free(list, self);
    Py_TRASHCAN_END
}

static PyType_Slot SleepFuture_slots[] = {
    {Py_tp_traverse, SleepFuture_traverse},
    {Py_tp_clear, SleepFuture_clear},
    {Py_tp_dealloc, SleepFuture_dealloc},
    {Py_am_send, Future_am_send},
    {0, NULL},
};

static PyType_Spec SleepFuture_spec = {
    .name = "asyncloop._asyncloop.Future",
    .basicsize = sizeof(SleepFuture),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = SleepFuture_slots,
};

/* ---- how long */

static COLD int
sleep_raise_nan(void)
{
    PyErr_SetString(PyExc_ValueError, "Invalid delay: NaN (not a number)");
    return -1;
}

/* delay <= 0, then math.isnan(delay), by Python's rules. */
static COLD int
sleep_is_immediate_object(PyObject *delay)
{
    PyObject *zero = PyLong_FromLong(0);
    int is_immediate = zero == NULL ? -1 : PyObject_RichCompareBool(delay, zero, Py_LE);
    Py_XDECREF(zero);
    if (is_immediate != 0 || !COMPAT_SLEEP_REFUSES_NAN) {
        return is_immediate;
    }
    double seconds = PyFloat_AsDouble(delay);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    return isnan(seconds) ? sleep_raise_nan() : 0;
}

/* Does sleep(delay) only let the others run once?  1, 0, -1. */
static inline int
sleep_is_immediate(PyObject *delay)
{
    double seconds;
    if (UNLIKELY(!deadline_is_number(delay, &seconds))) { /* an int too large for a double too, which may be negative */
        return sleep_is_immediate_object(delay);
    }
    return UNLIKELY(isnan(seconds)) && COMPAT_SLEEP_REFUSES_NAN ? sleep_raise_nan() : seconds <= 0;
}

/* ---- the coroutine
 *
 *     phase 0: begins;  1: the bare yield of delay <= 0 is out;  2: waits for a future */

/* On a foreign loop, or one whose methods were replaced: call create_future() and call_later(), as asyncio.sleep does.
 */
static COLD PySendResult
sleep_begin_elsewhere(Coro *c, struct state *st)
{
    PyObject *loop = aiobridge_need_running_loop(st), *future = NULL;
    if (loop == NULL) {
        return PYGEN_ERROR;
    }
    PySendResult status = PYGEN_ERROR;
    future = PyObject_CallMethodNoArgs(loop, st->str.create_future);
    if (future != NULL) {
        PyObject *args[] = {loop, c->slots[SLEEP_DELAY], st->set_result_unless_cancelled, future,
                            c->slots[SLEEP_RESULT]};
        PyObject *handle =
            PyObject_VectorcallMethod(st->str.call_later, args, 5 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        c->slots[SLEEP_HANDLE] = handle;
        if (handle != NULL) {
            status = coro_await(c, st, future);
        }
    }
    Py_DECREF(loop);
    Py_XDECREF(future);
    return status;
}

static inline PySendResult
sleep_begin(Coro *c, struct state *st)
{
    int is_immediate = sleep_is_immediate(c->slots[SLEEP_DELAY]);
    if (UNLIKELY(is_immediate < 0)) {
        return PYGEN_ERROR;
    }
    if (is_immediate) {
        c->phase = 1;
        return coro_yield(c);
    }
    c->phase = 2;
    Loop *loop = loop_running_borrowed(st);
    if (UNLIKELY(loop == NULL || loop->overrides & (LOOP_OWN_CALL_LATER | LOOP_OWN_CALL_AT | LOOP_OWN_CREATE_FUTURE))) {
        return sleep_begin_elsewhere(c, st);
    }
    double when;
    if (deadline_in(loop, c->slots[SLEEP_DELAY], &when) < 0) {
        return PYGEN_ERROR;
    }
    c->slots[SLEEP_FUTURE] = sleep_future_new(loop, when, c->slots[SLEEP_RESULT]);
    return coro_wait(c, Py_XNewRef(c->slots[SLEEP_FUTURE]));
}

/* However the wait ended, cancel the other loop's timer. */
static COLD int
sleep_cancel_handle(Coro *c, struct state *st)
{
    PyObject *handle = c->slots[SLEEP_HANDLE], *raised = compat_take_raised();
    PyObject *done = PyObject_CallMethodNoArgs(handle, st->str.cancel);
    if (done == NULL) {
        Py_XDECREF(raised);
        return -1;
    }
    Py_DECREF(done);
    compat_set_raised(raised);
    return 0;
}

static PySendResult
sleep_step(Coro *c, struct state *st, PyObject *value, PyObject **result)
{
    if (c->phase == 0) {
        PySendResult status = sleep_begin(c, st);
        if (LIKELY(status == PYGEN_NEXT || c->slots[SLEEP_HANDLE] == NULL)) {
            return status;
        }
        value = NULL;
    }
    if (UNLIKELY(c->slots[SLEEP_HANDLE] != NULL) && sleep_cancel_handle(c, st) < 0) {
        return PYGEN_ERROR;
    }
    if (UNLIKELY(value == NULL)) {
        if (c->slots[SLEEP_FUTURE] != NULL) {
            sleep_future_stop((SleepFuture *)c->slots[SLEEP_FUTURE]);
        }
        return PYGEN_ERROR;
    }
    return coro_return(result, c->phase == 1 ? c->slots[SLEEP_RESULT] : value);
}

static const struct coro_kind sleep_kind = {"sleep", sleep_step};

/* ---- asyncloop.sleep */

static const char *const sleep_names[] = {"delay", "result"};
static const struct args_signature sleep_signature = {"sleep", sleep_names, 1, 2, 2, false};

static PyObject *
module_sleep(PyObject *module, PyObject *const *args, Py_ssize_t n_args, PyObject *kwnames)
{
    struct state *st = state_of_module(module);
    PyObject *given[2];
    if (UNLIKELY(args_bind(&sleep_signature, args, n_args, kwnames, given) < 0)) {
        return NULL;
    }
    Coro *c = coro_new(st, &sleep_kind, NULL);
    if (UNLIKELY(c == NULL)) {
        return NULL;
    }
    c->slots[SLEEP_DELAY] = Py_NewRef(given[0]);
    c->slots[SLEEP_RESULT] = Py_NewRef(given[1] == NULL ? Py_None : given[1]);
    if (PyObject_IS_GC(given[0]) || PyObject_IS_GC(c->slots[SLEEP_RESULT])) {
        coro_track(c);
    }
    return (PyObject *)c;
}

PyDoc_STRVAR(
    sleep_doc,
    "sleep(delay, result=None)\n--\n\n"
    "Coroutine that completes after delay seconds, with result.\n\n"
    "delay: a number of seconds; <= 0 lets the other tasks run once.\n"
    "Raises, when awaited: TypeError, ValueError (NaN).  Source: asyncio.sleep.  Differs: no frame, cr_frame is None.");

static const struct coro_function sleep_functions[] = {
    {"sleep", module_sleep, sleep_doc},
    {NULL},
};

static int
sleep_register(PyObject *module, struct state *st)
{
    if (future_import(&st->set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled") < 0
        || state_add_type(module, &st->SleepFuture_type, &SleepFuture_spec, st->Future_type, false,
                          SECTION_AT(Future, loop))
               < 0) {
        return -1;
    }
    st->future_methods[FUTURE_SLEEP] = &sleep_future_methods;
    st->timer_kinds[TIMER_KIND_SLEEP].on_due = sleep_future_on_due;
    st->timer_kinds[TIMER_KIND_SLEEP].offset = offsetof(SleepFuture, timer);
    return coro_function_add_to_module(module, st, sleep_functions);
}
