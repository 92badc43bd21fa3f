/* net/fd/address.c -- addresses between the kernel's form and Python's tuples. */
#include "net/fd/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static bool
address_keep(struct small_address *kept, const struct sockaddr_storage *address, socklen_t n_bytes)
{
    if (n_bytes > ADDRESS_SMALL_MAX || (address->ss_family != AF_INET && address->ss_family != AF_INET6)) {
        return false;
    }
    kept->n_bytes = (uint8_t)n_bytes;
    memcpy(kept->bytes, address, n_bytes);
    return true;
}

static PyObject *
address_kept_to_python(const struct small_address *kept)
{
    struct sockaddr_storage address;
    if (kept->n_bytes == 0) {
        Py_RETURN_NONE;
    }
    memset(&address, 0, sizeof(address));
    memcpy(&address, kept->bytes, kept->n_bytes);
    return address_to_python(&address, kept->n_bytes);
}

/* An exact int between 0 and max. */
static bool
address_number(PyObject *number, uint32_t max, uint32_t *value)
{
    if (!PyLong_CheckExact(number)) {
        return false;
    }
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow != 0 || n < 0 || n > max) {
        return false;
    }
    *value = (uint32_t)n;
    return true;
}

static bool
address_from_python(PyObject *tuple, int family, struct sockaddr_storage *address, socklen_t *n_bytes)
{
    uint32_t port, flowinfo = 0, scope_id = 0;
    if (!PyTuple_CheckExact(tuple) || PyTuple_GET_SIZE(tuple) < 2 || !PyUnicode_CheckExact(PyTuple_GET_ITEM(tuple, 0))
        || !PyUnicode_IS_COMPACT_ASCII(PyTuple_GET_ITEM(tuple, 0))
        || !address_number(PyTuple_GET_ITEM(tuple, 1), UINT16_MAX, &port)) {
        return false;
    }
    const char *host = (const char *)PyUnicode_1BYTE_DATA(PyTuple_GET_ITEM(tuple, 0));
    if (strlen(host) != (size_t)PyUnicode_GET_LENGTH(PyTuple_GET_ITEM(tuple, 0))) {
        return false;
    }
    memset(address, 0, sizeof(*address));
    if (family == AF_INET && PyTuple_GET_SIZE(tuple) == 2) {
        struct sockaddr_in *a = (struct sockaddr_in *)address;
        a->sin_family = AF_INET;
        a->sin_port = htons((uint16_t)port);
        *n_bytes = sizeof(*a);
        return inet_pton(AF_INET, host, &a->sin_addr) == 1;
    }
    if (family != AF_INET6 || PyTuple_GET_SIZE(tuple) > 4
        || (PyTuple_GET_SIZE(tuple) > 2 && !address_number(PyTuple_GET_ITEM(tuple, 2), 0xfffff, &flowinfo))
        || (PyTuple_GET_SIZE(tuple) > 3 && !address_number(PyTuple_GET_ITEM(tuple, 3), UINT32_MAX, &scope_id))) {
        return false;
    }
    struct sockaddr_in6 *a = (struct sockaddr_in6 *)address;
    a->sin6_family = AF_INET6;
    a->sin6_port = htons((uint16_t)port);
    a->sin6_flowinfo = htonl(flowinfo);
    a->sin6_scope_id = scope_id;
    *n_bytes = sizeof(*a);
    return inet_pton(AF_INET6, host, &a->sin6_addr) == 1;
}

static PyObject *
address_unix_to_python(const struct sockaddr_un *address, socklen_t n_bytes)
{
    size_t header = offsetof(struct sockaddr_un, sun_path);
    /* the abstract namespace: not a path, and zero bytes count */
    if (n_bytes > header && address->sun_path[0] == '\0') {
        return PyBytes_FromStringAndSize(address->sun_path, (Py_ssize_t)(n_bytes - header));
    }
    size_t n = n_bytes > header ? strnlen(address->sun_path, n_bytes - header) : 0;
    return PyUnicode_DecodeFSDefaultAndSize(address->sun_path, (Py_ssize_t)n);
}

/* The host of an IPv4 address; libc's inet_ntop takes a printf for it. */
static PyObject *
address_ipv4_host(const unsigned char *bytes)
{
    char text[INET_ADDRSTRLEN], *end = text;
    for (int i = 0; i < 4; i++) {
        unsigned n = bytes[i];
        if (n >= 100) {
            *end++ = (char)('0' + n / 100);
        }
        if (n >= 10) {
            *end++ = (char)('0' + n / 10 % 10);
        }
        *end++ = (char)('0' + n % 10);
        *end++ = '.';
    }
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, end - 1 - text);
}

static PyObject *
address_pair(PyObject *host, unsigned long port)
{
    PyObject *number = host == NULL ? NULL : PyLong_FromUnsignedLong(port);
    PyObject *pair = number == NULL ? NULL : PyTuple_Pack(2, host, number);
    Py_XDECREF(host);
    Py_XDECREF(number);
    return pair;
}

static PyObject *
address_to_python(const struct sockaddr_storage *address, socklen_t n_bytes)
{
    char text[INET6_ADDRSTRLEN];
    if (n_bytes == 0) {
        Py_RETURN_NONE;
    }
    if (address->ss_family == AF_INET && n_bytes >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)address;
        return address_pair(address_ipv4_host((const unsigned char *)&a->sin_addr), ntohs(a->sin_port));
    }
    if (address->ss_family == AF_INET6 && n_bytes >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof(text));
        return Py_BuildValue("(siII)", text, ntohs(a->sin6_port), (unsigned int)ntohl(a->sin6_flowinfo),
                             (unsigned int)a->sin6_scope_id);
    }
    if (address->ss_family == AF_UNIX) {
        return address_unix_to_python((const struct sockaddr_un *)address, n_bytes);
    }
    Py_RETURN_NONE;
}
