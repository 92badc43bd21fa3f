"""BufferedProtocol over TLS: what the protocol does inside its own callbacks, and what happens to the bytes then."""
import asyncio
import socket

import pytest

from sidebyside import KITS, compare
from test_tls_errors import end
from tls_peers import Recorder, linked, run_quiet, until

WHOLE = bytes(range(200))


class Small(asyncio.BufferedProtocol):
    """Lends 64 bytes, which it spoils each time: a count that is told twice shows."""

    def __init__(self, say=lambda *what: None):
        self.say, self.buffer, self.data, self.calls = say, bytearray(64), bytearray(), 0
        self.eof = self.lost = False

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, hint):
        self.calls += 1
        self.on_get()
        self.buffer[:] = b"\xee" * 64
        return memoryview(self.buffer)

    def buffer_updated(self, n):
        self.data += self.buffer[:n]
        self.say(n)
        self.on_updated()

    def on_get(self):
        pass

    on_updated = on_get

    def eof_received(self):
        self.eof = True

    def connection_lost(self, exc):
        self.lost = True


def start_counting(protocol, at, what):
    """what() at that call of get_buffer() from now on."""
    protocol.calls = 0
    protocol.on_get = lambda: what() if protocol.calls == at else None


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("how", ["nothing", "pause", "abort"])
def test_get_buffer_changes_the_connection(how, at):
    def scenario(t):
        async def main():
            protocol = Small(t.say)
            transport, peer = await linked("client", protocol, version="TLSv1.2")
            async with peer:
                def change():
                    if how == "pause":
                        transport.pause_reading()
                        asyncio.get_running_loop().call_later(0.01, transport.resume_reading)
                    elif how == "abort":
                        transport.abort()
                start_counting(protocol, at, change)
                await peer.send(WHOLE)
                await until(lambda: protocol.lost or protocol.data == WHOLE)
                t.say(bytes(protocol.data))
                transport.abort()
                await until(lambda: protocol.lost)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_close_in_get_buffer_delivers_the_rest_once(loop, kit, at):
    if kit.name == "asyncio":
        pytest.skip("asyncio loses what comes after one more buffer")

    async def main():
        protocol = Small()
        transport, peer = await linked("client", protocol, version="TLSv1.2")
        async with peer:
            start_counting(protocol, at, transport.close)
            await peer.send(WHOLE)
            await until(lambda: protocol.data == WHOLE)
            transport.abort()
            await until(lambda: protocol.lost)
            assert protocol.data == WHOLE
    run_quiet(loop, main())


@pytest.mark.parametrize("where", ["get", "updated"])
@pytest.mark.parametrize("successor", [Recorder, Small])
def test_set_protocol_in_the_middle(successor, where):
    """The bytes of the buffer that was asked for go to whom they go on asyncio, the rest to the new protocol; the connection lives."""
    def scenario(t):
        async def main():
            first, second = Small(t.say), successor()
            transport, peer = await linked("client", first, version="TLSv1.2")
            second.transport = transport
            async with peer:
                def change():
                    if first.calls == 2:
                        transport.set_protocol(second)
                setattr(first, f"on_{where}", change)
                first.calls = 0
                await peer.send(WHOLE)
                await until(lambda: first.lost or second.lost or len(first.data) + len(second.data) >= 200)
                t.say(bytes(first.data), first.lost, second.lost, transport.is_closing())
                t.say(bytes(second.data) if successor is Recorder else len(second.data))
                transport.abort()
                await until(lambda: second.lost)
        t.run(main())
    compare(scenario, KITS["asyncloop"])


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_the_loop_is_left_in_buffer_updated_and_run_again(kit, loop, side, raised, at):
    """Nothing is lost, and nothing comes twice."""
    async def main():
        nonlocal protocol, peer
        protocol = Small()
        _, peer = await linked(side, protocol)
        start_counting(protocol, -1, None)

        def leave():
            nonlocal n
            n += 1
            if n == at:
                raise raised("on purpose")
        n = 0
        protocol.on_updated = leave
        await peer.send(WHOLE)
        await asyncio.sleep(3600)
    protocol = peer = None
    task = loop.create_task(main())
    with pytest.raises(raised, match="on purpose"):
        loop.run_until_complete(task)
    end(loop, task)
    loop.run_until_complete(until(lambda: len(protocol.data) >= 200))
    assert protocol.data == WHOLE
    protocol.transport.abort()
    loop.run_until_complete(until(lambda: protocol.lost))
    peer.sock.close()


def test_pausing_in_the_last_buffers_of_a_connection_that_has_ended(kit, loop, side):
    """The peer is gone, and the protocol takes one buffer at a time: it gets all of them."""
    if kit.name == "asyncio":
        pytest.skip("asyncio loses what one buffer does not hold")

    async def main():
        protocol = Small()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.pause_reading()
            await peer.send(WHOLE)
            peer.sock.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.02)
            protocol.on_updated = transport.pause_reading
            for n in (64, 128, 192, 200):
                assert not protocol.lost
                transport.resume_reading()
                await until(lambda: len(protocol.data) == n or protocol.lost)
            assert protocol.data == WHOLE
            transport.resume_reading()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())
