/* net/stream/stream_reader.h -- StreamReader: bytes that a transport brings, for coroutines that read them.
 *
 * One reader coroutine at a time: it takes what it wants from the buffer, or waits on the reader's one future (waiter),
 * which the next bytes, the end or an exception finish.  Flow control: above twice the limit the transport is paused,
 * at the limit or below it is resumed.
 *
 * limit is what the program gave, any number; low_bytes and high_bytes are once and twice that, in bytes (what does not
 * fit is no limit). Invariant: paused => transport != NULL was told so.  loop == NULL: __init__ never ran. Ownership:
 * owns everything it points to.  Errors: 0/-1 with the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_STREAM_READER_H
#define ASYNCLOOP_NET_STREAM_READER_H

#include "net/stream/stream.h"
#include "net/stream/stream_buffer.h"

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    struct stream_buffer buffer;
    PyObject *waiter, *exception, *transport; /* or NULL */
    PyObject *limit;
    PyObject *source_traceback; /* debug mode: where it was made; or NULL */
    PyObject *dict, *weakrefs;
    Py_ssize_t low_bytes, high_bytes;
    bool eof, paused;
} StreamReader;

static int stream_reader_register(PyObject *module, struct state *st) MUST_CHECK;

static inline bool
stream_reader_is_plain(struct state *st, PyObject *reader)
{
    return stream_is_plain(st, reader, st->StreamReader_type,
                           Py_IS_TYPE(reader, st->StreamReader_type) ? ((StreamReader *)reader)->dict : NULL);
}

/* A new one. limit: borrowed. */
static PyObject *stream_reader_new(struct state *st, PyObject *limit, PyObject *loop);

/* feed_data() of bytes. n > 0. May run any code (the transport is paused). */
static inline int stream_reader_feed(StreamReader *r, struct state *st, const char *bytes, size_t n) MUST_CHECK;
/* The same of a plain reader if no Python code has to run for it: 1; 0: nothing was done; -1. */
static inline int stream_reader_try_feed(StreamReader *r, struct state *st, const char *bytes, size_t n) MUST_CHECK;
static int stream_reader_feed_eof(StreamReader *r, struct state *st) MUST_CHECK;
static int stream_reader_set_exception(StreamReader *r, struct state *st, PyObject *exception) MUST_CHECK;
static int stream_reader_set_transport(StreamReader *r, PyObject *transport) MUST_CHECK;
/* _maybe_resume_transport(): of the reader's own, or overridden. */
static inline int stream_reader_maybe_resume(StreamReader *r, struct state *st) MUST_CHECK;
static int stream_reader_resume(StreamReader *r, struct state *st) MUST_CHECK; /* it is paused */

/* Its coroutines (net/stream/stream_read.c). */
static int stream_read_register(PyObject *module, struct state *st) MUST_CHECK; /* after the type */
static PyObject *StreamReader_anext(PyObject *self);

#endif
