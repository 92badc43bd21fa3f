/* net/tls_read.c -- from ciphertext to the user's protocol. */
#include "net/tls.h"

#include <string.h>

static inline Py_ssize_t
tls_read_some(TLSProtocol *p, char *buffer, size_t n_bytes)
{
    p->n_busy++;
    Py_ssize_t n = p->engine.ops->read(&p->engine, buffer, n_bytes);
    p->n_busy--;
    return n;
}

/* More than one record waits: decrypt them all into one bytes object, which begins with what was read already. NULL, *outcome: TLS_ERROR. */
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

/* data_received with all there is. TLS_AGAIN, TLS_END or TLS_ERROR, as for the next two. */
static Py_ssize_t
tls_read_to_protocol(TLSProtocol *p)
{
    char record[TLS_RECORD_MAX];
    Py_ssize_t n = tls_read_some(p, record, sizeof record), outcome = TLS_AGAIN;
    if (n <= 0) {
        return n;
    }
    PyObject *data = p->engine.exhausted ? PyBytes_FromStringAndSize(record, n) : tls_read_rest(p, record, (size_t)n, &outcome);
    int rc = data == NULL ? -1 : 0;
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

static Py_ssize_t
tls_read_to_sink(TLSProtocol *p)
{
    char record[TLS_RECORD_MAX];
    Py_ssize_t n;
    do {
        n = tls_read_some(p, record, sizeof record);
        if (n <= 0 || UNLIKELY(p->app.sink == NULL)) { /* the program's own read() may have ended the connection */
            return n <= 0 ? n : TLS_AGAIN;
        }
        if (protocol_call_on_bytes(&p->app, record, (size_t)n) < 0) {
            return TLS_ERROR;
        }
    } while (!p->engine.exhausted && tls_read_may_go_on(p) && p->app.sink != NULL);
    return TLS_AGAIN;
}

/* Fill the protocol's own buffer, as far as what is there goes. */
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

static Py_ssize_t
tls_read_to_buffer(TLSProtocol *p)
{
    struct state *st = p->loop->st;
    Py_ssize_t outcome, n_read = 0;
    do {
        Py_buffer view;
        if (p->engine.exhausted && !p->engine.ended) {
            return TLS_AGAIN; /* asyncio would ask for a buffer and put nothing into it */
        }
        if (protocol_call_get_buffer(st, &p->app, &view) < 0) {
            return TLS_ERROR;
        }
        outcome = tls_read_may_go_on(p) ? tls_read_into(p, &view, &n_read) : TLS_AGAIN;
        PyBuffer_Release(&view);
        if (outcome == TLS_ERROR || (n_read > 0 && p->app.object != NULL && protocol_call_buffer_updated(st, &p->app, n_read) < 0)) {
            return TLS_ERROR;
        }
    } while (outcome > 0 && tls_read_may_go_on(p) && p->app.is_buffered);
    return outcome > 0 ? TLS_AGAIN : outcome;
}

/* A protocol that was replaced while it was served, by one of another kind, gets what is left. */
static Py_ssize_t
tls_read_to_app(TLSProtocol *p)
{
    Py_ssize_t outcome;
    do {
        if (p->app.sink != NULL) {
            outcome = tls_read_to_sink(p);
        }
        else {
            outcome = p->app.is_buffered ? tls_read_to_buffer(p) : tls_read_to_protocol(p);
        }
    } while (outcome == TLS_AGAIN && !p->engine.exhausted && tls_read_may_go_on(p));
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
