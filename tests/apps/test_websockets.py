"""websockets, unmodified, over TLS: its asyncio server and client on one loop, and its blocking client in a thread."""
import asyncio
import hashlib
import logging
import os
import ssl

import pytest

import certs
import peers

websockets = peers.client("websockets")
client = peers.client("websockets.asyncio.client")
server = peers.client("websockets.asyncio.server")
blocking = peers.client("websockets.sync.client")
exceptions = peers.client("websockets.exceptions")

pytestmark = pytest.mark.limit(120)
peers.program("openssl")  # makes the certificates
BIG = 4 << 20


@pytest.fixture(autouse=True)
def quiet(caplog):
    """A handler whose client vanishes is an error in this library's log, and not in these tests."""
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("websockets").setLevel(logging.NOTSET)


async def echo(ws):
    async for message in ws:
        await ws.send(message)


class Site:
    """A server with that handler, and how to connect to it."""

    def __init__(self, handler=echo, version=None, tickets=2, **options):
        self.handler, self.version, self.tickets = handler, version, tickets
        self.options = dict(compression=None, max_size=None) | options

    async def __aenter__(self):
        context = certs.server_context()
        context.num_tickets = self.tickets
        self.server = await server.serve(self.handler, "127.0.0.1", 0, ssl=context, **self.options)
        self.url = f"wss://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        await self.server.wait_closed()

    def connect(self, how=client.connect, **options):
        return how(self.url, ssl=certs.client_context(version=self.version), proxy=None, **self.options | options)


versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
compressions = pytest.mark.parametrize("compression", [None, "deflate"])


@versions
@compressions
def test_echo(run, version, compression):
    async def main():
        async with Site(version=version, compression=compression) as site, site.connect() as ws:
            assert ws.transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
            for n in range(300):
                text = f"message {n} \N{SNOWMAN}" * n
                await ws.send(text)
                assert await ws.recv() == text
            data = [os.urandom(n * 37) for n in range(100)]
            answers = asyncio.create_task(receive(ws, len(data)))
            for each in data:
                await ws.send(each)
            return await answers == data  # True or False: nobody wants to read the difference

    assert run(main)


async def receive(ws, times):
    return [await ws.recv() for _ in range(times)]


def test_many_connections(run):
    async def main():
        async def one(n):
            async with site.connect() as ws:
                for i in range(20):
                    await ws.send(f"{n} {i}")
                    assert await ws.recv() == f"{n} {i}"
            return n

        async with Site() as site:
            return await asyncio.gather(*(one(n) for n in range(40)))

    assert run(main) == list(range(40))


@peers.without_control
@compressions
def test_large_messages(run, compression):
    data = os.urandom(BIG // 2) + bytes(BIG // 2)

    async def main():
        async with Site(compression=compression) as site, site.connect() as ws:
            for _ in range(2):
                await ws.send(data)
                assert hashlib.sha256(await ws.recv()).digest() == hashlib.sha256(data).digest()
            return True

    assert run(main)


def test_fragmented_messages(run):
    pieces = [os.urandom(n) for n in (0, 1, 125, 126, 65535, 65536, 300_000)]

    async def stream():
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)

    def picture(fragments):
        return [(len(each), hashlib.sha256(each).hexdigest()) for each in fragments if each]  # the last one may be empty

    async def in_pieces(ws):
        await ws.send(repr(picture([fragment async for fragment in ws.recv_streaming()])))
        await ws.send(iter(pieces))  # answered in fragments as well

    async def main():
        async with Site(in_pieces) as site, site.connect() as ws:
            await ws.send(stream())
            return await ws.recv(), repr(picture([fragment async for fragment in ws.recv_streaming()]))

    assert run(main) == (repr(picture(pieces)),) * 2


def test_ping_and_pong(run):
    async def main():
        async with Site() as site, site.connect() as ws:
            for n in range(100):
                assert await asyncio.wait_for(await ws.ping(), peers.LONG) >= 0
            waiters = [await ws.ping(b"%d" % n) for n in range(10)]
            await asyncio.wait_for(asyncio.gather(*waiters), peers.LONG)
            with pytest.raises(exceptions.ConcurrencyError):
                await ws.ping(b"x"), await ws.ping(b"x")
            return ws.latency > 0

    assert run(main)


def test_keepalive_gives_up_a_dead_peer(run):
    async def main():
        deaf = asyncio.Event()

        async def listen(ws):
            ws.transport.pause_reading()  # no pong, no answer to a close
            deaf.set()
            await ws.wait_closed()

        async with Site(listen, ping_interval=None, close_timeout=0.1) as site:
            with pytest.raises(exceptions.ConnectionClosedError) as caught:
                async with site.connect(ping_interval=0.05, ping_timeout=0.05, close_timeout=0.05) as ws:
                    await asyncio.wait_for(deaf.wait(), peers.LONG)
                    await ws.recv()
        return caught.value.sent.code, caught.value.rcvd

    assert run(main) == (1011, None)


@pytest.mark.parametrize("code, reason", [(1000, ""), (1001, "going"), (3000, "of a library"), (4999, "\N{SNOWMAN}" * 41)])
@pytest.mark.parametrize("by", ["server", "client"])
def test_close_codes(run, by, code, reason):
    async def main():
        seen = asyncio.get_running_loop().create_future()

        async def handler(ws):
            if by == "server":
                await ws.close(code, reason)
            await ws.wait_closed()
            seen.set_result((ws.close_code, ws.close_reason))

        async with Site(handler) as site, site.connect() as ws:
            if by == "client":
                await ws.close(code, reason)
            with pytest.raises(exceptions.ConnectionClosed) as caught:
                await ws.recv()
            return await seen, (ws.close_code, ws.close_reason), isinstance(caught.value, exceptions.ConnectionClosedOK)

    assert run(main) == ((code, reason), (code, reason), code in (1000, 1001))


@pytest.mark.parametrize("by", ["server", "client"])
def test_connection_lost_without_a_close(run, by):
    async def main():
        seen = asyncio.get_running_loop().create_future()

        async def handler(ws):
            if by == "server":
                ws.transport.abort()
            await ws.wait_closed()
            seen.set_result(ws.close_code)

        async with Site(handler) as site, site.connect() as ws:
            if by == "client":
                ws.transport.abort()
            with pytest.raises(exceptions.ConnectionClosedError):
                await ws.recv()
            return await seen, ws.close_code

    assert run(main) == (1006, 1006)


def test_message_too_big(run):
    async def main():
        async with Site(max_size=1000) as site, site.connect(max_size=None) as ws:
            await ws.send(b"x" * 1001)
            with pytest.raises(exceptions.ConnectionClosedError) as caught:
                await ws.recv()
            return caught.value.rcvd.code

    assert run(main) == 1009


def test_server_that_shuts_down(run):
    async def main():
        async with Site() as site:
            ears = [await site.connect() for _ in range(20)]
            waiting = [asyncio.create_task(ear.recv()) for ear in ears]
            await asyncio.sleep(0)
            site.server.close()
            ends = await asyncio.gather(*waiting, return_exceptions=True)
            return [end.rcvd.code for end in ends]

    assert run(main) == [1001] * 20


def test_slow_reader(run):
    async def main():
        async def flood(ws):
            for n in range(300):
                await ws.send(b"%d " % n + b"x" * 30_000)

        async with Site(flood) as site, site.connect(max_queue=2) as ws:
            got = []
            async for message in ws:
                got.append(int(message.split(b" ")[0]))
                await asyncio.sleep(0 if len(got) % 10 else 0.001)
            return got

    assert run(main) == list(range(300))


@versions
@compressions
def test_blocking_client(run, version, compression):
    """On the other end the ssl module's own socket.

    The library reads it in one thread and writes in another.  Where the ssl module takes no lock (3.11.7, 3.13.0) a write is lost when TLS 1.3's session
    tickets are read at the same moment, whatever the server: so it gets none.
    """
    data = os.urandom(BIG // 4)

    def talk(site):
        with site.connect(blocking.connect) as ws:
            for n in range(100):
                ws.send(f"message {n}")
                assert ws.recv() == f"message {n}"
            ws.send(data)
            return ws.recv() == data and ws.ping().wait(peers.LONG)

    async def main():
        async with Site(version=version, compression=compression, tickets=0) as site:
            return await asyncio.to_thread(talk, site)

    assert run(main)


def test_wrong_certificate(run):
    async def main():
        async with Site() as site:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.connect(site.url, ssl=certs.client_context(trusts="stranger"), proxy=None)

    run(main)


def test_portable_engine(by_portable_engine):
    by_portable_engine()
