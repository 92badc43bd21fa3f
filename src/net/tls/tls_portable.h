/* net/tls/tls_portable.h -- the engine that works with every ssl module: MemoryBIO objects and the SSLObject's own
 * methods.  See tls_engine.h.
 *
 * An SSLWantReadError costs more than a record, so read() is only called while the reading BIO or the SSLObject has
 * something pending. */
#ifndef ASYNCLOOP_NET_TLS_PORTABLE_H
#define ASYNCLOOP_NET_TLS_PORTABLE_H

#include "net/tls/tls_engine.h"

/* object: what SSLContext.wrap_bio(incoming, outgoing) made. 0, or -1. */
static int tls_portable_open(struct state *st, struct tls_engine *e, PyObject *object, PyObject *incoming,
                             PyObject *outgoing) MUST_CHECK;

/* Let go of the objects; the engine is closed. */
static void tls_portable_end(struct tls_engine *e);

/* The exception that a method of an SSLObject raised: TLS_AGAIN, and nothing raised any more, when it only waits; else
 * TLS_ERROR. */
static Py_ssize_t tls_portable_outcome(const struct tls_engine *e) MUST_CHECK;

#endif
