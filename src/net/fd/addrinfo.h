/* net/fd/addrinfo.h -- socket.getaddrinfo's answer for an address that is a number in full, without asking the C
 * library.
 *
 * Taken only where the answer is known to the digit: a str in the strict form of inet_pton, without a scope; an int
 * port; a type and a protocol that belong together; of the flags those that change nothing for such a host.  Everything
 * else is socket.getaddrinfo's affair (asyncloop/loop.py). The audit event is the same.  No state.  Thread: the loop's.
 */
#ifndef ASYNCLOOP_NET_ADDRINFO_H
#define ASYNCLOOP_NET_ADDRINFO_H

#include "net/fd/address.h"

/* Loop._numeric_addrinfo(host, port, family, type, proto, flags): a list, or None when socket.getaddrinfo is to be
 * asked. */
static PyObject *Loop__numeric_addrinfo(PyObject *self, PyObject *const *args, Py_ssize_t n_args);

#endif
