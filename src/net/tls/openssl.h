/* net/tls/openssl.h -- the OpenSSL that Python's `_ssl` module uses, reached without its headers.
 *
 * `_ssl` has loaded a libssl and a libcrypto; openssl_load finds some of their functions there, so that bytes can be
 * given to SSL_read and SSL_write of the very SSL* of an ssl.SSLObject.  Nothing is linked at build time, and a second
 * copy of OpenSSL is never touched.
 *
 * Where the SSL* lies in `_ssl._SSLSocket` is knowledge of CPython's: a pointer after the object's head and one more
 * pointer; the SSL_CTX* follows the head of `_ssl._SSLContext`.  openssl_load proves both on an object made for it: the
 * context behind the SSL* is the one at hand, the server name that ssl was told is the one SSL_get_servername tells,
 * the version text of the library is ssl.OPENSSL_VERSION, and a memory BIO shows bytes that were lent to it.  Any other
 * answer, a library that is not OpenSSL, or a CPython newer than those tried: NULL, and TLS goes through Python's own
 * objects (net/tls/tls_portable.h).
 *
 * Lending: BIO_C_SET_BUF_MEM makes a memory BIO use a BUF_MEM of the caller's; with BIO_NOCLOSE it stays the caller's.
 * So ciphertext is read from where the socket put it and records are written into one buffer of the loop's: nothing is
 * copied, and idle connections keep no buffer.
 *
 * Ownership: a capsule owns the table; the state holds it until it is freed, and so does each engine that calls what is
 * in it.  Errors: openssl_load never fails, it finds nothing.  Threads: the GIL is held. */
#ifndef ASYNCLOOP_NET_OPENSSL_H
#define ASYNCLOOP_NET_OPENSSL_H

#include "core/state.h"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct bio_st BIO;
struct openssl_buffer { /* BUF_MEM */
    size_t length;
    char *data;
    size_t max;
    unsigned long flags;
};

enum { /* numbers of OpenSSL's interface, the same in all its versions */
       OPENSSL_BIO_CTRL_INFO = 3,
       OPENSSL_BIO_CTRL_PENDING = 10,
       OPENSSL_BIO_C_SET_BUF_MEM = 114,
       OPENSSL_BIO_NOCLOSE = 0,
       OPENSSL_BIO_CLOSE = 1,
       OPENSSL_CTRL_MODE = 33,
       OPENSSL_MODE_RELEASE_BUFFERS = 0x10,
       OPENSSL_NAMETYPE_HOST = 0,
       OPENSSL_ERROR_WANT_READ = 2,
       OPENSSL_ERROR_WANT_WRITE = 3,
       OPENSSL_ERROR_ZERO_RETURN = 6,
};

#define OPENSSL_FUNCTIONS(X)                                                                                                 \
    X(int, SSL_read, (SSL *, void *, int))                                                                                   \
    X(int, SSL_write, (SSL *, const void *, int))                                                                            \
    X(int, SSL_shutdown, (SSL *))                                                                                            \
    X(int, SSL_get_error, (const SSL *, int))                                                                                \
    X(long, SSL_ctrl, (SSL *, int, long, void *))                                                                            \
    X(BIO *, SSL_get_rbio, (const SSL *))                                                                                    \
    X(BIO *, SSL_get_wbio, (const SSL *))                                                                                    \
    X(SSL_CTX *, SSL_get_SSL_CTX, (const SSL *))                                                                             \
    X(const char *, SSL_get_servername, (const SSL *, int))                                                                  \
    X(const char *, OpenSSL_version, (int))                                                                                  \
    X(unsigned long, ERR_peek_error, (void))                                                                                 \
    X(void, ERR_clear_error, (void))                                                                                         \
    X(long, BIO_ctrl, (BIO *, int, long, void *))                                                                            \
    X(struct openssl_buffer *, BUF_MEM_new, (void))                                                                          \
    X(void, BUF_MEM_free, (struct openssl_buffer *))

struct openssl {
#define DECLARE(type, name, parameters) type(*name) parameters;
    OPENSSL_FUNCTIONS(DECLARE)
#undef DECLARE
};

/* Look for libssl, the first time only. From then on st->openssl is a capsule or None.  0, or -1 with MemoryError or
 * what importing ssl raised. */
static int openssl_load(struct state *st) MUST_CHECK;
static const struct openssl *openssl_of(const struct state *st); /* NULL: not to be used */
/* Empty this thread's error queue. An error that somebody left there would pass for one of the next call. */
static inline void openssl_forget_errors(const struct openssl *o);
static SSL *openssl_ssl_borrowed(PyObject *native); /* of a _ssl._SSLSocket */

#endif
