/* echo_load -- closed-loop load for an echo server on a stream socket: each connection sends one message, waits for its echo, sends the next.
 *
 *     echo_load ADDRESS CONNECTIONS BYTES WARMUP_MS MEASURE_MS SERVER_PID SPIN       (see load.h)
 *
 * Each echo is compared with what was sent, byte by byte up to LOAD_CHECK_BYTES and at its end.  Compiled with -DLOAD_TLS it speaks TLS, the
 * server's certificate unchecked. */
#include "load.h"

#ifdef LOAD_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

struct connection {
    int fd;
    unsigned watched;      /* epoll events */
    size_t sent, received; /* bytes of the message under way */
    uint64_t start_ns;
#ifdef LOAD_TLS
    SSL *ssl;
#endif
};

static int epoll;
static char *inbox;

/* ---- the socket, or TLS on it: bytes moved, or -1 with EAGAIN; does not return after an error or the end */

#ifdef LOAD_TLS
static SSL_CTX *context;

static ssize_t tls_result(struct connection *c, int n)
{
    if (n > 0)
        return n;
    int error = SSL_get_error(c->ssl, n);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        ERR_print_errors_fp(stderr);
        die("TLS");
    }
    errno = EAGAIN;
    return -1;
}

static ssize_t connection_write(struct connection *c, const char *data, size_t n_bytes)
{
    return tls_result(c, SSL_write(c->ssl, data, (int)n_bytes));
}

static ssize_t connection_read(struct connection *c)
{
    return tls_result(c, SSL_read(c->ssl, inbox, (int)load.n_bytes));
}

static void connection_start(struct connection *c)
{
    c->ssl = SSL_new(context);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_connect(c->ssl) != 1) {
        ERR_print_errors_fp(stderr);
        die("handshake");
    }
}
#else
static ssize_t connection_write(struct connection *c, const char *data, size_t n_bytes)
{
    ssize_t n = write(c->fd, data, n_bytes);
    if (n < 0 && errno != EAGAIN)
        die("write");
    return n;
}

static ssize_t connection_read(struct connection *c)
{
    ssize_t n = read(c->fd, inbox, load.n_bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die(n ? "read" : "the server closed the connection");
    return n;
}

static void connection_start(struct connection *c)
{
    (void)c;
}
#endif

static void watch(int op, struct connection *c, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, op, c->fd, &event) < 0)
        die("epoll_ctl");
    c->watched = events;
}

static void send_some(struct connection *c)
{
    while (c->sent < load.n_bytes) {
        ssize_t n = connection_write(c, load.message + c->sent, load.n_bytes - c->sent);
        if (n < 0)
            break;
        c->sent += (size_t)n;
    }
    unsigned wanted = EPOLLIN | (c->sent < load.n_bytes ? EPOLLOUT : 0);
    if (wanted != c->watched)
        watch(EPOLL_CTL_MOD, c, wanted);
}

static void send_message(struct connection *c)
{
    c->sent = c->received = 0;
    c->start_ns = now_ns();
    send_some(c);
}

/* Reads once, or (TLS: what it holds the poller does not see) until nothing is there. */
static void on_readable(struct connection *c)
{
    do {
        ssize_t n = connection_read(c);
        if (n < 0)
            return;
        load_check(inbox, c->received, (size_t)n);
        c->received += (size_t)n;
        if (c->received == load.n_bytes) {
            load_count(c->start_ns);
            send_message(c);
            return;
        }
#ifdef LOAD_TLS
    } while (1);
#else
    } while (0);
#endif
}

static void open_connection(struct connection *c)
{
    struct sockaddr_storage address;
    socklen_t n_address = load_address(&address);
    int on = 1;
    c->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, n_address) < 0)
        die("connect");
    if (address.ss_family == AF_INET)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection_start(c);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    watch(EPOLL_CTL_ADD, c, EPOLLIN);
}

static void step(int wait_ms)
{
    struct epoll_event events[LOAD_EVENTS];
    int n = epoll_wait(epoll, events, LOAD_EVENTS, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            send_some(c);
        if (events[i].events & ~(unsigned)EPOLLOUT)
            on_readable(c);
    }
}

int main(int argc, char **argv)
{
    load_parse(argc, argv);
#ifdef LOAD_TLS
    context = SSL_CTX_new(TLS_client_method());
    if (!context)
        die("SSL_CTX_new");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
#endif
    inbox = malloc(load.n_bytes);
    struct connection *connections = calloc((size_t)load.n_connections, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!inbox || !connections || epoll < 0)
        die("setting up");
    for (int i = 0; i < load.n_connections; i++)
        open_connection(&connections[i]);
    for (int i = 0; i < load.n_connections; i++)
        send_message(&connections[i]);
    load_run(step);
    return 0;
}
