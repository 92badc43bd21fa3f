"""Water marks of every kind of transport, as the program gave them; and what a TLS transport says of the bytes that wait in it."""
import asyncio
import os
import socket
import ssl
from decimal import Decimal
from fractions import Fraction

import pytest

import certs
from kits import OURS, Recorder, until
from sidebyside import compare, plain


async def tcp(loop, protocol):
    a, b = socket.socketpair()
    transport, _ = await loop.create_connection(lambda: protocol, sock=a)
    return transport, b


async def udp(loop, protocol):
    a, b = socket.socketpair(type=socket.SOCK_DGRAM)
    transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=a)
    return transport, b


async def pipe(loop, protocol):
    r, w = os.pipe()
    transport, _ = await loop.connect_write_pipe(lambda: protocol, os.fdopen(w, "wb", 0))
    return transport, os.fdopen(r, "rb", 0)


class Below(asyncio.Transport):
    """A transport of somebody else's: it hands on at once what it is given, to a TLS peer in memory.  It wants a pause when the test says so."""

    _start_tls_compatible = True

    def __init__(self, loop, context):
        super().__init__()
        self.loop = loop
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.peer = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.handshaken = False
        self.data = bytearray()

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def is_closing(self):
        return False

    def write(self, data):
        self.incoming.write(bytes(data))
        self.loop.call_soon(self.answer)

    def answer(self):
        try:
            if not self.handshaken:
                self.peer.do_handshake()
                self.handshaken = True
            while got := self.peer.read(1 << 16):
                self.data += got
        except ssl.SSLWantReadError:
            pass
        data = self.outgoing.read()
        if data:
            if hasattr(self.protocol, "get_buffer"):
                self.protocol.get_buffer(len(data))[:len(data)] = data
                self.protocol.buffer_updated(len(data))
            else:
                self.protocol.data_received(data)

    def close(self):
        self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def _force_close(self, exc):
        self.loop.call_soon(self.protocol.connection_lost, exc)


async def over(loop, protocol, version=None, cipher=None):
    context = certs.server_context()
    if version:
        context.minimum_version = context.maximum_version = version
    client_context = certs.client_context()
    if cipher:
        for each in (context, client_context):
            each.set_ciphers(f"ECDHE-ECDSA-{cipher}:ECDHE-RSA-{cipher}")
    below = Below(loop, context)
    transport = await asyncio.wait_for(loop.start_tls(below, protocol, client_context, server_hostname="localhost"), 10)
    protocol.transport = transport
    return transport, below


async def tls(loop, protocol):
    return await over(loop, protocol)


GIVEN = [
    {}, {"high": 1.5, "low": 0.5}, {"high": 1.5}, {"low": 0.5}, {"high": 10, "low": 2.5}, {"high": True}, {"low": True}, {"high": False, "low": False},
    {"high": Fraction(7, 2), "low": Fraction(1, 3)}, {"high": Decimal("8.5")}, {"high": Decimal("Infinity"), "low": 3},
    {"high": float("inf"), "low": 1}, {"low": float("inf")}, {"high": 1 << 70}, {"low": 1 << 70}, {"high": 0}, {"high": 5, "low": 5}, {"high": -0.0, "low": -0.0},
    {"high": float("inf")}, {"high": float("nan")}, {"high": 1, "low": float("nan")}, {"high": 0.5, "low": 1.5}, {"high": -1}, {"low": -1}, {"high": 5, "low": 6},
    {"high": -0.5, "low": -1}, {"high": "a"}, {"low": "a"}, {"high": 1, "low": "a"}, {"high": "a", "low": 1}, {"high": 1j}, {"low": 1j}, {"high": [], "low": 1}, {"low": []},
    {"high": b"4"}, {"high": object()}, {"high": None, "low": None},
]


@pytest.mark.parametrize("kind", [tcp, udp, pipe, tls])
def test_marks_are_kept_as_given(kind):
    def scenario(t):
        async def main():
            protocol = Recorder()
            transport, other = await kind(t.loop, protocol)
            for given in GIVEN:
                t.attempt(transport.set_write_buffer_limits, **given)
                marks = transport.get_write_buffer_limits()
                t.say(marks, [type(mark).__name__ for mark in marks])
                if kind is not tls:
                    t.say(plain(transport._low_water), plain(transport._high_water))
                else:
                    t.attempt(transport.set_read_buffer_limits, **given)
                    t.say(transport.get_read_buffer_limits())
            transport.set_write_buffer_limits()
            transport.abort()
            await until(lambda: protocol.lost)
            other.close()
        t.run(main())
    outcome = compare(scenario, OURS)
    assert outcome.get("exception") is None


@pytest.mark.parametrize("kind", [tcp, pipe])
def test_marks_between_two_numbers(kind):
    """A size is compared with the mark that was given, not with a rounded one."""
    def scenario(t):
        async def main():
            protocol = Recorder(t.say)
            transport, other = await kind(t.loop, protocol)
            t.say("made")
            while not transport.get_write_buffer_size():
                transport.write(bytes(3000))
            size = transport.get_write_buffer_size()
            for above in (1.5, 1, 0.5, 0, -0.5):
                t.say(above)
                transport.set_write_buffer_limits(size + above, 0.5)
            transport.abort()
            await until(lambda: protocol.lost)
            other.close()
        t.run(main())
    outcome = compare(scenario, OURS)
    assert outcome.get("exception") is None


SCRIPTS = {
    "writes": [5, "pause", 1, 100, 16_384, 16_385, 0, 40_000, "resume", 7],
    "lines": ["pause", [1, 2, 3], [16_384, 0, 16_385], "resume", [5, 5], "pause", [], [9], "resume"],
    "blocks": ["pause", 14, 15, 16, 17, 31, 32, 33, "resume"],
    "marks": [(500, 100), 1000, "pause", 100, 100, 100, 100, 100, "resume", "pause", 500, "resume"],
    "odd marks": [(122.5, 100.5), "pause", 100, 1, (50.5, 0.5), "resume", 3, "pause", 20, "resume"],
    "large": ["pause", 1_000_000, "resume", 1_000_000, "pause", "resume"],
    "in one go": [(70_000, 1), 500_000, 5],
}
CIPHERS = {
    "TLS 1.3": (ssl.TLSVersion.TLSv1_3, None),
    "GCM": (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
    "CHACHA20": (ssl.TLSVersion.TLSv1_2, "CHACHA20-POLY1305"),
    "CBC, SHA": (ssl.TLSVersion.TLSv1_2, "AES256-SHA"),
    "CBC, SHA256": (ssl.TLSVersion.TLSv1_2, "AES128-SHA256"),
    "CBC, SHA384": (ssl.TLSVersion.TLSv1_2, "AES256-SHA384"),
}


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_waits_in_a_tls_transport(name, cipher):
    """To the byte: the records that the transport below has not been given yet."""
    def scenario(t):
        async def main():
            protocol = Recorder(t.say)
            transport, below = await over(t.loop, protocol, *CIPHERS[cipher])
            t.say(below.peer.cipher()[0])
            for step in SCRIPTS[name]:
                t.say(step)
                if step == "pause":
                    below.protocol.pause_writing()
                elif step == "resume":
                    below.protocol.resume_writing()
                elif isinstance(step, tuple):
                    transport.set_write_buffer_limits(*step)
                elif isinstance(step, list):
                    transport.writelines([bytes(n) for n in step])
                else:
                    transport.write(bytes(step))
                t.say(transport.get_write_buffer_size())
                for _ in range(5):
                    await asyncio.sleep(0)
                t.say(transport.get_write_buffer_size(), len(below.data))
            transport.abort()
            await until(lambda: protocol.lost)
        t.run(main())
    outcome = compare(scenario, OURS)
    assert outcome.get("exception") is None


@pytest.mark.parametrize("sizes", [[100], [16_384, 1], [5, 5, 5], [40_000]])
def test_what_waits_above_a_socket_that_is_full(sizes):
    """What was written while the transport below would take no more, as records; nothing before that, whatever the socket has refused."""
    def scenario(t):
        async def main():
            a, b = socket.socketpair()
            accepted = t.loop.create_future()

            class Server(Recorder):
                def connection_made(self, transport):
                    super().connection_made(transport)
                    accepted.set_result(None)
            server, client = Server(), Recorder()
            server.data_received = client.data_received = lambda data: None
            server.eof_received = client.eof_received = lambda: None
            ends = [t.loop.connect_accepted_socket(lambda: server, b, ssl=certs.server_context()),
                    t.loop.create_connection(lambda: client, sock=a, ssl=certs.client_context(), server_hostname="localhost")]
            await asyncio.gather(*ends)
            transport = client.transport
            server.transport.pause_reading()
            transport.write(bytes(4 << 20))  # more than the sockets and the peer's TLS layer hold
            t.say(transport.get_write_buffer_size())
            for n in sizes:
                transport.write(bytes(n))
                t.say(transport.get_write_buffer_size())
            transport.abort()
            server.transport.abort()
            await until(lambda: client.lost and server.lost)
        t.run(main())
    outcome = compare(scenario, OURS)
    assert outcome.get("exception") is None
