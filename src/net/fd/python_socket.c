/* net/fd/python_socket.c -- reading the descriptor out of a socket object, once a socket has shown that the field is
 * where we expect it. */
#include "net/fd/python_socket.h"

static inline int
python_socket_field(PyObject *sock)
{
    int fd;
    memcpy(&fd, (const char *)sock + sizeof(PyObject), sizeof(fd));
    return fd;
}

/* Does the field say what fileno() says?  1, 0, -1. */
static int
python_socket_agrees(PyObject *sock)
{
    PyObject *fileno = PyObject_CallMethod(sock, "fileno", NULL);
    if (fileno == NULL) {
        return -1;
    }
    long fd = PyLong_AsLong(fileno);
    Py_DECREF(fileno);
    return fd == -1 && PyErr_Occurred() ? -1 : fd == python_socket_field(sock);
}

static int
python_socket_register(struct state *st)
{
    PyObject *sock = PyObject_CallNoArgs(st->socket_class);
    if (sock == NULL) {
        return -1;
    }
    int open_agrees = python_socket_agrees(sock);
    PyObject *closed = open_agrees < 0 ? NULL : PyObject_CallMethod(sock, "close", NULL);
    int closed_agrees = closed == NULL ? -1 : python_socket_agrees(sock);
    Py_XDECREF(closed);
    Py_DECREF(sock);
    if (closed_agrees < 0) {
        return -1;
    }
    st->socket_is_known = Py_NewRef(open_agrees && closed_agrees ? Py_True : Py_False);
    return 0;
}

static inline bool
python_socket_is_plain(struct state *st, PyObject *sock)
{
    return Py_TYPE(sock) == (PyTypeObject *)st->socket_class && st->socket_is_known == Py_True;
}

static inline int
python_socket_fd(struct state *st, PyObject *sock)
{
    if (LIKELY(python_socket_is_plain(st, sock))) {
        return python_socket_field(sock);
    }
    PyObject *fileno = PyObject_CallMethodNoArgs(sock, st->str.fileno);
    if (fileno == NULL) {
        return -1;
    }
    long fd = PyLong_AsLong(fileno);
    Py_DECREF(fileno);
    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (fd < -1 || fd > INT_MAX) { /* not a number of a descriptor: never another one's, by losing its upper bits */
        PyErr_Format(PyExc_ValueError, "%R has the file descriptor %ld", sock, fd);
        return -1;
    }
    return (int)fd;
}
