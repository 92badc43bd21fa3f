/* net/stream/stream_writer.h -- StreamWriter: what a program holds to write to a transport.
 *
 * write() goes straight to the C write of a transport that is exactly ours and has no attributes of its own.  drain()
 * where nobody has to wait returns in its first step.  A writer that is dropped while its transport is open closes it,
 * with a ResourceWarning.
 *
 * transport == NULL: __init__ never ran.  complete: the done future of _complete_fut, made when first asked for.
 * Ownership: owns everything it points to.  Errors: 0/-1 with the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_STREAM_WRITER_H
#define ASYNCLOOP_NET_STREAM_WRITER_H

#include "net/stream/stream.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop, *transport, *protocol, *reader; /* reader may be NULL */
    PyObject *complete;
    PyObject *dict, *weakrefs;
} StreamWriter;

static int stream_writer_register(PyObject *module, struct state *st) MUST_CHECK;

/* A new one. All borrowed; reader may be None. */
static PyObject *stream_writer_new(struct state *st, PyObject *transport, PyObject *protocol, PyObject *reader,
                                   PyObject *loop);

#endif
