/* net/fd/addrinfo.c -- the list of tuples that socket.getaddrinfo would give for a number. */
#include "net/fd/addrinfo.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

enum { ADDRINFO_HARMLESS_FLAGS = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };

/* In the C library's order; which of them fit decides how many entries there are. */
static const struct addrinfo_kind {
    int type, protocol;
} addrinfo_kinds[] = {{SOCK_STREAM, IPPROTO_TCP}, {SOCK_DGRAM, IPPROTO_UDP}, {SOCK_RAW, 0}};

/* An int, of whatever class: an enum's member as a rule. */
static bool
addrinfo_number(PyObject *number, int *value)
{
    int overflow = 1;
    long n = PyLong_Check(number) ? PyLong_AsLongAndOverflow(number, &overflow) : 0;
    if (overflow != 0 || n < 0 || n > INT32_MAX) {
        return false;
    }
    *value = (int)n;
    return true;
}

/* The entries that were asked for, as bits; 0: not for us to say. */
static unsigned
addrinfo_wanted(int type, int protocol)
{
    if (type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP)) {
        return 1;
    }
    if (type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP)) {
        return 2;
    }
#ifdef __GLIBC__
    if (type == 0 && protocol == 0) {
        return 7;
    }
#endif
    return 0;
}

/* host and port, of this family, as a sockaddr's tuple.  NULL, nothing raised: no such number. */
static PyObject *
addrinfo_sockaddr(PyObject *host, long port, int *family)
{
    unsigned char bytes[16];
    const char *given = (const char *)PyUnicode_1BYTE_DATA(host);
    if (strlen(given) != (size_t)PyUnicode_GET_LENGTH(host)) {
        return NULL;
    }
    int found = strchr(given, ':') != NULL ? AF_INET6 : AF_INET;
    if ((*family != AF_UNSPEC && *family != found) || inet_pton(found, given, bytes) != 1) {
        return NULL;
    }
    *family = found;
    if (found == AF_INET) {
        return address_pair(address_ipv4_host(bytes), (unsigned long)port);
    }
    char text[INET6_ADDRSTRLEN];
    inet_ntop(found, bytes, text, sizeof(text));
    return Py_BuildValue("(slii)", text, port, 0, 0);
}

static PyObject *
addrinfo_entry(struct state *st, int family, const struct addrinfo_kind *kind, PyObject *sockaddr)
{
    PyObject *enum_family = family == AF_INET6 ? st->AF_INET6_member : st->AF_INET_member;
    PyObject *enum_type = kind->type == SOCK_STREAM  ? st->SOCK_STREAM_member
                          : kind->type == SOCK_DGRAM ? st->SOCK_DGRAM_member
                                                     : st->SOCK_RAW_member;
    PyObject *protocol = PyLong_FromLong(kind->protocol), *name = PyUnicode_New(0, 0);
    PyObject *entry =
        protocol == NULL || name == NULL ? NULL : PyTuple_Pack(5, enum_family, enum_type, protocol, name, sockaddr);
    Py_XDECREF(protocol);
    Py_XDECREF(name);
    return entry;
}

static PyObject *
addrinfo_list(struct state *st, int family, unsigned wanted, PyObject *sockaddr)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < Py_ARRAY_LENGTH(addrinfo_kinds); i++) {
        if ((wanted >> i & 1) == 0) {
            continue;
        }
        PyObject *entry = addrinfo_entry(st, family, &addrinfo_kinds[i], sockaddr);
        if (entry == NULL || PyList_Append(list, entry) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(entry);
    }
    return list;
}

static PyObject *
Loop__numeric_addrinfo(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    Loop *loop = (Loop *)self;
    int family, type, protocol, flags, overflow;
    if (n_args != 6) {
        PyErr_Format(PyExc_TypeError, "_numeric_addrinfo() takes 6 arguments (%zd given)", n_args);
        return NULL;
    }
    PyObject *host = args[0], *port = args[1];
    if (loop->state == LOOP_CLOSED || loop->debug || !PyUnicode_CheckExact(host) || !PyUnicode_IS_COMPACT_ASCII(host)
        || !PyLong_CheckExact(port) || !addrinfo_number(args[2], &family) || !addrinfo_number(args[3], &type)
        || !addrinfo_number(args[4], &protocol) || !addrinfo_number(args[5], &flags)
        || (flags & ~ADDRINFO_HARMLESS_FLAGS) != 0) {
        Py_RETURN_NONE;
    }
    long number = PyLong_AsLongAndOverflow(port, &overflow);
    unsigned wanted = addrinfo_wanted(type, protocol);
    if (overflow != 0 || number < 0 || number > UINT16_MAX || wanted == 0) {
        Py_RETURN_NONE;
    }
    int asked_family = family;
    PyObject *sockaddr = addrinfo_sockaddr(host, number, &family);
    if (sockaddr == NULL) {
        if (PyErr_Occurred()) {
            return NULL;
        }
        Py_RETURN_NONE;
    }
    PyObject *list = NULL;
    if (PySys_Audit("socket.getaddrinfo", "OOiii", host, port, asked_family, type, protocol) == 0) {
        list = addrinfo_list(loop->st, family, wanted, sockaddr);
    }
    Py_DECREF(sockaddr);
    return list;
}
