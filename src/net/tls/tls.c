/* net/tls/tls.c -- the states of a TLS connection: handshake, shutdown, errors, the end; timers; what the transport
 * below tells. */
#include "net/tls/tls.h"

#include "core/context.h"
#include "core/deferred.h"
#include "core/handle.h"
#include "core/log.h"
#include "net/conn/sock_transport.h"
#include "net/tls/tls_direct.h"
#include "net/tls/tls_portable.h"

/* asyncio's callbacks that entries stand for */
#define TLS_RESUME_NAME "SSLProtocol._resume_reading.<locals>.resume"
#if COMPAT_TLS_NAMES_CALLBACKS
#  define TLS_HANDSHAKE_TIMEOUT_NAME "SSLProtocol._check_handshake_timeout"
#  define TLS_SHUTDOWN_TIMEOUT_NAME "SSLProtocol._check_shutdown_timeout"
#else
#  define TLS_HANDSHAKE_TIMEOUT_NAME "SSLProtocol._start_handshake.<locals>.<lambda>"
#  define TLS_SHUTDOWN_TIMEOUT_NAME "SSLProtocol._start_shutdown.<locals>.<lambda>"
#endif

/* ---- the ssl module */

static int
tls_load(struct state *st)
{
    if (st->SSLObject != NULL) {
        return 0;
    }
    struct {
        PyObject **slot;
        const char *module, *name;
    } const wanted[] = {
        {&st->MemoryBIO, "ssl", "MemoryBIO"},
        {&st->SSLError, "ssl", "SSLError"},
        {&st->SSLCertVerificationError, "ssl", "SSLCertVerificationError"},
        {&st->SSLWantReadError, "ssl", "SSLWantReadError"},
        {&st->SSLSyscallError, "ssl", "SSLSyscallError"},
        {&st->SSLZeroReturnError, "ssl", "SSLZeroReturnError"},
        {&st->native_ssl_socket, "_ssl", "_SSLSocket"},
        {&st->asyncio_tls_transport, "asyncio.sslproto", "_SSLProtocolTransport"}, /* a subclass of asyncio.Transport */
        {&st->create_tls_context, "asyncio.sslproto", "_create_transport_context"},
        {&st->SSLObject, "ssl", "SSLObject"}, /* last: it says that all are there */
    };
    if (openssl_load(st) < 0) {
        return -1;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(wanted); i++) {
        PyObject *module = PyImport_ImportModule(wanted[i].module);
        PyObject *found = module == NULL ? NULL : PyObject_GetAttrString(module, wanted[i].name);
        Py_XDECREF(module);
        if (found == NULL) {
            return -1;
        }
        Py_XSETREF(*wanted[i].slot, found);
    }
    return 0;
}

static void
tls_loop_clear(Loop *loop)
{
    tls_direct_free_shared(loop->st, loop->net->tls_output);
    loop->net->tls_output = NULL;
}

/* ---- the connection's context */

static inline PyObject **
tls_context_slot(TLSProtocol *p)
{
    return p->raw != NULL ? &p->raw->context : &p->context;
}

static bool
tls_enter(TLSProtocol *p)
{
    PyObject **slot = tls_context_slot(p);
    if (*slot != NULL && compat_tstate_borrowed()->context == *slot) {
        return false;
    }
    loop_leave_task(p->loop);
    /* entered further out, as in a callback's own context.run(): that one must do */
    if (context_enter(p->loop, slot) < 0) {
        PyErr_Clear();
        return false;
    }
    return true;
}

static void
tls_leave(TLSProtocol *p)
{
    context_leave(p->loop, tls_context_slot(p));
}

/* ---- the transport below */

static int
tls_call_below(TLSProtocol *p, const char *method, PyObject *argument)
{
    if (p->transport == NULL) {
        return 0;
    }
    PyObject *transport = Py_NewRef(p->transport), *name = PyUnicode_FromString(method);
    PyObject *args[2] = {transport, argument};
    size_t n_args = (argument != NULL ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET;
    PyObject *done = name == NULL ? NULL : PyObject_VectorcallMethod(name, args, n_args, NULL);
    Py_XDECREF(name);
    Py_DECREF(transport);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
tls_force_close_below(TLSProtocol *p, PyObject *exception)
{
    if (p->transport != NULL && p->transport == (PyObject *)p->raw) {
        return transport_force_close(p->raw, exception);
    }
    return tls_call_below(p, "_force_close", exception);
}

/* ---- errors */

static COLD int
tls_fatal_error(TLSProtocol *p, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        return -1;
    }
    PyObject *exception = compat_take_raised(), *transport = Py_XNewRef(p->transport);
    int rc = tls_force_close_below(p, exception);
    if (rc < 0) {
        /* that error goes to the caller */
    }
    else if (PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError)) {
        rc = p->loop->debug ? log_exception(p->loop->st, (PyObject *)p, message, exception) : 0;
    }
    else if (!PyObject_TypeCheck(exception, (PyTypeObject *)p->loop->st->CancelledError)) {
        compat_set_raised(Py_NewRef(exception));
        rc = loop_report(p->loop, message, "transport", transport != NULL ? transport : Py_None, "protocol", p, NULL);
    }
    Py_XDECREF(transport);
    Py_DECREF(exception);
    return rc;
}

static COLD int
tls_fail(TLSProtocol *p, const char *message)
{
    return PyErr_ExceptionMatches(PyExc_Exception) ? tls_fatal_error(p, message) : -1;
}

/* Finish the future of the code that waits for the handshake: with exception, or well if that is NULL or None. */
static int
tls_wake_waiter(TLSProtocol *p, PyObject *exception)
{
    PyObject *waiter = p->waiter;
    if (waiter == NULL) {
        return 0;
    }
    p->waiter = NULL;
    int rc = future_wake_any(p->loop->st, waiter, p->loop->st->str.cancelled, Py_None,
                             exception == Py_None ? NULL : exception);
    Py_DECREF(waiter);
    return rc < 0 ? -1 : 0;
}

/* ---- timers */

static int
tls_start_timer(TLSProtocol *p, PyObject *seconds)
{
    double now, delay = PyFloat_AsDouble(seconds);
    if ((delay == -1.0 && PyErr_Occurred()) || loop_check_closed(p->loop) < 0 || loop_now(p->loop, &now) < 0) {
        return -1;
    }
    return loop_timer_push(p->loop, &p->timer, (PyObject *)p, now + delay);
}

static void
tls_stop_timer(TLSProtocol *p)
{
    if (timer_is_scheduled(&p->timer)) {
        loop_timer_remove(p->loop, &p->timer, (PyObject *)p);
    }
}

static int tls_look_for_silence(TLSProtocol *p);

static int
tls_time_out_handshake(TLSProtocol *p)
{
    PyObject *text = PyUnicode_FromFormat("SSL handshake is taking longer than %S seconds: aborting the connection",
                                          p->handshake_timeout);
    if (text != NULL) {
        PyErr_SetObject(PyExc_ConnectionAbortedError, text);
        Py_DECREF(text);
    }
    return tls_fatal_error(p, "Fatal error on transport");
}

static int
tls_time_out_shutdown(TLSProtocol *p)
{
    PyObject *exception = PyObject_CallFunction(PyExc_TimeoutError, "s", "SSL shutdown timed out");
    int rc = exception == NULL ? -1 : tls_force_close_below(p, exception);
    Py_XDECREF(exception);
    return rc;
}

static COLD int
tls_on_timer(Loop *loop, PyObject *self, PyObject *arg)
{
    TLSProtocol *p = (TLSProtocol *)self;
    const char *name = p->state == TLS_HANDSHAKE ? TLS_HANDSHAKE_TIMEOUT_NAME : TLS_SHUTDOWN_TIMEOUT_NAME;
    int rc = 0;
    loop_leave_task(loop);
    switch ((enum tls_state)p->state) {
    case TLS_HANDSHAKE:
        rc = tls_time_out_handshake(p);
        break;
    case TLS_FLUSHING:
        rc = tls_time_out_shutdown(p);
        break;
    case TLS_SHUTDOWN:
        rc = p->linger == TLS_LINGER_ON ? tls_look_for_silence(p) : tls_time_out_shutdown(p);
        break;
    case TLS_UNWRAPPED:
    case TLS_WRAPPED:
        break;
    }
    return rc < 0 ? deferred_report(loop, tls_on_timer, self, arg, name, NULL, 0) : 0;
}

/* ---- handshake */

static COLD int
tls_log_handshake_start(TLSProtocol *p)
{
    return loop_now(p->loop, &p->handshake_start) < 0
               ? -1
               : log_line(p->loop->st, "debug", "(sO)", "%r starts SSL handshake", p);
}

static COLD int
tls_log_handshake_done(TLSProtocol *p)
{
    double now;
    if (loop_now(p->loop, &now) < 0) {
        return -1;
    }
    return log_line(p->loop->st, "debug", "(sOd)", "%r: SSL handshake took %.1f ms", p,
                    (now - p->handshake_start) * 1e3);
}

/* With the raised exception, an Exception. */
static COLD int
tls_on_handshake_failed(TLSProtocol *p)
{
    tls_stop_timer(p);
    p->state = TLS_UNWRAPPED;
    bool is_certificate = PyErr_ExceptionMatches(p->loop->st->SSLCertVerificationError);
    PyObject *exception = compat_take_raised();
    tls_write_alert(p);
    compat_set_raised(Py_NewRef(exception));
    int rc = tls_fatal_error(p, is_certificate ? "SSL handshake failed on verifying the certificate"
                                               : "SSL handshake failed");
    if (rc == 0) {
        rc = tls_wake_waiter(p, exception);
    }
    Py_DECREF(exception);
    return rc;
}

static int
tls_on_handshake_done(TLSProtocol *p)
{
    struct state *st = p->loop->st;
    tls_stop_timer(p);
    p->state = TLS_WRAPPED;
    p->handshaken = true;
    if (p->loop->debug && tls_log_handshake_done(p) < 0) {
        return -1;
    }
    if (p->app_state == TLS_APP_INIT) {
        p->app_state = TLS_APP_MADE;
        if (protocol_call_connection_made(st, &p->app, (PyObject *)p->app_transport) < 0) {
            return -1;
        }
    }
    return tls_wake_waiter(p, NULL) < 0 ? -1 : tls_read(p);
}

static int
tls_do_handshake(TLSProtocol *p)
{
    struct state *st = p->loop->st;
    if (UNLIKELY(p->handshaking)) {
        return 0; /* a callback of the SSLContext has brought the bytes: the call that goes on reads them */
    }
    p->handshaking = true;
    p->n_busy++;
    PyObject *done = PyObject_CallMethodNoArgs(p->engine.object, st->str.do_handshake);
    p->n_busy--;
    p->handshaking = false;
    Py_XDECREF(done);
    if (p->state != TLS_HANDSHAKE) { /* a callback of the SSLContext has ended the connection */
        if (done == NULL && !PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    if (done != NULL) {
        return tls_on_handshake_done(p);
    }
    if (PyErr_ExceptionMatches(st->SSLWantReadError) || PyErr_ExceptionMatches(st->SSLSyscallError)) {
        PyErr_Clear();
        return tls_write_soon(p);
    }
    return PyErr_ExceptionMatches(st->SSLError) ? tls_on_handshake_failed(p) : -1;
}

static int
tls_on_made(TLSProtocol *p, PyObject *transport)
{
    struct state *st = p->loop->st;
    /* a context may be entered through raw, a timer may run */
    if (p->transport != NULL || p->n_lost > 0 || p->app.object == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "connection_made() called twice");
        return -1;
    }
    bool is_raw = Py_TYPE(transport) == st->Transport_type && ((Transport *)transport)->loop == p->loop;
    p->transport = Py_NewRef(transport);
    p->raw = is_raw ? (Transport *)Py_NewRef(transport) : NULL;
    if (is_raw) {
        transport_set_kind(p->raw, TRANSPORT_TLS);
    }
    if (p->loop->debug && tls_log_handshake_start(p) < 0) {
        return -1;
    }
    p->state = TLS_HANDSHAKE;
    if (tls_start_timer(p, p->handshake_timeout) < 0) {
        return -1;
    }
    if (p->server_side && p->engine.exhausted) {
        return 0; /* the client begins */
    }
    return tls_do_handshake(p);
}

/* ---- shutdown */

static int
tls_call_eof_received(TLSProtocol *p)
{
    if (p->app_state != TLS_APP_MADE || p->app.object == NULL) {
        return 0;
    }
    p->app_state = TLS_APP_EOF;
    bool entered = tls_enter(p);
    int keep_open = protocol_call_eof_received(p->loop->st, &p->app);
    if (keep_open > 0) {
        keep_open =
            log_line(p->loop->st, "warning", "(s)", "returning true from eof_received() has no effect when using ssl");
    }
    if (keep_open < 0) {
        keep_open = tls_fatal_error(p, "Error calling eof_received()");
    }
    if (entered) {
        tls_leave(p);
    }
    return keep_open;
}

/* Ready entry: arg is the transport below. */
static int
tls_run_close_below(Loop *loop, PyObject *self, PyObject *arg)
{
    loop_leave_task(loop);
    PyObject *done = PyObject_CallMethodNoArgs(arg, loop->st->str.close);
    Py_XDECREF(done);
    return done == NULL ? handle_report_method(loop, arg, "close", NULL) : 0;
}

/* Both sides have said goodbye.  Closing the transport below may take long when the peer does not read: the timer goes
 * on. */
static int
tls_on_shutdown_done(TLSProtocol *p)
{
    if (p->transport == NULL) {
        return 0;
    }
    if (!timer_is_scheduled(&p->timer) && tls_start_timer(p, p->shutdown_timeout) < 0) {
        return -1;
    }
    return deferred_push(p->loop, tls_run_close_below, (PyObject *)p, p->transport, "_SelectorTransport.close");
}

/* Our goodbye is under way and the peer's has not come: look again soon. */
static int
tls_start_linger(TLSProtocol *p)
{
    double now;
    if (p->linger != TLS_LINGER_NOT_YET || !tls_is_pulled(p) || !timer_is_scheduled(&p->timer)) {
        return 0;
    }
    if (loop_now(p->loop, &now) < 0) {
        return -1;
    }
    p->linger = TLS_LINGER_ON;
    p->linger_end = now + TLS_SHUTDOWN_SECONDS;
    tls_stop_timer(p);
    return loop_timer_push(p->loop, &p->timer, (PyObject *)p, now + TLS_LINGER_SECONDS);
}

/* The timer while we wait for the peer's goodbye.  When the peer has everything of ours it is merely silent, and the
 * connection is closed; while something is still on its way we look again later, until linger_end. */
static int
tls_look_for_silence(TLSProtocol *p)
{
    const char *ignored;
    double now, end = p->linger_end;
    if (loop_now(p->loop, &now) < 0) {
        return -1;
    }
    if (!tls_is_pulled(p) || now >= end) {
        return tls_time_out_shutdown(p);
    }
    if (p->raw->out.n > 0 || p->engine.ops->output(&p->engine, &ignored) > 0 || sock_n_unsent(p->raw->fd) > 0) {
        double next = now + TLS_LINGER_SECONDS;
        return loop_timer_push(p->loop, &p->timer, (PyObject *)p, next < end ? next : end);
    }
    p->linger = TLS_LINGER_OVER; /* closing has its own time */
    return tls_on_shutdown_done(p);
}

/* With the raised exception. */
static COLD int
tls_on_shutdown_failed(TLSProtocol *p)
{
    if (!PyErr_ExceptionMatches(p->loop->st->SSLError)) {
        return -1;
    }
    PyObject *exception = compat_take_raised();
    tls_stop_timer(p);
    compat_set_raised(exception);
    return tls_fatal_error(p, "Fatal error on transport");
}

static int
tls_do_shutdown(TLSProtocol *p)
{
    if (!p->eof_received) {
        if (!p->close_sent) {
            p->close_sent = true;
            p->n_busy++;
            int rc = p->engine.ops->shutdown(&p->engine);
            p->n_busy--;
            if (rc < 0) {
                return tls_on_shutdown_failed(p);
            }
        }
        int outcome = tls_read_discard(p);
        if (outcome == TLS_ERROR) {
            return tls_on_shutdown_failed(p);
        }
        if (tls_write_soon(p) < 0) {
            return -1;
        }
        if (outcome == TLS_AGAIN) {
            return tls_start_linger(p) < 0 ? -1 : tls_control_reading(p);
        }
    }
    else if (tls_write_soon(p) < 0) {
        return -1;
    }
    return tls_call_eof_received(p) < 0 ? -1 : tls_on_shutdown_done(p);
}

/* Flushing: when the last of the backlog is with the transport below, say goodbye. */
static int
tls_flush_backlog(TLSProtocol *p)
{
    if (tls_write_flush(p) < 0) {
        return -1;
    }
    if (p->state != TLS_FLUSHING || p->backlog.n > 0) {
        return 0;
    }
    p->state = TLS_SHUTDOWN;
    return tls_do_shutdown(p);
}

/* The peer has ended it, not we, and the protocol has paused reading before it had all: the rest waits for
 * resume_reading(). */
static inline bool
tls_has_undelivered(const TLSProtocol *p)
{
    return p->reading_paused && !p->engine.exhausted && !p->engine.ended && p->app_transport != NULL
           && !p->app_transport->closed;
}

/* Flushing: deliver what has come, send what was written. */
static int
tls_do_flush(TLSProtocol *p)
{
    if (tls_read(p) < 0) {
        return -1;
    }
    if (p->state != TLS_FLUSHING || tls_has_undelivered(p)) {
        return 0;
    }
    return tls_is_pulled(p) ? transport_flush(p->raw) : tls_flush_backlog(p);
}

static int
tls_close(TLSProtocol *p)
{
    if (p->state == TLS_FLUSHING || p->state == TLS_SHUTDOWN || p->state == TLS_UNWRAPPED) {
        return 0;
    }
    if (p->app_transport != NULL) {
        p->app_transport->closed = true;
    }
    if (p->state == TLS_HANDSHAKE) {
        return tls_abort(p, Py_None);
    }
    p->state = TLS_FLUSHING;
    return tls_start_timer(p, p->shutdown_timeout) < 0 ? -1 : tls_do_flush(p);
}

static int
tls_abort(TLSProtocol *p, PyObject *exception)
{
    /* What was written before leaves, as on asyncio; the end of the handshake alone, which waits for its first read
     * there, does not. */
    if (p->state == TLS_WRAPPED && p->backlog.n > 0 && tls_is_pulled(p) && transport_flush(p->raw) < 0) {
        return -1;
    }
    p->state = TLS_UNWRAPPED;
    return tls_force_close_below(p, exception);
}

/* ---- events from below */

/* The state's own way with new input. */
static int
tls_go_on(TLSProtocol *p)
{
    switch ((enum tls_state)p->state) {
    case TLS_WRAPPED:
        return tls_read(p);
    case TLS_HANDSHAKE:
        return tls_do_handshake(p);
    case TLS_FLUSHING:
        return tls_do_flush(p);
    case TLS_SHUTDOWN:
        return tls_do_shutdown(p);
    case TLS_UNWRAPPED:
        break;
    }
    return 0;
}

static int
tls_on_bytes(PyObject *self, const char *bytes, size_t n_bytes)
{
    TLSProtocol *p = (TLSProtocol *)self;
    if (UNLIKELY(p->transport == NULL || p->state == TLS_UNWRAPPED)) {
        return 0;
    }
    if (p->engine.ops->feed(&p->engine, bytes, n_bytes) < 0) {
        return -1;
    }
    int rc = tls_go_on(p);
    if (LIKELY(rc == 0)) {
        return p->engine.ops->settle(&p->engine);
    }
    PyObject *raised = compat_take_raised();
    if (p->engine.ops->settle(&p->engine) < 0) {
        PyErr_Clear();
    }
    compat_set_raised(raised);
    return -1;
}

static int
tls_on_room(PyObject *self)
{
    TLSProtocol *p = (TLSProtocol *)self;
    if (p->writing || p->transport == NULL) {
        return 0;
    }
    return p->state == TLS_FLUSHING ? tls_flush_backlog(p) : tls_write_flush(p);
}

static int
tls_on_eof_in_state(TLSProtocol *p)
{
    switch ((enum tls_state)p->state) {
    case TLS_HANDSHAKE:
        PyErr_SetNone(PyExc_ConnectionResetError);
        return tls_on_handshake_failed(p);
    case TLS_WRAPPED:
        p->state = TLS_FLUSHING;
        if (p->reading_paused) {
            return 1; /* what has come is delivered when reading is resumed */
        }
        if (p->backlog.n > 0 && tls_start_timer(p, p->shutdown_timeout) < 0) {
            return -1;
        }
        return tls_do_flush(p) < 0 ? -1 : p->state == TLS_FLUSHING;
    case TLS_FLUSHING:
        return tls_do_flush(p) < 0 ? -1 : p->state == TLS_FLUSHING;
    case TLS_SHUTDOWN:
        return tls_do_shutdown(p);
    case TLS_UNWRAPPED:
        break;
    }
    return 0;
}

static int
tls_on_eof(TLSProtocol *p)
{
    p->eof_received = true;
    if (p->loop->debug && log_line(p->loop->st, "debug", "(sO)", "%r received EOF", p) < 0) {
        return -1;
    }
    int keep_open = tls_on_eof_in_state(p);
    if (keep_open < 0 && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyObject *raised = compat_take_raised();
        if (tls_call_below(p, "close", NULL) < 0) {
            PyErr_Clear();
        }
        compat_set_raised(raised);
    }
    return keep_open;
}

/* Ready entry: arg is (the user's protocol, exception). */
static int
tls_run_lost(Loop *loop, PyObject *self, PyObject *arg)
{
    TLSProtocol *p = (TLSProtocol *)self;
    struct protocol app = {.object = PyTuple_GET_ITEM(arg, 0)};
    int rc = 0;
    bool entered = tls_enter(p);
    if (protocol_call_connection_lost(loop->st, &app, PyTuple_GET_ITEM(arg, 1)) < 0) {
        rc = handle_report_method(loop, app.object, "connection_lost", PyTuple_GET_ITEM(arg, 1));
    }
    if (entered) {
        tls_leave(p);
    }
    Py_CLEAR(p->raw);
    return rc;
}

static void
tls_forget(TLSProtocol *p)
{
    p->forgettable = true;
    if (p->transport == NULL && p->n_lost > 0 && p->n_busy == 0) {
        p->handshaken = false;
        p->engine.ops->close(&p->engine);
        Py_CLEAR(p->extra);
        Py_CLEAR(p->sslcontext);
    }
}

static int
tls_on_lost(TLSProtocol *p, PyObject *exception)
{
    int rc = 0;
    outq_clear(&p->backlog);
    p->n_held = p->n_held_sealed = 0;
    p->n_lost++;
    if (p->app_transport != NULL) {
        p->app_transport->closed = true;
    }
    bool has_begun = p->state != TLS_HANDSHAKE && (p->app_state == TLS_APP_MADE || p->app_state == TLS_APP_EOF);
    p->state = TLS_UNWRAPPED;
    tls_stop_timer(p);
    PyObject *app = p->app.object, *transport = p->transport, *app_transport = (PyObject *)p->app_transport;
    p->app = (struct protocol){0};
    p->transport = NULL;
    p->app_transport = NULL;
    if (has_begun && app != NULL) {
        p->app_state = TLS_APP_LOST;
        PyObject *arg = PyTuple_Pack(2, app, exception);
        rc = arg == NULL || loop_check_closed(p->loop) < 0
                 ? -1
                 : deferred_push(p->loop, tls_run_lost, (PyObject *)p, arg, "connection_lost");
        Py_XDECREF(arg);
    }
    if (rc == 0) {
        rc = tls_wake_waiter(p, exception);
    }
    PyObject *raised = compat_take_raised();
    if (p->forgettable) {
        tls_forget(p);
    }
    Py_XDECREF(app);
    Py_XDECREF(transport);
    Py_XDECREF(app_transport);
    compat_set_raised(raised);
    return rc;
}

/* ---- what the user's side asks for */

static int
tls_control_reading(TLSProtocol *p)
{
    if (LIKELY(p->engine.exhausted && !p->below_reading_paused && p->read_limits.high_bytes > 0)) {
        return 0;
    }
    Py_ssize_t n_fed = p->engine.ops->n_fed(&p->engine);
    if (n_fed < 0) {
        return -1;
    }
    if (!p->below_reading_paused && n_fed > 0 && (size_t)n_fed >= p->read_limits.high_bytes) {
        p->below_reading_paused = true;
        return tls_call_below(p, "pause_reading", NULL);
    }
    if (p->below_reading_paused && (size_t)n_fed <= p->read_limits.low_bytes) {
        p->below_reading_paused = false;
        return tls_call_below(p, "resume_reading", NULL);
    }
    return 0;
}

/* Ready entry. */
static int
tls_run_resume(Loop *loop, PyObject *self, PyObject *arg)
{
    TLSProtocol *p = (TLSProtocol *)self;
    if (p->transport == NULL || p->state == TLS_HANDSHAKE) {
        return 0;
    }
    bool entered = tls_enter(p);
    int rc = tls_go_on(p);
    if (rc < 0) {
        rc = deferred_report(loop, tls_run_resume, self, NULL, TLS_RESUME_NAME, NULL, 0);
    }
    if (entered) {
        tls_leave(p);
    }
    return rc;
}

static int
tls_resume_reading(TLSProtocol *p)
{
    if (!p->reading_paused) {
        return 0;
    }
    if (loop_check_closed(p->loop) < 0
        || deferred_push(p->loop, tls_run_resume, (PyObject *)p, NULL, TLS_RESUME_NAME) < 0) {
        return -1;
    }
    p->reading_paused = false;
    return 0;
}

/* A fact about the TLS connection. NULL without an exception: there is no fact of that name, or it is not known yet. */
static PyObject *
tls_make_extra(TLSProtocol *p, PyObject *name)
{
    static const char *const methods[] = {"peercert",    "getpeercert", "cipher", "cipher",
                                          "compression", "compression", NULL};
    if (!PyUnicode_Check(name)) {
        return NULL;
    }
    if (p->sslcontext != NULL && PyUnicode_CompareWithASCIIString(name, "sslcontext") == 0) {
        return Py_NewRef(p->sslcontext);
    }
    if (!p->handshaken) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "ssl_object") == 0) {
        return Py_NewRef(p->engine.object);
    }
    for (size_t i = 0; methods[i] != NULL; i += 2) {
        if (PyUnicode_CompareWithASCIIString(name, methods[i]) == 0) {
            PyObject *value = PyObject_CallMethod(p->engine.object, methods[i + 1], NULL);
            if (value != NULL && p->extra == NULL && (p->extra = PyDict_New()) == NULL) {
                Py_CLEAR(value);
            }
            PyObject *extra = Py_XNewRef(p->extra); /* the name's own hash may let it go, by tls_forget */
            if (value != NULL && PyDict_SetItem(extra, name, value) < 0) {
                Py_CLEAR(value);
            }
            Py_XDECREF(extra);
            return value;
        }
    }
    return NULL;
}

static PyObject *
tls_get_extra(TLSProtocol *p, PyObject *name, PyObject *fallback)
{
    PyObject *extra = Py_XNewRef(p->extra);
    PyObject *value = extra == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(extra, name));
    Py_XDECREF(extra);
    if (value != NULL) {
        return value;
    }
    if (PyErr_Occurred() || (value = tls_make_extra(p, name)) != NULL || PyErr_Occurred()) {
        return value;
    }
    if (p->transport == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *transport = Py_NewRef(p->transport);
    value = PyObject_CallMethod(transport, "get_extra_info", "OO", name, fallback);
    Py_DECREF(transport);
    return value;
}
