/* plain/sock.h -- thin wrappers of the socket system calls.
 *
 * Nothing here blocks, whatever the descriptor's flags say: data calls pass MSG_DONTWAIT.  A peer that has gone never
 * raises SIGPIPE. Interrupted calls are repeated.  Errors: -errno.  No state; any thread. */
#ifndef ASYNCLOOP_PLAIN_SOCK_H
#define ASYNCLOOP_PLAIN_SOCK_H

#include "base/api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SOCK_IOV_MAX 1024 /* Linux' UIO_MAXIOV */
#ifndef UDP_SEGMENT
#  define UDP_SEGMENT 103 /* Linux 4.18 */
#endif

static inline bool sock_would_block(ssize_t result); /* -EAGAIN in either spelling */

static inline ssize_t sock_recv(int fd, void *buffer, size_t n_bytes) MUST_CHECK;
static inline ssize_t sock_send(int fd, const void *data, size_t n_bytes) MUST_CHECK;
/* 1 <= n_iov <= SOCK_IOV_MAX */
static inline ssize_t sock_sendv(int fd, const struct iovec *iov, int n_iov) MUST_CHECK;

/* One datagram; *n_address: in capacity, out size (0: the sender has no name). */
static inline ssize_t sock_recvfrom(int fd, void *buffer, size_t n_bytes, struct sockaddr_storage *address,
                                    socklen_t *n_address) MUST_CHECK;
static inline ssize_t sock_sendto(int fd, const void *data, size_t n_bytes, const struct sockaddr_storage *address,
                                  socklen_t n_address) MUST_CHECK;

static inline ssize_t sock_sendmsg(int fd, const struct msghdr *message) MUST_CHECK;

/* Several datagrams; how many were moved, at least 1.  An error after the first is reported by the next call. */
static inline int sock_recvmmsg(int fd, struct mmsghdr *messages, unsigned n) MUST_CHECK;
static inline int sock_sendmmsg(int fd, struct mmsghdr *messages, unsigned n) MUST_CHECK;
/* Does the kernel cut a large message into datagrams of this socket (UDP_SEGMENT)?  Only true of UDP itself. */
static bool sock_can_segment(int fd);

/* A non-blocking, close-on-exec descriptor; the peer's address goes to *address (*n_bytes: in capacity, out size). */
static int sock_accept(int fd, struct sockaddr_storage *address, socklen_t *n_bytes) MUST_CHECK;
static int sock_name(int fd, struct sockaddr_storage *address, socklen_t *n_bytes) MUST_CHECK;
static int sock_peer_name(int fd, struct sockaddr_storage *address, socklen_t *n_bytes) MUST_CHECK;

static int sock_shutdown_write(int fd) MUST_CHECK;
static int sock_close(int fd);       /* the descriptor is gone, whatever is returned */
static void sock_set_nodelay(int fd); /* does nothing on a socket that is not TCP */

/* The error a finished connect() left (SO_ERROR), 0 for success; or a negative errno when it could not be asked. */
static int sock_take_error(int fd) MUST_CHECK;
/* Bytes that the kernel has taken and a TCP peer has not acknowledged; 0 on other sockets. */
static int sock_n_unsent(int fd);
/* Is there something to take right now (or an error to fetch)? */
static bool sock_is_readable(int fd);

#endif
