"""A TLSProtocol over transports of a program's own, which answer at once, end the connection inside of a call, or call in the wrong order."""
import asyncio
import gc
import ssl
import weakref

import pytest

import asyncloop
import certs
from sidebyside import OURS
from tls_peers import Buffered, Recorder


class Below(asyncio.Transport):
    """Keeps what is written, and ends the connection inside of _force_close."""

    def __init__(self):
        self.written = b""
        self.is_closed = False

    def take(self):
        data, self.written = self.written, b""
        return data

    def write(self, data):
        self.written += data

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def get_extra_info(self, name, default=None):
        return default

    def _force_close(self, exc):
        self.protocol.connection_lost(exc)


class Wire(Below):
    """What is written arrives at the other end before write() returns; while it is full, when it is drained."""

    is_full = False

    def write(self, data):
        self.written += data
        if not self.is_full:
            self.drain()

    def drain(self):
        if data := self.take():
            self.other.protocol.data_received(data)


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    if not loop.is_closed():
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def over(loop, below, app, *, server_side=False, sslcontext=None):
    sslcontext = sslcontext or (certs.server_context() if server_side else certs.client_context())
    below.protocol = asyncloop._asyncloop.TLSProtocol(loop, app, sslcontext, None, server_side, None if server_side else "localhost")
    return below.protocol


def wired(loop, client, server):
    one, two = Wire(), Wire()
    one.other, two.other = two, one
    over(loop, two, server, server_side=True).connection_made(two)
    over(loop, one, client).connection_made(one)
    return one, two


def lose(*below):
    for each in below:
        each.protocol.connection_lost(None)


def test_answers_that_come_inside_of_write(loop):
    """Handshake, data and goodbye of two ends, each of which runs inside of the other's write()."""
    client = Recorder()
    server = Recorder(on_data=lambda data: server.transport.close() if data == b"bye" else server.transport.write(data.upper()))
    one, two = wired(loop, client, server)
    client.transport.write(b"ping")
    assert client.data == b"PING"
    client.transport.write(b"bye")
    assert client.eof and server.eof
    loop.run_until_complete(asyncio.sleep(0))
    assert one.is_closed and two.is_closed
    lose(one, two)


def test_an_answer_that_cannot_leave_yet_is_not_lost(loop):
    """The goodbye that answers the peer's is made inside of a write() that has filled the transport below."""
    client, server = Recorder(), Recorder(on_data=lambda data: server.transport.close())
    one, two = wired(loop, client, server)
    write = one.write

    def write_and_pause(data):
        one.protocol.pause_writing()
        write(data)
        one.is_full = True

    one.write = write_and_pause
    client.transport.write(b"x")
    assert server.data == b"x" and client.eof and not server.eof
    one.is_full = False
    one.write = write
    one.protocol.resume_writing()
    assert server.eof
    lose(one, two)


def test_a_second_connection_made(loop):
    """Refused: the first one's timer runs, and its context may be entered."""
    below = Below()
    protocol = over(loop, below, Recorder())
    protocol.connection_made(below)
    protocol._app_transport._force_close(None)
    for other in (below, Below()):
        with pytest.raises(RuntimeError, match="called twice"):
            protocol.connection_made(other)
    loop.run_until_complete(asyncio.sleep(0))


def test_a_second_connection_made_while_the_first_waits_for_its_end(loop):
    below = Below()
    below._force_close = lambda exc: None
    protocol = over(loop, below, Recorder())
    protocol.connection_made(below)
    protocol._app_transport.abort()
    with pytest.raises(RuntimeError, match="called twice"):
        protocol.connection_made(Below())
    lose(below)


def test_connection_made_inside_of_connection_lost(loop):
    """The context that was entered is the one that is left."""
    seen = []

    class Again(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            with pytest.raises(RuntimeError) as caught:
                protocol.connection_made(Below())
            seen.append(str(caught.value))

    async def main():
        nonlocal protocol
        server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=certs.server_context())
        transport, app = await loop.create_connection(Again, *server.sockets[0].getsockname(), ssl=certs.client_context(), server_hostname="localhost")
        protocol = transport._ssl_protocol
        transport.abort()
        while not seen:
            await asyncio.sleep(0)
        server.close()

    protocol = None
    loop.run_until_complete(main())
    assert seen == ["connection_made() called twice"]


def test_connection_made_on_a_closed_loop(loop):
    """asyncio's error, and no timer that nobody ends."""
    below = Below()
    protocol = over(loop, below, Recorder())
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        protocol.connection_made(below)
    lose(below)
    gone = weakref.ref(protocol)
    del protocol, below
    gc.collect()
    assert gone() is None


def streams(loop):
    return asyncloop.StreamReaderProtocol(asyncloop.StreamReader(loop=loop), loop=loop)


@pytest.mark.parametrize("make", [lambda loop: Recorder(), lambda loop: Buffered(), streams], ids=["plain", "buffered", "streams"])
def test_an_ssl_object_whose_read_ends_the_connection(loop, make):
    """What it still returns has nobody to go to."""

    class Ending(ssl.SSLObject):
        def read(self, *args):
            data = super().read(*args)
            if is_armed:
                below.protocol._app_transport.abort()
            return data

    is_armed = False
    context = certs.client_context()
    context.sslobject_class = Ending
    app, below = make(loop), Below()
    protocol = over(loop, below, app, sslcontext=context)
    protocol.connection_made(below)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = certs.server_context().wrap_bio(incoming, outgoing, server_side=True)
    for _ in range(4):
        incoming.write(below.take())
        try:
            peer.do_handshake()
        except ssl.SSLWantReadError:
            pass
        if data := outgoing.read():
            protocol.data_received(data)
    is_armed = True
    peer.write(b"hello")
    protocol.data_received(outgoing.read())
    assert protocol._app_protocol is None
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("record", [b"", b"\x17\x03\x03\x00\x20" + b"z" * 32], ids=["hello", "data"])
def test_bytes_that_a_server_name_callback_brings(loop, record):
    """They wait until the call of libssl that has called it goes on; there they are no good."""
    outgoing = ssl.MemoryBIO()
    client = certs.client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello, calls = outgoing.read(), []

    def bring(*what):
        calls.append(what)
        if len(calls) == 1:
            protocol.data_received(record or hello)

    context = certs.server_context()
    context.sni_callback = bring
    app, below = Recorder(), Below()
    protocol = over(loop, below, app, server_side=True, sslcontext=context)
    protocol.connection_made(below)
    protocol.data_received(hello)
    assert len(calls) == 1 and app.transport is None and protocol._transport is None


@pytest.mark.parametrize("ends_at", range(1, 5))
def test_a_name_whose_hash_closes_the_connection(loop, ends_at):
    """get_extra_info() of an ended connection, whose facts close() lets go."""

    class Name(str):
        n = 0

        def __hash__(self):
            Name.n += 1
            if Name.n == ends_at:
                client.transport.close()
                client.transport.close()
            return str.__hash__(self)

        def __eq__(self, other):
            hash(self)
            return str.__eq__(self, other)

    client = Recorder()
    one, two = wired(loop, client, Recorder())
    cipher = client.transport.get_extra_info("cipher")
    lose(one, two)
    asked = Name("cipher"), Name("compression")
    assert client.transport.get_extra_info(asked[0]) in (cipher, None)
    assert client.transport.get_extra_info(asked[1]) is None
