/* net/tls/tls_direct.c -- the engine that calls libssl. */
#include "net/tls/tls_direct.h"

#include "net/tls/tls_portable.h"

#include <limits.h>
#include <string.h>

/* Show b through one of the connection's BIOs. */
static inline void
tls_direct_lend(const struct openssl *o, BIO *bio, struct openssl_buffer *b, int close)
{
    (void)o->BIO_ctrl(bio, OPENSSL_BIO_C_SET_BUF_MEM, close, b);
}

static inline void
tls_direct_show_input(struct tls_engine *e, char *bytes, size_t n_bytes)
{
    struct openssl_buffer *in = e->direct.in;
    in->data = bytes;
    in->length = in->max = n_bytes;
    tls_direct_lend(e->direct.openssl, e->direct.openssl->SSL_get_rbio(e->direct.ssl), in, OPENSSL_BIO_NOCLOSE);
}

/* What the BIO still has of what it was shown, and where. */
static inline size_t
tls_direct_left(struct tls_engine *e, char **where)
{
    const struct openssl *o = e->direct.openssl;
    long n = o->BIO_ctrl(o->SSL_get_rbio(e->direct.ssl), OPENSSL_BIO_CTRL_INFO, 0, where);
    return n > 0 ? (size_t)n : 0;
}

/* Input of our own: what was left, and more behind it. */
static COLD int
tls_direct_keep_input(struct tls_engine *e, const char *left, size_t n_left, const char *more, size_t n_more)
{
    char *rest = PyMem_Malloc(n_left + n_more);
    if (rest == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(rest, left, n_left);
    if (n_more > 0) {
        memcpy(rest + n_left, more, n_more);
    }
    tls_direct_show_input(e, rest, n_left + n_more);
    PyMem_Free(e->direct.rest);
    e->direct.rest = rest;
    return 0;
}

static int
tls_direct_feed(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    char *left = NULL;
    size_t n_left = e->exhausted ? 0 : tls_direct_left(e, &left);
    e->exhausted = false;
    if (UNLIKELY(n_left > 0)) {
        return tls_direct_keep_input(e, left, n_left, bytes, n_bytes);
    }
    PyMem_Free(e->direct.rest);
    e->direct.rest = NULL;
    tls_direct_show_input(e, (char *)bytes, n_bytes);
    return 0;
}

static int
tls_direct_settle(struct tls_engine *e)
{
    char *left = NULL;
    size_t n_left = e->exhausted ? 0 : tls_direct_left(e, &left);
    if (LIKELY(n_left == 0)) {
        if (UNLIKELY(e->direct.rest != NULL)) {
            tls_direct_show_input(e, NULL, 0);
            PyMem_Free(e->direct.rest);
            e->direct.rest = NULL;
        }
        *e->direct.in = (struct openssl_buffer){0}; /* the BIO keeps the address, but has no byte to read there */
        return 0;
    }
    if (e->direct.rest != NULL) {
        return 0; /* ours already */
    }
    if (tls_direct_keep_input(e, left, n_left, NULL, 0) < 0) {
        tls_direct_show_input(e, NULL, 0);
        return -1;
    }
    return 0;
}

static Py_ssize_t
tls_direct_n_fed(struct tls_engine *e)
{
    char *left;
    return e->exhausted ? 0 : (Py_ssize_t)tls_direct_left(e, &left);
}

/* libssl failed: is it only waiting, or what exception is it?  See the header. */
static COLD Py_ssize_t
tls_direct_on_failure(struct tls_engine *e, int rc, bool is_reading)
{
    const struct openssl *o = e->direct.openssl;
    switch (o->SSL_get_error(e->direct.ssl, rc)) {
    case OPENSSL_ERROR_WANT_READ:
    case OPENSSL_ERROR_WANT_WRITE:
        return TLS_AGAIN;
    case OPENSSL_ERROR_ZERO_RETURN:
        if (is_reading) {
            e->ended = true;
            return TLS_END;
        }
    }
    PyObject *done = is_reading ? PyObject_CallMethod(e->native, "read", "i", 1)
                                : PyObject_CallMethod(e->native, "write", "y#", "", (Py_ssize_t)0);
    openssl_forget_errors(o);
    if (done != NULL) {
        Py_DECREF(done);
        PyErr_SetString(PyExc_ConnectionError, "the TLS connection failed");
        return TLS_ERROR;
    }
    return tls_portable_outcome(e);
}

static Py_ssize_t
tls_direct_read(struct tls_engine *e, char *buffer, size_t n_bytes)
{
    const struct openssl *o = e->direct.openssl;
    if (e->exhausted) {
        return e->ended ? TLS_END : TLS_AGAIN;
    }
    openssl_forget_errors(o);
    int n = o->SSL_read(e->direct.ssl, buffer, n_bytes > INT_MAX ? INT_MAX : (int)n_bytes);
    if (LIKELY(n > 0)) {
        /* a record that did not fill the buffer has been read to its end */
        e->exhausted =
            (size_t)n < n_bytes && o->BIO_ctrl(o->SSL_get_rbio(e->direct.ssl), OPENSSL_BIO_CTRL_PENDING, 0, NULL) == 0;
        return n;
    }
    Py_ssize_t outcome = tls_direct_on_failure(e, n, true);
    e->exhausted = outcome == TLS_AGAIN;
    return outcome;
}

static void
tls_direct_start_writing(struct tls_engine *e, void **shared)
{
    const struct openssl *o = e->direct.openssl;
    struct openssl_buffer *out = *shared;
    *shared = NULL; /* taken out: whoever writes while we do makes another */
    if (out == NULL && (out = o->BUF_MEM_new()) == NULL) {
        openssl_forget_errors(o);
        return; /* the own one does too */
    }
    if (UNLIKELY(e->direct.own_out->length > 0)) { /* made by the program with the SSLObject: goes first */
        *shared = out;
        return;
    }
    out->length = 0;
    e->direct.out = out;
    tls_direct_lend(o, o->SSL_get_wbio(e->direct.ssl), out, OPENSSL_BIO_NOCLOSE);
}

static void
tls_direct_stop_writing(struct tls_engine *e, void **shared)
{
    const struct openssl *o = e->direct.openssl;
    struct openssl_buffer *out = e->direct.out;
    if (out == e->direct.own_out) {
        return;
    }
    if (UNLIKELY(out->length > 0)) { /* what came while it was sent cannot leave yet: it stays with this connection */
        o->BUF_MEM_free(e->direct.own_out);
        e->direct.own_out = out;
        return;
    }
    e->direct.out = e->direct.own_out;
    tls_direct_lend(o, o->SSL_get_wbio(e->direct.ssl), e->direct.own_out, OPENSSL_BIO_NOCLOSE);
    if (*shared == NULL) {
        *shared = out;
    }
    else {
        o->BUF_MEM_free(out);
    }
}

static void
tls_direct_free_shared(struct state *st, void *shared)
{
    if (shared != NULL) {
        openssl_of(st)->BUF_MEM_free(shared);
    }
}

static Py_ssize_t
tls_direct_write(struct tls_engine *e, const char *bytes, size_t n_bytes)
{
    const struct openssl *o = e->direct.openssl;
    openssl_forget_errors(o);
    int n = o->SSL_write(e->direct.ssl, bytes, n_bytes > INT_MAX ? INT_MAX : (int)n_bytes);
    return LIKELY(n > 0) ? n : tls_direct_on_failure(e, n, false);
}

static Py_ssize_t
tls_direct_output(struct tls_engine *e, const char **bytes)
{
    *bytes = e->direct.out->data;
    return (Py_ssize_t)e->direct.out->length;
}

static void
tls_direct_drop(struct tls_engine *e)
{
    const struct openssl *o = e->direct.openssl;
    struct openssl_buffer *out = e->direct.out;
    if (out == e->direct.own_out && out->max > 0) {
        struct openssl_buffer *fresh = o->BUF_MEM_new();
        if (fresh != NULL) {
            e->direct.out = e->direct.own_out = fresh;
            tls_direct_lend(o, o->SSL_get_wbio(e->direct.ssl), fresh, OPENSSL_BIO_NOCLOSE);
            o->BUF_MEM_free(out);
            return;
        }
        openssl_forget_errors(o);
    }
    out->length = 0;
    tls_direct_lend(o, o->SSL_get_wbio(e->direct.ssl), out, OPENSSL_BIO_NOCLOSE); /* the BIO has a copy of the length */
}

static int
tls_direct_shutdown(struct tls_engine *e)
{
    const struct openssl *o = e->direct.openssl;
    openssl_forget_errors(o);
    int rc = o->SSL_shutdown(e->direct.ssl);
    if (rc >= 0) {
        return 0;
    }
    switch (o->SSL_get_error(e->direct.ssl, rc)) {
    case OPENSSL_ERROR_WANT_READ:
    case OPENSSL_ERROR_WANT_WRITE:
        return 0;
    }
    PyObject *done = PyObject_CallMethod(e->native, "shutdown", NULL);
    openssl_forget_errors(o);
    Py_XDECREF(done);
    return done == NULL && tls_portable_outcome(e) == TLS_ERROR ? -1 : 0;
}

/* The buffers become the BIOs' own, as the program may hold the SSLObject for longer. */
static void
tls_direct_close(struct tls_engine *e)
{
    const struct openssl *o = e->direct.openssl;
    *e->direct.in = (struct openssl_buffer){0};
    tls_direct_lend(o, o->SSL_get_rbio(e->direct.ssl), e->direct.in, OPENSSL_BIO_CLOSE);
    tls_direct_lend(o, o->SSL_get_wbio(e->direct.ssl), e->direct.own_out, OPENSSL_BIO_CLOSE);
    PyMem_Free(e->direct.rest);
    e->direct.rest = NULL;
    PyObject *owner = e->direct.openssl_owner;
    e->direct.openssl_owner = NULL;
    tls_portable_end(e);
    Py_XDECREF(owner);
}

static const struct tls_engine_ops tls_direct_ops = {
    .name = "direct",
    .feed = tls_direct_feed,
    .settle = tls_direct_settle,
    .n_fed = tls_direct_n_fed,
    .read = tls_direct_read,
    .start_writing = tls_direct_start_writing,
    .write = tls_direct_write,
    .stop_writing = tls_direct_stop_writing,
    .output = tls_direct_output,
    .drop = tls_direct_drop,
    .shutdown = tls_direct_shutdown,
    .close = tls_direct_close,
};

/* Plain objects only: a subclass may have a read() of its own, and an exception of a message callback waits in the
 * SSLObject for its next call. */
static int
tls_direct_serves(struct state *st, PyObject *object, PyObject *native)
{
    if ((PyObject *)Py_TYPE(object) != st->SSLObject || (PyObject *)Py_TYPE(native) != st->native_ssl_socket) {
        return 0;
    }
    PyObject *context = PyObject_GetAttrString(object, "context");
    PyObject *callback = context == NULL ? NULL : PyObject_GetAttrString(context, "_msg_callback");
    int serves = callback == NULL ? -1 : callback == Py_None;
    Py_XDECREF(callback);
    Py_XDECREF(context);
    return serves;
}

static int
tls_direct_open(struct state *st, struct tls_engine *e, PyObject *object)
{
    const struct openssl *o = openssl_of(st);
    if (o == NULL) {
        return 0;
    }
    PyObject *native = PyObject_GetAttrString(object, "_sslobj");
    if (native == NULL) {
        PyErr_Clear();
        return 0;
    }
    int serves = tls_direct_serves(st, object, native);
    if (serves <= 0) {
        Py_DECREF(native);
        return serves;
    }
    SSL *ssl = openssl_ssl_borrowed(native);
    struct openssl_buffer *in = o->BUF_MEM_new(), *out = o->BUF_MEM_new();
    if (in == NULL || out == NULL) {
        o->BUF_MEM_free(in);
        o->BUF_MEM_free(out);
        openssl_forget_errors(o);
        Py_DECREF(native);
        PyErr_NoMemory();
        return -1;
    }
    e->ops = &tls_direct_ops;
    e->st = st;
    e->object = Py_NewRef(object);
    e->native = native;
    e->exhausted = true;
    e->direct.openssl = o;
    e->direct.openssl_owner = Py_NewRef(st->openssl);
    e->direct.ssl = ssl;
    e->direct.in = in;
    e->direct.out = e->direct.own_out = out;
    tls_direct_lend(o, o->SSL_get_rbio(ssl), in, OPENSSL_BIO_NOCLOSE);
    tls_direct_lend(o, o->SSL_get_wbio(ssl), out, OPENSSL_BIO_NOCLOSE);
    (void)o->SSL_ctrl(ssl, OPENSSL_CTRL_MODE, OPENSSL_MODE_RELEASE_BUFFERS, NULL);
    return 1;
}
