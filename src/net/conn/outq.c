/* net/conn/outq.c -- pushing bytes, sending them with one system call, and taking off what was sent. */
#include "net/conn/outq.h"

static void
outq_init(struct outq *q)
{
    q->items = q->in_place;
    q->capacity = OUTQ_INLINE;
    q->head = q->n = 0;
    q->head_offset = q->n_bytes = 0;
}

static inline PyObject *
outq_item_borrowed(const struct outq *q, uint32_t i)
{
    return q->items[(q->head + i) & (q->capacity - 1)];
}

static inline void
outq_drop_first(struct outq *q)
{
    PyObject *bytes = outq_item_borrowed(q, 0);
    q->head = (q->head + 1) & (q->capacity - 1);
    q->n--;
    q->head_offset = 0;
    Py_DECREF(bytes);
}

/* Do the sums agree? */
static inline bool
outq_is_sound(const struct outq *q)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        sum += (size_t)PyBytes_GET_SIZE(outq_item_borrowed(q, i));
    }
    return sum == q->n_bytes + q->head_offset && (q->n > 0 || q->head_offset == 0);
}

static void
outq_clear(struct outq *q)
{
    while (q->n > 0) {
        outq_drop_first(q);
    }
    if (q->items != q->in_place) {
        PyMem_Free(q->items);
    }
    outq_init(q);
}

static COLD int
outq_grow(struct outq *q)
{
    uint32_t capacity = q->capacity * 2;
    PyObject **items = capacity <= UINT32_MAX / 4 ? PyMem_New(PyObject *, capacity) : NULL;
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        items[i] = outq_item_borrowed(q, i);
    }
    if (q->items != q->in_place) {
        PyMem_Free(q->items);
    }
    q->items = items;
    q->capacity = capacity;
    q->head = 0;
    return 0;
}

static inline int
outq_push(struct outq *q, PyObject *bytes)
{
    INVARIANT(PyBytes_CheckExact(bytes) && PyBytes_GET_SIZE(bytes) > 0);
    if (UNLIKELY(q->n == q->capacity) && outq_grow(q) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    q->items[(q->head + q->n) & (q->capacity - 1)] = bytes;
    q->n++;
    q->n_bytes += (size_t)PyBytes_GET_SIZE(bytes);
    return 0;
}

static void
outq_advance(struct outq *q, size_t n_bytes)
{
    q->n_bytes -= n_bytes;
    while (n_bytes > 0) {
        size_t left = (size_t)PyBytes_GET_SIZE(outq_item_borrowed(q, 0)) - q->head_offset;
        if (n_bytes < left) {
            q->head_offset += n_bytes;
            INVARIANT(outq_is_sound(q));
            return;
        }
        n_bytes -= left;
        outq_drop_first(q);
    }
    INVARIANT(outq_is_sound(q));
}

static int
outq_fill_iov(const struct outq *q, struct iovec *iov, uint32_t n_max, size_t *n_bytes)
{
    uint32_t n = q->n < n_max ? q->n : n_max;
    size_t offset = q->head_offset, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        PyObject *bytes = outq_item_borrowed(q, i);
        iov[i].iov_base = PyBytes_AS_STRING(bytes) + offset;
        iov[i].iov_len = (size_t)PyBytes_GET_SIZE(bytes) - offset;
        sum += iov[i].iov_len;
        offset = 0;
    }
    *n_bytes = sum;
    return (int)n;
}

/* Several items in one system call.  *asked: the bytes offered to the kernel. */
static ssize_t
outq_send_gathered(struct outq *q, int fd, size_t *asked)
{
    struct iovec iov[SOCK_IOV_MAX];
    int n = outq_fill_iov(q, iov, SOCK_IOV_MAX, asked);
    return sock_sendv(fd, iov, n);
}

static int
outq_send(struct outq *q, int fd)
{
    while (q->n > 0) {
        ssize_t sent;
        size_t asked;
        if (q->n == 1) {
            asked = q->n_bytes;
            sent = sock_send(fd, PyBytes_AS_STRING(outq_item_borrowed(q, 0)) + q->head_offset, asked);
        }
        else {
            sent = outq_send_gathered(q, fd, &asked);
        }
        if (sent < 0) {
            return sock_would_block(sent) ? 0 : (int)sent;
        }
        outq_advance(q, (size_t)sent);
        if ((size_t)sent < asked) {
            return 0; /* full: the poller will tell */
        }
    }
    if (q->items != q->in_place) {
        outq_clear(q); /* a burst's array does not stay with an idle connection */
    }
    return 0;
}

/* ---- for who looks */

static PyObject *
outq_to_deque(struct state *st, const struct outq *q)
{
    PyObject *items = PyList_New(0), *deque = NULL;
    size_t offset = q->head_offset;
    for (uint32_t i = 0; items != NULL && i < q->n; i++, offset = 0) {
        PyObject *bytes = outq_item_borrowed(q, i);
        PyObject *rest =
            PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes) + offset, PyBytes_GET_SIZE(bytes) - (Py_ssize_t)offset);
        PyObject *view = rest == NULL ? NULL : PyMemoryView_FromObject(rest);
        if (view == NULL || PyList_Append(items, view) < 0) {
            Py_CLEAR(items);
        }
        Py_XDECREF(view);
        Py_XDECREF(rest);
    }
    if (items != NULL) {
        deque = PyObject_CallOneArg(st->deque_type, items);
        Py_DECREF(items);
    }
    return deque;
}

static PyObject *
outq_to_bytearray(const struct outq *q)
{
    PyObject *all = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)q->n_bytes);
    char *to = all == NULL ? NULL : PyByteArray_AS_STRING(all);
    size_t offset = q->head_offset;
    for (uint32_t i = 0; all != NULL && i < q->n; i++, offset = 0) {
        PyObject *bytes = outq_item_borrowed(q, i);
        size_t n = (size_t)PyBytes_GET_SIZE(bytes) - offset;
        memcpy(to, PyBytes_AS_STRING(bytes) + offset, n);
        to += n;
    }
    return all;
}
