"""BufferedProtocol over TLS: what the protocol does inside its own callbacks, and what happens to the bytes then."""
import asyncio
import socket
import ssl

import pytest

import certs
from kits import passes
from sidebyside import KITS, compare
from test_tls_errors import end
from tls_peers import VERSIONS, Peer, Recorder, linked, of_side, run_quiet, socket_pair, soon, until

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


class Asked(Small):
    """Says every call with its argument, in order."""

    size = 64

    def connection_made(self, transport):
        super().connection_made(transport)
        self.say("made")
        self.on_made()

    def get_buffer(self, hint):
        self.say("get", hint)
        return super().get_buffer(hint)[:self.size]

    def on_made(self):
        pass

    def eof_received(self):
        super().eof_received()
        self.say("eof")

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.say("lost", exc)


class OwnSSLObject(ssl.SSLObject):
    """Its methods might be a program's own, so the loop calls them, and not libssl."""


async def shaken(side, protocol, version, first, sslobject_class=ssl.SSLObject):
    """linked(), but what the peer sends first leaves with its last flight of the handshake, in one piece."""
    a, b = socket_pair("unix")  # without TCP's delays for small packets
    ours = certs.client_context() if side == "client" else certs.server_context()
    ours.maximum_version = VERSIONS[version]
    ours.sslobject_class = sslobject_class
    peer = Peer(b, certs.server_context() if side == "client" else certs.client_context(), side == "client")
    making = asyncio.ensure_future(of_side(side, protocol, a, ours=ours))
    while True:
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            await peer.flush()
            if data := await peer.receive_raw():
                peer.incoming.write(data)
                continue
        else:
            for data in first:
                peer.tls.write(data)
            await peer.flush()
        break
    transport, _ = await soon(making)
    await passes(8)
    return transport, peer


def pause_and_resume(protocol):
    protocol.transport.pause_reading()
    asyncio.get_running_loop().call_later(0.01, protocol.transport.resume_reading)


ASKED = {
    "records": [[b"a" * 10, b"b" * 20, b"c" * 5]],
    "full buffers": [[WHOLE]],
    "just full": [[b"a" * 64], [b"b" * 32, b"c" * 32], [b"d" * 128]],
    "one by one": [[b"a"], [b"b"], [b"c" * 65]],
    "half a record": [["half", WHOLE]],
    "paused": ["pause", [b"a" * 10], [b"b" * 100], "resume", [b"c"]],
    "paused and resumed with nothing": ["pause", "resume", "pause", "resume"],
    "close_notify": [[b"a" * 10], "notify"],
    "close_notify and data": [[b"a" * 100, "notify"]],
    "eof": [[b"a" * 10], "eof"],
    "closed": [[b"a" * 10], "close", "notify"],
}


def ask(side, script, first, version, sslobject_class=ssl.SSLObject):
    def scenario(t):
        async def main():
            protocol = Asked(t.say)
            transport, peer = await shaken(side, protocol, version, first, sslobject_class)
            async with peer:
                for step in ASKED[script]:
                    t.say(step)
                    if step == "pause":
                        transport.pause_reading()
                    elif step == "resume":
                        transport.resume_reading()
                    elif step == "close":
                        transport.close()
                    elif step == "notify":
                        await peer.send_raw(peer.close_notify())
                    elif step == "eof":
                        peer.sock.shutdown(socket.SHUT_WR)
                    elif step[0] == "half":
                        data = peer.encrypted(step[1])
                        await peer.send_raw(data[:50])
                        await passes(8)
                        await peer.send_raw(data[50:])
                    else:
                        await peer.send_raw(b"".join(peer.close_notify() if data == "notify" else peer.encrypted(data) for data in step))
                    await passes(8)
                transport.abort()
                await until(lambda: protocol.lost)
                t.say(bytes(protocol.data))
        t.run(main())
    compare(scenario, KITS["asyncloop"])


@pytest.mark.parametrize("script", ASKED)
@pytest.mark.parametrize("first", [[], [b"x" * 10], [b"x" * 64], [WHOLE, b"x"]], ids=["alone", "ten", "full", "more"])
@pytest.mark.parametrize("version", VERSIONS)
def test_buffers_are_asked_for_as_often(side, script, first, version):
    """Every call of get_buffer() and buffer_updated(), those that come to nothing too: a handshake's end, half a record, a ticket."""
    ask(side, script, first, version)


@pytest.mark.parametrize("script", ["just full", "full buffers", "paused", "close_notify and data"])
@pytest.mark.parametrize("first", [[], [WHOLE, b"x"]], ids=["alone", "more"])
def test_buffers_are_asked_for_as_often_through_a_class_of_the_program(side, script, first):
    """The class keeps libssl from being called directly: a buffer that was just filled says as little of what is left as it does there."""
    ask(side, script, first, "TLSv1.3", OwnSSLObject)


@pytest.mark.parametrize("where, at", [("made", 1), *((where, at) for where in ("get", "updated") for at in (1, 2, 3))])
@pytest.mark.parametrize("what", ["pause", "abort"])
@pytest.mark.parametrize("version", VERSIONS)
def test_buffers_are_asked_for_as_often_when_a_call_changes_the_connection(side, what, where, at, version):
    if (what, where) == ("pause", "made"):
        pytest.skip("asyncio does not send the end of its handshake before reading is resumed")

    def scenario(t):
        async def main():
            protocol = Asked(t.say)
            n = 0

            def change():
                nonlocal n
                n += 1
                if n == at:
                    pause_and_resume(protocol) if what == "pause" else protocol.transport.abort()
            setattr(protocol, f"on_{where}", change)
            transport, peer = await shaken(side, protocol, version, [WHOLE])
            async with peer:
                await asyncio.sleep(0.02)
                await passes(8)
                t.say(bytes(protocol.data))
                transport.abort()
                await until(lambda: protocol.lost)
        t.run(main())
    compare(scenario, KITS["asyncloop"])
