/* net/tls/tls_write.c -- from the user's writes to ciphertext, and the flow control of it. */
#include "net/tls/tls.h"

#include <string.h>

static inline bool
tls_is_pulled(const TLSProtocol *p)
{
    return LIKELY(p->raw != NULL) && p->transport != NULL && p->raw->protocol.object == (PyObject *)p;
}

/* ---- flow control */

/* How long the records of this connection are, by the name of its cipher. Where a block cipher is used, so is
 * encrypt-then-MAC, unless the peer is very old. */
static struct tls_sealing
tls_write_sealing_of(const char *cipher, const char *version)
{
    enum { HEADER = 5, TAG = 16, SHORT_TAG = 8, KIND = 1, NONCE = 8, BLOCK = 16 };
    size_t length = strlen(cipher);
    bool is_short = strstr(cipher, "CCM8") != NULL || strstr(cipher, "CCM_8") != NULL;
    uint8_t tag = is_short ? SHORT_TAG : TAG;
    if (strcmp(version, "TLSv1.3") == 0) {
        return (struct tls_sealing){HEADER + KIND + tag, 0};
    }
    if (strstr(cipher, "GCM") != NULL || strstr(cipher, "CCM") != NULL) {
        return (struct tls_sealing){HEADER + NONCE + tag, 0};
    }
    if (strstr(cipher, "CHACHA20") != NULL) {
        return (struct tls_sealing){HEADER + TAG, 0};
    }
    uint8_t mac = length >= 6 && strcmp(cipher + length - 6, "SHA384") == 0   ? 48
                  : length >= 6 && strcmp(cipher + length - 6, "SHA256") == 0 ? 32
                                                                              : 20;
    return (struct tls_sealing){HEADER + BLOCK + mac, BLOCK};
}

/* Asks the SSLObject, once. */
static COLD void
tls_write_learn_sealing(TLSProtocol *p)
{
    PyObject *raised = compat_take_raised();
    PyObject *object = Py_XNewRef(p->engine.object);
    PyObject *answer = object == NULL ? NULL : PyObject_CallMethod(object, "cipher", NULL);
    const char *cipher, *version;
    int bits;
    if (answer != NULL && PyTuple_Check(answer) && PyArg_ParseTuple(answer, "ssi", &cipher, &version, &bits)) {
        p->sealing = tls_write_sealing_of(cipher, version);
    }
    PyErr_Clear(); /* of a connection that is over: then nothing is added */
    Py_XDECREF(answer);
    Py_XDECREF(object);
    compat_set_raised(raised);
}

/* The length of the records that hold n_bytes of plaintext, written at once. */
static size_t
tls_write_sealed(TLSProtocol *p, size_t n_bytes)
{
    if (p->sealing.n_added == 0 && p->state != TLS_HANDSHAKE) {
        tls_write_learn_sealing(p);
    }
    const struct tls_sealing s = p->sealing;
    size_t n_full = n_bytes / TLS_RECORD_MAX, last = n_bytes % TLS_RECORD_MAX;
    if (s.block == 0) {
        return n_bytes + (n_full + (last > 0)) * s.n_added;
    }
    size_t full = (TLS_RECORD_MAX / s.block + 1) * s.block + s.n_added;
    return n_full * full + (last == 0 ? 0 : (last / s.block + 1) * s.block + s.n_added);
}

/* A piece of the backlog that asyncio's TLS layer would keep, sealed. */
static COLD void
tls_write_hold(TLSProtocol *p, size_t n_bytes)
{
    p->n_held += n_bytes;
    p->n_held_sealed += tls_write_sealed(p, n_bytes);
}

static inline void
tls_write_hold_nothing(TLSProtocol *p)
{
    p->n_held = p->n_held_sealed = 0;
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
    bool has_room = p->n_held > p->backlog.n_bytes || n_all - p->n_held <= raw->limits.low_bytes;
    if (!p->below_full || has_room) {
        tls_write_hold_nothing(p);
        p->below_full = n_all > raw->limits.high_bytes;
    }
}

static size_t
tls_write_n_above(TLSProtocol *p)
{
    const char *ignored;
    if (tls_is_pulled(p)) {
        tls_write_settle(p);
        return p->n_held_sealed;
    }
    Py_ssize_t n_output = p->engine.ops->output(&p->engine, &ignored);
    if (n_output < 0) {
        PyErr_Clear();
        n_output = 0;
    }
    return (size_t)n_output + p->n_held_sealed;
}

static int
tls_write_control(TLSProtocol *p, bool limits_are_new)
{
    if (LIKELY(!p->writing_paused && p->backlog.n_bytes == 0 && p->limits.high_bytes >= TLS_WRITE_CHUNK * 2)) {
        return 0; /* what the transport below holds is less than that */
    }
    size_t n_bytes = tls_write_n_above(p);
    if (!p->writing_paused && n_bytes >= p->limits.high_bytes && (n_bytes > 0 || limits_are_new)) {
        p->writing_paused = true;
        return tls_write_call_flow(p, protocol_call_pause_writing, "protocol.pause_writing() failed");
    }
    if (p->writing_paused && n_bytes <= p->limits.low_bytes) {
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
 * write().  n_due: what is left of the bytes that waited when the flush began.  asyncio gives them to such a transport
 * in one write(), so they go on to it even if it wants a pause meanwhile; what came since then waits. */
static inline bool
tls_write_has_more(TLSProtocol *p, bool can_encrypt, size_t n_due)
{
    const char *ignored;
    if (tls_write_is_blocked(p) && (n_due == 0 || !can_encrypt || tls_is_pulled(p) || p->transport == NULL)) {
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
    size_t n_due = p->backlog.n_bytes;
    do {
        if (p->state == TLS_WRAPPED || p->state == TLS_FLUSHING) {
            size_t n_before = p->backlog.n_bytes;
            rc = tls_write_encrypt(p);
            size_t n_taken = n_before > p->backlog.n_bytes ? n_before - p->backlog.n_bytes : 0;
            n_due -= n_taken < n_due ? n_taken : n_due;
        }
        if (rc != TLS_ERROR && tls_write_output(p) < 0) {
            rc = TLS_ERROR;
        }
    } while (rc != TLS_ERROR && tls_write_has_more(p, rc > 0, n_due));
    p->engine.ops->stop_writing(&p->engine, &loop->net->tls_output);
    p->writing = false;
    p->n_busy--;
    if (p->backlog.n == 0 && !tls_is_pulled(p)) {
        tls_write_hold_nothing(p);
    }
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
    PyObject *piece;
    if (LIKELY(PyBytes_CheckExact(data))) {
        piece = Py_NewRef(data);
    }
    else {
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
            return -1;
        }
        piece = PyBytes_FromStringAndSize(view.buf, view.len);
        PyBuffer_Release(&view);
        if (piece == NULL) {
            return -1;
        }
    }
    size_t n_bytes = (size_t)PyBytes_GET_SIZE(piece);
    if (UNLIKELY(n_bytes == 0)) {
        Py_DECREF(piece);
        return 0;
    }
    if (outq_push(&p->backlog, piece) < 0) {
        return -1;
    }
    if (UNLIKELY(p->below_full) || UNLIKELY(!tls_is_pulled(p))) {
        tls_write_hold(p, n_bytes);
    }
    return 0;
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
    size_t limit = p->limits.high_bytes < TRANSPORT_GATHER_MAX ? p->limits.high_bytes : TRANSPORT_GATHER_MAX;
    bool is_first = !p->has_spoken && p->state == TLS_WRAPPED && p->backlog.n > 0;
    if (LIKELY(p->backlog.n_bytes <= limit && transport_gathers(raw) && !is_first)) {
        transport_list_flush(raw);
        return 0;
    }
    p->has_spoken |= is_first;
    return transport_flush(raw) < 0 ? -1 : tls_write_control(p, false);
}
