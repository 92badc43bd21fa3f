"""start_tls: a plain connection goes on with TLS, and TLS inside of TLS."""
import asyncio
import contextlib
import socket
import ssl
import sys

import pytest

import certs
from sidebyside import same
from tls_peers import KINDS, Buffered, Peer, Recorder, fact, linked, run_quiet, socket_pair, soon, until

WRITER_HAS_IT = hasattr(asyncio.StreamWriter, "start_tls")


async def plain(protocol, family="tcp"):
    """A plain transport, and the raw socket of the other end."""
    a, b = socket_pair(family)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a)
    return transport, b


def starting(side, transport, protocol, **options):
    loop = asyncio.get_running_loop()
    if side == "client":
        return loop.start_tls(transport, protocol, certs.client_context(), server_hostname="localhost", **options)
    return loop.start_tls(transport, protocol, certs.server_context(), server_side=True, **options)


def peer_of(side, sock):
    return Peer(sock, certs.server_context() if side == "client" else certs.client_context(), side == "client")


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("kind", [Recorder, Buffered])
def test_a_connection_goes_on_with_tls(kit, loop, side, kind, family):
    async def main():
        calls = []
        protocol = kind(lambda what, *rest: calls.append(what))
        transport, sock = await plain(protocol, family)
        async with peer_of(side, sock) as peer:
            await peer.send_raw(b"plain")
            await until(lambda: protocol.data == b"plain")
            transport.write(b"STARTTLS")
            assert await peer.receive_raw(8) == b"STARTTLS"
            tls, _ = await soon(asyncio.gather(starting(side, transport, protocol), peer.handshake()))
            assert tls is not transport and calls == ["made"], "connection_made is not called again"
            assert tls.get_protocol() is protocol
            assert type(tls.get_extra_info("ssl_object")) is ssl.SSLObject
            assert transport.get_protocol() is not protocol
            await peer.send(b" secret")
            await until(lambda: protocol.data == b"plain secret")
            tls.write(b"answer" * 100_000)
            assert await peer.receive_exactly(600_000) == b"answer" * 100_000
            tls.close()
            assert await peer.receive_all() == b""
            await peer.unwrap()
            await until(lambda: protocol.lost)
            assert calls[-1] == "lost" and protocol.exc is None
    run_quiet(loop, main())


def test_what_was_written_before_leaves_before(kit, loop, side):
    """Plain bytes that are still queued come out in the clear, in front of the handshake."""
    async def main():
        protocol = Recorder()
        transport, sock = await plain(protocol)
        async with peer_of(side, sock) as peer:
            size = 0
            transport.set_write_buffer_limits(high=1 << 24)  # asyncio loses the resume_writing of who is paused here
            while transport.get_write_buffer_size() < 300_000:
                transport.write(b"x" * 100_000)
                size += 100_000
            making = asyncio.ensure_future(starting(side, transport, protocol))
            got = b""
            while len(got) < size:
                got += await peer.receive_raw(min(65536, size - len(got)))
            assert got == b"x" * size
            tls, _ = await soon(asyncio.gather(making, peer.handshake()))
            tls.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_data_that_follows_the_handshake_at_once(kit, loop, side):
    """The peer's first data in one piece with the end of its handshake is delivered to the protocol."""
    async def main():
        protocol = Recorder()
        transport, sock = await plain(protocol)
        async with peer_of(side, sock) as peer:
            making = asyncio.ensure_future(starting(side, transport, protocol))
            while True:
                try:
                    peer.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await peer.flush()
                    peer.incoming.write(await peer.receive_raw())
            peer.tls.write(b"at once")
            await peer.flush()
            tls = await soon(making)
            await until(lambda: protocol.data == b"at once")
            tls.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_reading_was_paused_before(kit, loop, side):
    """start_tls reads by itself."""
    async def main():
        protocol = Recorder()
        transport, sock = await plain(protocol)
        async with peer_of(side, sock) as peer:
            transport.pause_reading()
            tls, _ = await soon(asyncio.gather(starting(side, transport, protocol), peer.handshake()))
            await peer.send(b"x")
            await until(lambda: protocol.data == b"x")
            tls.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_tls_inside_tls(kit, loop, side):
    """Three layers; each has facts of its own, and the end goes through all of them."""
    async def main():
        protocol = Recorder()
        transport, outer = await linked(side, protocol)
        async with outer:
            inner = peer_of(side, None)

            async def send_through(data, outer=outer):
                await outer.send(data)
            inner.send_raw = send_through
            inner.receive_raw = outer.receive
            tls, _ = await soon(asyncio.gather(starting(side, transport, protocol), inner.handshake()))
            assert tls.get_extra_info("ssl_object") is not transport.get_extra_info("ssl_object")
            third = peer_of(side, None)

            async def send_twice(data):
                await inner.send(data)
            third.send_raw, third.receive_raw = send_twice, inner.receive
            last, _ = await soon(asyncio.gather(starting(side, tls, protocol), third.handshake()))
            assert last.get_extra_info("peername") == transport.get_extra_info("peername")
            data = bytes(range(256)) * 1000
            last.write(data)
            assert await third.receive_exactly(len(data)) == data
            await third.send(data)
            await until(lambda: len(protocol.data) == len(data))
            assert protocol.data == data
            last.abort()
            await until(lambda: protocol.lost)
            assert protocol.exc is None
    run_quiet(loop, main())


@same
def test_wrong_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        protocol = Recorder()
        transport, sock = await plain(protocol)
        pipe = await loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/cat")

        async def attempt(*args, **options):
            try:
                await soon(loop.start_tls(*args, **options))
            except Exception as exc:
                # repr of transports differ
                t.say(type(exc).__name__, str(exc).split("transport <")[0].split("instance of")[0])
        with sock:
            context = certs.client_context()
            await attempt(transport, protocol, None)
            await attempt(transport, protocol, True)
            await attempt(transport, protocol, ssl)
            await attempt(None, protocol, context)
            await attempt(pipe[0].get_pipe_transport(0), protocol, context)
            await attempt(transport, protocol, context, ssl_handshake_timeout=0)
            await attempt(transport, protocol, context, ssl_shutdown_timeout=-5)
            await attempt(transport, protocol, context, server_side=True)
            t.say(transport.is_closing(), transport.is_reading(), transport.get_protocol() is protocol)
            transport.abort()
            pipe[0].close()
            await until(lambda: protocol.lost)
            await asyncio.sleep(0.01)
    t.keep_warnings = False
    t.run(main())


@same
def test_a_failing_handshake(t):
    """The exception is the caller's; the connection is closed, the protocol hears of it as asyncio's does."""
    async def main(side):
        protocol = Recorder(t.say)
        transport, sock = await plain(protocol)
        async with Peer(sock) as peer:
            making = asyncio.ensure_future(starting(side, transport, protocol))
            await peer.send_raw(b"this is no TLS at all, is it?\r\n")
            try:
                await soon(making)
            except ssl.SSLError as exc:
                t.say(fact(exc))
            await peer.raw_end()
            t.say(transport.is_closing())
            await asyncio.sleep(0.01)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        t.run(main(side))


@same
def test_timeout_and_a_peer_that_goes(t):
    async def main(side, how):
        protocol = Recorder(lambda *what: t.say("lost") if what[0] == "lost" else None)
        transport, sock = await plain(protocol)
        async with Peer(sock) as peer:
            making = asyncio.ensure_future(starting(side, transport, protocol, ssl_handshake_timeout=0.05 if how == "silent" else 30))
            await asyncio.sleep(0.01)
            if how == "end":
                sock.shutdown(socket.SHUT_WR)
            try:
                await soon(making)
            except Exception as exc:
                t.say(fact(exc))
            await peer.raw_end()
            await asyncio.sleep(0.01)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    for side in ("client", "server"):
        for how in ("silent", "end"):
            t.run(main(side, how))


def test_cancelled(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, sock = await plain(protocol)
        async with Peer(sock) as peer:
            making = asyncio.ensure_future(starting(side, transport, protocol))
            await asyncio.sleep(0.01)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making
            await peer.raw_end()
            assert transport.is_closing()
    run_quiet(loop, main())


def test_cancelled_before_it_began(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, sock = await plain(protocol)
        async with Peer(sock) as peer:
            making = asyncio.ensure_future(starting(side, transport, protocol))
            await asyncio.sleep(0)
            making.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await making
            await peer.raw_end()
    run_quiet(loop, main())


@pytest.mark.skipif(not WRITER_HAS_IT, reason="StreamWriter.start_tls came with 3.11")
def test_stream_writer(kit, loop):
    """Both ends by StreamWriter.start_tls, as SMTP, PostgreSQL and many others do it."""
    done = []

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"GO\n")
        await writer.drain()
        await writer.start_tls(certs.server_context())
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
        done.append(True)

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        for _ in range(5):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"GO\n"
            await writer.start_tls(certs.client_context(), server_hostname="localhost")
            assert writer.get_extra_info("ssl_object") is not None
            for i in range(20):
                writer.write(b"line %d\n" % i)
                assert await reader.readline() == b"LINE %d\n" % i
            writer.close()
            await writer.wait_closed()
        await until(lambda: len(done) == 5)
        server.close()
        await server.wait_closed()
    run_quiet(loop, main())


@pytest.mark.skipif(not WRITER_HAS_IT, reason="StreamWriter.start_tls came with 3.11")
@pytest.mark.parametrize("kit", KINDS if sys.version_info >= (3, 14, 3) else ["asyncloop"], indirect=True)
def test_the_handshake_may_be_in_the_readers_buffer_already(kit, loop):
    """A client that does not wait for the server's word: request and ClientHello come in one piece, and the reader has both."""
    async def main():
        ready = loop.create_future()

        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            await until(lambda: len(reader._buffer) > 100)  # the hello has come
            await writer.start_tls(certs.server_context())
            assert await reader.readline() == b"secret\n"
            writer.write(b"answer\n")
            await writer.drain()
            writer.close()
            ready.set_result(None)
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        async with Peer(sock, certs.client_context()) as peer:
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.send_raw(b"STARTTLS\n" + peer.outgoing.read())
            await peer.handshake()
            await peer.send(b"secret\n")
            assert await peer.receive_exactly(7) == b"answer\n"
            await soon(ready)
        server.close()
        await server.wait_closed()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))
