"""How a TLS connection ends: close, abort, close_notify, the end of TCP, resets, time limits, cancellation."""
import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import sys
import warnings
import weakref

import pytest

import certs
from sidebyside import same
from tls_peers import VERSIONS, Buffered, Peer, Recorder, both, fact, linked, of_side, run_quiet, socket_pair, soon, until


def reset_on_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- we close

def test_close_says_so_and_sends_what_is_queued(kit, loop, side, version):
    async def main():
        protocol = Recorder()
        # The peer reads all of it before it answers, which may take longer than a silent peer is waited for.
        transport, peer = await linked(side, protocol, version=version, ssl_shutdown_timeout=30)
        async with peer:
            data = bytes(range(256)) * 10_000
            transport.write(data)
            transport.close()
            assert transport.is_closing()
            transport.close()
            assert await peer.receive_all() == data  # to close_notify
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert protocol.exc is None and await peer.raw_end()
    run_quiet(loop, main())


def test_close_of_a_peer_that_reads_late(kit, loop, side):
    """connection_lost comes after the last byte has left, not before."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            sent = 0
            while transport.get_write_buffer_size() < 500_000:
                transport.write(bytes(100_000))
                sent += 100_000
            transport.close()
            await asyncio.sleep(0.05)
            assert not protocol.lost
            await peer.receive_exactly(sent)
            assert await peer.receive() == b""
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert protocol.exc is None
    run_quiet(loop, main())


@same
def test_the_order_when_we_close(t):
    async def main(side):
        protocol = Recorder(t.say)
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.write(b"bye")
            transport.close()
            t.say(transport.is_closing(), await peer.receive_all())
            await peer.unwrap()
            await until(lambda: protocol.lost)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


@same
def test_the_peer_hangs_up_instead_of_answering_close_notify(t):
    async def main(side):
        protocol = Recorder(lambda *what: t.say(*what) if what[0] == "lost" else None)
        transport, peer = await linked(side, protocol)
        transport.close()
        await peer.receive_all()
        peer.sock.close()
        await until(lambda: protocol.lost)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


def test_close_inside_data_received(kit, loop, side):
    """What came in the same piece behind it is not delivered."""
    async def main():
        protocol = Recorder(on_data=lambda data: protocol.transport.close())
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send(b"stop")
            assert await peer.receive_all() == b""
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert protocol.data == b"stop" and protocol.exc is None
    run_quiet(loop, main())


def test_close_inside_connection_made(kit, loop, side):
    async def main():
        class Closing(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"no, thanks")
                transport.close()
        protocol = Closing()
        transport, peer = await linked(side, protocol)
        async with peer:
            assert await peer.receive_all() == b"no, thanks"
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert protocol.exc is None
    run_quiet(loop, main())


def test_close_while_reading_is_paused(kit, loop, side):
    """The answer to close_notify is heard all the same."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.pause_reading()
            transport.write(b"the end")
            transport.close()
            assert await peer.receive_all() == b"the end"
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert protocol.exc is None and not protocol.data
    run_quiet(loop, main())


def test_abort_drops_the_queue(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            while transport.get_write_buffer_size() < 500_000:
                transport.write(bytes(100_000))
            transport.abort()
            assert transport.is_closing() and not protocol.lost, "connection_lost comes from the loop"
            await until(lambda: protocol.lost)
            assert protocol.exc is None
            transport.abort()
            transport.close()
            with pytest.raises((ssl.SSLError, ConnectionError)):  # no close_notify
                await peer.receive_all()
    run_quiet(loop, main())


def test_abort_inside_every_callback(kit, loop, side):
    for where in ("connection_made", "data_received", "eof_received", "pause_writing"):
        class Aborting(Recorder):
            pass

        def call(self, *args, where=where):
            if where == "connection_made":
                self.transport = args[0]
            self.transport.abort()
        setattr(Aborting, where, call)

        async def main():
            protocol = Aborting()
            if where == "connection_made":
                with contextlib.suppress(ssl.SSLError, ConnectionError):  # a TLS 1.3 client's last message may not have left
                    (await linked(side, protocol))[1].sock.close()
                await until(lambda: protocol.lost)
                assert protocol.exc is None
                return
            transport, peer = await linked(side, protocol)
            async with peer:
                if where == "data_received":
                    await peer.send(b"x")
                elif where == "eof_received":
                    await peer.send_raw(peer.close_notify())
                elif where == "pause_writing":
                    while not transport.is_closing():
                        transport.write(bytes(100_000))
                await until(lambda: protocol.lost)
                assert protocol.exc is None
        run_quiet(loop, main())


@same
def test_calls_after_the_end(t):
    async def main(side):
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.abort()
            await until(lambda: protocol.lost)
            for _ in range(7):  # a warning at the fifth
                t.attempt(transport.write, b"x")
            t.attempt(transport.writelines, [b"x"])
            t.attempt(transport.abort)
            t.attempt(transport.close)
            t.say(transport.is_closing())
    for side in ("client", "server"):
        t.run(main(side))


# --- the peer closes

@same
def test_the_order_when_the_peer_closes(t):
    """Data, eof_received, connection_lost; close_notify is answered."""
    async def main(side, kind):
        protocol = kind(t.say)
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send_raw(peer.encrypted(b"last") + peer.close_notify())
            await peer.unwrap()  # the answer
            await until(lambda: protocol.lost)
            t.say(bytes(protocol.data), await peer.raw_end())
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for kind in (Recorder, Buffered):
            t.run(main(side, kind))


@same
def test_eof_received_cannot_keep_it_open(t):
    async def main(side):
        class Keeping(Recorder):
            def eof_received(self):
                self.say("eof")
                return True
        protocol = Keeping(t.say)
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send_raw(peer.close_notify())
            await until(lambda: protocol.lost)
    for side in ("client", "server"):
        t.run(main(side))


def test_writing_in_eof_received_still_arrives(kit, loop, side):
    """The last chance to answer: TLS has no half-close, but the record leaves before close_notify does."""
    async def main():
        class Answering(Recorder):
            def eof_received(self):
                self.eof = True
                self.transport.write(b"the answer")
        protocol = Answering()
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send_raw(peer.encrypted(b"the question") + peer.close_notify())
            raw = b""
            while data := await peer.receive_raw():
                raw += data
            await until(lambda: protocol.lost)
            assert protocol.exc is None and protocol.eof and protocol.data == b"the question"
            peer.incoming.write(raw)
            peer.incoming.write_eof()
            assert peer.tls.read(100) == b"the answer"
            with pytest.raises(ssl.SSLZeroReturnError):
                peer.tls.read(100)
    run_quiet(loop, main())


@same
def test_tcp_ends_without_close_notify(t):
    """Truncation: asyncio tells eof_received nothing of it, and the end is orderly."""
    async def main(side, data):
        protocol = Recorder(t.say)
        _, peer = await linked(side, protocol)
        async with peer:
            if data:
                await peer.send(data)
                await until(lambda: protocol.data == data)
            peer.sock.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.lost)
            t.say(bytes(protocol.data))
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for data in (b"", b"data"):
            t.run(main(side, data))


def test_tcp_ends_in_the_middle_of_a_record(kit, loop, side):
    """The half record is never delivered."""
    async def main():
        protocol = Recorder()
        _, peer = await linked(side, protocol)
        async with peer:
            await peer.send(b"whole")
            await peer.send_raw(peer.encrypted(b"half of it is missing")[:-10])
            peer.sock.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.lost)
            assert protocol.data == b"whole"
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))


@same
def test_reset_by_the_peer(t):
    async def main(side):
        protocol = Recorder(t.say)
        _, peer = await linked(side, protocol)
        reset_on_close(peer.sock)
        peer.sock.close()
        await until(lambda: protocol.lost)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


def test_reset_while_writing(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        while transport.get_write_buffer_size() < 500_000:
            transport.write(bytes(100_000))
        reset_on_close(peer.sock)
        peer.sock.close()
        await until(lambda: protocol.lost)
        assert isinstance(protocol.exc, ConnectionError)
        transport.write(b"into the void")
    run_quiet(loop, main())


@same
def test_a_corrupt_record(t):
    """The connection ends with the ssl module's exception; nothing of the record is delivered."""
    async def main(side, version):
        protocol = Recorder(t.say)
        _, peer = await linked(side, protocol, version=version)
        async with peer:
            await peer.send(b"fine")
            await until(lambda: protocol.data)
            record = bytearray(peer.encrypted(b"altered on the way"))
            record[-1] ^= 1
            await peer.send_raw(record)
            await until(lambda: protocol.lost)
            t.say(bytes(protocol.data))
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"]), sorted(context)))
    for side in ("client", "server"):
        for version in VERSIONS:
            t.run(main(side, version))


# --- time limits

@same
def test_handshake_timeout(t):
    async def main(side, first):
        a, b = socket_pair()
        protocol = Recorder(t.say)
        async with Peer(b) as peer:
            await peer.send_raw(first)
            try:
                await soon(of_side(side, protocol, a, ssl_handshake_timeout=0.1))
            except Exception as exc:
                t.say(fact(exc))
            t.say(protocol.transport, a.fileno())
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for first in (b"", b"\x16\x03\x01"):
            t.run(main(side, first))


@same
def test_handshake_timeout_of_a_server(t):
    """Nobody is told but the debug mode; the connection is dropped."""
    async def main():
        made = []
        server = await asyncio.get_running_loop().create_server(lambda: made.append(1) or Recorder(t.say), "127.0.0.1", 0, ssl=certs.server_context(),
                                                                ssl_handshake_timeout=0.1)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        async with Peer(sock) as peer:
            t.say(await peer.raw_end(), made)
        server.close()
        await soon(server.wait_closed())
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    t.run(main())


@same
def test_shutdown_timeout(t):
    """A peer that does not read at all: close gives up at the limit."""
    async def main(side):
        protocol = Recorder(lambda *what: t.say(*what) if what[0] == "lost" else None)
        transport, peer = await linked(side, protocol, ssl_shutdown_timeout=0.1)
        async with peer:
            while transport.get_write_buffer_size() < 2_000_000:
                transport.write(bytes(100_000))
            transport.close()
            await until(lambda: protocol.lost)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


def test_the_time_limits_leave_no_timer(kit, loop, side):
    """A closed connection is not kept alive by its limits."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, ssl_handshake_timeout=3600, ssl_shutdown_timeout=3600)
        async with peer:
            transport.close()
            await peer.receive_all()
            await peer.unwrap()
            await until(lambda: protocol.lost)
        return weakref.ref(protocol)
    gone = run_quiet(loop, main())
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    gc.collect()
    assert gone() is None


# --- ends before the handshake is over

@pytest.mark.parametrize("how", ["nothing", "hello"])
def test_cancelled_while_connecting(kit, loop, side, how):
    async def main():
        a, b = socket_pair()
        protocol = Recorder()
        async with Peer(b) as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a))
            if how == "hello" and side == "client":
                assert await peer.receive_raw()
            else:
                await asyncio.sleep(0.02)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            await peer.raw_end()
            assert protocol.transport is None and a.fileno() == -1
    run_quiet(loop, main())


@same
def test_the_peer_goes_during_the_handshake(t):
    async def main(side, how):
        a, b = socket_pair()
        protocol = Recorder(t.say)
        async with Peer(b) as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a))
            if side == "client":
                await peer.receive_raw()
            else:
                await asyncio.sleep(0.01)
            if how == "reset":
                reset_on_close(b)
            b.close()
            try:
                await soon(making)
            except Exception as exc:
                t.say(fact(exc))
            t.say(a.fileno())
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for how in ("end", "reset"):
            t.run(main(side, how))


@same
def test_what_is_not_tls(t):
    async def main(side, data):
        a, b = socket_pair()
        protocol = Recorder(t.say)
        async with Peer(b) as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a))
            await peer.send_raw(data)
            try:
                await soon(making)
            except Exception as exc:
                t.say(fact(exc))
            await peer.raw_end()
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for data in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70_000):
            t.run(main(side, data))


@same
def test_no_version_in_common(t):
    async def main(side):
        a, b = socket_pair()
        protocol = Recorder(t.say)
        ours = (certs.client_context if side == "client" else certs.server_context)(version=VERSIONS["TLSv1.2"])
        theirs = (certs.server_context if side == "client" else certs.client_context)(version=VERSIONS["TLSv1.3"])
        async with Peer(b, theirs, side == "client") as peer:
            making = asyncio.ensure_future(of_side(side, protocol, a, ours=ours))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await peer.handshake()
            try:
                await soon(making)
            except ssl.SSLError as exc:
                t.say(fact(exc))
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


def test_the_server_is_closed_during_handshakes(kit, loop):
    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=certs.server_context())
        socks = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(5)]
        await asyncio.sleep(0.02)
        server.close()
        if sys.version_info >= (3, 13):
            server.abort_clients()
        for sock in socks:
            sock.setblocking(False)
            async with Peer(sock) as peer:
                if sys.version_info >= (3, 13):
                    await peer.raw_end()
        await soon(server.wait_closed())
    run_quiet(loop, main())


# --- what is left

def test_an_abandoned_transport_warns_and_closes(kit):
    loop = kit.new_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def main():
        protocol = Recorder()
        transport, peer = await linked("client", protocol)
        transport.pause_reading()
        return transport.get_extra_info("socket").fileno(), peer.sock
    fd, sock = loop.run_until_complete(main())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
        del loop
        gc.collect()
    with sock:
        sock.settimeout(30)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    assert any(issubclass(each.category, ResourceWarning) and "transport" in str(each.message) for each in caught), [str(each.message) for each in caught]


def test_many_connections_leave_nothing(kit, loop):
    """Neither objects nor descriptors (the fixtures look at those), whichever way they end."""
    contexts = certs.client_context(), certs.server_context()

    async def main():
        for i in range(40):
            one, two = Recorder(), Recorder()
            client, server = await both(one, two, client_ctx=contexts[0], server_ctx=contexts[1])
            client.write(b"x" * 1000)
            if i % 4 == 0:
                server.close()
            elif i % 4 == 1:
                client.abort()
            elif i % 4 == 2:
                client.close()
            else:
                client.close(), server.close()
            await until(lambda: one.lost and two.lost)

    def count():
        gc.collect()
        return sum(isinstance(each, (Recorder, ssl.SSLObject, ssl.MemoryBIO)) for each in gc.get_objects())
    run_quiet(loop, main())
    before = count()
    run_quiet(loop, main())
    assert count() <= before
