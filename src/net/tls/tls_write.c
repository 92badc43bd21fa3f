/* net/tls/tls_write.c -- from the user's writes to ciphertext, and the flow control of it. */
#include "net/tls/tls.h"

#include <string.h>

static inline bool
tls_is_pulled(const TLSProtocol *p)
{
    return LIKELY(p->raw != NULL) && p->transport != NULL && p->raw->protocol.object == (PyObject *)p;
}

/* ---- flow control */

static size_t
tls_write_n_bytes(TLSProtocol *p)
{
    const char *ignored;
    Py_ssize_t n_output = p->engine.ops->output(&p->engine, &ignored);
    if (n_output < 0) {
        PyErr_Clear();
        n_output = 0;
    }
    return p->backlog.n_bytes + (size_t)n_output + (tls_is_pulled(p) ? p->raw->out.n_bytes : 0);
}

static COLD int
tls_write_call_flow(TLSProtocol *p, int (*call)(struct state *, struct protocol *), const char *message)
{
    if (p->app.object == NULL) {
        return 0;
    }
    bool entered = tls_enter(p);
    int rc = call(p->loop->st, &p->app);
    if (rc < 0) {
        rc = loop_report(p->loop, message, "transport",
                         p->app_transport != NULL ? (PyObject *)p->app_transport : Py_None, "protocol", p, NULL);
    }
    if (entered) {
        tls_leave(p);
    }
    return rc;
}

/* For a socket's transport: what asyncio's would have been handed by now.  It holds, by its count, what the real one
 * has queued and the backlog but its last n_held bytes; above its high mark it takes no more until it is down to its
 * low one, then all there is. */
static void
tls_write_settle(TLSProtocol *p)
{
    const Transport *raw = p->raw;
    size_t n_all = raw->out.n_bytes + p->backlog.n_bytes;
    /* a part of what was held has gone: it had room */
    bool has_room = p->n_held > p->backlog.n_bytes || n_all - p->n_held <= raw->low_bytes;
    if (!p->below_full || has_room) {
        p->n_held = 0;
        p->below_full = n_all > raw->high_bytes;
    }
}

/* What the user's water marks are compared with. */
static size_t
tls_write_n_above(TLSProtocol *p)
{
    if (!tls_is_pulled(p)) {
        return tls_write_n_bytes(p);
    }
    tls_write_settle(p);
    return p->n_held;
}

static int
tls_write_control(TLSProtocol *p, bool limits_are_new)
{
    if (LIKELY(!p->writing_paused && p->backlog.n_bytes == 0 && p->high_bytes >= TLS_WRITE_CHUNK * 2)) {
        return 0; /* what the transport below holds is less than that */
    }
    size_t n_bytes = tls_write_n_above(p);
    if (!p->writing_paused && n_bytes >= p->high_bytes && (n_bytes > 0 || limits_are_new)) {
        p->writing_paused = true;
        return tls_write_call_flow(p, protocol_call_pause_writing, "protocol.pause_writing() failed");
    }
    if (p->writing_paused && n_bytes <= p->low_bytes) {
        p->writing_paused = false;
        return tls_write_call_flow(p, protocol_call_resume_writing, "protocol.resume_writing() failed");
    }
    return 0;
}

/* ---- encrypting */

/* Several small pieces make one record. Returns its length. */
static size_t
tls_write_gather(const struct outq *q, char *record)
{
    struct iovec iov[SOCK_IOV_MAX];
    size_t sum, n_bytes = 0;
    int n = outq_fill_iov(q, iov, SOCK_IOV_MAX, &sum);
    for (int i = 0; i < n && n_bytes < TLS_RECORD_MAX; i++) {
        size_t length = iov[i].iov_len < TLS_RECORD_MAX - n_bytes ? iov[i].iov_len : TLS_RECORD_MAX - n_bytes;
        memcpy(record + n_bytes, iov[i].iov_base, length);
        n_bytes += length;
    }
    return n_bytes;
}

/* Encrypt the beginning of the backlog: a large piece from where it lies, small ones together.  The number of bytes,
 * TLS_AGAIN, TLS_ERROR. */
static Py_ssize_t
tls_write_encrypt_some(TLSProtocol *p, size_t n_max)
{
    char record[TLS_RECORD_MAX];
    struct iovec first = {0};
    size_t n_bytes;
    outq_fill_iov(&p->backlog, &first, 1, &n_bytes);
    PyObject *piece = Py_NewRef(p->backlog.items[p->backlog.head]);
    if (p->backlog.n > 1 && n_bytes < TLS_RECORD_MAX) {
        first.iov_base = record;
        n_bytes = tls_write_gather(&p->backlog, record);
    }
    Py_ssize_t n = p->engine.ops->write(&p->engine, first.iov_base, n_bytes < n_max ? n_bytes : n_max);
    Py_DECREF(piece);
    if (n > 0 && (size_t)n <= p->backlog.n_bytes) { /* it may have been cleared */
        outq_advance(&p->backlog, (size_t)n);
    }
    return n;
}

/* Into the engine's output, a chunk at most. TLS_AGAIN: the engine must read first; TLS_ERROR; else > 0. */
static Py_ssize_t
tls_write_encrypt(TLSProtocol *p)
{
    Py_ssize_t done = 0;
    while (p->backlog.n > 0 && done < TLS_WRITE_CHUNK) {
        Py_ssize_t n = tls_write_encrypt_some(p, TLS_WRITE_CHUNK);
        if (n <= 0) {
            return n;
        }
        done += n;
    }
    return 1;
}

/* Give the engine's output to the transport below. */
static int
tls_write_output(TLSProtocol *p)
{
    const char *bytes;
    Py_ssize_t n = p->engine.ops->output(&p->engine, &bytes);
    if (n <= 0) {
        return (int)n;
    }
    if (LIKELY(tls_is_pulled(p) && p->raw->out.n == 0)) {
        Transport *raw = p->raw;
        Py_INCREF(raw);
        int rc = transport_send_now(raw, bytes, (size_t)n);
        Py_DECREF(raw);
        p->engine.ops->drop(&p->engine);
        return rc;
    }
    PyObject *data = PyBytes_FromStringAndSize(bytes, n);
    p->engine.ops->drop(&p->engine);
    int rc = data == NULL ? -1 : tls_call_below(p, "write", data);
    Py_XDECREF(data);
    return rc;
}

static inline bool
tls_write_is_blocked(const TLSProtocol *p)
{
    return p->transport == NULL || p->below_writing_paused
           || (tls_is_pulled(p) && (p->raw->out.n > 0 || p->raw->n_lost > 0));
}

/* Can more be sent?  An answer of libssl's, too: a transport that is not ours may deliver the peer's reply inside of
 * write(). */
static inline bool
tls_write_has_more(TLSProtocol *p, bool can_encrypt)
{
    const char *ignored;
    if (tls_write_is_blocked(p)) {
        return false;
    }
    if (can_encrypt && p->backlog.n > 0 && (p->state == TLS_WRAPPED || p->state == TLS_FLUSHING)) {
        return true;
    }
    /* an error: seen again by who sends it */
    return !tls_is_pulled(p) && p->engine.ops->output(&p->engine, &ignored) != 0;
}

static int
tls_write_flush(TLSProtocol *p)
{
    Py_ssize_t rc = 1;
    if (p->writing || tls_write_is_blocked(p)) {
        return tls_write_control(p, false);
    }
    if (UNLIKELY(p->below_full) && tls_is_pulled(p)) {
        tls_write_settle(p);
    }
    Loop *loop = p->loop;
    p->writing = true;
    p->n_busy++;
    p->engine.ops->start_writing(&p->engine, &loop->net->tls_output);
    do {
        if (p->state == TLS_WRAPPED || p->state == TLS_FLUSHING) {
            rc = tls_write_encrypt(p);
        }
        if (rc != TLS_ERROR && tls_write_output(p) < 0) {
            rc = TLS_ERROR;
        }
    } while (rc != TLS_ERROR && tls_write_has_more(p, rc > 0));
    p->engine.ops->stop_writing(&p->engine, &loop->net->tls_output);
    p->writing = false;
    p->n_busy--;
    if (UNLIKELY(rc == TLS_ERROR)) {
        return tls_fail(p, "Fatal error on SSL protocol");
    }
    return tls_write_control(p, false);
}

/* ---- what the transport above and the handshake ask for */

static COLD void
tls_write_alert(TLSProtocol *p)
{
    if (p->writing || tls_write_is_blocked(p)) {
        return;
    }
    p->n_busy++;
    if (tls_write_output(p) < 0) {
        PyErr_Clear(); /* the handshake's own exception says more */
    }
    p->n_busy--;
}

static bool
tls_write_is_open(TLSProtocol *p)
{
    return p->state == TLS_HANDSHAKE || p->state == TLS_WRAPPED;
}

static COLD int
tls_write_count_lost(TLSProtocol *p)
{
    return transport_count_lost(p->loop->st, &p->n_lost, "SSL connection is closed");
}

static int
tls_write(TLSProtocol *p, PyObject *data)
{
    if (LIKELY(PyBytes_CheckExact(data))) {
        p->n_held += UNLIKELY(p->below_full) ? (size_t)PyBytes_GET_SIZE(data) : 0;
        return PyBytes_GET_SIZE(data) == 0 ? 0 : outq_push(&p->backlog, Py_NewRef(data));
    }
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    PyObject *copy = view.len == 0 ? NULL : PyBytes_FromStringAndSize(view.buf, view.len);
    int rc = view.len == 0 ? 0 : copy == NULL ? -1 : outq_push(&p->backlog, copy);
    p->n_held += rc == 0 && p->below_full ? (size_t)view.len : 0;
    PyBuffer_Release(&view);
    return rc;
}

static int
tls_write_soon(TLSProtocol *p)
{
    Transport *raw = p->raw;
    if (UNLIKELY(!tls_is_pulled(p))) {
        return tls_write_flush(p);
    }
    if ((raw->write_watched && raw->out.n > 0) || raw->n_lost > 0 || p->below_writing_paused || p->writing) {
        return tls_write_control(p, false); /* the transport below will ask */
    }
    size_t limit = p->high_bytes < TRANSPORT_GATHER_MAX ? p->high_bytes : TRANSPORT_GATHER_MAX;
    bool is_first = !p->has_spoken && p->state == TLS_WRAPPED && p->backlog.n > 0;
    if (LIKELY(p->backlog.n_bytes <= limit && transport_gathers(raw) && !is_first)) {
        transport_list_flush(raw);
        return 0;
    }
    p->has_spoken |= is_first;
    return transport_flush(raw) < 0 ? -1 : tls_write_control(p, false);
}
