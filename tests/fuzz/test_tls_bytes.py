"""Random conversations over TLS through a proxy that cuts the ciphertext anywhere, and one that damages it.

Cut: everything arrives, in order, whatever the pieces.  Damaged: what arrives is the beginning of what was sent, both ends hear of the end
once, within their limits, and nothing hangs or stays.
"""
import asyncio
import gc
import os
import random
import ssl

import pytest

import certs
from sidebyside import KITS
from tls_peers import KINDS, LONG, VERSIONS, Buffered, Recorder, of_side, socket_pair, soon, until

FIRST, LAST = map(int, os.environ.get("ASYNCLOOP_FUZZ_SEEDS", "0:12").split(":"))
LIMITS = dict(ssl_handshake_timeout=2, ssl_shutdown_timeout=2)


class Proxy:
    """Two pumps between two sockets: what one end sent, in other pieces, or damaged, to the other."""

    def __init__(self, rng, change):
        self.rng, self.change = rng, change
        (self.client, a), (b, self.server) = socket_pair(), socket_pair()
        self.inner = a, b
        loop = asyncio.get_running_loop()
        self.pumps = [loop.create_task(self.pump(a, b)), loop.create_task(self.pump(b, a))]

    async def pump(self, source, target):
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(source, self.rng.choice([1, 5, 100, 3000, 65536])):
                for piece in self.change(self.rng, data):
                    await loop.sock_sendall(target, piece)
                    if self.rng.random() < 0.3:
                        await asyncio.sleep(0)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(2)
            except OSError:
                pass

    async def close(self):
        for pump in self.pumps:
            pump.cancel()
        await asyncio.gather(*self.pumps, return_exceptions=True)
        for sock in self.inner:
            sock.close()


def pieces(rng, data):
    """Cuts, but no damage."""
    if len(data) < 300 and rng.random() < 0.2:
        return [data[i : i + 1] for i in range(len(data))]
    at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(4)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)]) if a < b]


class Damage:
    """Lets some bytes through, then does something wrong once, or now and then."""

    def __init__(self, rng, after):
        self.left, self.kind = after, rng.choice(["flip", "drop", "double", "insert", "swap", "cut off"])
        self.is_over = False

    def __call__(self, rng, data):
        if self.is_over:
            return []
        if len(data) <= self.left:
            self.left -= len(data)
            return pieces(rng, data)
        at, self.left = self.left, rng.choice([1000, 1 << 30])
        head, tail = data[:at], data[at:]
        if self.kind == "flip":
            tail = bytes([tail[0] ^ 1 << rng.randrange(8)]) + tail[1:]
        elif self.kind == "drop":
            tail = tail[1:]
        elif self.kind == "double":
            tail = tail + tail
        elif self.kind == "insert":
            tail = rng.randbytes(rng.randrange(1, 20)) + tail
        elif self.kind == "swap":
            tail = tail[1:] + tail[:1]
        else:
            self.is_over = True
            tail = b""
        return [piece for piece in (head, tail) if piece]


class End:
    """One end of a conversation: what it sends, what it got."""

    def __init__(self, rng):
        self.protocol = rng.choice([lambda: Recorder(), lambda: Buffered(size=rng.choice([1, 1000, 65536]))])()
        self.sent = b"".join(rng.choice([b"a", b"bc" * 50, os.urandom(20_000), b"d" * 100_000]) for _ in range(rng.randrange(1, 8)))
        if isinstance(self.protocol, Buffered) and len(self.protocol.buffer) == 1:
            self.sent = self.sent[:2000]

    async def send(self, rng):
        at = 0
        while at < len(self.sent) and not self.protocol.lost:
            n = rng.choice([1, 50, 5000, 200_000])
            self.protocol.transport.write(bytearray(self.sent[at : at + n]))
            at += n
            if rng.random() < 0.3:
                await asyncio.sleep(0)


def limit_received(ends):
    # a protocol that lends one byte at a time is not to be sent a megabyte
    for one, other in (ends, ends[::-1]):
        if isinstance(one.protocol, Buffered) and len(one.protocol.buffer) == 1:
            other.sent = other.sent[:2000]


async def connect(proxy, ends, version, **limits):
    client, server = ends
    return await soon(asyncio.gather(
        of_side("client", client.protocol, proxy.client, ours=certs.client_context(version=VERSIONS[version]), **limits),
        of_side("server", server.protocol, proxy.server, **limits), return_exceptions=True))


def run(kit, main):
    loop = kit.new_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        loop.run_until_complete(asyncio.wait_for(main(), LONG))
        gc.collect()
        return reports
    finally:
        loop.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(FIRST, LAST))
@pytest.mark.parametrize("kind", KINDS)
def test_ciphertext_in_any_pieces(kind, seed, version):
    rng = random.Random(f"cut {seed} {version}")

    async def main():
        proxy = Proxy(rng, pieces)
        ends = End(rng), End(rng)
        limit_received(ends)
        client, server = ends
        for result in await connect(proxy, ends, version):
            if isinstance(result, BaseException):
                raise result
        await asyncio.gather(client.send(rng), server.send(rng))
        await until(lambda: len(client.protocol.data) >= len(server.sent) and len(server.protocol.data) >= len(client.sent))
        assert client.protocol.data == server.sent and server.protocol.data == client.sent
        rng.choice(ends).protocol.transport.close()
        await until(lambda: client.protocol.lost and server.protocol.lost)
        await proxy.close()
    assert not run(KITS[kind], main)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(FIRST, LAST))
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_ciphertext(kind, seed, version):
    rng = random.Random(f"damage {seed} {version}")

    async def main():
        proxy = Proxy(rng, Damage(rng, rng.choice([0, rng.randrange(3000), rng.randrange(300_000)])))
        ends = End(rng), End(rng)
        limit_received(ends)
        client, server = ends
        results = await connect(proxy, ends, version, **LIMITS)
        for result in results:
            assert not isinstance(result, BaseException) or isinstance(result, (ssl.SSLError, OSError)), result
        made = [end for end in ends if end.protocol.transport]
        for end in made:
            await end.send(rng)
        for _ in range(20):
            await asyncio.sleep(0.001)
        for end in made:
            end.protocol.transport.close()
        await asyncio.sleep(0.01)
        for end in made:
            end.protocol.transport.abort()
        await until(lambda: all(end.protocol.lost for end in made))
        for one, other in (ends, ends[::-1]):
            assert one.protocol.data == other.sent[: len(one.protocol.data)], "what arrived was never sent"
        await proxy.close()
    run(KITS[kind], main)  # reported is what asyncio reports: a few kinds of SSLError
