"""Random writes, pauses, closes and resets on the two ends of a connection: the bytes and the order of the callbacks.

What holds on asyncio must hold on asyncloop; each loop runs the same seeds.  What arrives is the beginning of what was sent, all of it after a close
that both ends wanted.  Callbacks: made first and once; no data while paused, after the end of the stream or after the loss; lost last and once;
pause_writing and resume_writing take turns.
"""
import asyncio
import os
import random
import socket

import pytest

import asyncloop

FIRST, LAST = map(int, os.environ.get("ASYNCLOOP_FUZZ_SEEDS", "0:25").split(":"))
LOOPS = {"asyncio": asyncio.SelectorEventLoop, "asyncloop": asyncloop.Loop}


class End:
    """What one end of the connection was told, and whether it may be told that now."""

    def __init__(self, rng, is_open_after_eof):
        self.rng, self.is_open_after_eof = rng, is_open_after_eof
        self.sent, self.received, self.wrong = bytearray(), bytearray(), []
        self.calls = []
        self.paused = self.writing_paused = self.at_end = self.saw_end = self.wrote_eof = False
        self.transport, self.lost = None, asyncio.get_running_loop().create_future()

    def expect(self, condition, what):
        if not condition:
            self.wrong.append((what, self.calls[-5:]))

    def called(self, name):
        self.expect((self.transport is None) == (name == "connection_made"), f"{name} before or again")
        self.expect(not self.lost.done(), f"{name} after connection_lost")
        self.calls.append(name)

    def connection_made(self, transport):
        self.called("connection_made")
        self.transport = transport
        transport.set_write_buffer_limits(self.rng.choice([0, 1000, 65536]))

    def got(self, data):
        self.called("data")
        self.expect(len(data) > 0, "no data")
        self.expect(not self.paused, "data while paused")
        self.expect(not self.at_end, "data after the end")
        self.expect(not self.transport.is_closing(), "data after close")
        self.received += data
        if self.rng.random() < 0.2:
            self.act()

    def eof_received(self):
        self.called("eof_received")
        self.expect(not self.at_end, "a second end")
        self.at_end = self.saw_end = True
        return self.is_open_after_eof

    def pause_writing(self):
        self.called("pause_writing")
        self.expect(not self.writing_paused, "paused twice")
        self.writing_paused = True

    def resume_writing(self):
        self.called("resume_writing")
        self.expect(self.writing_paused, "resumed without a pause")
        self.writing_paused = False
        if self.rng.random() < 0.3:
            self.act()

    def connection_lost(self, exc):
        self.called("connection_lost")
        self.lost.set_result(exc)

    # ---- what it does

    def data(self):
        return os.urandom(1) * self.rng.choice([1, 10, 1000, 5000, 70_000, 300_000])

    def write(self):
        if self.wrote_eof or self.transport.is_closing():
            return
        data, kind = self.data(), self.rng.randrange(4)
        if kind == 0:
            mutable = bytearray(data)
            self.transport.write(memoryview(mutable)[:])
            if isinstance(asyncio.get_running_loop(), asyncloop.Loop):  # from 3.12 on asyncio keeps the view itself
                mutable[:] = b"x" * len(mutable)
        elif kind == 1:
            parts = [data[i : i + 1 + len(data) // 3] for i in range(0, len(data), 1 + len(data) // 3)]
            self.transport.writelines(parts)
        else:
            self.transport.write(data)
        self.sent += data

    def pause(self):
        if self.transport.is_reading():
            self.paused = True
            self.transport.pause_reading()

    def resume(self):
        if self.paused:
            self.at_end = False  # who resumes after the end is told of it again
        self.paused = False
        self.transport.resume_reading()

    def write_eof(self):
        if not self.wrote_eof and not self.transport.is_closing() and self.rng.random() < 0.1:
            self.wrote_eof = True
            self.transport.write_eof()

    def look(self):
        size = self.transport.get_write_buffer_size()
        self.expect(size >= 0, "buffer size")
        repr(self.transport)

    def act(self):
        if self.lost.done():
            return
        self.rng.choice([self.write, self.write, self.write, self.write, self.pause, self.resume, self.resume, self.write_eof, self.look])()


class Plain(End, asyncio.Protocol):
    def data_received(self, data):
        self.got(data)


class Buffered(End, asyncio.BufferedProtocol):
    def get_buffer(self, hint):
        self.buffer = bytearray(self.rng.choice([1, 100, 65536]) if len(self.received) < 1000 else 262144)
        return self.buffer

    def buffer_updated(self, n):
        self.got(self.buffer[:n])


async def connect(rng, family):
    loop = asyncio.get_running_loop()
    ends = []
    if family == "unix":
        socks = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            socks = client, server.accept()[0]
    for sock in socks:
        sock.setblocking(False)
        end = rng.choice([Plain, Buffered])(random.Random(rng.random()), rng.random() < 0.5)
        await loop.create_connection(lambda: end, sock=sock)
        ends.append(end)
    return ends


def reset(end):
    sock = end.transport.get_extra_info("socket")
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    end.transport.abort()


async def converse(seed, family):
    rng = random.Random(f"{seed}/{family}")
    ends = await connect(rng, family)
    for _ in range(rng.randrange(5, 60)):
        end = rng.choice(ends)
        if end.transport.is_closing():
            break
        end.act()
        if rng.random() < 0.6:
            await asyncio.sleep(0)
    how, one = rng.randrange(4), rng.choice(ends)
    for end in ends:
        if end.lost.done() or (end is not one and how != 2):
            continue
        if how == 0:
            reset(end)
        elif how == 3:
            end.transport.abort()
        else:
            end.transport.close()
    for end in ends:
        if not end.lost.done():
            end.resume()
            end.transport.set_write_buffer_limits(65536)
    # the other end hears of it; if it wants to stay open after the end of the stream it is closed here
    for end in ends:
        await asyncio.wait([end.lost], timeout=0.1)
        if not end.lost.done():
            end.transport.close()
    # two that close and have more to send than the socket takes wait for each other for ever
    await asyncio.wait([end.lost for end in ends], timeout=0.1)
    for end in ends:
        if not end.lost.done():
            end.transport.abort()
        await asyncio.wait_for(end.lost, 10)
    return ends


@pytest.mark.parametrize("family", ["unix", "tcp"])
@pytest.mark.parametrize("seed", range(FIRST, LAST))
@pytest.mark.parametrize("kind", LOOPS)
def test_conversation(kind, seed, family):
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        a, b = runner.run(converse(seed, family))
    assert a.wrong == b.wrong == []
    for one, other in ((a, b), (b, a)):
        assert one.calls[0] == "connection_made" and one.calls[-1] == "connection_lost"
        assert other.received == one.sent[: len(other.received)]
        if one.wrote_eof and other.saw_end:
            assert other.received == one.sent
