"""What asyncloop promises beyond what the other loops get right, each with the tests that hold it to it.

PROMISES is the index.  The tests that fit no other file are below it.
"""
import ast
import asyncio
import concurrent.futures
import contextlib
import errno
import gc
import os
import resource
import socket
import struct
import sys

import pytest

from kits import until
from sidebyside import OURS, same
from test_tcp import Recorder, connected

HERE = os.path.dirname(os.path.abspath(__file__))

PROMISES = {
    "timers below a millisecond": ["test_loop_timers::test_our_sleeps_below_a_millisecond_are_short", "test_loop_timers::test_sleep_is_never_early_and_hardly_late"],
    "subinterpreters, several loops in several threads, fork": [
        "../internal/test_subinterpreters::test_in_threads", "../internal/test_threads::test_two_loops_feed_each_other",
        "../internal/test_fork::test_new_loop_in_the_child_of_a_running_loop"],
    "eager tasks": ["test_task::test_eager_start", "test_loop_type::test_eager_task_factory"],
    "serve_forever() ends after close()": ["test_server::test_serve_forever_ends_after_close"],
    "wait_closed() waits for live clients where asyncio's does": ["test_server::test_wait_closed_and_live_clients"],
    "close_clients and abort_clients": ["test_server::test_close_and_abort_clients"],
    "accepting goes on after EMFILE": ["test_server::test_accepting_goes_on_after_emfile", "test_server::test_closing_while_accepting_is_paused"],
    "start_tls keeps what was buffered": ["test_tls_start::test_the_handshake_may_be_in_the_readers_buffer_already",
                                          "test_tls_start::test_data_that_follows_the_handshake_at_once"],
    "TLS shutdown never lingers": ["test_tls_promises::test_a_peer_that_never_answers_close_notify_holds_nothing_up",
                                   "test_tls_promises::test_the_peer_hangs_up_after_our_close_notify", "test_tls_close::test_shutdown_timeout"],
    "trailing data after close_notify is discarded quietly": ["test_tls_promises::test_data_after_our_close_notify_is_discarded_quietly",
                                                              "test_tls_promises::test_data_after_the_peers_close_notify_is_discarded_quietly"],
    "a child may open /dev/stdin and /proc/self/fd/1": ["test_process::test_a_child_may_open_its_stdin"],
    "umask, process_group, user, group, extra_groups, preexec_fn": ["test_process::test_popen_keywords"],
    "two threads may spawn at once": ["test_process::test_two_threads_spawn_at_once"],
    "a regular file is no pipe": ["test_pipe::test_what_is_no_pipe"],
    "a pipe's descriptor is closed exactly once": ["test_compat_promises::test_a_pipe_is_closed_exactly_once", "test_pipe::test_file_whose_close_fails_or_reenters"],
    "sock_* never gets another connection's bytes": ["test_sock_ops::test_a_waiter_never_gets_another_connections_bytes",
                                                     "test_sock_ops::test_a_replaced_descriptor_is_noticed_when_it_is_ready"],
    "add_reader on a closed and re-used descriptor": ["test_loop_fds::test_closed_and_reused_fd", "test_loop_fds::test_reused_without_having_been_removed"],
    "mutable data may be changed after write()": [
        "test_tcp::test_write_does_not_see_later_changes", "test_pipe::test_mutable_data_may_change_after_write",
        "test_tls::test_write_does_not_see_later_changes", "test_compat_promises::test_sendto_does_not_see_later_changes"],
    "scope ids of IPv6 addresses survive": ["test_loop_python::test_getaddrinfo_is_the_socket_modules",
                                            "test_compat_promises::test_scope_ids_reach_the_kernel"],
    "numeric hosts never go to the resolver thread": ["test_loop_python::test_numeric_host_needs_no_thread",
                                                      "test_compat_promises::test_numeric_hosts_start_no_thread"],
    "an overridden loop.time() moves the scheduler": ["test_loop_timers::test_overridden_time_moves_the_scheduler",
                                                      "test_loop_timers::test_time_replaced_on_the_instance"],
    "getaddrinfo agrees with socket.getaddrinfo": ["test_loop_python::test_getaddrinfo_is_the_socket_modules"],
    "header and body leave in one system call": ["test_tcp::test_writes_of_one_callback_leave_together"],
    "100,000 cancelled timers leave nothing": ["test_loop_timers::test_cancelled_timers_leave_nothing"],
    "a closed loop is freed and leaks no descriptor": ["../internal/test_closed_loop_memory::test_closed_loop_dies_without_the_collector",
                                                       "../internal/test_closed_loop_memory::test_fds_are_given_back"],
    "exceptions in a protocol's methods are reported": ["test_tcp::test_protocol_errors", "test_tls_errors::test_exceptions_of_a_server_protocol",
                                                        "test_pipe::test_failing_callbacks", "test_udp::test_exceptions_in_connection_made_and_connection_lost"],
    "exceptions in a protocol factory are reported": ["test_server::test_factory_errors", "test_tls_errors::test_a_failing_factory"],
    "exceptions in an accept callback are reported": ["test_compat_promises::test_failing_accepts_are_reported"],
    "exceptions in a signal handler are reported": ["test_loop_signals::test_handler_that_fails"],
    "exceptions in a finalizer": ["test_compat_promises::test_exceptions_in_finalizers_end_nothing"],
    "SystemExit and KeyboardInterrupt leave run_forever": ["test_tcp::test_exits_leave_the_loop", "test_tls_errors::test_exits_leave_the_loop",
                                                           "test_loop_errors::test_system_exit_and_keyboard_interrupt_leave_the_loop"],
    "a reset ends in connection_lost, once, never inside close() or abort()": ["test_compat_promises::test_a_reset_ends_in_connection_lost",
                                                                               "test_tls_close::test_reset_by_the_peer"],
    # what libraries lean on
    "types of transports and servers": ["test_tcp::test_identity_of_a_transport", "test_compat_promises::test_types_of_what_a_loop_makes"],
    "set_protocol in mid-connection": ["test_tcp::test_switching_between_plain_and_buffered", "test_tls::test_set_protocol_in_the_middle",
                                       "test_udp::test_another_protocol", "test_pipe::test_protocol_is_replaced"],
    "water marks of 0": ["test_tcp::test_pause_with_a_mark_of_zero", "test_tls_promises::test_a_mark_of_zero"],
    "a real TransportSocket": ["test_tcp::test_extra_info", "test_tcp::test_accepted_connections_have_the_same_facts"],
    "keys of get_extra_info": ["test_tcp::test_extra_info", "test_tls::test_the_order_of_callbacks_and_the_facts", "test_pipe::test_types_and_extra"],
    "asyncio.sslproto.SSLProtocol over our raw transport": ["test_tls_promises::test_asyncios_own_tls_protocol_runs_on_our_raw_transport"],
    "StreamReader._buffer": ["test_compat_promises::test_the_readers_buffer_is_there"],
    "Server's attributes": ["test_server::test_life", "test_compat_promises::test_attributes_of_a_server"],
    "attributes may be set on transports": ["test_tcp::test_identity_of_a_transport", "test_tls_promises::test_attributes_may_be_set_and_the_context_is_found"],
    "one context per connection": ["test_tcp::test_one_context_for_all_callbacks", "test_tls::test_one_context_for_all_callbacks",
                                   "test_udp::test_one_context_for_all_callbacks", "test_pipe::test_context_of_the_callbacks"],
    "memory is bounded by the water marks": ["test_tls_flow::test_drain_waits_for_a_slow_reader_and_memory_is_bounded",
                                             "test_tls_flow::test_a_slow_reader_of_a_plain_connection_is_bounded_too",
                                             "test_udp::test_memory_is_bounded_by_who_listens_to_pause_writing"],
}


def functions_of(file):
    path = os.path.normpath(os.path.join(HERE, f"{file}.py"))
    with open(path) as source:
        return {node.name for node in ast.walk(ast.parse(source.read())) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_has_its_tests(promise):
    assert PROMISES[promise]
    for name in PROMISES[promise]:
        file, _, function = name.partition("::")
        assert function in functions_of(file), name


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    loop.close()


# --- pipes

def test_a_pipe_is_closed_exactly_once(loop):
    """A second close of the number would hit whoever has it by then: here a socket opened right after the first."""
    async def main(end_it):
        for connect, mode in ((loop.connect_read_pipe, "rb"), (loop.connect_write_pipe, "wb")):
            r, w = os.pipe()
            mine, other = (r, w) if mode == "rb" else (w, r)
            lost = loop.create_future()

            class Protocol(asyncio.Protocol):
                def connection_lost(self, exc):
                    lost.set_result(None)
            transport, _ = await connect(Protocol, os.fdopen(mine, mode, 0))
            end_it(transport, other)
            await asyncio.wait_for(lost, 10)
            again = socket.socket()
            if again.fileno() != mine:
                os.dup2(again.fileno(), mine)
                again.close()
                again = socket.socket(fileno=mine)
            transport.close()
            transport.abort() if hasattr(transport, "abort") else None
            del transport
            gc.collect()
            await asyncio.sleep(0)
            assert again.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM, "closed a second time"
            again.close()
            with contextlib.suppress(OSError):
                os.close(other)
    loop.run_until_complete(main(lambda transport, other: transport.close()))
    loop.run_until_complete(main(lambda transport, other: os.close(other)))


# --- datagrams

def test_sendto_does_not_see_later_changes(loop):
    async def main():
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as b:
            b.setblocking(False)
            name = f"\0asyncloop-promises-{os.getpid()}"
            b.bind(name)
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=name, family=socket.AF_UNIX)
            data = bytearray(1000)
            count = 0
            while transport.get_write_buffer_size() < 50_000:  # full: from here on they are queued
                data[:] = bytes([count % 250]) * 1000
                transport.sendto(memoryview(data) if count % 2 else data)
                count += 1
                assert count < 100_000
            data[:] = b"\xff" * 1000
            got = [await asyncio.wait_for(loop.sock_recv(b, 2000), 10) for _ in range(count)]
            assert got == [bytes([i % 250]) * 1000 for i in range(count)]
            transport.close()
            await asyncio.sleep(0.01)
    loop.run_until_complete(main())


# --- names

def outcome_of(call):
    """The name of the other end, or the number of the error."""
    try:
        return call()
    except OSError as exc:
        return exc.errno


def test_scope_ids_reach_the_kernel(loop):
    """A link-local address is one only with its scope: without it the kernel says EINVAL, with it anything else."""
    index = socket.if_nametoindex("lo")

    def plainly(address):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            return sock.getpeername()

    async def by_the_loop(address):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
                return sock.getpeername()
            except OSError as exc:
                return exc.errno
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as exc:
        pytest.skip(f"no IPv6 here: {exc}")
    wanted = outcome_of(lambda: plainly(("fe80::1", 9, 0, index)))
    assert outcome_of(lambda: plainly(("fe80::1", 9))) == errno.EINVAL != wanted
    assert loop.run_until_complete(by_the_loop(("fe80::1", 9))) == errno.EINVAL
    for address in (("fe80::1%lo", 9), ("fe80::1", 9, 0, index), (f"fe80::1%{index}", 9)):
        assert loop.run_until_complete(by_the_loop(address)) == wanted, address


def test_numeric_hosts_start_no_thread(loop):
    """Servers, connections, datagram endpoints and sock_connect: the executor is not even made."""
    class Refusing(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *args, **kw):
            raise AssertionError("asked the executor")

    async def main():
        loop.set_default_executor(Refusing())
        accepted = []
        for host in ("127.0.0.1", "::1"):
            try:
                server = await loop.create_server(lambda: accepted.append(Recorder()) or accepted[-1], host, 0)
            except OSError:
                continue  # no IPv6 here
            port = server.sockets[0].getsockname()[1]
            transport, protocol = await loop.create_connection(Recorder, host, port, local_addr=(host, 0))
            transport.close()
            await until(lambda: protocol.lost)
            with socket.socket(server.sockets[0].family) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, (host, port))
            endpoint, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, (host, 0), (host, port))
            endpoint.close()
            await until(lambda: len(accepted) == 2 and all(each.lost for each in accepted))
            accepted.clear()
            server.close()
            await server.wait_closed()
    loop.run_until_complete(main())


# --- errors

@same
def test_failing_accepts_are_reported(t):
    """accept() itself fails for want of descriptors: reported with asyncio's message and keys, and tried again later."""
    async def main():
        server = await t.loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.setblocking(False)
            highest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
            spare = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        spare.append(os.open("/dev/null", os.O_RDONLY))
                with contextlib.suppress(BlockingIOError):
                    client.connect(address)
                await until(lambda: seen)
            finally:
                for fd in spare:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            t.say(seen[0]["message"], type(seen[0]["exception"]).__name__, seen[0]["exception"].errno, sorted(seen[0]), type(seen[0]["socket"]).__name__)
        server.close()
        await server.wait_closed()
    seen = []
    t.keep_warnings = False
    t.loop.set_exception_handler(lambda loop, context: seen.append(context))
    t.run(main())


def test_exceptions_in_finalizers_end_nothing(loop, monkeypatch):
    """Of callbacks, protocols and transports' users: they go to sys.unraisablehook, the loop goes on."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: unraisable.append(type(what.exc_value)))

    class Failing:
        def __del__(self):
            raise ValueError("on purpose")

    class FailingProtocol(Recorder, Failing):
        pass

    async def main():
        loop.call_soon(lambda what: None, Failing())
        loop.call_later(0, lambda what: None, Failing())
        loop.call_later(60, lambda what: None, Failing()).cancel()
        transport, peer = await connected(FailingProtocol())
        with peer:
            transport.abort()
            del transport
            for _ in range(5):
                await asyncio.sleep(0)
            gc.collect()
        return 1
    assert loop.run_until_complete(main()) == 1
    assert loop.run_until_complete(asyncio.sleep(0, 2)) == 2
    gc.collect()
    assert unraisable == [ValueError] * 4


@pytest.mark.parametrize("reading", [True, False], ids=["reading", "paused"])
@pytest.mark.parametrize("how", ["nothing", "close", "abort", "write", "write and close"])
def test_a_reset_ends_in_connection_lost(loop, how, reading):
    """Whatever we do when it comes: once, from the loop, never inside of our call."""
    inside = []

    class Protocol(asyncio.Protocol):
        calls = 0

        def connection_lost(self, exc):
            self.calls += 1
            assert not inside

    async def main():
        protocol = Protocol()
        transport, peer = await connected(protocol)
        if not reading:
            transport.pause_reading()
        if "write" in how:
            while transport.get_write_buffer_size() == 0:
                transport.write(bytes(1 << 20))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        inside.append(1)
        if "close" in how:
            transport.close()
        elif how == "abort":
            transport.abort()
        elif how == "write":
            transport.write(b"x")
        inside.clear()
        if how == "nothing" and not reading:
            transport.resume_reading()  # who is paused and writes nothing sees it when it reads again
        await until(lambda: protocol.calls)
        transport.close()
        transport.abort()
        await asyncio.sleep(0.01)
        assert protocol.calls == 1
    loop.run_until_complete(main())


# --- what libraries lean on

@same
def test_types_of_what_a_loop_makes(t):
    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        t.say(isinstance(reader, asyncio.StreamReader), isinstance(writer, asyncio.StreamWriter), isinstance(server, asyncio.AbstractServer))
        await reader.read()
        udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        r, w = os.pipe()
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(r, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(w, "wb", 0))
        child, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true", stdin=None, stdout=None, stderr=None)
        if t.kit is OURS:
            assert isinstance(udp, asyncio.DatagramTransport)  # asyncio's is none
        for transport in (writer.transport, reading, writing, child):
            t.say([isinstance(transport, kind) for kind in (asyncio.BaseTransport, asyncio.ReadTransport, asyncio.WriteTransport, asyncio.Transport,
                                                           asyncio.DatagramTransport, asyncio.SubprocessTransport)])
            hash(transport)
        await child._wait()
        for transport in (writer, udp, reading, writing, child):
            transport.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)
    t.keep_warnings = False
    t.run(main())


def test_the_readers_buffer_is_there(loop):
    async def main():
        served = loop.create_future()

        async def handle(reader, writer):
            await until(lambda: len(reader._buffer) == 5)
            assert bytes(reader._buffer) == b"hello"
            assert await reader.readexactly(2) == b"he" and bytes(reader._buffer) == b"llo"
            reader._buffer.clear()
            writer.write(b"x")
            assert await reader.read(100) == b"more"
            writer.close()
            served.set_result(None)
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.readexactly(1) == b"x"
        writer.write(b"more")
        await served
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    loop.run_until_complete(asyncio.wait_for(main(), 30))


@same
def test_attributes_of_a_server(t):
    async def main():
        server = await t.loop.create_server(Recorder, "127.0.0.1", 0)
        t.say(server._ssl_context, server._ssl_handshake_timeout, len(server.sockets), type(server.sockets).__name__, server.is_serving(),
              server._sockets[0].getsockname() == server.sockets[0].getsockname(), repr(server).startswith("<Server sockets=("))
        server.close()
        t.say(server.sockets, server._sockets, server.is_serving(), repr(server))
        await server.wait_closed()
    t.run(main())
