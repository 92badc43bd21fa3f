/* udp_load -- closed-loop load for a UDP echo server: CONNECTIONS clients, each a connected socket with UDP_WINDOW datagrams in flight.
 *
 *     udp_load PORT CONNECTIONS BYTES WARMUP_MS MEASURE_MS SERVER_PID SPIN       (see load.h)
 *
 * This side must be cheaper than the server, or the server waits for it: a client hears with recvmmsg, and once half of its window has come
 * back sends that many at once, as segments of one system call (UDP_SEGMENT, Linux 4.18).  On the wire these are single datagrams.
 *
 * Each datagram begins with the time it left; the rest of its echo is compared with what was sent.  A client that hears nothing for
 * LOST_NS takes what it waited for as lost and sends a fresh window; an echo from before that is dropped. */
#include "load.h"

#include <netinet/udp.h>

#ifndef UDP_WINDOW
#define UDP_WINDOW 1
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define LOST_NS 100000000u

enum { HEADER_BYTES = 16, REFILL = (UDP_WINDOW + 1) / 2, SEGMENTS_BYTES_MAX = 60000 };

struct header {
    uint64_t start_ns, epoch;
};

_Static_assert(sizeof(struct header) == HEADER_BYTES, "no padding");

struct client {
    int fd, n_back; /* echoes not yet answered by new datagrams */
    uint64_t epoch, heard_ns;
};

static int epoll;
static char *outbox, *inbox; /* UDP_WINDOW datagrams each; those of inbox a byte longer */
static struct client *clients;
static struct mmsghdr heads[UDP_WINDOW];
static struct iovec parts[UDP_WINDOW];
static uint64_t looked_ns;

/* n datagrams; all in one system call when they fit. */
static void send_some(struct client *c, int n)
{
    struct header header = {.start_ns = now_ns(), .epoch = c->epoch};
    int n_at_once = (size_t)n * load.n_bytes <= SEGMENTS_BYTES_MAX ? n : 1;
    for (int i = 0; i < n_at_once; i++)
        memcpy(outbox + (size_t)i * load.n_bytes, &header, sizeof header);
    for (int sent = 0; sent < n; sent += n_at_once) {
        union {
            char bytes[CMSG_SPACE(sizeof(uint16_t))];
            struct cmsghdr align;
        } control = {0};
        struct iovec part = {outbox, (size_t)n_at_once * load.n_bytes};
        struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
        if (n_at_once > 1) {
            uint16_t segment = (uint16_t)load.n_bytes;
            head.msg_control = control.bytes;
            head.msg_controllen = sizeof control.bytes;
            struct cmsghdr *c0 = CMSG_FIRSTHDR(&head);
            c0->cmsg_level = IPPROTO_UDP;
            c0->cmsg_type = UDP_SEGMENT;
            c0->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(c0), &segment, sizeof segment);
        }
        if (sendmsg(c->fd, &head, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
            die("sendmsg");
    }
}

static void send_window(struct client *c)
{
    c->epoch++;
    c->n_back = 0;
    c->heard_ns = now_ns();
    send_some(c, UDP_WINDOW);
}

static void take_echo(struct client *c, const char *got, size_t n)
{
    struct header header;
    if (n != load.n_bytes) {
        fprintf(stderr, "load: a datagram of the wrong size\n");
        exit(3);
    }
    memcpy(&header, got, sizeof header);
    load_check(got + HEADER_BYTES, HEADER_BYTES, n - HEADER_BYTES);
    if (header.epoch == c->epoch) {
        c->heard_ns = now_ns();
        c->n_back++;
        load_count(header.start_ns);
    }
}

static void on_readable(struct client *c)
{
    int n = recvmmsg(c->fd, heads, UDP_WINDOW, 0, NULL);
    if (n < 0 && errno != EAGAIN)
        die("recvmmsg");
    for (int i = 0; i < n; i++)
        take_echo(c, parts[i].iov_base, heads[i].msg_len);
    if (c->n_back >= REFILL) {
        send_some(c, c->n_back);
        c->n_back = 0;
    }
}

static void step(int wait_ms)
{
    struct epoll_event events[LOAD_EVENTS];
    int n = epoll_wait(epoll, events, LOAD_EVENTS, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++)
        on_readable(events[i].data.ptr);
    uint64_t now = now_ns();
    if (now - looked_ns < LOST_NS)
        return;
    looked_ns = now;
    for (int i = 0; i < load.n_connections; i++)
        if (now - clients[i].heard_ns > LOST_NS)
            send_window(&clients[i]);
}

static void open_client(struct client *c)
{
    struct sockaddr_storage address;
    socklen_t n_address = load_address(&address);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, n_address) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("opening a client");
}

int main(int argc, char **argv)
{
    load_parse(argc, argv);
    if (load.n_bytes <= HEADER_BYTES) {
        fprintf(stderr, "load: more than %d bytes are needed\n", HEADER_BYTES);
        return 2;
    }
    inbox = malloc(UDP_WINDOW * (load.n_bytes + 1));
    outbox = malloc(UDP_WINDOW * load.n_bytes);
    clients = calloc((size_t)load.n_connections, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!inbox || !outbox || !clients || epoll < 0)
        die("setting up");
    for (size_t i = 0; i < UDP_WINDOW; i++) {
        memcpy(outbox + i * load.n_bytes, load.message, load.n_bytes);
        parts[i] = (struct iovec){inbox + i * (load.n_bytes + 1), load.n_bytes + 1};
        heads[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < load.n_connections; i++)
        open_client(&clients[i]);
    for (int i = 0; i < load.n_connections; i++)
        send_window(&clients[i]);
    load_run(step);
    return 0;
}
