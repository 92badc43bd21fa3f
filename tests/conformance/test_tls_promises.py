"""Where asyncio's TLS loses data, time or the reason: what asyncloop does instead.

Each test says in its docstring what asyncio does.
"""
import asyncio
import contextlib
import gc
import os
import re
import socket
import ssl
import warnings
import weakref
from asyncio import sslproto

import pytest

import certs
from sidebyside import OURS
from tls_peers import VERSIONS, Buffered, Peer, Recorder, linked, of_side, run_quiet, socket_pair, soon, until


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    loop.close()


async def stop(protocol):
    protocol.transport.abort()
    await until(lambda: protocol.lost)


# --- data

@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_a_buffer_may_be_a_bytearray(loop, side, size):
    """asyncio reads the second record into a copy of it."""
    class ByteArrays(Buffered):
        def get_buffer(self, hint):
            return self.buffer

    async def main():
        protocol = ByteArrays(size=size)
        _, peer = await linked(side, protocol)
        async with peer:
            data = bytes(range(256)) * 4
            await peer.send_raw(b"".join(peer.encrypted(data[at : at + 10]) for at in range(0, len(data), 10)))
            await until(lambda: len(protocol.data) == len(data))
            assert protocol.data == data
            await stop(protocol)
    run_quiet(loop, main())


def test_a_buffer_of_another_size_each_time(loop, side):
    class Changing(Buffered):
        count = 0

        def get_buffer(self, hint):
            self.count += 1
            self.buffer = bytearray(1 + self.count * 37 % 5000)
            return self.buffer

    async def main():
        protocol = Changing()
        _, peer = await linked(side, protocol)
        async with peer:
            data = os.urandom(300_000)
            await peer.send(data)
            await until(lambda: len(protocol.data) == len(data))
            assert protocol.data == data
            await stop(protocol)
    run_quiet(loop, main())


def test_an_empty_buffer_is_an_error(loop, side):
    """As on a plain connection; asyncio's TLS takes it for the end of the stream."""
    class Empty(Buffered):
        def get_buffer(self, hint):
            return memoryview(self.buffer)[:self.size]

    async def main():
        protocol = Empty()
        protocol.size = 1000
        _, peer = await linked(side, protocol)
        async with peer:
            protocol.size = 0
            await peer.send(b"x")
            await until(lambda: protocol.lost)
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    assert len(reports) == 1 and "get_buffer() returned an empty buffer" in str(reports[0]["exception"])


def test_pause_in_connection_made(loop, side):
    """asyncio then keeps the last message of its handshake to itself, and the peer waits for ever."""
    async def main():
        class Pausing(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()
        protocol = Pausing()
        transport, peer = await linked(side, protocol)
        async with peer:
            await peer.send(b"early")
            await asyncio.sleep(0.02)
            assert not protocol.data and not transport.is_reading()
            transport.resume_reading()
            await until(lambda: protocol.data == b"early")
            await stop(protocol)
    run_quiet(loop, main())


def test_a_mark_of_zero(loop, side):
    """Paused by what cannot leave at once, resumed when all has left; on asyncio the last word may be a pause with nothing queued."""
    async def main():
        calls = []
        protocol = Recorder(lambda what, *rest: calls.append(what))
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.set_write_buffer_limits(0)
            assert calls in (["made"], ["made", "pause"])  # an empty queue is at the mark, too
            del calls[1:]
            sent = 0
            while calls[-1] != "pause" or transport.get_write_buffer_size() < 300_000:
                transport.write(bytes(100_000))
                sent += 100_000
                assert sent < 64 << 20
            await peer.receive_exactly(sent)
            await until(lambda: transport.get_write_buffer_size() == 0 and calls[-1] == "resume")
            assert calls[-2:] == ["pause", "resume"]
            await stop(protocol)
    run_quiet(loop, main())


def test_the_write_buffer_counts_what_is_held_back(loop, side):
    """Not what the transport below has been given, as on asyncio."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, family="unix")
        async with peer:
            for _ in range(200):
                transport.write(bytes(100_000))
            # the kernel takes some hundred KB
            assert transport.get_write_buffer_size() > 15_000_000
            await stop(protocol)
            assert transport.get_write_buffer_size() == 0
    run_quiet(loop, main())


# --- handshakes that fail

@pytest.mark.parametrize("case, text", [("expired", "certificate expired"), ("strange_server", "unknown ca"), ("elsewhere", "bad certificate|certificate unknown")])
def test_the_peer_hears_why_it_was_refused(loop, case, text, version):
    """By an alert; asyncio hangs up without a word."""
    async def main():
        a, b = socket_pair()
        async with Peer(b, certs.server_context(case, version=VERSIONS[version]), True) as peer:
            making = asyncio.ensure_future(of_side("client", Recorder(), a))
            with pytest.raises(ssl.SSLError, match="(?i)alert") as caught:
                await peer.handshake()
                await peer.receive()
            assert re.search(text, str(caught.value).lower()), caught.value
            with pytest.raises(ssl.SSLCertVerificationError):
                await soon(making)
    run_quiet(loop, main())


def test_a_client_without_a_certificate_hears_why(loop, version):
    async def main():
        a, b = socket_pair()
        async with Peer(b, certs.client_context(version=VERSIONS[version])) as peer:
            making = asyncio.ensure_future(of_side("server", Recorder(), a, ours=certs.server_context(clients=ssl.CERT_REQUIRED)))
            with pytest.raises(ssl.SSLError, match="(?i)alert"):
                await peer.handshake()
                await peer.receive()
            with pytest.raises(ssl.SSLError):
                await soon(making)
    run_quiet(loop, main())


def test_the_alert_of_an_sni_callback_is_sent(loop):
    async def main():
        a, b = socket_pair()
        context = certs.server_context()
        context.sni_callback = lambda *args: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        async with Peer(b, certs.client_context()) as peer:
            making = asyncio.ensure_future(of_side("server", Recorder(), a, ours=context))
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                await peer.handshake()
            with pytest.raises(ssl.SSLError):
                await soon(making)
    run_quiet(loop, main())


# --- the end

@pytest.mark.parametrize("amount", [1, 100_000])
def test_data_after_our_close_notify_is_discarded_quietly(loop, side, version, amount):
    """For asyncio it is a fatal error that is reported and given to connection_lost."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, version=version)
        async with peer:
            late = peer.encrypted(b"x" * amount)
            transport.close()
            assert await peer.receive() == b""
            await peer.send_raw(late)
            await asyncio.sleep(0.01)
            await peer.send_raw(peer.close_notify())
            await until(lambda: protocol.lost)
            assert protocol.exc is None and not protocol.data
    run_quiet(loop, main())


def test_data_after_the_peers_close_notify_is_discarded_quietly(loop, side, version):
    async def main():
        protocol = Recorder()
        _, peer = await linked(side, protocol, version=version)
        async with peer:
            await peer.send_raw(peer.encrypted(b"x") + peer.close_notify() + b"no TLS any more")
            await until(lambda: protocol.lost)
            assert protocol.exc is None and protocol.data == b"x" and protocol.eof
    run_quiet(loop, main())


def test_the_peer_hangs_up_after_our_close_notify(loop, side, version):
    """Without one of its own, as most do, by an end or by a reset."""
    async def main(how):
        protocol = Recorder()
        transport, peer = await linked(side, protocol, version=version)
        transport.close()
        assert await peer.receive() == b""
        if how == "reset":
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.close()
        await until(lambda: protocol.lost)
        assert how == "reset" or protocol.exc is None
    run_quiet(loop, main("end"))
    run_quiet(loop, main("reset"))


def test_a_peer_that_never_answers_close_notify_holds_nothing_up(loop, side, version):
    """It has everything, our close_notify too, and says nothing: asyncio waits for it until the 30 s of ssl_shutdown_timeout are over."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol, version=version)
        async with peer:
            transport.write(b"the last words")
            transport.close()
            assert await peer.receive_exactly(14) == b"the last words"
            assert await peer.receive() == b""
            started = loop.time()
            await until(lambda: protocol.lost)
            assert loop.time() - started < 20 and protocol.exc is None
    run_quiet(loop, main())


def test_a_peer_that_does_not_read_is_waited_for(loop, side):
    """What was written before close() is still on its way: a second of silence does not end that."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.write(bytes(8_000_000))
            transport.close()
            await asyncio.sleep(1.5)
            assert not protocol.lost
            assert await peer.receive_exactly(8_000_000) == bytes(8_000_000)
            assert await peer.receive() == b""
            await until(lambda: protocol.lost)
            assert protocol.exc is None
    run_quiet(loop, main())


# --- start_tls

def test_who_was_paused_before_start_tls_is_resumed(loop, side):
    """asyncio's TLS fails an assertion of its own, and the protocol waits for ever."""
    async def main():
        calls = []
        protocol = Recorder(lambda what, *rest: calls.append(what))
        a, b = socket_pair()
        transport, _ = await loop.create_connection(lambda: protocol, sock=a)
        theirs = certs.server_context() if side == "client" else certs.client_context()
        async with Peer(b, theirs, side == "client") as peer:
            size = 0
            while calls[-1] != "pause":
                transport.write(b"x" * 100_000)
                size += 100_000
            options = dict(server_hostname="localhost") if side == "client" else dict(server_side=True)
            ours = certs.client_context() if side == "client" else certs.server_context()
            making = asyncio.ensure_future(loop.start_tls(transport, protocol, ours, **options))
            left = size
            while left:
                left -= len(await peer.receive_raw(min(left, 65536)))
            tls, _ = await soon(asyncio.gather(making, peer.handshake()))
            await until(lambda: calls[-1] == "resume")
            tls.write(b"secret")
            assert await peer.receive_exactly(6) == b"secret"
            tls.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@pytest.mark.parametrize("over", ["one record", "several"])
def test_a_stream_readers_hello_is_kept(loop, over):
    """What the reader has already is the beginning of TLS (asyncio from 3.14.3 on), however much of it there is."""
    async def main():
        done = loop.create_future()

        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            await until(lambda: len(reader._buffer) >= wanted)
            await writer.start_tls(certs.server_context())
            assert bytes(reader._buffer) in (b"", b"secret\n")  # nothing of the handshake
            assert await reader.readline() == b"secret\n"
            writer.close()
            await writer.wait_closed()
            done.set_result(None)
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setblocking(False)
        async with Peer(sock, certs.client_context()) as peer:
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            hello = peer.outgoing.read()
            wanted = len(hello) if over == "one record" else 10
            await peer.send_raw(b"STARTTLS\n" + hello[:wanted])
            if over != "one record":
                await asyncio.sleep(0.01)
                await peer.send_raw(hello[wanted:])
            await peer.handshake()
            await peer.send(b"secret\n")
            assert await peer.receive() == b""
            await peer.unwrap()
            await soon(done)
        server.close()
        await server.wait_closed()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_start_tls_twice_on_the_same_plain_transport(loop):
    """Nobody's mistake is worse than on asyncio: who waits can be cancelled, the connection ends, nothing is left."""
    async def main():
        protocol = Recorder()
        a, b = socket_pair()
        transport, _ = await loop.create_connection(lambda: protocol, sock=a)
        async with Peer(b, certs.server_context(), True) as peer:
            async def start():
                return await loop.start_tls(transport, protocol, certs.client_context(), server_hostname="localhost", ssl_handshake_timeout=0.2)
            tasks = [asyncio.ensure_future(start()) for _ in range(2)]
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await peer.handshake()
            peer.sock.close()
            await asyncio.wait(tasks, timeout=0.5)
            for task in tasks:
                task.cancel()
            for result in await soon(asyncio.gather(*tasks, return_exceptions=True)):
                if not isinstance(result, BaseException):
                    result.abort()
            transport.abort()
            await asyncio.sleep(0.01)
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the one that was never connected
        gc.collect()


# --- what libraries lean on

def test_asyncios_own_tls_protocol_runs_on_our_raw_transport(loop):
    """aiosmtpd builds asyncio.sslproto.SSLProtocol over it."""
    async def main():
        a, b = socket_pair()
        raw, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        protocol = Recorder()
        waiter = loop.create_future()
        tls = sslproto.SSLProtocol(loop, protocol, certs.server_context(), waiter, server_side=True)
        raw.set_protocol(tls)
        tls.connection_made(raw)
        async with Peer(b, certs.client_context()) as peer:
            await soon(asyncio.gather(waiter, peer.handshake()))
            await peer.send(b"hello")
            await until(lambda: protocol.data == b"hello")
            protocol.transport.write(b"answer" * 100_000)
            assert await peer.receive_exactly(600_000) == b"answer" * 100_000
            await stop(protocol)
    run_quiet(loop, main())


def test_attributes_may_be_set_and_the_context_is_found(loop):
    async def main():
        protocol = Recorder()
        context = certs.client_context()
        transport, peer = await linked("client", protocol, ours=context)
        async with peer:
            assert transport._ssl_protocol._sslcontext is context
            written = []
            transport.write = written.append
            transport.write(b"mocked")
            assert written == [b"mocked"]
            transport.note = 5
            assert transport.note == 5
            del transport.write
            transport.write(b"real")
            assert await peer.receive_exactly(4) == b"real"
            assert weakref.ref(transport)() is transport and hash(transport) is not None
            assert isinstance(transport, asyncio.Transport) and "closed" not in repr(transport)
            await stop(protocol)
    run_quiet(loop, main())
