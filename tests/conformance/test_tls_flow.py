"""Flow control of TLS connections: reading that pauses, writers that are told to wait, and memory that stays bounded."""
import asyncio
import io
import socket

import pytest

import certs
from kits import passes
from sidebyside import OURS, same
from tls_peers import Buffered, Peer, Recorder, both, linked, of_side, run_quiet, socket_pair, soon, until


async def stop(transport, protocol):
    transport.abort()
    await until(lambda: protocol.lost)


# --- reading

@pytest.mark.parametrize("kind", [Recorder, Buffered])
def test_pause_reading_holds_everything_back(kit, loop, side, kind):
    async def main():
        protocol = kind()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.pause_reading()
            assert not transport.is_reading()
            await peer.send(b"later")
            await asyncio.sleep(0.05)
            assert protocol.data == b""
            transport.write(b"writing goes on")
            assert await peer.receive() == b"writing goes on"
            transport.resume_reading()
            assert transport.is_reading()
            await until(lambda: protocol.data == b"later")
            await stop(transport, protocol)
    run_quiet(loop, main())


def test_pause_and_resume_may_be_called_again(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            for _ in range(3):
                transport.pause_reading()
            transport.resume_reading()
            transport.resume_reading()
            await peer.send(b"x")
            await until(lambda: protocol.data == b"x")
            transport.pause_reading()
            transport.resume_reading()
            transport.pause_reading()
            await peer.send(b"y")
            await asyncio.sleep(0.02)
            transport.resume_reading()
            await until(lambda: protocol.data == b"xy")
            await stop(transport, protocol)
    run_quiet(loop, main())


def test_pause_in_data_received_and_resume_much_later(kit, loop, side):
    """What was decrypted, what lies in the TLS buffers and what is in the socket all waits, and then comes in order."""
    async def main():
        protocol = Recorder(on_data=lambda data: transport.pause_reading())
        transport, peer = await linked(side, protocol)
        async with peer:
            whole = b"".join(b"%06d" % i for i in range(50_000))
            sending = asyncio.ensure_future(send_all(peer, whole))
            seen = 0
            while len(protocol.data) < len(whole):
                await until(lambda: len(protocol.data) > seen)
                now = len(protocol.data)
                await passes(20)
                assert len(protocol.data) == now, "data while paused"
                seen = now
                transport.resume_reading()
            assert protocol.data == whole
            await sending
            await stop(transport, protocol)

    async def send_all(peer, whole):
        for at in range(0, len(whole), 10_000):
            await peer.send(whole[at : at + 10_000])
    run_quiet(loop, main())


def test_the_end_waits_while_reading_is_paused(kit, loop, side):
    """Data, then close_notify, then the end of TCP: nothing of it is told before reading resumes, and then all of it."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.pause_reading()
            await peer.send_raw(peer.encrypted(b"last words") + peer.close_notify())
            await asyncio.sleep(0.05)
            assert not protocol.data and not protocol.eof and not protocol.lost
            transport.resume_reading()
            await until(lambda: protocol.lost)
            assert protocol.data == b"last words" and protocol.eof and protocol.exc is None
    run_quiet(loop, main())


def test_a_reader_that_pauses_bounds_what_is_read(kit, loop, side):
    """A paused protocol stops the socket being read: what the peer can send is what the buffers hold, and that is bounded."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.pause_reading()
            sent, block = 0, bytes(1 << 16)
            while True:
                data = peer.encrypted(block)
                try:
                    await asyncio.wait_for(loop.sock_sendall(peer.sock, data), 1)
                except asyncio.TimeoutError:
                    break
                sent += len(block)
                assert sent < 64 << 20, "the socket is read while reading is paused"
            assert not protocol.data
            if hasattr(transport, "get_read_buffer_size"):
                assert transport.get_read_buffer_size() <= 2 << 20
            await stop(transport, protocol)
    run_quiet(loop, main())


def test_read_buffer_limits(kit, loop, side):
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            transport.set_read_buffer_limits(high=1000)
            assert transport.get_read_buffer_limits() == (250, 1000)
            transport.set_read_buffer_limits(low=10)
            assert transport.get_read_buffer_limits() == (10, 40)
            transport.set_read_buffer_limits(low=10, high=10)
            for wrong in (dict(high=-1), dict(low=5, high=4), dict(low=-1, high=4)):
                with pytest.raises(ValueError, match="must be >= low"):
                    transport.set_read_buffer_limits(**wrong)
            assert transport.get_read_buffer_size() == 0
            await peer.send(b"x" * 100_000)
            await until(lambda: len(protocol.data) == 100_000)
            await stop(transport, protocol)
    run_quiet(loop, main())


def test_a_buffered_protocol_with_a_tiny_buffer(kit, loop, side):
    async def main():
        for size in (1, 3, 16384, 16385):
            protocol = Buffered(size=size)
            transport, peer = await linked(side, protocol)
            async with peer:
                data = bytes(range(256)) * (2 if size < 10 else 1000)
                await peer.send(data)
                await until(lambda: len(protocol.data) == len(data))
                assert protocol.data == data
                await peer.send_raw(peer.encrypted(data) + peer.close_notify())
                await until(lambda: protocol.lost)
                assert protocol.data == data + data and protocol.eof
    run_quiet(loop, main())


def test_a_buffered_protocol_that_pauses_in_buffer_updated(kit, loop, side):
    async def main():
        class Pausing(Buffered):
            def buffer_updated(self, n):
                super().buffer_updated(n)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)
        protocol = Pausing(size=777)
        transport, peer = await linked(side, protocol)
        async with peer:
            data = bytes(range(256)) * 400
            await peer.send(data)
            await until(lambda: len(protocol.data) == len(data))
            assert protocol.data == data
            await stop(transport, protocol)
    run_quiet(loop, main())


@pytest.mark.parametrize("fault", ["get_buffer raises", "empty buffer", "no buffer", "read-only", "buffer_updated raises"])
def test_faulty_buffered_protocols(kit, loop, side, fault):
    """Reported, and the connection ends; asyncio's TLS takes an empty buffer for the end of the stream."""
    class Faulty(Buffered):
        armed = False  # asyncio asks for a buffer before there is anything to read

        def get_buffer(self, hint):
            if not self.armed:
                return super().get_buffer(hint)
            if fault == "get_buffer raises":
                raise ValueError("on purpose")
            return {"empty buffer": bytearray(), "no buffer": None, "read-only": memoryview(b"x" * 10)}.get(fault, memoryview(self.buffer))

        def buffer_updated(self, n):
            if fault == "buffer_updated raises":
                raise ValueError("on purpose")

    async def main():
        protocol = Faulty()
        _, peer = await linked(side, protocol)
        async with peer:
            protocol.armed = True
            await peer.send(b"x")
            await until(lambda: protocol.lost)
            await peer.raw_end()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    if fault.endswith("raises"):
        assert [str(context["exception"]) for context in reports] == ["on purpose"]
        assert reports[0]["message"] == "Fatal error on SSL protocol"
    elif fault != "empty buffer":
        assert len(reports) == 1 and isinstance(reports[0]["exception"], (TypeError, ValueError, BufferError))


# --- writing

@same
def test_water_marks(t):
    async def main():
        protocol = Recorder(t.say)
        transport, peer = await linked("client", protocol)
        async with peer:
            t.say(transport.get_write_buffer_limits())
            for options in ({}, dict(high=100_000), dict(low=10_000), dict(high=10, low=5), dict(high=0), dict(high=7, low=7)):
                transport.set_write_buffer_limits(**options)
                t.say(transport.get_write_buffer_limits())
            for wrong in (dict(high=-1), dict(high=5, low=6), dict(low=-1)):
                t.attempt(transport.set_write_buffer_limits, **wrong)
            await stop(transport, protocol)
    t.run(main())


def test_pause_writing_and_resume_writing(kit, loop, side):
    """They take turns, begin with a pause, and the transport's size stays near the mark for who listens."""
    async def main():
        calls = []
        protocol = Recorder(lambda what, *rest: calls.append(what))
        transport, peer = await linked(side, protocol)
        async with peer:
            assert calls == ["made"]
            transport.set_write_buffer_limits(high=100_000, low=10_000)
            block, sent = bytes(10_000), 0
            for _ in range(3):
                waiting = 0
                while len(calls) != waiting:  # the kernel may take more for a while; but not without end, as nobody reads
                    while calls[-1] != "pause":
                        transport.write(block)
                        sent += len(block)
                        assert sent < 64 << 20
                    assert transport.get_write_buffer_size() <= 600_000
                    waiting = len(calls)
                    await asyncio.sleep(0.01)
                await peer.receive_exactly(sent)
                sent = 0
                await until(lambda: calls[-1] == "resume")
                assert transport.get_write_buffer_size() <= 10_000
            turns = len(calls) // 2
            assert turns >= 3 and calls == ["made"] + ["pause", "resume"] * turns
            await stop(transport, protocol)
    run_quiet(loop, main())


READ = "read"  # the peer reads all there is
HUGE = 1_500_000  # more than a socket takes that nobody reads


@pytest.mark.parametrize("steps, expected", [
    ([2_000_000], []),
    ([2_000_000, READ, 2_000_000, READ], []),
    ([HUGE, 300_000], []),
    ([HUGE, 300_000, 300_000], ["pause at 2"]),
    ([HUGE, 600_000, READ], ["pause at 1", "resume"]),
    ([HUGE, 300_000, READ, HUGE, 300_000, 300_000, READ], ["pause at 5", "resume"]),
    ([HUGE, 600_000, 600_000, READ, 600_000, READ], ["pause at 1", "resume"]),
    ([(100, 10), HUGE, 50, 90, READ], ["pause at 3", "resume"]),
    ([HUGE, 10, (100, 10), 120, READ], ["pause at 3", "resume"]),
    ([(100, 10), 5_000, READ, 5_000, READ], []),
    ([[1_000_000] * 5, READ], []),
    ([[HUGE, 300_000, 300_000], [300_000]], []),
    ([[HUGE, 300_000], [300_000, 300_000], READ], ["pause at 1", "resume"]),
])
def test_what_pauses_and_resumes(kit, loop, side, steps, expected):
    """One write of any size goes down whole; what is written while the transport below takes no more is held, and counts."""
    async def main():
        calls, at = [], 0
        protocol = Recorder(lambda what, *rest: calls.append(f"pause at {at}" if what == "pause" else what))
        transport, peer = await linked(side, protocol, family="unix")
        async with peer:
            unread = 0
            for at, step in enumerate(steps):
                if step == READ:
                    await peer.receive_exactly(unread)
                    unread = 0
                elif isinstance(step, tuple):
                    transport.set_write_buffer_limits(*step)
                elif isinstance(step, list):
                    transport.writelines([bytes(n) for n in step])
                    unread += sum(step)
                else:
                    transport.write(bytes(step))
                    unread += step
                await passes(3)
            await asyncio.sleep(0.01)
            assert calls == ["made", *expected]
            await stop(transport, protocol)
    run_quiet(loop, main())


def test_drain_waits_for_a_slow_reader_and_memory_is_bounded(kit, loop, side):
    """A writer that awaits drain() keeps at most the mark, one block and the kernel's buffers in memory."""
    async def main():
        a, b = socket_pair()
        theirs = certs.server_context() if side == "client" else certs.client_context()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        async with Peer(b, theirs, side == "client") as peer:
            (transport, _), _ = await soon(asyncio.gather(of_side(side, protocol, a), peer.handshake()))
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            worst, block, count = 0, bytes(50_000), 200

            async def write():
                nonlocal worst
                for _ in range(count):
                    writer.write(block)
                    worst = max(worst, transport.get_write_buffer_size())
                    await writer.drain()
            writing = asyncio.ensure_future(write())
            await peer.receive_exactly(200_000)
            await asyncio.sleep(0.05)
            await peer.receive_exactly(len(block) * count - 200_000)
            await soon(writing)
            # ... and the mark of the transport below
            assert worst <= transport.get_write_buffer_limits()[1] + 64 * 1024 + 3 * len(block), worst
            transport.abort()
            await asyncio.sleep(0.01)
    run_quiet(loop, main())


def test_writing_while_the_peer_only_writes(kit, loop):
    """Two ends that echo to each other more than the sockets hold never wait for each other."""
    async def main():
        class Echo(Recorder):
            def data_received(self, data):
                self.data += data
                if len(self.data) < 8 << 20:
                    self.transport.write(data)
        one, two = Echo(), Echo()
        client, server = await both(one, two)
        for transport in (client, server):
            for _ in range(20):
                transport.write(bytes(50_000))
        await until(lambda: len(one.data) >= 8 << 20 and len(two.data) >= 8 << 20)
        client.abort(), server.abort()
        await until(lambda: one.lost and two.lost)
    run_quiet(loop, main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_failing_flow_callbacks_are_reported(kit, loop, side, method):
    """And the connection goes on."""
    class Failing(Recorder):
        failed = 0
    def fail(self):
        self.failed += 1
        raise ValueError("on purpose")
    setattr(Failing, method, fail)

    async def main():
        protocol = Failing()
        transport, peer = await linked(side, protocol)
        async with peer:
            transport.set_write_buffer_limits(high=1000, low=100)
            sent = 0
            while transport.get_write_buffer_size() < 100_000:
                transport.write(bytes(100_000))
                sent += 100_000
            transport.write(bytes(100_000))  # the one before may have gone down whole
            await peer.receive_exactly(sent + 100_000)
            await until(lambda: protocol.failed and transport.get_write_buffer_size() == 0)
            await peer.send(b"still there")
            await until(lambda: protocol.data == b"still there")
            transport.write(b"me too")
            assert await peer.receive_exactly(6) == b"me too"
            await stop(transport, protocol)
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    assert {context["message"] for context in reports} == {f"protocol.{method}() failed"}
    assert all(str(context["exception"]) == "on purpose" and {"transport", "protocol"} <= set(context) for context in reports)


# --- sendfile

@pytest.mark.parametrize("offset, count", [(0, None), (1000, 200_000), (0, 1)])
def test_sendfile_falls_back_to_reading(kit, loop, side, tmp_path, offset, count):
    path = tmp_path / "file"
    data = bytes(range(256)) * 2000
    path.write_bytes(data)
    wanted = data[offset:] if count is None else data[offset : offset + count]

    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        async with peer:
            with open(path, "rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(transport, file, offset, count))
                assert await peer.receive_exactly(len(wanted)) == wanted
                assert await soon(sending) == len(wanted)
                assert file.tell() == offset + len(wanted)
                with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not supported"):
                    await loop.sendfile(transport, file, fallback=False)
            await peer.send(b"reading goes on")
            await until(lambda: protocol.data == b"reading goes on")
            await stop(transport, protocol)
    run_quiet(loop, main())


@pytest.mark.parametrize("over", ["tls", "tcp", "unix", "sock"])
@pytest.mark.parametrize("from_memory", [False, True])
def test_every_offset_and_count(over, from_memory, tmp_path):
    """What is sent, returned and raised, and where the file then is: count 0 is all of it by a fallback, and an error by the kernel's way."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)) * 100)  # little enough for a socket nobody reads

    @same
    def scenario(t):
        async def one(loop, offset, count):
            file = io.BytesIO(path.read_bytes()) if from_memory else open(path, "rb")
            with file:
                if over == "tls":
                    protocol = Recorder()
                    transport, peer = await linked("client", protocol)
                    async with peer:
                        try:
                            sent = await soon(loop.sendfile(transport, file, offset, count))
                            t.say(offset, count, sent, file.tell(), len(await peer.receive_exactly(sent)))
                        except Exception as exc:
                            t.say(offset, count, type(exc).__name__, str(exc), file.tell())
                        await stop(transport, protocol)
                    return
                ours, peer = socket_pair("tcp" if over == "tcp" else "unix")
                ours.setblocking(False)
                transport = None
                if over != "sock":
                    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
                try:
                    sent = await soon(loop.sock_sendfile(ours, file, offset, count) if over == "sock" else loop.sendfile(transport, file, offset, count))
                    t.say(offset, count, sent, file.tell(), sent == 0 or len(await asyncio.to_thread(peer.recv, sent, socket.MSG_WAITALL)) == sent)
                except Exception as exc:
                    t.say(offset, count, type(exc).__name__, str(exc), file.tell())
                transport.abort() if transport is not None else ours.close()
                peer.close()
                await asyncio.sleep(0.001)

        async def main():
            loop = asyncio.get_running_loop()
            for offset in (0, 5, 19_999, 20_000, 30_000):
                for count in (None, 0, 1, 16_384, 16_385, 30_000):
                    await one(loop, offset, count)
            for offset, count in ((0, -1), (0, -5), (-1, None), (0, 1.5), (0, "x"), (0.0, None), ("x", None), (0, True), (0, False)):
                await one(loop, offset, count)
        t.run(main())
    scenario("asyncloop")


@pytest.mark.parametrize("kit", ["asyncloop"], indirect=True)
def test_sendfile_to_a_peer_that_goes(kit, loop, side):
    """It ends with an error; on asyncio the rest of the file may be written into the void."""
    async def main():
        protocol = Recorder()
        transport, peer = await linked(side, protocol)
        with open("/dev/zero", "rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(transport, file, 0, 100 << 20))
            await peer.receive_exactly(100_000)
            peer.sock.close()
            with pytest.raises(ConnectionError):
                await soon(sending)
        await until(lambda: protocol.lost)
    run_quiet(loop, main())


@pytest.mark.limit(60)
def test_a_slow_reader_of_a_plain_connection_is_bounded_too():
    """drain() and the marks on TCP, where the queue is ours."""
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket_pair()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.create_connection(lambda: protocol, sock=a)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        worst, block = 0, bytes(50_000)
        with b:
            async def write():
                nonlocal worst
                for _ in range(400):
                    writer.write(block)
                    worst = max(worst, transport.get_write_buffer_size())
                    await writer.drain()
            writing = asyncio.ensure_future(write())
            left = 400 * len(block)
            while left:
                left -= len(await soon(loop.sock_recv(b, 1 << 16)))
            await soon(writing)
            assert worst <= transport.get_write_buffer_limits()[1] + len(block)
            transport.abort()
            await asyncio.sleep(0.01)
    loop = OURS.new_loop()
    try:
        run_quiet(loop, main())
    finally:
        loop.close()
