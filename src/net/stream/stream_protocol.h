/* net/stream/stream_protocol.h -- StreamReaderProtocol: between a transport and a StreamReader, and who lets
 * StreamWriter.drain() wait.
 *
 * It has what asyncio's inherits from FlowControlMixin.  It is a sink (net/conn/protocol.h): bytes of our transports go
 * into a plain reader's buffer with no Python call.  For a server it makes the writer in connection_made() and calls
 * client_connected_cb(reader, writer); a coroutine becomes a task.
 *
 * The reader is held weakly, as in asyncio: the program holds it, or the writer does.  Only until connection_made() a
 * server's protocol holds it itself. reader_ref: what _stream_reader_wr is: a weak reference, or NULL after
 * connection_lost().  loop == NULL: __init__ never ran. drain_waiters: a collections.deque of futures, made when first
 * needed.  closed: done by connection_lost(). Ownership: owns everything it points to.  Errors: 0/-1 with the exception
 * set.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_STREAM_PROTOCOL_H
#define ASYNCLOOP_NET_STREAM_PROTOCOL_H

#include "net/stream/stream.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop, *reader_ref, *strong_reader, *writer;
    PyObject *connected_cb, *task, *transport, *closed, *drain_waiters;
    PyObject *source_traceback;
    PyObject *dict, *weakrefs;
    bool paused, connection_lost, reject_connection, over_ssl;
} StreamProtocol;

static int stream_protocol_register(PyObject *module, struct state *st) MUST_CHECK;

static inline bool
stream_protocol_is_plain(struct state *st, PyObject *protocol)
{
    PyTypeObject *type = st->StreamReaderProtocol_type;
    return stream_is_plain(st, protocol, type, Py_IS_TYPE(protocol, type) ? ((StreamProtocol *)protocol)->dict : NULL);
}

/* A new one. reader, connected_cb: borrowed, or None. */
static PyObject *stream_protocol_new(struct state *st, PyObject *reader, PyObject *connected_cb, PyObject *loop);

/* _drain_helper() where nobody has to wait: 1 done, 0 the coroutine is needed, -1 ConnectionResetError. */
static inline int stream_protocol_check_drain(StreamProtocol *p) MUST_CHECK;

#endif
