"""Peers that mean harm: garbage, truncated and oversized records, silence.  They are dropped within the time limit and nothing of them stays.

What is counted after each kind of attack: file descriptors, tasks, the objects of a connection, memory of the process.
"""
import asyncio
import gc
import os
import random
import socket
import ssl
import struct

import pytest

import certs
from sidebyside import OURS, SANITIZED
from tls_peers import LONG, Peer, Recorder, linked, until

HANDSHAKE_LIMIT = 0.3
DISCONNECTS = (ssl.SSLError, ConnectionError)


def record(kind, body, version=0x0303):
    return struct.pack("!BHH", kind, version, len(body)) + body


def hello():
    peer = Peer(None, certs.client_context())
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.do_handshake()
    return peer.outgoing.read()


def handshake_message(kind, length, body=b""):
    return struct.pack("!B", kind) + length.to_bytes(3, "big") + body


# What a peer may send instead of a handshake.
ATTACKS = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\x16",
    "half a header": lambda: b"\x16\x03\x01\x02",
    "header without its record": lambda: b"\x16\x03\x01\x40\x00",
    "half a hello": lambda: hello()[:100],
    "a hello and no more": hello,
    "plain HTTP": lambda: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": lambda: bytes(10_000),
    "random bytes": lambda: random.Random(3).randbytes(50_000),
    "a record that is too long": lambda: record(22, b"x" * 65535),
    "an unknown kind of record": lambda: record(99, b"x" * 100),
    "an unknown version": lambda: record(22, b"x" * 100, 0x9999),
    "data before the handshake": lambda: record(23, b"x" * 100),
    "an oversized hello": lambda: record(22, handshake_message(1, 0xFFFFFF, b"x" * 16000)),
    "a hello of empty records": lambda: b"".join(record(22, b"") for _ in range(1000)),
    "a hello with more behind it": lambda: hello() + hello(),
    "a hello that is not one": lambda: record(22, handshake_message(1, 100, os.urandom(100))),
    "the finish at the beginning": lambda: record(22, handshake_message(20, 12, b"x" * 12)),
    "a fatal alert": lambda: record(21, b"\x02\x28"),
    "many warnings": lambda: record(21, b"\x01\x00") * 1000,
    "key change before the hello": lambda: record(20, b"\x01"),
}


def objects():
    gc.collect()
    return sum(isinstance(each, (Recorder, ssl.SSLObject, asyncio.Task, asyncio.Transport, socket.socket)) for each in gc.get_objects())


def fds():
    return len(os.listdir("/proc/self/fd"))


class Bed:
    """A server under attack, and what it has reported."""

    def __init__(self):
        self.loop = OURS.new_loop()
        self.reports, self.protocols = [], []
        self.loop.set_exception_handler(lambda loop, context: self.reports.append((context["message"], type(context.get("exception")).__name__)))

    def factory(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    def run(self, coro):
        return self.loop.run_until_complete(asyncio.wait_for(coro, LONG))

    async def start(self):
        self.server = await self.loop.create_server(self.factory, "127.0.0.1", 0, ssl=certs.server_context(), ssl_handshake_timeout=HANDSHAKE_LIMIT)
        return self.server.sockets[0].getsockname()

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()
        assert len(asyncio.all_tasks()) <= 2  # this one and wait_for's

    async def serve_honest(self, address):
        """An honest client is served; on a slow machine one may hit the limit, but not each of them."""
        end = self.loop.time() + LONG / 2
        while True:
            try:
                _, honest = await self.loop.create_connection(Recorder, *address, ssl=certs.client_context(), server_hostname="localhost")
            except DISCONNECTS:
                assert self.loop.time() < end, "nobody is served any more"
                continue
            honest.transport.close()
            await until(lambda: honest.lost)
            return

    async def attacker(self, address):
        sock = socket.socket()
        sock.setblocking(False)
        await self.loop.sock_connect(sock, address)
        return Peer(sock)

    def close(self):
        self.loop.close()


@pytest.fixture
def bed():
    bed = Bed()
    yield bed
    bed.close()


def steady(action, rounds=3):
    """Runs it once to warm up, and again: neither descriptors nor objects grow."""
    action()
    before = objects(), fds()
    for _ in range(rounds):
        action()
    assert objects() <= before[0], "objects stay"
    assert fds() <= before[1], "descriptors stay"


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_client(bed, name):
    """It is dropped, no protocol hears of it, the next honest client is served, and nothing stays."""
    make = ATTACKS[name]

    async def attack():
        address = await bed.start()
        peers = [await bed.attacker(address) for _ in range(5)]
        for peer in peers:
            try:
                await peer.send_raw(make())
            except ConnectionError:
                pass
        for peer in peers:
            await peer.raw_end()  # the server hangs up, by itself
            peer.sock.close()
        assert not any(protocol.transport for protocol in bed.protocols)
        await bed.serve_honest(address)
        await bed.stop()
        bed.protocols.clear()
        bed.reports.clear()
    steady(lambda: bed.run(attack()), 2)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("a hello and no more", "half a hello", "a hello with more behind it")])
def test_a_hostile_server(bed, name):
    """Who connects gets an exception; nothing stays."""
    make = ATTACKS[name]

    async def attack():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            protocol = Recorder()
            connecting = asyncio.ensure_future(bed.loop.create_connection(
                lambda: protocol, *listening.getsockname(), ssl=certs.client_context(), server_hostname="localhost", ssl_handshake_timeout=HANDSHAKE_LIMIT))
            sock, _ = await bed.loop.sock_accept(listening)
            sock.setblocking(False)
            async with Peer(sock) as peer:
                try:
                    await peer.send_raw(make())
                except ConnectionError:
                    pass
                with pytest.raises(DISCONNECTS):
                    await connecting
                await peer.raw_end()
            assert protocol.transport is None
        bed.reports.clear()
    steady(lambda: bed.run(attack()))


def test_a_peer_that_stops_in_every_place_of_the_handshake(bed):
    """A handshake cut off after n bytes, for many n, with the connection left open: the limit ends it."""
    async def attack(n):
        address = await bed.start()
        peer = await bed.attacker(address)
        async with peer:
            await peer.send_raw(whole[:n])
            await peer.raw_end()
        await bed.stop()
        assert not bed.protocols[-1].transport
        bed.protocols.clear()
        bed.reports.clear()
    whole = hello()
    for n in sorted(set(range(0, len(whole), max(1, len(whole) // 12))) | {4, 5, 6, len(whole) - 1}):
        bed.run(attack(n))


def test_both_ends_stop_after_the_hello(bed):
    """The server's flight is never answered."""
    async def attack():
        address = await bed.start()
        async with await bed.attacker(address) as peer:
            await peer.send_raw(hello())
            assert await peer.receive_raw()
            await peer.raw_end()
        await bed.stop()
        bed.protocols.clear()
        bed.reports.clear()
    steady(lambda: bed.run(attack()))


def test_a_handshake_one_byte_at_a_time_still_ends(bed):
    """Slow but honest within the limit is served; slower than the limit is dropped however busy it looks."""
    async def drip():
        address = await bed.start()
        async with await bed.attacker(address) as peer:
            data = hello()
            try:
                for i in range(len(data) - 1):
                    await peer.send_raw(data[i : i + 1])
                    await asyncio.sleep(0.01)
                await peer.raw_end()
            except ConnectionError:
                pass
            assert not bed.protocols[-1].transport
        await bed.stop()
    bed.run(drip())


# --- after the handshake

AFTER = {
    "garbage": lambda peer: os.urandom(1000),
    "a record of another key": lambda peer: record(23, os.urandom(100)),
    "a record that is too long": lambda peer: record(23, bytes(20_000)),
    "an altered tag": lambda peer: (lambda data: data[:-1] + bytes([data[-1] ^ 1]))(peer.encrypted(b"x" * 100)),
    "an altered header": lambda peer: (lambda data: b"\x99" + data[1:])(peer.encrypted(b"x" * 100)),
    "a record twice": lambda peer: peer.encrypted(b"replayed") * 2,
    "records in the wrong order": lambda peer: (lambda a, b: b + a)(peer.encrypted(b"one"), peer.encrypted(b"two")),
    "a plain alert": lambda peer: record(21, b"\x02\x28"),
    "a plain handshake": lambda peer: record(22, handshake_message(1, 50, bytes(50))),
}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("name", AFTER)
def test_hostile_records(bed, name, side, version):
    """The connection ends with an SSLError, once; what was good before it is delivered, nothing after it."""
    async def attack():
        protocol = Recorder()
        _, peer = await linked(side, protocol, version=version)
        async with peer:
            await peer.send(b"good")
            await until(lambda: protocol.data == b"good")
            await peer.send_raw(AFTER[name](peer))
            try:
                await peer.send_raw(peer.encrypted(b"too late"))
            except ConnectionError:
                pass
            await until(lambda: protocol.lost)
            assert bytes(protocol.data) in ((b"good", b"goodreplayed") if name == "a record twice" else (b"good",))
            assert isinstance(protocol.exc, ssl.SSLError), protocol.exc
        bed.reports.clear()
    steady(lambda: bed.run(attack()))


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_record_that_never_ends(bed, side):
    """After the handshake there is no limit; what is kept for a record to come is at most one record."""
    async def attack():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            await peer.send_raw(peer.encrypted(b"x" * 16000)[:-1])
            await asyncio.sleep(0.02)
            assert not protocol.data and not protocol.lost
            transport.abort()
            await until(lambda: protocol.lost)
    steady(lambda: bed.run(attack()))


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_peer_that_asks_and_never_reads(bed, side):
    """An echo to a peer that does not read: pause_writing stops a protocol that listens, and memory with it."""
    class Careful(Recorder):
        def data_received(self, data):
            self.received = getattr(self, "received", 0) + len(data)
            self.transport.write(data)

        def pause_writing(self):
            self.transport.pause_reading()

        def resume_writing(self):
            self.transport.resume_reading()

    async def attack():
        protocol = Careful()
        transport, peer = await linked(side, protocol)
        async with peer:
            sent = 0
            while True:
                data = peer.encrypted(bytes(65536))
                try:
                    await asyncio.wait_for(bed.loop.sock_sendall(peer.sock, data), 0.5)
                except asyncio.TimeoutError:
                    break
                sent += 65536
                assert sent < 64 << 20, "never stopped"
            assert transport.get_write_buffer_size() < 2 << 20
            transport.abort()
            await until(lambda: protocol.lost)
    bed.run(attack())


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(SANITIZED, reason="the sanitizer keeps freed memory for a while")
@pytest.mark.limit(120)
def test_hundreds_of_attacks_leave_no_memory(bed):
    async def attacks(n):
        address = await bed.start()
        for i in range(n):
            async with await bed.attacker(address) as peer:
                try:
                    await peer.send_raw(b"GET / HTTP/1.1\r\n\r\n" if i % 2 else record(22, bytes(1000)))
                    await peer.raw_end()
                except ConnectionError:
                    pass
        await bed.stop()
        bed.protocols.clear()
        bed.reports.clear()
    bed.run(attacks(300))
    before = resident()
    for _ in range(3):
        bed.run(attacks(300))
    assert resident() - before < 5 << 20


def test_silent_clients_do_not_hold_up_honest_ones(bed):
    """A hundred that say nothing, and one that does: it is served at once, they are dropped at the limit."""
    async def attack():
        address = await bed.start()
        silent = [await bed.attacker(address) for _ in range(100)]
        await bed.serve_honest(address)
        for peer in silent:
            await peer.raw_end()
            peer.sock.close()
        await bed.stop()
        bed.protocols.clear()
        bed.reports.clear()
    steady(lambda: bed.run(attack()), 1)
