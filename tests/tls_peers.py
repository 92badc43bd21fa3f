"""Connections for the TLS tests: a transport under test on one end, on the other a peer whose every byte the test decides.

The peer is an ssl.SSLObject over memory buffers and a raw socket on the same loop, so a test is one thread and in full control: it can send
half a record, hold back an answer, or alter what it encrypted.
"""
import asyncio
import gc
import re
import socket
import ssl

import certs
import kits
from kits import KINDS, Echo, until  # noqa: F401
from sidebyside import PATIENCE

LONG = 20 * PATIENCE  # less than the watchdog of conftest.py
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


async def soon(awaitable):
    """The result, however slow the machine is, but not never."""
    return await asyncio.wait_for(awaitable, LONG)


def fact(exc):
    """What is to be the same about an exception: all but the line of _ssl.c."""
    return exc if exc is None else (type(exc).__name__, re.sub(r" \(_ssl\.c:\d+\)", "", str(exc)))


def run_quiet(loop, coro):
    """Runs it to the end, in which nothing may be reported to the exception handler."""
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    result = loop.run_until_complete(asyncio.wait_for(coro, LONG))
    gc.collect()
    assert not reports
    return result


class Recorder(kits.Recorder, asyncio.Protocol):
    """Keeps what it is told.  `say` gets the calls, not the data: pieces differ from run to run."""

    def __init__(self, say=lambda *what: None, on_data=None):
        super().__init__(say)
        self.on_data = on_data
        self.data = bytearray()
        self.eof = False
        self.exc = None

    def data_received(self, data):
        assert type(data) is bytes and data
        self.data += data
        if self.on_data:
            self.on_data(data)

    def eof_received(self):
        self.eof = True
        self.say("eof")

    def connection_lost(self, exc):
        assert not self.lost
        self.lost, self.exc = True, exc
        self.say("lost", fact(exc))


class Buffered(kits.Recorder, asyncio.BufferedProtocol):
    """A Recorder that lends a buffer."""

    def __init__(self, say=lambda *what: None, size=1000):
        super().__init__(say)
        self.buffer = bytearray(size)
        self.data = bytearray()
        self.eof = False
        self.exc = None

    def get_buffer(self, hint):
        return memoryview(self.buffer)  # of a bytearray asyncio's TLS would fill a copy

    def buffer_updated(self, n):
        assert 0 < n <= len(self.buffer)
        self.data += self.buffer[:n]

    eof_received, connection_lost = Recorder.eof_received, Recorder.connection_lost


def socket_pair(family="tcp"):
    """Two connected sockets, not blocking."""
    if family == "unix":
        a, b = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            a = socket.create_connection(listening.getsockname())
            b, _ = listening.accept()
    for sock in (a, b):
        sock.setblocking(False)
    return a, b


class Peer:
    """The end of a connection that a test drives by hand."""

    def __init__(self, sock, context=None, server_side=False, hostname="localhost", session=None):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = None
        if context is not None:
            self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, None if server_side else hostname, session)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        self.sock.close()

    # ---- ciphertext

    async def send_raw(self, data):
        await soon(asyncio.get_running_loop().sock_sendall(self.sock, data))

    async def receive_raw(self, n=65536):
        return await soon(asyncio.get_running_loop().sock_recv(self.sock, n))

    async def raw_end(self):
        """Reads to the end of the stream; True: an orderly end, False: a reset."""
        try:
            while await self.receive_raw():
                pass
        except ConnectionError:
            return False
        return True

    def encrypted(self, data):
        """The records of data, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    # ---- TLS

    async def flush(self):
        if data := self.outgoing.read():
            await self.send_raw(data)

    async def run(self, call, *args):
        """Calls until it needs no more of the other end."""
        while True:
            try:
                result = call(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                if data := await self.receive_raw():
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
                continue
            except ssl.SSLError:
                await self.flush()  # the alert
                raise
            await self.flush()
            return result

    async def handshake(self):
        await self.run(self.tls.do_handshake)

    async def send(self, data):
        await self.send_raw(self.encrypted(data))

    async def receive(self, n=65536):
        """At most n bytes; b"" after close_notify."""
        return await self.run(self.tls.read, n)

    async def receive_exactly(self, n):
        data = b""
        while len(data) < n:
            piece = await self.receive(min(n - len(data), 1 << 16))
            assert piece, f"close_notify after {len(data)} of {n} bytes"
            data += piece
        return data

    async def receive_all(self):
        data = b""
        while piece := await self.receive():
            data += piece
        return data

    async def unwrap(self):
        await self.run(self.tls.unwrap)

    def close_notify(self):
        """The record that says it, not sent."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()


def of_side(side, protocol, sock, *, ours=None, **options):
    """The coroutine that makes a TLS transport of this side on a socket."""
    loop = asyncio.get_running_loop()
    if side == "client":
        options.setdefault("server_hostname", "localhost")
        return loop.create_connection(lambda: protocol, sock=sock, ssl=ours or certs.client_context(), **options)
    return loop.connect_accepted_socket(lambda: protocol, sock, ssl=ours or certs.server_context(), **options)


async def linked(side, protocol, *, ours=None, theirs=None, family="tcp", version=None, **options):
    """A TLS transport of protocol as `side` (client or server), and the Peer on the other end; both are past the handshake."""
    a, b = socket_pair(family)
    if version is not None:
        (ours := ours or (certs.client_context() if side == "client" else certs.server_context())).maximum_version = VERSIONS[version]
    theirs = theirs or (certs.server_context() if side == "client" else certs.client_context())
    peer = Peer(b, theirs, side == "client")
    try:
        (transport, _), _ = await soon(asyncio.gather(of_side(side, protocol, a, ours=ours, **options), peer.handshake()))
    except BaseException:
        b.close()
        raise
    return transport, peer


async def both(client, server, *, client_ctx=None, server_ctx=None, family="tcp", **options):
    """Two TLS transports of the running loop, connected with each other."""
    a, b = socket_pair(family)
    (one, _), (two, _) = await soon(asyncio.gather(of_side("client", client, a, ours=client_ctx, **options),
                                                  of_side("server", server, b, ours=server_ctx, **options)))
    return one, two


async def closed(*protocols):
    """Closes their transports and waits for connection_lost."""
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await until(lambda: protocol.lost, "connection_lost")
