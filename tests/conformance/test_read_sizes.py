"""How much one read brings: what the peer has sent at once arrives at once, up to asyncio's 256 KiB, on every kind of transport.

The peer writes with its own descriptor before the loop polls, as much as the kernel takes: so the pieces are the same on both loops.
"""
import asyncio
import fcntl
import os
import socket

import pytest

import certs
import tls_peers
from kits import until
from sidebyside import KITS, compare
from test_streams import of
from test_tcp import tcp_pair
from tls_peers import Peer, linked

SIZES = [1, 4096, 4097, 6000, 60_000, 65_536, 100_000, 262_144, 300_000]
PIPE_SIZE = 1 << 20


class Sizes(asyncio.Protocol):
    def __init__(self):
        self.sizes, self.data, self.lost = [], bytearray(), False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.sizes.append(len(data))
        self.data += data

    def connection_lost(self, exc):
        self.lost = True


class BufferSizes(asyncio.BufferedProtocol):
    def __init__(self, size):
        self.sizes, self.data, self.lost, self.buffer = [], bytearray(), False, memoryview(bytearray(size))

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, n):
        self.sizes.append(n)
        self.data += self.buffer[:n]

    connection_lost = Sizes.connection_lost


def pattern(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


def fill(write, data):
    """Writes what the kernel takes without waiting; how much that was."""
    n = 0
    while n < len(data):
        try:
            n += write(data[n:])
        except BlockingIOError:
            break
    return n


def unix_pair():
    a, b = socket.socketpair()
    b.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return a, b


PAIRS = {"tcp": tcp_pair, "unix": unix_pair}


async def received(t, protocol, n, first_only):
    await until(lambda: len(protocol.data) == n)
    assert protocol.data == pattern(n)
    t.say(n, protocol.sizes[0] if first_only else protocol.sizes)
    protocol.transport.abort()
    await until(lambda: protocol.lost)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("buffer", [None, 5000, 300_000])
def test_a_socket(kind, size, buffer):
    def scenario(t):
        async def main():
            a, b = PAIRS[kind]()
            with b:
                b.setblocking(False)
                protocol = Sizes() if buffer is None else BufferSizes(buffer)
                await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a)
                n = fill(b.send, pattern(size))
                # what TCP had not sent yet comes when it likes
                await received(t, protocol, n, first_only=kind == "tcp" and size > 65_536)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


@pytest.mark.parametrize("kind", PAIRS)
def test_pieces_of_several_writes_arrive_together(kind):
    def scenario(t):
        async def main():
            a, b = PAIRS[kind]()
            with b:
                protocol = Sizes()
                await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a)
                whole = pattern(60_000)
                for at in range(0, 60_000, 4096):
                    b.sendall(whole[at : at + 4096])
                await received(t, protocol, 60_000, first_only=False)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


@pytest.mark.parametrize("size", SIZES)
def test_a_pipe(size):
    def scenario(t):
        async def main():
            r, w = os.pipe()
            try:
                fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
                os.set_blocking(w, False)
                protocol = Sizes()
                await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(r, "rb", 0))
                n = fill(lambda data: os.write(w, data), pattern(size))
                await until(lambda: len(protocol.data) == n)
                assert protocol.data == pattern(n)
                t.say(n, protocol.sizes)
                protocol.transport.close()
                await until(lambda: protocol.lost)
            finally:
                os.close(w)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


def test_a_pipe_of_packets():
    """Each read brings one packet, a full one too."""
    def scenario(t):
        async def main():
            r, w = os.pipe2(os.O_DIRECT)
            protocol = Sizes()
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(r, "rb", 0))
            for n in (4096, 4096, 1, 10, 4096):
                os.write(w, bytes(n))
            os.close(w)
            await until(lambda: protocol.lost)
            t.say(protocol.sizes)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


def test_a_socket_of_records_as_a_pipe():
    """A record that is larger than the reads before it is not cut."""
    def scenario(t):
        async def main():
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            protocol = Sizes()
            await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, a)
            for n in (10, 4096, 4096, 100_000, 1):
                b.send(bytes(n))
            b.close()
            await until(lambda: protocol.lost)
            t.say(protocol.sizes)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


# --- TLS

@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("buffer", [None, 5000, 300_000])
def test_tls(side, size, buffer):
    def scenario(t):
        async def main():
            protocol = Sizes() if buffer is None else BufferSizes(buffer)
            transport, peer = await linked(side, protocol, family="unix")
            async with peer:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                await asyncio.sleep(0.01)  # the tickets of a server have come
                protocol.sizes.clear()
                data = peer.encrypted(pattern(size))
                n = fill(peer.sock.send, data)
                await peer.send_raw(data[n:])
                await received(t, protocol, size, first_only=n < len(data) or len(data) > 256 * 1024)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


def test_tls_gives_the_size_of_what_waits_as_a_hint():
    def scenario(t):
        class Hinted(BufferSizes):
            def get_buffer(self, hint):
                t.say(hint)
                return self.buffer

        async def main():
            protocol = Hinted(10)
            transport, peer = await linked("client", protocol, version="TLSv1.2")
            async with peer:
                t.said.clear()
                await peer.send_raw(peer.encrypted(bytes(25)) + peer.encrypted(bytes(10)))
                await until(lambda: len(protocol.data) == 35)
                transport.abort()
                await until(lambda: protocol.lost)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


# --- streams

async def connected_stream(t, make):
    """A reader of this kit's; make(protocol) connects it."""
    loop = asyncio.get_running_loop()
    reader = of(t, "StreamReader")(loop=loop)
    protocol = of(t, "StreamReaderProtocol")(reader, loop=loop)
    transport = await make(protocol)
    return transport, reader


@pytest.mark.parametrize("subject_kit", ["asyncloop", "native_classes"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PAIRS)
def test_a_stream(kind, size, subject_kit):
    def scenario(t):
        async def main():
            a, b = PAIRS[kind]()
            with b:
                b.setblocking(False)

                async def make(protocol):
                    return (await asyncio.get_running_loop().create_connection(lambda: protocol, sock=a))[0]
                transport, reader = await connected_stream(t, make)
                n = fill(b.send, pattern(size))
                first = await reader.read(1 << 20)
                rest = await reader.readexactly(n - len(first))
                assert first + rest == pattern(n)
                t.say(n, len(first))
                transport.abort()
        t.run(main())
    compare(scenario, KITS[subject_kit])


@pytest.mark.parametrize("subject_kit", ["asyncloop", "native_classes"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("limit", [1000, 1 << 16])
def test_a_stream_over_tls(size, limit, subject_kit):
    """All the records of one read are there before the reader is woken, or pauses the transport."""
    def scenario(t):
        async def main():
            loop = asyncio.get_running_loop()
            a, b = tls_peers.socket_pair("unix")
            b.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            reader = of(t, "StreamReader")(limit=limit, loop=loop)
            protocol = of(t, "StreamReaderProtocol")(reader, loop=loop)
            async with Peer(b, certs.client_context()) as peer:
                making = loop.create_task(tls_peers.of_side("server", protocol, a))
                await peer.handshake()
                transport, _ = await making
                data = peer.encrypted(pattern(size))
                n = fill(b.send, data)
                sending = loop.create_task(peer.send_raw(data[n:]))
                first = await reader.read(1 << 20)
                t.say(n, len(first))
                assert first + await reader.readexactly(size - len(first)) == pattern(size)
                await sending
                transport.abort()
        t.run(main())
    compare(scenario, KITS[subject_kit])


@pytest.mark.parametrize("size", [6000, 60_000])
def test_a_stream_over_tls_with_a_reader_of_ones_own(size):
    """feed_data() of a subclass is called once, with all of it."""
    def scenario(t):
        class Own(of(t, "StreamReader")):
            def feed_data(self, data):
                t.say("fed", len(data))
                super().feed_data(data)

        async def main():
            loop = asyncio.get_running_loop()
            reader = Own(loop=loop)
            protocol = of(t, "StreamReaderProtocol")(reader, loop=loop)
            a, b = tls_peers.socket_pair()
            async with Peer(b, certs.client_context()) as peer:
                making = loop.create_task(tls_peers.of_side("server", protocol, a))
                await peer.handshake()
                transport, _ = await making
                await peer.send(pattern(size))
                assert await reader.readexactly(size) == pattern(size)
                transport.abort()
        t.run(main())
    compare(scenario, KITS["asyncloop"])


# --- a server that answers the first data_received() and closes

@pytest.mark.parametrize("size", [6000, 60_000])
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
def test_an_answer_to_one_large_request_arrives(kit, kind, size, tmp_path):
    """Had anything been left unread at close(), the client would get a reset instead of the end."""
    class Answering(Sizes):
        def connection_made(self, transport):
            super().connection_made(transport)
            protocols.append(self)

        def data_received(self, data):
            self.transport.write(b"%d" % len(data))
            self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        tls = {"ssl": certs.server_context()} if kind == "tls" else {}
        if kind == "unix":
            path = str(tmp_path / "socket")
            server = await loop.create_unix_server(Answering, path)
            reader, writer = await asyncio.open_unix_connection(path)
        else:
            server = await loop.create_server(Answering, "127.0.0.1", 0, **tls)
            options = {"ssl": certs.client_context(), "server_hostname": "localhost"} if tls else {}
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), **options)
        writer.write(pattern(size))
        assert await reader.read() == b"%d" % size
        writer.close()
        server.close()
        await until(lambda: all(p.lost for p in protocols))
    protocols = []
    loop = kit.new_loop()
    try:
        for _ in range(5):
            loop.run_until_complete(main())
    finally:
        loop.close()
