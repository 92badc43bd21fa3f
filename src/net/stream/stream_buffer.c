/* net/stream/stream_buffer.c -- appending, taking and showing the bytes that wait to be read. */
#include "net/stream/stream_buffer.h"

#include <string.h>

static inline const char *
stream_buffer_bytes(const struct stream_buffer *b)
{
    return LIKELY(b->shown == NULL) ? b->bytes + b->start : PyByteArray_AS_STRING(b->shown);
}

static inline size_t
stream_buffer_size(const struct stream_buffer *b)
{
    return LIKELY(b->shown == NULL) ? b->n : (size_t)PyByteArray_GET_SIZE(b->shown);
}

/* Make room for n more bytes at the end. The bytes move to the front if that is enough, and if there are no more of
 * them than were dropped: so moving costs nothing in the long run. */
static int
stream_buffer_grow(struct stream_buffer *b, size_t n)
{
    size_t needed = b->n + n;
    if (UNLIKELY(needed < n || needed > PY_SSIZE_T_MAX / 2)) {
        PyErr_NoMemory();
        return -1;
    }
    if (needed <= b->capacity && b->n <= b->start) {
        memmove(b->bytes, b->bytes + b->start, b->n);
        b->start = 0;
        return 0;
    }
    size_t capacity = b->capacity == 0 ? 512 : b->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    if (capacity == b->capacity) { /* full at the end, and too much to move: twice as much keeps moves rare */
        capacity *= 2;
    }
    char *bytes = PyMem_Malloc(capacity);
    if (bytes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (b->n > 0) {
        memcpy(bytes, b->bytes + b->start, b->n);
    }
    PyMem_Free(b->bytes);
    b->bytes = bytes;
    b->start = 0;
    b->capacity = capacity;
    return 0;
}

static int
stream_buffer_append_shown(struct stream_buffer *b, const char *bytes, size_t n)
{
    Py_ssize_t before = PyByteArray_GET_SIZE(b->shown);
    if (n > (size_t)(PY_SSIZE_T_MAX - before)) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyByteArray_Resize(b->shown, before + (Py_ssize_t)n) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(b->shown) + before, bytes, n);
    return 0;
}

static inline int
stream_buffer_append(struct stream_buffer *b, const char *bytes, size_t n)
{
    if (UNLIKELY(b->shown != NULL)) {
        if (Py_REFCNT(b->shown) > 1 || PyByteArray_GET_SIZE(b->shown) > 0 || !PyByteArray_CheckExact(b->shown)) {
            return stream_buffer_append_shown(b, bytes, n);
        }
        Py_CLEAR(b->shown);
    }
    if (UNLIKELY(b->capacity - b->start - b->n < n) && stream_buffer_grow(b, n) < 0) {
        return -1;
    }
    memcpy(b->bytes + b->start + b->n, bytes, n);
    b->n += n;
    return 0;
}

static inline int
stream_buffer_drop(struct stream_buffer *b, size_t n)
{
    if (UNLIKELY(b->shown != NULL)) {
        return n == 0 ? 0 : PySequence_DelSlice(b->shown, 0, (Py_ssize_t)n);
    }
    n = LIKELY(n <= b->n) ? n : b->n;
    b->n -= n;
    b->start += n;
    if (b->n == 0) {
        b->start = 0;
        if (UNLIKELY(b->capacity > STREAM_BUFFER_KEPT)) {
            PyMem_Free(b->bytes);
            b->bytes = NULL;
            b->capacity = 0;
        }
    }
    return 0;
}

static inline PyObject *
stream_buffer_take(struct stream_buffer *b, size_t n)
{
    size_t size = stream_buffer_size(b);
    n = LIKELY(n <= size) ? n : size;
    PyObject *taken = PyBytes_FromStringAndSize(stream_buffer_bytes(b), (Py_ssize_t)n);
    if (UNLIKELY(taken != NULL && stream_buffer_drop(b, n) < 0)) {
        Py_CLEAR(taken);
    }
    return taken;
}

static PyObject *
stream_buffer_show_borrowed(struct stream_buffer *b)
{
    if (b->shown == NULL) {
        b->shown = PyByteArray_FromStringAndSize(b->n > 0 ? b->bytes + b->start : NULL, (Py_ssize_t)b->n);
        if (b->shown == NULL) {
            return NULL;
        }
        PyMem_Free(b->bytes);
        b->bytes = NULL;
        b->start = b->n = b->capacity = 0;
    }
    return b->shown;
}

static int
stream_buffer_replace(struct stream_buffer *b, PyObject *bytearray)
{
    if (!PyByteArray_Check(bytearray)) {
        PyErr_Format(PyExc_TypeError, "_buffer must be a bytearray, not %.200s", Py_TYPE(bytearray)->tp_name);
        return -1;
    }
    PyMem_Free(b->bytes);
    b->bytes = NULL;
    b->start = b->n = b->capacity = 0;
    Py_XSETREF(b->shown, Py_NewRef(bytearray));
    return 0;
}

static void
stream_buffer_free(struct stream_buffer *b)
{
    PyMem_Free(b->bytes);
    b->bytes = NULL;
    b->start = b->n = b->capacity = 0;
    Py_CLEAR(b->shown);
}

static inline Py_ssize_t
stream_buffer_find(const struct stream_buffer *b, const char *needle, size_t n_needle, size_t from)
{
    size_t n = stream_buffer_size(b);
    const char *bytes = stream_buffer_bytes(b), *found;
    if (n_needle > n || from > n - n_needle) {
        return -1;
    }
    if (LIKELY(n_needle == 1)) {
        found = memchr(bytes + from, (unsigned char)needle[0], n - from);
    }
    else {
        found = memmem(bytes + from, n - from, needle, n_needle);
    }
    return found == NULL ? -1 : found - bytes;
}
