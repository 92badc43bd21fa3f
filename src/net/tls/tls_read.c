/* net/tls/tls_read.c -- from ciphertext to the user's protocol. */
#include "net/tls/tls.h"

#include "core/deferred.h"

#include <string.h>

/* asyncio's callback that tls_run_read_on stands for */
#if COMPAT_TLS_NAMES_CALLBACKS
#  define TLS_READ_ON_NAME "SSLProtocol._do_read"
#else
#  define TLS_READ_ON_NAME "SSLProtocol._do_read__buffered.<locals>.<lambda>"
#endif

static inline Py_ssize_t
tls_read_some(TLSProtocol *p, char *buffer, size_t n_bytes)
{
    p->n_busy++;
    Py_ssize_t n = p->engine.ops->read(&p->engine, buffer, n_bytes);
    p->n_busy--;
    return n;
}

/* More than one record waits: decrypt them all into one bytes object, which begins with what was read already. NULL,
 * *outcome: TLS_ERROR. */
static PyObject *
tls_read_rest(TLSProtocol *p, const char *first, size_t n_first, Py_ssize_t *outcome)
{
    Py_ssize_t left = p->engine.ops->n_fed(&p->engine);
    Py_ssize_t capacity = (Py_ssize_t)n_first + left + TLS_RECORD_MAX, used = (Py_ssize_t)n_first;
    PyObject *data = left < 0 ? NULL : PyBytes_FromStringAndSize(NULL, capacity);
    *outcome = TLS_ERROR;
    if (data == NULL) {
        return NULL;
    }
    memcpy(PyBytes_AS_STRING(data), first, n_first);
    while ((*outcome = tls_read_some(p, PyBytes_AS_STRING(data) + used, (size_t)(capacity - used))) > 0) {
        used += *outcome;
        if (capacity == used && _PyBytes_Resize(&data, capacity *= 2) < 0) {
            *outcome = TLS_ERROR;
            return NULL;
        }
    }
    if (*outcome == TLS_ERROR) {
        Py_DECREF(data);
        return NULL;
    }
    if (_PyBytes_Resize(&data, used) < 0) {
        *outcome = TLS_ERROR;
    }
    return data;
}

/* Several records for a sink that takes them piece by piece without a word: all that can be decrypted, then it is told,
 * once. */
static Py_ssize_t
tls_read_and_tell(TLSProtocol *p, const struct sink *sink, PyObject *holder, char *record)
{
    Py_ssize_t n;
    while ((n = tls_read_some(p, record, TLS_RECORD_MAX)) > 0) {
        int rc = sink->hold(holder, record, (size_t)n);
        if (rc == 0) { /* the program's own read() has changed it */
            rc = sink->on_bytes(holder, record, (size_t)n);
        }
        if (rc < 0) {
            return TLS_ERROR;
        }
    }
    PyObject *raised = compat_take_raised();
    if (sink->tell(holder) < 0) {
        Py_XDECREF(raised);
        return TLS_ERROR;
    }
    compat_set_raised(raised);
    return n;
}

/* Does the sink have the record, and what follows it?  1: yes, and *outcome is how that ended; 0; -1. */
static int
tls_read_to_holder(TLSProtocol *p, char *record, Py_ssize_t n, Py_ssize_t *outcome)
{
    const struct sink *sink = p->app.sink;
    if (sink == NULL || sink->hold == NULL) {
        return 0;
    }
    PyObject *holder = Py_NewRef(p->app.object);
    int rc = sink->hold(holder, record, (size_t)n);
    if (rc > 0) {
        *outcome = tls_read_and_tell(p, sink, holder, record);
    }
    Py_DECREF(holder);
    return rc;
}

/* data_received, or the sink's way, with all there is. TLS_AGAIN, TLS_END or TLS_ERROR, as for the next two. */
static Py_ssize_t
tls_read_to_protocol(TLSProtocol *p)
{
    char record[TLS_RECORD_MAX];
    Py_ssize_t n = tls_read_some(p, record, sizeof record), outcome = TLS_AGAIN;
    if (n <= 0) {
        return n;
    }
    int rc;
    if (p->engine.exhausted) {
        if (LIKELY(p->app.sink != NULL)) {
            return protocol_call_on_bytes(&p->app, record, (size_t)n) < 0 ? TLS_ERROR : TLS_AGAIN;
        }
    }
    else if ((rc = tls_read_to_holder(p, record, n, &outcome)) != 0) {
        return rc < 0 ? TLS_ERROR : outcome;
    }
    PyObject *data =
        p->engine.exhausted ? PyBytes_FromStringAndSize(record, n) : tls_read_rest(p, record, (size_t)n, &outcome);
    rc = data == NULL ? -1 : 0;
    if (LIKELY(data != NULL && p->app.object != NULL)) { /* the program's own read() may have ended the connection */
        rc = protocol_call_data_received(p->loop->st, &p->app, data);
    }
    Py_XDECREF(data);
    return rc < 0 ? TLS_ERROR : outcome;
}

static inline bool
tls_read_may_go_on(const TLSProtocol *p)
{
    return !p->reading_paused && (p->state == TLS_WRAPPED || p->state == TLS_FLUSHING) && p->app.object != NULL;
}

/* Fill the protocol's own buffer with the plaintext that can be had now. */
static Py_ssize_t
tls_read_into(TLSProtocol *p, Py_buffer *view, Py_ssize_t *n_read)
{
    Py_ssize_t n = 0;
    *n_read = 0;
    while (*n_read < view->len) {
        n = tls_read_some(p, (char *)view->buf + *n_read, (size_t)(view->len - *n_read));
        if (n <= 0) {
            return n;
        }
        *n_read += n;
        if (p->engine.exhausted) {
            return TLS_AGAIN;
        }
    }
    return n;
}

/* Ready entry: there was more than the protocol's buffer took. */
static int
tls_run_read_on(Loop *loop, PyObject *self, PyObject *arg)
{
    TLSProtocol *p = (TLSProtocol *)self;
    p->reads_on = false;
    if (p->transport == NULL || (p->state != TLS_WRAPPED && p->state != TLS_FLUSHING)) {
        return 0;
    }
    bool entered = tls_enter(p);
    int rc = tls_go_on(p);
    if (rc < 0) {
        rc = deferred_report(loop, tls_run_read_on, self, NULL, TLS_READ_ON_NAME, NULL, 0);
    }
    if (entered) {
        tls_leave(p);
    }
    return rc;
}

/* As asyncio, which goes on in the next pass, and says so before it tells the protocol: SystemExit and
 * KeyboardInterrupt then lose nothing. */
static int
tls_read_on_soon(TLSProtocol *p)
{
    if (p->reads_on) {
        return 0;
    }
    if (loop_check_closed(p->loop) < 0
        || deferred_push(p->loop, tls_run_read_on, (PyObject *)p, NULL, TLS_READ_ON_NAME) < 0) {
        return -1;
    }
    p->reads_on = true;
    return 0;
}

/* Call buffer_updated of asked, whose buffer was filled. If another BufferedProtocol was set meanwhile, call that
 * one's, as asyncio does. */
static int
tls_read_call_updated(TLSProtocol *p, PyObject *asked, Py_ssize_t n_read)
{
    struct protocol told = {.object = p->app.is_buffered && p->app.object != NULL ? p->app.object : asked};
    return protocol_call_buffer_updated(p->loop->st, &told, n_read);
}

/* One buffer of a BufferedProtocol, which is asked for as asyncio does: though it may be that nothing comes to be put
 * into it.  What get_buffer() has done meanwhile changes nothing, as on asyncio, but that after close() the rest has
 * been delivered. */
static Py_ssize_t
tls_read_to_buffer(TLSProtocol *p)
{
    struct state *st = p->loop->st;
    Py_buffer view;
    Py_ssize_t n_read = 0, n_fed = p->engine.ops->n_fed(&p->engine);
    if (n_fed < 0) {
        return TLS_ERROR;
    }
    PyObject *asked = Py_NewRef(p->app.object);
    if (protocol_call_get_buffer(st, &p->app, n_fed, &view) < 0) {
        Py_DECREF(asked);
        return TLS_ERROR;
    }
    Py_ssize_t outcome = p->state == TLS_SHUTDOWN ? TLS_AGAIN : tls_read_into(p, &view, &n_read);
    bool has_more = outcome > 0;
    PyBuffer_Release(&view);
    if (has_more && tls_read_on_soon(p) < 0) {
        outcome = TLS_ERROR;
    }
    if (outcome != TLS_ERROR && n_read > 0 && tls_read_call_updated(p, asked, n_read) < 0) {
        outcome = TLS_ERROR;
    }
    Py_DECREF(asked);
    return has_more && outcome != TLS_ERROR ? TLS_AGAIN : outcome;
}

/* While the loop goes on each pass fills one buffer; at the end all that is left is delivered.  A protocol that was
 * replaced while it was served, by one of another kind, gets what is left. */
static Py_ssize_t
tls_read_to_app(TLSProtocol *p)
{
    Py_ssize_t outcome;
    do {
        outcome = p->app.is_buffered && p->app.sink == NULL ? tls_read_to_buffer(p) : tls_read_to_protocol(p);
    } while (outcome == TLS_AGAIN && !p->engine.exhausted && (!p->reads_on || p->state == TLS_FLUSHING)
             && tls_read_may_go_on(p));
    return outcome;
}

/* What libssl itself has to say: the end of the handshake, an answer to a KeyUpdate; and writes that waited for it. */
static int
tls_read_answer(TLSProtocol *p)
{
    const char *ignored;
    Py_ssize_t n_output = p->engine.ops->output(&p->engine, &ignored);
    if (UNLIKELY(n_output < 0)) {
        return tls_fail(p, "Fatal error on SSL protocol");
    }
    if ((n_output > 0 || p->backlog.n > 0) && tls_write_soon(p) < 0) {
        return -1;
    }
    return tls_control_reading(p);
}

static int
tls_read(TLSProtocol *p)
{
    if (!tls_read_may_go_on(p)) {
        return p->state == TLS_WRAPPED ? tls_read_answer(p) : tls_control_reading(p);
    }
    Py_ssize_t outcome = tls_read_to_app(p);
    if (UNLIKELY(outcome == TLS_ERROR)) {
        return tls_fail(p, "Fatal error on SSL protocol");
    }
    if (UNLIKELY(outcome == TLS_END) && (tls_call_eof_received(p) < 0 || tls_close(p) < 0)) {
        return -1;
    }
    return tls_read_answer(p);
}

static int
tls_read_discard(TLSProtocol *p)
{
    char record[TLS_RECORD_MAX];
    Py_ssize_t n;
    do {
        n = tls_read_some(p, record, sizeof record);
    } while (n > 0);
    return (int)n;
}
