"""connect_read_pipe and connect_write_pipe: pipes, sockets, terminals; flow control, the end, what is reported."""
import asyncio
import gc
import io
import os
import pty
import re
import socket
import sys
import tty
import warnings

import pytest

from kits import until
from sidebyside import OURS, same


class Reader(asyncio.Protocol):
    def __init__(self, say=lambda *what: None):
        self.say = say
        self.data = b""
        self.eof = self.lost = False

    def connection_made(self, transport):
        self.transport = transport
        self.say("made")

    def data_received(self, data):
        assert type(data) is bytes and data
        self.data += data

    def eof_received(self):
        self.eof = True
        self.say("eof")

    def connection_lost(self, exc):
        self.lost = True
        self.say("lost", exc)


class Writer(asyncio.BaseProtocol):
    def __init__(self, say=lambda *what: None):
        self.say = say
        self.lost = self.paused = False

    def connection_made(self, transport):
        self.transport = transport
        self.say("made")

    def pause_writing(self):
        self.paused = True
        self.say("pause")

    def resume_writing(self):
        self.paused = False
        self.say("resume")

    def connection_lost(self, exc):
        self.lost = True
        self.say("lost", exc)


class CountingFile(io.FileIO):
    """Counts how often it is closed, by whom it may be."""
    closed_times = 0

    def close(self):
        if not self.closed:
            self.closed_times += 1
        else:
            self.closed_times += 100
        super().close()


def read_end(fd):
    return CountingFile(fd, "rb")


def write_end(fd):
    return CountingFile(fd, "wb")


def blot_name(text):
    return re.sub(r"fd=\d+", "fd=N", text).replace("_UnixReadPipeTransport", "ReadPipeTransport") \
        .replace("_UnixWritePipeTransport", "WritePipeTransport")


def both(loop, r, w, say=lambda *what: None, speak=None):
    async def connect():
        reading, reader = await loop.connect_read_pipe(lambda: Reader(speak or say), read_end(r))
        writing, writer = await loop.connect_write_pipe(lambda: Writer(say), write_end(w))
        return reading, reader, writing, writer
    return connect()


def on_both(scenario):
    """A scenario of (trial, reading transport, its protocol, writing transport, its protocol) on a pipe."""
    def run(t):
        async def main():
            reading, reader, writing, writer = await both(asyncio.get_running_loop(), *os.pipe(), t.say)
            try:
                await scenario(t, reading, reader, writing, writer)
            finally:
                reading.close()
                writing.abort() if not writer.lost and not writing.is_closing() else None
                await until(lambda: reader.lost and writer.lost)
        t.run(main())
    run.__name__, run.__doc__, run.__module__, run.__code__ = scenario.__name__, scenario.__doc__, scenario.__module__, run.__code__
    return same(run)


# --- the common way

@on_both
async def test_bytes_cross(t, reading, reader, writing, writer):
    for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), b"", bytearray(), memoryview(b"abcd")[1:3]):
        writing.write(data)
    writing.writelines([b"li", bytearray(b"nes"), memoryview(b"!")])
    await until(lambda: reader.data.endswith(b"!"))
    t.say(reader.data, writing.get_write_buffer_size(), writing.can_write_eof())
    writing.write_eof()
    t.say(writing.is_closing(), writing.get_protocol() is writer)
    await until(lambda: reader.lost and writer.lost)
    t.say(writing.get_protocol(), reading.get_protocol(), reading.is_closing())


@on_both
async def test_types_and_extra(t, reading, reader, writing, writer):
    for transport in (reading, writing):
        t.say([isinstance(transport, getattr(asyncio, name)) for name in
               ("BaseTransport", "ReadTransport", "WriteTransport", "Transport", "SubprocessTransport")])
        t.say(type(transport.get_extra_info("pipe")).__name__, transport.get_extra_info("none"), transport.get_extra_info("none", 7))
        transport.mark = 1
        t.say(transport.mark, [hasattr(transport, name) for name in ("write", "abort", "get_extra_info")])


@on_both
async def test_repr(t, reading, reader, writing, writer):
    t.say(blot_name(repr(reading)), blot_name(repr(writing)))
    reading.pause_reading()
    writing.write(b"x" * 200_000)
    t.say(blot_name(repr(reading)), re.sub(r"bufsize=\d{6}", "bufsize=many", blot_name(repr(writing))))
    writing.close()
    t.say(re.sub(r"bufsize=\d{6}", "bufsize=many", blot_name(repr(writing))))
    reading.resume_reading()
    reading.close()
    t.say(blot_name(repr(reading)))
    await until(lambda: reader.lost and writer.lost)
    t.say(blot_name(repr(reading)), blot_name(repr(writing)))


def test_large_data_both_ways(loop):
    """More than a pipe holds, in pieces of every size."""
    async def main():
        reading, reader, writing, writer = await both(loop, *os.pipe())
        pieces = [bytes([i % 251]) * (i * 977 % 150_001) for i in range(40)]
        for piece in pieces:
            writing.write(piece)
            if writer.paused:
                await until(lambda: not writer.paused)
        writing.close()
        await until(lambda: reader.lost)
        assert reader.eof and reader.data == b"".join(pieces)
        for transport in (reading, writing):
            assert transport.get_extra_info("pipe").closed_times == 1
    loop.run_until_complete(main())


def test_mutable_data_may_change_after_write(loop):
    async def main():
        reading, reader, writing, writer = await both(loop, *os.pipe())
        data = bytearray(b"a" * 300_000)
        writing.write(data)
        data[:] = b"b" * 300_000
        view = memoryview(bytearray(b"c" * 1000))
        writing.write(view)
        view[:] = b"d" * 1000
        writing.close()
        await until(lambda: reader.lost and writer.lost)
        assert reader.data == b"a" * 300_000 + b"c" * 1000
    loop.run_until_complete(main())


# --- other descriptors

@same
def test_socket(t):
    async def main():
        a, b = socket.socketpair()
        loop = asyncio.get_running_loop()
        reading, reader = await loop.connect_read_pipe(lambda: Reader(t.say), a)
        writing, writer = await loop.connect_write_pipe(lambda: Writer(t.say), b)
        writing.write(b"over a socket")
        await until(lambda: reader.data)
        t.say(reader.data)
        reading.close()
        await until(lambda: reader.lost and writer.lost)
        t.say(a.fileno(), b.fileno())
    t.run(main())


@same
def test_terminal(t):
    """EIO, how a terminal's end shows, is the quiet end of the reader."""
    async def main():
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        tty.setraw(slave)
        writing, writer = await loop.connect_write_pipe(lambda: Writer(t.say), write_end(slave))
        reading, reader = await loop.connect_read_pipe(lambda: Reader(t.say), read_end(master))
        writing.write(b"typed")
        await until(lambda: reader.data)
        t.say(reader.data)
        writing.close()
        await until(lambda: reader.lost)
    t.record_contexts()
    t.run(main())


@same
def test_terminal_both_directions(t):
    """Input on a terminal that is written to is not the end of it."""
    async def main():
        loop = asyncio.get_running_loop()
        master, slave = pty.openpty()
        tty.setraw(slave)
        writing, writer = await loop.connect_write_pipe(lambda: Writer(t.say), write_end(os.dup(slave)))
        reading, reader = await loop.connect_read_pipe(lambda: Reader(t.say), read_end(slave))
        os.write(master, b"input")
        await until(lambda: reader.data)
        writing.write(b"output")
        t.say(reader.data, os.read(master, 100), writing.is_closing())
        reading.close()
        writing.close()
        await until(lambda: reader.lost and writer.lost)
        os.close(master)
    t.run(main())


@same
def test_named_fifo(t):
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fifo")
        os.mkfifo(path)

        async def main():
            loop = asyncio.get_running_loop()
            reading, reader = await loop.connect_read_pipe(lambda: Reader(t.say), read_end(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))
            writing, writer = await loop.connect_write_pipe(lambda: Writer(t.say), write_end(os.open(path, os.O_WRONLY)))
            writing.write(b"unread")
            await until(lambda: reader.data)
            reading.pause_reading()
            writing.write(b"more")
            await asyncio.sleep(0.01)
            t.say(writing.is_closing())
            reading.close()
            await until(lambda: reader.lost and writer.lost)
        t.run(main())


@same
def test_what_is_no_pipe(t):
    async def main():
        loop = asyncio.get_running_loop()
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            with open(__file__, "rb") as file:
                try:
                    await connect(asyncio.Protocol, file)
                except ValueError as exc:
                    t.say(exc, file.closed)
                t.say(os.get_blocking(file.fileno()))
    t.run(main())


def test_what_has_no_descriptor():
    """asyncio raises the same, but its half-made transport complains when it dies."""
    loop = OURS.new_loop()

    async def main():
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            for bad in (None, 5, "x"):
                with pytest.raises(AttributeError, match="fileno"):
                    await connect(asyncio.Protocol, bad)
            r, w = os.pipe()
            os.close(w)
            closed = os.fdopen(r, "rb", 0)
            closed.close()
            with pytest.raises(ValueError, match="closed file"):
                await connect(asyncio.Protocol, closed)
            with open("/dev/null", "rb+", 0) as file:
                with pytest.raises(AttributeError, match="connection_made"):
                    await connect(object, file)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_device_files(loop):
    """/dev/null cannot be polled: writing works, reading is reported."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        writing, writer = await loop.connect_write_pipe(Writer, open("/dev/null", "wb", 0))
        writing.write(b"gone")
        writing.close()
        await until(lambda: writer.lost)
        reading, reader = await loop.connect_read_pipe(Reader, open("/dev/null", "rb", 0))
        assert not reader.lost
        reading.close()
        await until(lambda: reader.lost)
    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in contexts] == [PermissionError]
    contexts.clear()


# --- flow control

@on_both
async def test_pause_and_resume_reading(t, reading, reader, writing, writer):
    t.say(reading.is_reading())
    reading.pause_reading()
    reading.pause_reading()
    writing.write(b"wait")
    await asyncio.sleep(0.01)
    t.say(reading.is_reading(), reader.data)
    reading.resume_reading()
    reading.resume_reading()
    await until(lambda: reader.data)
    t.say(reading.is_reading(), reader.data)
    reading.close()
    t.say(reading.is_reading())
    reading.pause_reading()
    reading.resume_reading()
    reading.close()


@same
def test_paused_in_connection_made(t):
    async def main():
        class Shy(Reader):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        os.write(w, b"data")
        os.close(w)
        reading, reader = await loop.connect_read_pipe(lambda: Shy(t.say), read_end(r))
        await asyncio.sleep(0.01)
        t.say(reader.data)
        reading.resume_reading()
        await until(lambda: reader.lost)
        t.say(reader.data)
    t.run(main())


@on_both
async def test_water_marks(t, reading, reader, writing, writer):
    t.say(writing.get_write_buffer_limits())
    for kw in ({"high": 1000}, {"low": 100}, {"high": 10, "low": 5}, {"high": 0}, {}):
        writing.set_write_buffer_limits(**kw)
        t.say(writing.get_write_buffer_limits())
    for kw in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
        t.attempt(writing.set_write_buffer_limits, **kw)
    writing.set_write_buffer_limits(high=100_000, low=50_000)
    reading.pause_reading()
    writing.write(b"x" * 65536)
    writing.write(b"x" * 100_000)
    t.say(writer.paused, writing.get_write_buffer_size())
    writing.write(b"x")
    t.say(writer.paused, writing.get_write_buffer_size())
    reading.resume_reading()
    await until(lambda: len(reader.data) == 165_537)
    await until(lambda: not writer.paused)
    t.say(writing.get_write_buffer_size())


@same
def test_failing_flow_callbacks_are_reported(t):
    async def main():
        class Failing(Writer):
            def pause_writing(self):
                raise ZeroDivisionError("pause")

            def resume_writing(self):
                raise ZeroDivisionError("resume")
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        reading, reader = await loop.connect_read_pipe(Reader, read_end(r))
        writing, writer = await loop.connect_write_pipe(Failing, write_end(w))
        reading.pause_reading()
        writing.write(b"x" * 200_000)
        reading.resume_reading()
        await until(lambda: len(reader.data) == 200_000 and writing.get_write_buffer_size() == 0)
        writing.close()
        await until(lambda: reader.lost and writer.lost)
    t.loop.set_exception_handler(lambda loop, context: t.say(sorted(context), context["message"], context["exception"]))
    t.run(main())


# --- the end

@on_both
async def test_close_writes_what_is_queued(t, reading, reader, writing, writer):
    reading.pause_reading()
    writing.write(b"x" * 200_000)
    writing.close()
    writing.close()
    writing.write_eof()
    t.say(writer.lost, writing.is_closing())
    writing.write(b"too late")
    reading.resume_reading()
    await until(lambda: reader.lost and writer.lost)
    t.say(len(reader.data))


@on_both
async def test_abort_drops_what_is_queued(t, reading, reader, writing, writer):
    reading.pause_reading()
    writing.write(b"x" * 200_000)
    writing.abort()
    t.say(writer.lost, writing.is_closing(), writing.get_write_buffer_size())
    reading.resume_reading()
    await until(lambda: reader.lost and writer.lost)
    t.say(len(reader.data) < 200_000)


@on_both
async def test_reader_goes_idle_writer(t, reading, reader, writing, writer):
    """An idle writer hears that nobody reads any more."""
    reading.close()
    await until(lambda: writer.lost)
    t.say(writing.is_closing())
    writing.write(b"nobody")


@on_both
async def test_reader_goes_busy_writer(t, reading, reader, writing, writer):
    reading.pause_reading()
    writing.write(b"x" * 200_000)
    reading.close()
    await until(lambda: writer.lost)


@on_both
async def test_reader_goes_while_closing(t, reading, reader, writing, writer):
    reading.pause_reading()
    writing.write(b"x" * 200_000)
    writing.close()
    reading.close()
    await until(lambda: writer.lost)


@same
def test_broken_pipe(t):
    """Written before the loop could tell: the error ends the transport, later writes are counted."""
    async def main():
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        writing, writer = await loop.connect_write_pipe(lambda: Writer(t.say), write_end(w))
        os.close(r)
        for _ in range(8):
            writing.write(b"nobody")
        await until(lambda: writer.lost)
    t.record_contexts()
    t.run(main())


@same
def test_close_in_connection_made(t):
    async def main():
        class Brief(Reader):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.close()
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        file = read_end(r)
        reading, reader = await loop.connect_read_pipe(lambda: Brief(t.say), file)
        await until(lambda: reader.lost)
        t.say(file.closed_times)
        os.close(w)
    t.run(main())


def test_calls_after_the_end(loop):
    """connection_lost is called once, the file closed once, whatever is called when."""
    async def main():
        lost = []
        reading, reader, writing, writer = await both(loop, *os.pipe(), lambda *what: lost.append(what))
        if not loop.__class__.__module__.startswith("asyncio."):
            writing.write(b"x" * 300_000)
            writing.abort()
            writing.abort()
        writing.close()
        reading.close()
        reading.close()
        await until(lambda: reader.lost and writer.lost)
        reading.close()
        writing.close()
        writing.write(b"late")
        for transport in (reading, writing):
            assert transport.is_closing() and transport.get_extra_info("pipe").closed_times == 1
        if not loop.__class__.__module__.startswith("asyncio."):
            writing.abort()
            assert [what[0] for what in lost].count("lost") == 2
    loop.run_until_complete(main())


def test_close_inside_resume_writing():
    """asyncio calls connection_lost twice here, the second time on None."""
    loop = OURS.new_loop()

    async def main():
        calls = []

        class Closing(Writer):
            def resume_writing(self):
                self.transport.close()

            def connection_lost(self, exc):
                calls.append(exc)
        r, w = os.pipe()
        reading, reader = await loop.connect_read_pipe(Reader, read_end(r))
        writing, writer = await loop.connect_write_pipe(Closing, write_end(w))
        writing.write(b"x" * 300_000)
        await until(lambda: reader.lost)
        await asyncio.sleep(0)
        assert calls == [None] and len(reader.data) == 300_000
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


# --- errors

@same
def test_failing_callbacks(t):
    """data_received's error is reported and the transport goes on; so do those of the others."""
    async def main():
        class Failing(Reader):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError("made")

            def data_received(self, data):
                super().data_received(data)
                raise ZeroDivisionError("data")

            def eof_received(self):
                raise ZeroDivisionError("eof")

            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError("lost")
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        reading, reader = await loop.connect_read_pipe(lambda: Failing(t.say), read_end(r))
        os.write(w, b"one")
        await until(lambda: reader.data == b"one")
        os.write(w, b"two")
        await until(lambda: reader.data == b"onetwo")
        os.close(w)
        await until(lambda: reader.lost)
        await asyncio.sleep(0)
        t.say(reading.get_extra_info("pipe").closed_times)

    def on_error(loop, context):
        message = blot_name(context["message"]).split("<")[0] if str(context["exception"]) != "lost" else ""
        t.say(sorted(context), message, context["exception"])
    t.loop.set_exception_handler(on_error)
    t.run(main())


@same
def test_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()
        r, w = os.pipe()
        writing, writer = await loop.connect_write_pipe(Writer, write_end(w))
        for bad in ("text", None, 5, [b"x"]):
            t.attempt(writing.write, bad)
        try:
            writing.writelines([b"a", "b"])
        except TypeError as exc:
            t.say(exc)
        writing.close()
        await until(lambda: writer.lost)
        os.close(r)
        r, w = os.pipe()
        with read_end(r) as file:
            try:
                await loop.connect_read_pipe(lambda: 1 / 0, file)
            except ZeroDivisionError as exc:
                t.say(exc, file.closed)
        os.close(w)
    t.run(main())


def test_failed_read(loop):
    """An error other than EIO reaches the exception handler and connection_lost."""
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    async def main():
        r, w = os.pipe()
        file = write_end(w)  # reading the write end: EBADF
        seen = []

        class Lost(Reader):
            def connection_lost(self, exc):
                seen.append(exc)
        reading, reader = await loop.connect_read_pipe(Lost, file)
        os.close(r)  # wakes the poller
        await until(lambda: seen)
        assert type(seen[0]) is OSError and seen[0].errno == 9
        assert file.closed_times == 1
        assert [(c["message"], c["transport"] is reading, c["protocol"] is reader) for c in contexts] == [
            ("Fatal read error on pipe transport", True, True)]
    loop.run_until_complete(main())
    contexts.clear()


@pytest.mark.parametrize("is_writer", [False, True])
def test_unclosed_transport_warns(loop, is_writer):
    async def main():
        r, w = os.pipe()
        if is_writer:
            file = write_end(w)
            transport, _ = await loop.connect_write_pipe(Writer, file)
        else:
            file = read_end(r)
            transport, _ = await loop.connect_read_pipe(Reader, file)
            transport.pause_reading()
        return transport, file, r if is_writer else w
    transport, file, other = loop.run_until_complete(main())
    loop.close()
    shown = repr(transport)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    assert [(w.category, str(w.message)) for w in caught] == [(ResourceWarning, f"unclosed transport {shown}")]
    assert file.closed_times == 1
    assert re.fullmatch(r"<\w+ fd=\d+ open>", shown)
    os.close(other)


@same
def test_debug_log(t):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        reading, reader, writing, writer = await both(loop, *os.pipe())
        reading.pause_reading()
        reading.resume_reading()
        reading.close()
        await until(lambda: writer.lost)
        reading, reader, writing, writer = await both(loop, *os.pipe())
        writing.close()
        await until(lambda: reader.lost)
    import logging
    logger = logging.getLogger("asyncio")
    said = []

    def note(record):
        said.append(blot_name(record.getMessage()))
        return False
    logger.addFilter(note)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        t.run(main())
    finally:
        logger.setLevel(level)
        logger.removeFilter(note)
    t.say([re.sub(r"pipe \d+|0x\w+", "N", text) for text in said if "pipe" in text.lower() and "took" not in text])


def test_closed_loop(loop):
    async def main():
        return await both(loop, *os.pipe())
    reading, reader, writing, writer = loop.run_until_complete(main())
    loop.close()
    for transport in (reading, writing):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.close()
        assert transport.is_closing()
    files = [transport.get_extra_info("pipe") for transport in (reading, writing)]
    reader.transport = writer.transport = None
    with pytest.warns(ResourceWarning):
        del reading, writing, transport
        gc.collect()
    assert [file.closed_times for file in files] == [1, 1]


def test_stream_reader_on_a_pipe(loop):
    async def main():
        r, w = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(r, "rb", 0))
        os.write(w, b"one line\nand the rest")
        os.close(w)
        assert await reader.readline() == b"one line\n"
        assert await reader.read() == b"and the rest"
        transport.close()
        await asyncio.sleep(0.01)
    loop.run_until_complete(main())


def test_many_pipes_leave_nothing(loop):
    async def main():
        for _ in range(300):
            reading, reader, writing, writer = await both(loop, *os.pipe())
            writing.write(b"x")
            writing.close()
            await until(lambda: reader.lost and writer.lost)
    before = len(os.listdir("/proc/self/fd"))
    loop.run_until_complete(main())
    assert len(os.listdir("/proc/self/fd")) == before


# --- user code that turns against the transport

def test_callbacks_that_end_the_transport():
    """close() and abort() from every callback: connection_lost once, the file closed once."""
    loop = OURS.new_loop()
    errors = []
    loop.set_exception_handler(lambda loop, context: errors.append(context))

    async def main(where, how):
        lost = []

        class Evil(asyncio.Protocol):
            transport = None

            def act(self):
                for _ in range(2):
                    getattr(self.transport, how, self.transport.close)()

            def connection_made(self, transport):
                self.transport = transport
                if where == "made":
                    self.act()

            def data_received(self, data):
                if where == "data":
                    self.act()

            def eof_received(self):
                if where == "eof":
                    self.act()

            def pause_writing(self):
                if where == "pause":
                    self.act()

            def resume_writing(self):
                if where == "resume":
                    self.transport.write(b"more" * 50_000)
                    self.act()

            def connection_lost(self, exc):
                lost.append(exc)
                if where == "lost":
                    self.act()
        r, w = os.pipe()
        reading, reader = await loop.connect_read_pipe(Evil, read_end(r))
        writing, writer = await loop.connect_write_pipe(Evil, write_end(w))
        for _ in range(2):
            writing.write(b"x" * 100_000)
        await asyncio.sleep(0.01)
        writing.close()
        reading.close()
        await until(lambda: len(lost) == 2)
        await asyncio.sleep(0)
        assert len(lost) == 2, (where, how)
        assert [each.get_extra_info("pipe").closed_times for each in (reading, writing)] == [1, 1], (where, how)
    try:
        for where in ("made", "data", "eof", "pause", "resume", "lost"):
            for how in ("close", "abort"):
                loop.run_until_complete(main(where, how))
    finally:
        loop.close()
    assert errors == []


def test_file_whose_close_fails_or_reenters(monkeypatch):
    loop = OURS.new_loop()
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unr: unraisable.append(type(unr.exc_value)))

    class Failing(CountingFile):
        transport = None

        def close(self):
            super().close()
            if self.transport is not None:
                self.transport.close()
                self.transport.get_protocol()
                repr(self.transport)
                raise ZeroDivisionError

    async def main():
        r, w = os.pipe()
        file = Failing(r, "rb")
        reading, reader = await loop.connect_read_pipe(Reader, file)
        file.transport = reading
        os.close(w)
        await until(lambda: reader.lost)
        await asyncio.sleep(0)
        assert file.closed_times == 1
        file.transport = None
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert unraisable == [ZeroDivisionError]


@same
def test_protocol_is_replaced(t):
    async def main():
        loop = asyncio.get_running_loop()
        reading, reader, writing, writer = await both(loop, *os.pipe(), t.say)
        other = Reader(lambda *what: t.say("other", *what))
        writing.write(b"one")
        await until(lambda: reader.data)
        reading.set_protocol(other)
        writing.write(b"two")
        await until(lambda: other.data)
        t.say(reader.data, other.data, reading.get_protocol() is other)
        writing.close()
        await until(lambda: other.lost and writer.lost)
    t.run(main())


@same
def test_context_of_the_callbacks(t):
    """They run in the context in which the transport was made."""
    import contextvars
    variable = contextvars.ContextVar("variable", default="none")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []

        class Seeing(asyncio.Protocol):
            lost = False

            def connection_made(self, transport):
                seen.append(("made", variable.get()))

            def data_received(self, data):
                seen.append(("data", variable.get()))

            def connection_lost(self, exc):
                seen.append(("lost", variable.get()))
                self.lost = True
        variable.set("maker")
        r, w = os.pipe()
        reading, reader = await loop.connect_read_pipe(Seeing, read_end(r))
        variable.set("later")
        os.write(w, b"x")
        await until(lambda: len(seen) > 1)
        os.close(w)
        await until(lambda: reader.lost)
        t.say(seen)
    t.run(main())
