/* echo_epoll -- the plainest TCP server epoll allows, as the yardstick for the loops: what no loop can go below.
 *
 *     echo_epoll PORT [FOLDER]       (PORT 0: any free port; FOLDER: of cert.pem and key.pem)
 *
 * Compiled as it is it echoes.  -DSERVE_HTTP: it answers each GET instead, with servers.py's response.  -DSERVE_TLS: the same over TLS,
 * SSL_read and SSL_write straight on the socket.
 *
 * Listens on 127.0.0.1, prints the port and a newline on stdout, then serves until its stdin reaches end of file; each line on stdin is
 * answered by the number of HTTP requests so far.  One thread, level-triggered epoll, one read and one write for each readiness; a write that
 * the socket does not take whole waits in the connection's buffer, and reading stops meanwhile.  No batching beyond what epoll_wait returns.
 *
 * Exit status: 0 stdin closed, 1 a system call failed, 2 wrong arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef SERVE_TLS
#  include <openssl/ssl.h>
#endif

enum { BUFFER_BYTES = 256 * 1024, EVENTS = 256 };

struct connection {
    int fd;
#ifdef SERVE_TLS
    SSL *ssl;
#endif
    size_t start, end;      /* unsent bytes of data[] */
    char data[BUFFER_BYTES];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int epoll, int op, int fd, unsigned events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, op, fd, &event) < 0)
        die("epoll_ctl");
}

#ifdef SERVE_TLS

static SSL_CTX *context;

static void prepare(const char *folder)
{
    char path[4096];
    if (!folder || !(context = SSL_CTX_new(TLS_server_method())))
        die("a server of TLS needs FOLDER");
    snprintf(path, sizeof path, "%s/cert.pem", folder);
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1)
        die(path);
    snprintf(path, sizeof path, "%s/key.pem", folder);
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1)
        die(path);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
}

static void open_layer(struct connection *c)
{
    if (!(c->ssl = SSL_new(context)) || !SSL_set_fd(c->ssl, c->fd))
        die("SSL_new");
    SSL_set_accept_state(c->ssl);
}

static void close_layer(struct connection *c)
{
    SSL_free(c->ssl);
}

/* As read(2) and write(2). */
static ssize_t as_system_call(struct connection *c, int n)
{
    if (n > 0)
        return n;
    int error = SSL_get_error(c->ssl, n);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Takes what came: several records when they fit. */
static ssize_t take(struct connection *c, char *bytes, size_t n_bytes)
{
    size_t got = 0;
    for (;;) {
        ssize_t n = as_system_call(c, SSL_read(c->ssl, bytes + got, (int)(n_bytes - got)));
        if (n <= 0)
            return got > 0 ? (ssize_t)got : n;
        got += (size_t)n;
        if (got == n_bytes || !SSL_has_pending(c->ssl))
            return (ssize_t)got;
    }
}

static ssize_t give(struct connection *c, const char *bytes, size_t n_bytes)
{
    return as_system_call(c, SSL_write(c->ssl, bytes, (int)n_bytes));
}

#else

static void prepare(const char *folder)
{
    (void)folder;
}

static void open_layer(struct connection *c)
{
    (void)c;
}

static void close_layer(struct connection *c)
{
    (void)c;
}

static ssize_t take(struct connection *c, char *bytes, size_t n_bytes)
{
    return read(c->fd, bytes, n_bytes);
}

static ssize_t give(struct connection *c, const char *bytes, size_t n_bytes)
{
    return write(c->fd, bytes, n_bytes);
}

#endif

static unsigned long n_requests;

#ifdef SERVE_HTTP

/* What answers the n bytes of data[]: a response for each request that ends there.  wrk sends each one whole. */
static size_t answer(struct connection *c, size_t n)
{
    static const char response[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";
    size_t requests = 0, length = sizeof response - 1;
    for (const char *at = c->data, *end = at + n; (at = memmem(at, (size_t)(end - at), "\r\n\r\n", 4)) != NULL; at += 4)
        requests++;
    if (requests * length > BUFFER_BYTES)
        die("too many requests at once");
    for (size_t i = 0; i < requests; i++)
        memcpy(c->data + i * length, response, length);
    n_requests += requests;
    return requests * length;
}

#else

static size_t answer(struct connection *c, size_t n)
{
    (void)c;
    return n;
}

#endif

static void drop(struct connection *c)
{
    close_layer(c);
    close(c->fd);           /* leaves the epoll set by itself: the descriptor is not shared */
    free(c);
}

/* Sends what waits.  0: all gone; 1: the socket is full; -1: the connection is dead. */
static int flush(struct connection *c)
{
    while (c->start < c->end) {
        ssize_t n = give(c, c->data + c->start, c->end - c->start);
        if (n < 0)
            return errno == EAGAIN ? 1 : -1;
        c->start += (size_t)n;
    }
    return 0;
}

static void on_ready(int epoll, struct connection *c, unsigned events)
{
    int waiting = c->start < c->end;
    if (!waiting) {
        ssize_t n = take(c, c->data, BUFFER_BYTES);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            drop(c);
            return;
        }
        c->start = 0;
        c->end = answer(c, (size_t)n);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        drop(c);
        return;
    }
    int full = flush(c);
    if (full < 0)
        drop(c);
    else if (full != waiting)
        watch(epoll, EPOLL_CTL_MOD, c->fd, full ? EPOLLOUT : EPOLLIN, c);
}

static void on_accept(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0)
        return;
    struct connection *c = malloc(sizeof *c);
    if (!c)
        die("malloc");
    c->fd = fd;
    c->start = c->end = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    open_layer(c);
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

/* 0 at the end of stdin. */
static int answer_question(void)
{
    char line[256];
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        return 0;
    printf("%lu\n", n_requests);
    fflush(stdout);
    return 1;
}

int main(int argc, char **argv)
{
    static char listener_mark, stdin_mark;   /* their addresses tell these two from connections */
    struct epoll_event events[EVENTS];
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: echo_epoll PORT [FOLDER]\n");
        return 2;
    }
    prepare(argv[2]);
    int listener = listen_on(atoi(argv[1]));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, &listener_mark);
    watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &stdin_mark);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            void *who = events[i].data.ptr;
            if (who == &listener_mark)
                on_accept(epoll, listener);
            else if (who == &stdin_mark) {
                if (!answer_question())
                    return 0;
            } else
                on_ready(epoll, who, events[i].events);
        }
    }
}
