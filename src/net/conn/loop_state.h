/* net/conn/loop_state.h -- what the net layer keeps of one loop: loop->net, which the core knows as a pointer only.
 *
 * Made by net_loop_init, freed with the loop.  Thread: the loop's. */
#ifndef ASYNCLOOP_NET_LOOP_STATE_H
#define ASYNCLOOP_NET_LOOP_STATE_H

#include "core/loop.h"

/* Kinds of transport, as loop.metrics() counts them. */
enum transport_kind {
    TRANSPORT_TCP, /* streams of the Internet, without TLS */
    TRANSPORT_TLS, /* stream sockets under a TLS connection */
    TRANSPORT_UNIX, /* Unix sockets: streams without TLS, and datagrams */
    TRANSPORT_UDP, /* datagrams of the Internet */
    TRANSPORT_PIPE, /* one end each */
    TRANSPORT_OTHER,
    TRANSPORT_KINDS
};

struct net {
    /* what transports received and sent, over TLS as it is on the wire */
    uint64_t bytes_in, bytes_out;
    uint64_t n_accepted;
    uint32_t n_open[TRANSPORT_KINDS]; /* transports that have a descriptor */
    void *tls_output; /* what TLS connections encrypt into, one at a time, or NULL (net/tls/tls_engine.h) */
    struct udp_batch *datagrams; /* of PyMem, or NULL (net/udp/udp_batch.h); freed when the loop is closed */
    /* bit n is set when a datagram transport of this loop was ever bound to a port that is n modulo 64 (net/udp/udp.h)
     */
    uint64_t datagram_ports;
    /* connections accepted next that are not read before the poller reports them, as an earlier one had sent nothing
     * yet */
    uint8_t patient_connections;
    /* handed down by net/ops: a transport that closes fd calls it before */
    void (*evict_writer)(Loop *loop, int fd);
};

#endif
