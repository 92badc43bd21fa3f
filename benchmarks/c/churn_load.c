/* churn_load -- short connections to a TCP server that echoes one message and closes: connect, send, read the echo and the end, close.
 *
 *     churn_load PORT CONNECTIONS BYTES WARMUP_MS MEASURE_MS SERVER_PID SPIN       (see load.h)
 *
 * CONNECTIONS are under way at any time.  The server closes first, so that the sockets which linger in TIME_WAIT are its own and this
 * side never runs out of ports.  BYTES must fit a socket's buffer. */
#include "load.h"

struct slot {
    int fd;
    int is_connected;
    size_t received;
    uint64_t start_ns;
};

static int epoll;
static char *inbox;

static void open_next(struct slot *s)
{
    struct sockaddr_storage address;
    socklen_t n_address = load_address(&address);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = s};
    s->start_ns = now_ns();
    s->is_connected = 0;
    s->received = 0;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&address, n_address) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
        die("connect");
}

static void on_connected(struct slot *s)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    if (write(s->fd, load.message, load.n_bytes) != (ssize_t)load.n_bytes)
        die("write");
    s->is_connected = 1;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &event) < 0)
        die("epoll_ctl");
}

static void on_readable(struct slot *s)
{
    ssize_t n;
    while ((n = read(s->fd, inbox, load.n_bytes + 1)) > 0) {
        load_check(inbox, s->received, (size_t)n);
        s->received += (size_t)n;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        die("read");
    if (s->received < load.n_bytes)
        die("the server closed too early");
    close(s->fd);
    load_count(s->start_ns);
    open_next(s);
}

static void step(int wait_ms)
{
    struct epoll_event events[LOAD_EVENTS];
    int n = epoll_wait(epoll, events, LOAD_EVENTS, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct slot *s = events[i].data.ptr;
        if (s->is_connected)
            on_readable(s);
        else
            on_connected(s);
    }
}

int main(int argc, char **argv)
{
    load_parse(argc, argv);
    inbox = malloc(load.n_bytes + 1);
    struct slot *slots = calloc((size_t)load.n_connections, sizeof *slots);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!inbox || !slots || epoll < 0)
        die("setting up");
    for (int i = 0; i < load.n_connections; i++)
        open_next(&slots[i]);
    load_run(step);
    return 0;
}
