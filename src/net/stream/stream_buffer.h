/* net/stream/stream_buffer.h -- the bytes that came and were not read yet.
 *
 * Normally the bytes are the buffer's own: appended at the end, dropped from the front, the memory kept for the next
 * ones while it is small.  A program that looks at StreamReader._buffer gets a real bytearray, which from then on holds
 * the bytes (shown), so that what it does to it has its effect. When the bytearray is empty and nobody else holds it
 * any more, the buffer goes back to memory of its own.
 *
 * Invariant: shown != NULL => bytes == NULL, and only the bytearray counts; else start + n <= capacity.
 * Ownership: owns bytes and shown.  Errors: 0/-1 with the exception set.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_STREAM_BUFFER_H
#define ASYNCLOOP_NET_STREAM_BUFFER_H

#include "base/api.h"
#include "base/compat.h"

#define STREAM_BUFFER_KEPT 1024 /* an empty buffer keeps no more memory than this */

struct stream_buffer {
    PyObject *shown; /* bytearray, or NULL */
    char *bytes;
    size_t start, n, capacity;
};

/* What is in it: valid until the next call or Python code. */
static inline const char *stream_buffer_bytes(const struct stream_buffer *b);
static inline size_t stream_buffer_size(const struct stream_buffer *b);

static inline int stream_buffer_append(struct stream_buffer *b, const char *bytes, size_t n) MUST_CHECK;
/* Drop the first n bytes, or all when there are fewer, as user code may have changed the buffer since the caller
 * looked.  Fails only for a bytearray whose memory somebody has exported. */
static inline int stream_buffer_drop(struct stream_buffer *b, size_t n) MUST_CHECK;
/* The first n bytes, taken out. New reference; on failure they stay. */
static inline PyObject *stream_buffer_take(struct stream_buffer *b, size_t n);

/* The bytearray, made now if it was not shown yet. Borrowed. */
static PyObject *stream_buffer_show_borrowed(struct stream_buffer *b);
/* Take a bytearray that somebody has set. TypeError when it is not a bytearray. */
static int stream_buffer_replace(struct stream_buffer *b, PyObject *bytearray) MUST_CHECK;
static void stream_buffer_free(struct stream_buffer *b);

/* Where needle begins at or after from, or -1. */
static inline Py_ssize_t stream_buffer_find(const struct stream_buffer *b, const char *needle, size_t n_needle,
                                            size_t from);

#endif
