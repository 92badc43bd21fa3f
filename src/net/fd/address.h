/* net/fd/address.h -- socket addresses, kept as the kernel gives them until Python asks.
 *
 * A connection remembers its two names in 32 bytes each; the tuple is built when get_extra_info asks for it.  Names
 * that do not fit (AF_UNIX) are converted at once by the caller.  Same values as socket.getsockname() has. */
#ifndef ASYNCLOOP_NET_ADDRESS_H
#define ASYNCLOOP_NET_ADDRESS_H

#include "core/state.h"
#include "plain/sock.h"

#define ADDRESS_SMALL_MAX 28 /* sizeof(struct sockaddr_in6) */

struct small_address {
    uint8_t n_bytes; /* 0: not known */
    uint8_t bytes[ADDRESS_SMALL_MAX];
};

/* false when it is too long, or no Internet address: convert it with address_to_python now. */
static bool address_keep(struct small_address *kept, const struct sockaddr_storage *address, socklen_t n_bytes);

/* New reference; None when unknown. */
static PyObject *address_kept_to_python(const struct small_address *kept);
/* A numeric host and a port, (host, port) or for AF_INET6 (host, port, flowinfo, scope_id), exact tuple, str and int.
 * False, nothing raised: anything else, which the socket module is to be asked about. */
static bool address_from_python(PyObject *tuple, int family, struct sockaddr_storage *address, socklen_t *n_bytes);
static PyObject *address_ipv4_host(const unsigned char *bytes);            /* '127.0.0.1'; 4 bytes */
/* (host, port); steals host, which may be NULL with an exception */
static PyObject *address_pair(PyObject *host, unsigned long port);
static PyObject *address_to_python(const struct sockaddr_storage *address, socklen_t n_bytes);

#endif
