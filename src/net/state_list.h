/* net/state_list.h -- what this layer keeps in the module's state; core/state.h joins the lists of all layers.  Append
 * where you need one. */
#ifndef ASYNCLOOP_NET_STATE_LIST_H
#define ASYNCLOOP_NET_STATE_LIST_H

/* Interned names: st->str.NAME. */
#define NET_STRINGS(X) \
    X(buffer_updated) X(connection_lost) X(connection_made) X(data_received) X(datagram_received) X(eof_received) \
    X(error_received) X(get_buffer) X(pause_writing) X(peername) X(resume_writing) X(setblocking) X(socket) \
    X(sockname) X(transport) X(do_handshake) X(pending) X(read) X(write) X(_drain_helper) X(_get_close_waiter) \
    X(_maybe_resume_transport) X(_replace_transport) X(_source_traceback) \
    X(_wait_for_data) X(_wakeup_waiter) X(abort) X(can_write_eof) X(eof) X(extend) X(feed_data) X(feed_eof) \
    X(get_extra_info) X(is_closed) X(is_closing) X(pause_reading) X(paused) X(readexactly) X(readline) X(readuntil) \
    X(resume_reading) X(set_transport) X(sslcontext) X(write_eof) X(writelines) X(_waitpid_lock) X(pid) \
    X(returncode)

/* Taken from the standard library at import: st->NAME (module, attribute). */
#define NET_IMPORTS(X) \
    X(socket_class, "socket", "socket") \
    X(AF_INET_member, "socket", "AF_INET") \
    X(AF_INET6_member, "socket", "AF_INET6") \
    X(SOCK_STREAM_member, "socket", "SOCK_STREAM") \
    X(SOCK_DGRAM_member, "socket", "SOCK_DGRAM") \
    X(SOCK_RAW_member, "socket", "SOCK_RAW") \
    X(IncompleteReadError, "asyncio.exceptions", "IncompleteReadError") \
    X(LimitOverrunError, "asyncio.exceptions", "LimitOverrunError")

/* Other owned objects, which the layer makes: st->NAME. */
#define NET_OBJECTS(X) \
    X(TransportSocket) X(BufferedProtocol) X(asyncio_stream_transport) X(asyncio_read_pipe) X(asyncio_write_pipe) \
    X(datagram_transport_class) X(sendfile_mode) X(socket_is_known) X(fdtable) X(sendfile_fallback) X(SSLObject) \
    X(native_ssl_socket) X(MemoryBIO) X(SSLError) X(SSLCertVerificationError) X(SSLWantReadError) \
    X(SSLSyscallError) X(SSLZeroReturnError) X(create_tls_context) X(asyncio_tls_transport) X(stream_limit) \
    X(stream_newline) X(stream_keeps_writer) X(stream_reader_follows_tls)

/* Heap types: st->NAME##_type. */
#define NET_TYPES(X) \
    X(Transport) X(ReadPipeTransport) X(WritePipeTransport) X(DatagramTransport) X(Listener) X(ProcessWatch) \
    X(SockOp) X(Server) X(TLSProtocol) X(TLSTransport) X(StreamReader) X(StreamReaderProtocol) X(StreamWriter)

/* Free lists: FREELIST_NAME. */
#define NET_FREELISTS(X) \
    X(SOCK_OP)

/* Kinds of timer owner: TIMER_KIND_NAME. */
#define NET_TIMERS(X) \
    X(LISTENER) X(TLS)

#endif
