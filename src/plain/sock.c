/* plain/sock.c -- the system calls, with errors as -errno. */
#include "plain/sock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The two calls that are made for every message, without the C library's wrapper: before glibc 2.41 each costs two
 * locked instructions there in a process with threads, so that pthread_cancel() could end it.  The wrapper it is on 32
 * bits, where not every kernel has these numbers, and for the sanitizer, which looks at the buffers there. */
#if __SIZEOF_POINTER__ == 8 && !defined(__SANITIZE_ADDRESS__)
#  define SOCK_SYSCALL(name, ...) syscall(SYS_##name, __VA_ARGS__)
#else
#  define SOCK_SYSCALL(name, ...) name(__VA_ARGS__)
#endif

static inline bool
sock_would_block(ssize_t result)
{
    return result == -EAGAIN || result == -EWOULDBLOCK;
}

static inline ssize_t
sock_recv(int fd, void *buffer, size_t n_bytes)
{
    ssize_t n;
    do {
        n = SOCK_SYSCALL(recvfrom, fd, buffer, n_bytes, MSG_DONTWAIT, NULL, NULL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline ssize_t
sock_send(int fd, const void *data, size_t n_bytes)
{
    ssize_t n;
    do {
        n = SOCK_SYSCALL(sendto, fd, data, n_bytes, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline ssize_t
sock_sendv(int fd, const struct iovec *iov, int n_iov)
{
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n_iov};
    ssize_t n;
    do {
        n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline ssize_t
sock_recvfrom(int fd, void *buffer, size_t n_bytes, struct sockaddr_storage *address, socklen_t *n_address)
{
    ssize_t n;
    socklen_t capacity = *n_address;
    do {
        *n_address = capacity;
        n = recvfrom(fd, buffer, n_bytes, MSG_DONTWAIT, (struct sockaddr *)address, n_address);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline ssize_t
sock_sendto(int fd, const void *data, size_t n_bytes, const struct sockaddr_storage *address, socklen_t n_address)
{
    ssize_t n;
    do {
        n = sendto(fd, data, n_bytes, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)address, n_address);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline ssize_t
sock_sendmsg(int fd, const struct msghdr *message)
{
    ssize_t n;
    do {
        n = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static inline int
sock_recvmmsg(int fd, struct mmsghdr *messages, unsigned n)
{
    int moved;
    do {
        moved = recvmmsg(fd, messages, n, MSG_DONTWAIT, NULL);
    } while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

static inline int
sock_sendmmsg(int fd, struct mmsghdr *messages, unsigned n)
{
    int moved;
    do {
        moved = sendmmsg(fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

static bool
sock_can_segment(int fd)
{
    int protocol = 0, segment = 0;
    socklen_t n_bytes = sizeof(protocol);
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &n_bytes) < 0 || protocol != IPPROTO_UDP) {
        return false; /* others may ignore the option, and send one large datagram */
    }
    n_bytes = sizeof(segment);
    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &n_bytes) == 0;
}

static int
sock_accept(int fd, struct sockaddr_storage *address, socklen_t *n_bytes)
{
    int accepted;
    socklen_t capacity = *n_bytes;
    do {
        *n_bytes = capacity;
        accepted = accept4(fd, (struct sockaddr *)address, n_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (accepted < 0 && errno == EINTR);
    return accepted < 0 ? -errno : accepted;
}

static int
sock_name(int fd, struct sockaddr_storage *address, socklen_t *n_bytes)
{
    return getsockname(fd, (struct sockaddr *)address, n_bytes) < 0 ? -errno : 0;
}

static int
sock_peer_name(int fd, struct sockaddr_storage *address, socklen_t *n_bytes)
{
    return getpeername(fd, (struct sockaddr *)address, n_bytes) < 0 ? -errno : 0;
}

static int
sock_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

static int
sock_close(int fd)
{
    /* Linux has released the descriptor even when close() reports EINTR: never repeat it. */
    return close(fd) < 0 ? -errno : 0;
}

static void
sock_set_nodelay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int
sock_take_error(int fd)
{
    int error = 0;
    socklen_t n_bytes = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_bytes) < 0) {
        return -errno;
    }
    return error;
}

static int
sock_n_unsent(int fd)
{
    int protocol = 0, n = 0;
    socklen_t n_bytes = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &n_bytes) < 0 || protocol != IPPROTO_TCP) {
        return 0; /* what a Unix socket has taken is the peer's already */
    }
    return ioctl(fd, SIOCOUTQ, &n) < 0 ? 0 : n;
}

static bool
sock_is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}
