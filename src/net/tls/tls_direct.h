/* net/tls/tls_direct.h -- the engine that calls SSL_read and SSL_write on the SSL* of an ssl.SSLObject.  See
 * tls_engine.h and openssl.h.
 *
 * The object's two memory BIOs are lent buffers: the reading one shows the very bytes the socket's read has left, the
 * writing one fills a buffer that all connections of the loop share while it writes, and one of its own otherwise
 * (handshake, alerts, key updates; freed when sent).
 *
 * When libssl fails the SSLObject's own read or write is called right after it, with OpenSSL's error queue as it is: a
 * connection that failed fails again without another entry in the queue, so the exception is asyncio's, with library,
 * reason and text. What the program itself does with the SSLObject (write, do_handshake after
 * verify_client_post_handshake) lands in the own buffer, and leaves. */
#ifndef ASYNCLOOP_NET_TLS_DIRECT_H
#define ASYNCLOOP_NET_TLS_DIRECT_H

#include "net/tls/tls_engine.h"

/* object: an ssl.SSLObject over MemoryBIOs that nobody else holds. 1, 0 when this engine cannot serve it, or -1. */
static int tls_direct_open(struct state *st, struct tls_engine *e, PyObject *object) MUST_CHECK;
static void tls_direct_free_shared(struct state *st, void *shared); /* what start_writing made */

#endif
