/* net/tls/tls_engine.h -- what turns ciphertext into plaintext and back, for net/tls/tls.h; two of them behind one
 * table.
 *
 * The handshake, its errors and all that programs ask of a connection go through a real ssl.SSLObject in both.  They
 * differ in the data path: tls_direct calls libssl itself, tls_portable the SSLObject's methods.  An engine knows
 * nothing of loops, transports and protocols.
 *
 *     bytes from the peer -- feed --> [input] -- read --> plaintext        plaintext -- write --> [output] --
 * output/drop --> bytes for the peer
 *
 * read and write answer a number > 0, or one of the outcomes below.  After TLS_AGAIN from read nothing comes until the
 * next feed.  An exception is just what the SSLObject's own method would have raised.  OpenSSL's error queue is empty
 * after every call. feed borrows the bytes until settle, which copies what was not consumed: call it before the bytes
 * go. Python code may run inside every call (the callbacks of an SSLContext in a handshake, also a later one): hold the
 * owner, look again afterwards. A closed engine takes everything and gives nothing. Ownership: owns everything in it.
 * Idle (nothing fed, no output): no buffers.  Thread: the loop's, GIL held. */
#ifndef ASYNCLOOP_NET_TLS_ENGINE_H
#define ASYNCLOOP_NET_TLS_ENGINE_H

#include "core/state.h"
#include "net/tls/openssl.h"

enum tls_outcome {
    TLS_END = 0,    /* read: the peer sent close_notify */
    TLS_ERROR = -1, /* with the exception set */
    TLS_AGAIN = -2, /* more ciphertext is needed first */
};

struct tls_engine;

struct tls_engine_ops {
    const char *name;
    int (*feed)(struct tls_engine *e, const char *bytes, size_t n_bytes); /* 0, or -1 */
    int (*settle)(struct tls_engine *e);
    Py_ssize_t (*n_fed)(struct tls_engine *e); /* ciphertext not consumed; -1 on error */
    Py_ssize_t (*read)(struct tls_engine *e, char *buffer, size_t n_bytes);
    /* Between start_writing and stop_writing output may lie in *shared, a buffer that all engines of a loop use in turn
     * (NULL: none yet). */
    void (*start_writing)(struct tls_engine *e, void **shared);
    Py_ssize_t (*write)(struct tls_engine *e, const char *bytes, size_t n_bytes);
    void (*stop_writing)(struct tls_engine *e, void **shared); /* output that was not dropped stays with e */
    Py_ssize_t (*output)(struct tls_engine *e, const char **bytes); /* how much there is, and where; -1 on error */
    void (*drop)(struct tls_engine *e); /* that has been sent */
    int (*shutdown)(struct tls_engine *e); /* close_notify into the output. 0, or -1 */
    void (*close)(struct tls_engine *e); /* lets everything go; not inside of another call */
};

struct tls_engine {
    const struct tls_engine_ops *ops; /* NULL: not opened */
    const struct state *st;
    PyObject *object; /* ssl.SSLObject */
    /* its _ssl._SSLSocket; tls_portable: the object itself where that is not a plain SSLObject */
    PyObject *native;
    bool exhausted; /* nothing fed is left to be read */
    bool ended; /* close_notify has come */
    union {
        struct {
            const struct openssl *openssl;
            PyObject *openssl_owner; /* the capsule: an engine may outlive the module's state */
            SSL *ssl;
            struct openssl_buffer *in, *own_out, *out; /* lent to the two BIOs; out is own_out or the shared one */
            char *rest; /* what the input BIO shows outside of feed */
        } direct;
        struct {
            PyObject *incoming, *outgoing; /* ssl.MemoryBIO */
            PyObject *taken; /* bytes out of outgoing, or NULL */
        } portable;
    };
};

#endif
