"""User code that changes a stream while a method of the stream calls it: nothing crashes (run it with the asan flavour), and what is read is what came."""
import asyncio
import collections
import gc
import random
import sys

import pytest

from sidebyside import OURS

StreamReader, StreamReaderProtocol, StreamWriter = (getattr(OURS.classes, name, getattr(asyncio, name))
                                                    for name in ("StreamReader", "StreamReaderProtocol", "StreamWriter"))


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    loop.close()


def step(coro):
    """One step of a coroutine that is then closed; its result, or what it raised."""
    try:
        coro.send(None)
    except StopIteration as stop:
        return stop.value
    except Exception as exc:
        return exc
    finally:
        coro.close()


MEDDLING = (
    lambda r: r._buffer.clear(),
    lambda r: setattr(r, "_buffer", bytearray(b"another")),
    lambda r: r.feed_data(b"x" * 3000),
    lambda r: step(r.read(2)),
    lambda r: step(r.read()),
    lambda r: step(r.readexactly(1)),
    lambda r: r.feed_eof(),
    lambda r: r.set_exception(ValueError("meddled")),
    lambda r: setattr(r, "_transport", None),
    lambda r: setattr(r, "_waiter", None),
    lambda r: setattr(r, "_limit", 1),
    lambda r: setattr(r, "_loop", None),
    lambda r: r.__dict__.update(x=1),
    lambda r: r.__dict__.clear(),
    lambda r: setattr(r, "_paused", not r._paused),
    lambda r: gc.collect(),
)


class Meddler:
    """A transport, a separator and a number that meddles whenever it is asked anything."""

    def __init__(self, rng):
        self.rng = rng
        self.reader = None
        self.depth = 0

    def meddle(self, *args):
        if self.reader is not None and self.depth < 3:
            self.depth += 1
            try:
                self.rng.choice(MEDDLING)(self.reader)
            except (Exception, asyncio.CancelledError):
                pass
            finally:
                self.depth -= 1

    pause_reading = resume_reading = close = write = abort = meddle

    def is_closing(self):
        self.meddle()
        return self.rng.random() < 0.5

    def get_extra_info(self, name, default=None):
        self.meddle()
        return default

    def __len__(self):
        self.meddle()
        return self.rng.choice((0, 1, 2, 5))

    def __buffer__(self, flags):
        self.meddle()
        return memoryview(self.rng.choice((b"e", b"ab", b"hello")))

    def __index__(self):
        self.meddle()
        return self.rng.choice((-5, 0, 1, 10))

    def _compare(self, other):
        self.meddle()
        return self.rng.random() < 0.3

    __lt__ = __le__ = __gt__ = __ge__ = _compare


def subclass(meddler):
    def overriding(name, base):
        def method(self, *args):
            meddler.meddle()
            return getattr(super(cls, self), name)(*args)
        return method
    names = ("feed_data", "feed_eof", "_wakeup_waiter", "_maybe_resume_transport", "_wait_for_data", "readuntil", "read", "exception", "set_transport")
    cls = type("Reader", (StreamReader,), {name: overriding(name, StreamReader) for name in names})
    return cls


@pytest.mark.parametrize("seed", range(40))
def test_meddling(seed, loop):
    rng = random.Random(seed)
    meddler = Meddler(rng)
    reader_class = subclass(meddler) if seed % 2 else StreamReader

    async def reading(r):
        for _ in range(6):
            separator = rng.choice((b"\n", b"ab", meddler, (b"a", b"\n") if sys.version_info >= (3, 13) else b"a"))
            read = rng.choice((lambda: r.readline(), lambda: r.read(5), lambda: r.read(), lambda: r.readexactly(4), lambda: r.readuntil(separator),
                               lambda: r.read(meddler), lambda: r.readexactly(meddler), lambda: r.__anext__()))
            try:
                await read()
            except (Exception, StopAsyncIteration):
                pass

    async def main():
        for _ in range(15):
            r = reader_class(limit=rng.choice((1, 5, 100)), loop=loop)
            p = StreamReaderProtocol(r, None, loop)
            meddler.reader = r
            try:
                p.connection_made(meddler)
            except Exception:
                pass
            tasks = [loop.create_task(reading(r)), loop.create_task(reading(r))]
            w = StreamWriter(meddler, p, r, loop)
            for _ in range(12):
                try:
                    rng.choice((lambda: p.data_received(b"line\nab"), lambda: r.feed_data(b"y" * rng.randrange(40)), lambda: w.write(b"x"),
                                lambda: repr(r), lambda: step(w.drain()), p.pause_writing, p.resume_writing, p.eof_received,
                                lambda: r._buffer, lambda: tasks[0].cancel()))()
                except (Exception, asyncio.CancelledError):
                    pass
                await asyncio.sleep(0)
            meddler.reader = None
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            p.connection_lost(rng.choice((None, OSError("x"))))
            w._transport = Closed()

    class Closed:
        def is_closing(self):
            return True

    loop.run_until_complete(main())


def test_what_was_exported_stays(loop):
    async def main():
        r = StreamReader(loop=loop)
        r.feed_data(b"0123456789")
        with memoryview(r._buffer) as view:
            for call in (r.read(3), r.readexactly(2), r.readuntil(b"4"), r.readline()):
                result = step(call)
                assert isinstance(result, BufferError) or result is None
            assert bytes(view) == b"0123456789"
        assert await r.read(3) == b"012"
    loop.run_until_complete(main())


def test_objects_in_cycles_are_collected(loop):
    class Reader(StreamReader):
        deaths = 0

        def __del__(self):
            Reader.deaths += 1

    for _ in range(3):
        r = Reader(loop=loop)
        r.me = r
        p = StreamReaderProtocol(r, lambda reader, writer: None, loop=loop)
        p.r, r.p = r, p
        task = loop.create_task(r.read(1))
        loop.call_soon(loop.stop)
        loop.run_forever()
        task.cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
        del r, p, task
    gc.collect()
    assert Reader.deaths == 3


def test_a_loop_whose_create_future_replaces_the_drain_waiters():
    class Replacing(asyncio.SelectorEventLoop):
        def create_future(self):
            if protocol is not None:
                protocol._drain_waiters = collections.deque()
            return super().create_future()

    protocol = None
    loop = Replacing()
    protocol = StreamReaderProtocol(StreamReader(loop=loop), loop=loop)
    protocol.pause_writing()
    assert len(protocol._drain_waiters) == 0
    waiting = protocol._drain_helper()
    waiting.send(None)
    assert len(protocol._drain_waiters) == 1
    waiting.close()
    loop.close()
