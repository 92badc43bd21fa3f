"""StreamReader, StreamWriter and StreamReaderProtocol: what they do by themselves, on transports that only take notes.

Real connections are in test_streams_net.py.  Every scenario runs on asyncio's classes and on ours, on asyncio's loop and on ours.
"""
import asyncio
import gc
import random
import sys

import pytest

from sidebyside import KITS, mixed, observe

TAKES_TUPLE = sys.version_info >= (3, 13)
READS = {
    "read": lambda r: r.read(5),
    "read to the end": lambda r: r.read(),
    "readline": lambda r: r.readline(),
    "readuntil": lambda r: r.readuntil(b"END"),
    "readexactly": lambda r: r.readexactly(7),
    "anext": lambda r: r.__anext__(),
}


def of(t, name):
    """The kit's class of that name."""
    return getattr(t.kit.classes, name, getattr(asyncio, name))


def new_reader(t, **kw):
    return of(t, "StreamReader")(loop=t.loop, **kw)


class Notes:
    """A transport that says what it is told."""

    def __init__(self, t, **info):
        self.t = t
        self.info = info
        self.closing = False

    def __repr__(self):
        return "<Notes>"

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self.t.say(name, *args)

    def is_closing(self):
        return self.closing

    def get_extra_info(self, name, default=None):
        return self.info.get(name, default)


async def attempt(t, awaitable):
    """Say the result or the exception, with all that is known about it."""
    try:
        result = await awaitable
    except asyncio.CancelledError:
        t.say("cancelled")
        raise
    except (Exception, StopAsyncIteration) as exc:
        t.say(exc, *(getattr(exc, name, "none") for name in ("partial", "expected", "consumed")), exc.__context__, exc.__cause__)
        return exc
    t.say(type(result).__name__, result)
    return result


def state(t, r):
    t.say(repr(r), r.at_eof(), r.exception(), bytes(r._buffer), r._eof, r._paused, r._limit, r._waiter is None)


# --- reading what is there, and what comes

@mixed
def test_what_is_there_is_read_at_once(t):
    async def main():
        r = new_reader(t)
        r.feed_data(b"one\ntwo\nthreeENDfour five six\nlast")
        for read in (r.readline(), r.readuntil(), r.readuntil(b"END"), r.readexactly(4), r.read(1), r.read(0), r.readexactly(0), r.readline()):
            await attempt(t, read)
        state(t, r)
        r.feed_eof()
        for read in (r.readline(), r.readline(), r.read(), r.read(5), r.readexactly(0), r.readexactly(3), r.readuntil(b"x")):
            await attempt(t, read)
        state(t, r)
    t.run(main())


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("end", ["eof", "exception", "more", "cancel"])
@pytest.mark.parametrize("kit", ["asyncloop", "our_classes", "native_classes"])
def test_waiting(how, end, kit):
    def scenario(t):
        async def main():
            r = new_reader(t)
            r.feed_data(b"ab")
            if how == "read":
                t.say(await r.read(2))
            task = t.loop.create_task(attempt(t, READS[how](r)))
            await asyncio.sleep(0)
            t.say(task.done(), repr(r), r._waiter.done())
            if end == "cancel":
                task.cancel("enough")
            elif end == "eof":
                r.feed_eof()
            elif end == "exception":
                r.set_exception(OSError(5, "broken"))
            else:
                r.feed_data(b"c\nENd\nENDmore")
                r.feed_data(b"")
                t.say(r._waiter)
                if how == "read to the end":
                    r.feed_eof()
            await asyncio.wait([task])
            t.say(task.cancelled())
            state(t, r)
            if end == "cancel":
                r.feed_data(b"c")
                await attempt(t, r.readexactly(1))
            if end in ("more", "cancel"):
                r.feed_eof()
                await attempt(t, READS[how](r))
                await attempt(t, r.read())
        t.run(main())
    expected, got = observe(scenario, KITS["asyncio"]), observe(scenario, KITS[kit])
    assert got == expected
    assert "exception" not in expected


@mixed
def test_two_readers_at_once(t):
    async def main():
        for first in READS.values():
            for how, second in READS.items():
                r = new_reader(t)
                task = t.loop.create_task(first(r))
                await asyncio.sleep(0)
                t.say(how)
                await attempt(t, second(r))
                t.say(r._waiter is None)
                r.feed_eof()
                await asyncio.wait([task])
                t.say(type(task.exception()).__name__)
    t.run(main())


@mixed
def test_iteration(t):
    async def main():
        r = new_reader(t)
        t.say(r.__aiter__() is r)
        t.loop.call_soon(r.feed_data, b"a\nb\n\nc")
        t.loop.call_later(0.001, r.feed_eof)
        async for line in r:
            t.say(line)
    t.run(main())


@mixed
def test_set_exception_comes_first(t):
    async def main():
        r = new_reader(t)
        r.feed_data(b"data\n")
        error = ValueError("no more")
        r.set_exception(error)
        for how in READS:
            assert await attempt(t, READS[how](r)) is error
        for read in (r.read(0), r.readexactly(0), r.readexactly(-1), r.readuntil(b"")):
            await attempt(t, read)
        t.say(r.exception() is error)
        state(t, r)
    t.run(main())


@mixed
def test_coroutines_are_coroutines(t):
    async def main():
        import inspect
        r = new_reader(t)
        for how, read in READS.items():
            coro = read(r)
            t.say(how, asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__, coro.cr_running, hasattr(coro, "__await__"))
            coro.close()
            await attempt(t, coro)
        never = r.read(1)
        del never
        gc.collect()
        r.feed_data(b"0123456789")
        t.say(await asyncio.gather(r.read(1), t.loop.create_task(r.readexactly(2)), asyncio.wait_for(r.read(3), 5)))
        for name in ("read", "readline", "readuntil", "readexactly"):
            t.say(inspect.isawaitable(getattr(r, name)), str(inspect.signature(getattr(r, name))),
                  sys.version_info < (3, 12) or inspect.iscoroutinefunction(getattr(of(t, "StreamReader"), name)))
    t.run(main())


# --- bad arguments

@mixed
def test_bad_arguments(t):
    async def main():
        for limit in (0, -1, "x", None, 0.0, -5.5):
            t.attempt(lambda: repr(new_reader(t, limit=limit)))
        for limit in (1, 2**16, True, 2**70, 10.5, float("inf")):
            r = new_reader(t, limit=limit)
            r.feed_data(b"12\n" + b"x" * 30)
            t.say(repr(r), r._limit)
            await attempt(t, r.readline())
        r = new_reader(t)
        r.feed_data(b"some data\nmore")
        for call in (lambda: r.readexactly(), lambda: r.read(1, 2), lambda: r.readline(1), lambda: r.readuntil(a=1), lambda: r.readexactly(n=1, m=2)):
            with pytest.raises(TypeError) as info:
                call()
            t.say(str(info.value))
        for call in (r.read(n=2), r.readexactly(n=2), r.readuntil(separator=b"t"), r.read(True), r.readexactly(True)):
            await attempt(t, call)
        for bad in (None, "1", b"1", []):
            await attempt(t, r.read(bad))
            await attempt(t, r.readexactly(bad))
        for bad in (5, None, b"", bytearray(), ""):
            await attempt(t, r.readuntil(bad))
        r.feed_data(b"z" * 20)
        await attempt(t, r.readuntil("z"))
        await attempt(t, r.readuntil(bytearray(b"zz")))
        await attempt(t, r.readuntil(memoryview(b"zzz")))
        state(t, r)
    t.run(main())


@mixed
def test_feeding(t):
    async def main():
        r = new_reader(t)
        for data in (b"", b"bytes", bytearray(b"array"), memoryview(b"view"), [65, 66], bytearray(), (67,)):
            t.attempt(r.feed_data, data)
        for data in (5, "text", [256], [None], object()):
            exc = t.attempt(r.feed_data, data)
            assert isinstance(exc, (TypeError, ValueError))
        state(t, r)
        r.feed_eof()
        r.feed_eof()
        t.attempt(r.feed_data, b"")
        t.attempt(r.feed_data, b"late")
        t.attempt(r.feed_data, bytearray(b"late"))
        await attempt(t, r.read())
    t.run(main())


# --- several separators (3.13)

@mixed
def test_several_separators(t):
    async def main():
        for separators in ((b"\r\n", b"\n"), (b"A", b"BA"), (b"ENDING", b"END"), (b"longest one", b"x"), (), (b"",), (b"a", b""), (b"a", 5), (b"",), (b"no",)):
            for text in (b"line\r\nBAENDINGx", b"a\nx", b"xENDING", b"BA"):
                for pieces in ([text], [bytes([b]) for b in text]):
                    r = new_reader(t)
                    task = t.loop.create_task(attempt(t, r.readuntil(separators)))
                    for piece in pieces:
                        await asyncio.sleep(0)
                        r.feed_data(piece)
                    r.feed_eof()
                    await task
                    t.say(bytes(r._buffer))
    if TAKES_TUPLE:
        t.run(main())
    else:
        r = new_reader(t)
        r.feed_data(b"one two")
        t.run(attempt(t, r.readuntil((b"o", b"t"))))


# --- limits

@mixed
def test_limits_of_lines(t):
    async def main():
        for text in (b"123\n", b"1234\n", b"12345\n", b"1234567\nrest\n", b"1234", b"12345", b"123456", b"\n\n\n"):
            for how in ("readline", "readuntil", "anext"):
                for pieces in ([text], [bytes([b]) for b in text]):
                    r = new_reader(t, limit=4)
                    task = t.loop.create_task(attempt(t, READS[how](r) if how != "readuntil" else r.readuntil()))
                    for piece in pieces:
                        await asyncio.sleep(0)
                        r.feed_data(piece)
                    r.feed_eof()
                    await task
                    t.say(how, text, len(pieces), bytes(r._buffer))
                    await attempt(t, r.readline())
    t.run(main())


@mixed
def test_limit_may_be_changed(t):
    async def main():
        r = new_reader(t, limit=4)
        r.feed_data(b"123456789\n123\n")
        r._limit = 100
        await attempt(t, r.readline())
        r._limit = 2
        await attempt(t, r.readline())
        state(t, r)
    t.run(main())


@mixed
def test_reading_to_the_end_goes_by_the_limit(t):
    async def main():
        r = new_reader(t, limit=3)
        r.set_transport(Notes(t))
        task = t.loop.create_task(attempt(t, r.read()))
        for piece in (b"1", b"2345678", b"9" * 20, b"end"):
            await asyncio.sleep(0)
            r.feed_data(piece)
            state(t, r)
        r.feed_eof()
        await task
        state(t, r)
    t.run(main())


# --- flow control

@mixed
def test_the_transport_is_paused_and_resumed(t):
    async def main():
        r = new_reader(t, limit=4)
        r.set_transport(Notes(t))
        t.attempt(r.set_transport, Notes(t))
        for step in (b"12345678", b"9", b"more", 5, 4, b"0" * 9, 1, -9):
            t.say("step", step)
            if isinstance(step, bytes):
                r.feed_data(step)
            elif step > 0:
                await attempt(t, r.read(step))
            else:
                await attempt(t, r.readexactly(-step))
            state(t, r)
        r.feed_data(b"x" * 20)
        task = t.loop.create_task(attempt(t, r.readexactly(60)))
        await asyncio.sleep(0)
        state(t, r)
        r.feed_data(b"y" * 40)
        await task
        r.feed_data(b"line" * 10)
        await attempt(t, r.readline())
        state(t, r)
    t.run(main())


@mixed
def test_transport_that_cannot_be_paused(t):
    class Stubborn(Notes):
        error = NotImplementedError

        def pause_reading(self):
            t.say("pause")
            raise self.error("on purpose")

    async def main():
        r = new_reader(t, limit=2)
        r.set_transport(Stubborn(t))
        for _ in range(3):
            r.feed_data(b"12345")
            state(t, r)
        r = new_reader(t, limit=2)
        transport = Stubborn(t)
        transport.error = OSError
        r.set_transport(transport)
        t.attempt(r.feed_data, b"12345")
        state(t, r)
        await attempt(t, r.read(3))
    t.run(main())


# --- attributes

@mixed
def test_attributes_of_a_reader(t):
    r = new_reader(t)
    for name in ("_buffer", "_eof", "_waiter", "_exception", "_transport", "_paused", "_limit", "_source_traceback"):
        t.say(name, getattr(r, name))
    t.say(r._loop is t.loop, type(r._buffer), isinstance(r, asyncio.StreamReader), r.__class__.__name__)
    r._eof, r._paused, r._exception, r._waiter, r._transport = True, True, ValueError("x"), t.future(), Notes(t)
    t.say(repr(r), r._eof, r._exception)
    r._eof, r._paused, r._exception, r._waiter, r._transport = False, False, None, None, None
    r.mine = 5
    t.say(repr(r), vars(r).get("mine"))
    t.loop.set_debug(True)
    r = new_reader(t)
    t.say(type(r._source_traceback).__name__, r._source_traceback[-1].name)


@mixed
def test_the_buffer_is_a_bytearray(t):
    async def main():
        r = new_reader(t)
        buffer = r._buffer
        t.say(r._buffer is buffer, buffer == b"")
        r.feed_data(b"first second third")
        t.say(bytes(buffer), bytes(r._buffer))
        await attempt(t, r.readexactly(6))
        t.say(bytes(buffer))
        buffer.extend(b" fourth")
        buffer[:0] = b"zeroth "
        await attempt(t, r.read(12))
        with memoryview(buffer):
            for call in (lambda: r.feed_data(b"x"), ):
                with pytest.raises(BufferError):
                    call()
        t.say(bytes(buffer))
        r._buffer.clear()
        t.say(r.at_eof(), repr(r))
        r._buffer = bytearray(b"replaced\nby us")
        await attempt(t, r.readline())
        del buffer
        for _ in range(3):
            await attempt(t, r.read(100))
            r.feed_data(b"again and again")
            t.say(bytes(r._buffer))
    t.run(main())


@mixed
def test_debug_mode_is_asked_of_any_loop(t):
    class Loop:
        def __init__(self, debug):
            self.debug = debug

        def get_debug(self):
            t.say("get_debug")
            return self.debug

        def create_future(self):
            t.say("create_future")
            return t.future()

    r = of(t, "StreamReader")(loop=Loop(False))
    t.say(r._source_traceback)
    t.say(bool(of(t, "StreamReader")(loop=Loop(True))._source_traceback))
    p = of(t, "StreamReaderProtocol")(r, loop=Loop(False))
    t.say(p._closed.done())


# --- subclasses and replaced methods

def noting(t, base, *names):
    """A subclass of base that says when its methods are called, then does what base does."""
    def make(name):
        def method(self, *args):
            t.say(name, *args)
            return getattr(super(cls, self), name)(*args)
        return method
    cls = type("Noting", (base,), {name: make(name) for name in names})
    return cls


@mixed
def test_overridden_methods_of_a_reader(t):
    async def main():
        cls = noting(t, of(t, "StreamReader"), "read", "readline", "readuntil", "readexactly", "feed_data", "feed_eof", "set_exception", "exception",
                     "_wait_for_data", "_wakeup_waiter", "_maybe_resume_transport", "set_transport", "at_eof")
        r = cls(limit=10, loop=t.loop)
        r.set_transport(Notes(t))
        r.feed_data(b"line\nmore")
        await attempt(t, r.readline())
        t.say(r.at_eof())
        t.loop.call_soon(r.feed_data, b"and more\n" + b"y" * 40)
        await attempt(t, r.readline())
        await attempt(t, r.readline())
        t.loop.call_soon(r.feed_data, b"0123456789")
        await attempt(t, r.readexactly(4))
        task = t.loop.create_task(attempt(t, r.read()))
        await asyncio.sleep(0)
        r.feed_eof()
        await task
        await attempt(t, r.__anext__())
        r.set_exception(ValueError("x"))
        t.say(isinstance(r, of(t, "StreamReader")), type(r).__name__, r.__class__ is cls)
    t.run(main())


@mixed
def test_replaced_methods_of_a_reader(t):
    async def main():
        r = new_reader(t)

        async def readuntil(separator):
            t.say("readuntil", separator)
            return b"mine"

        r.readuntil = readuntil
        await attempt(t, r.readline())
        async for line in r:
            t.say(line)
            break

        async def failing(separator):
            raise asyncio.IncompleteReadError(b"partial", 5)

        r.readuntil = failing
        await attempt(t, r.readline())

        async def overrun(separator):
            raise asyncio.LimitOverrunError("too long", 3)

        r.readuntil = overrun
        r.feed_data(b"abc\ndef")
        await attempt(t, r.readline())
        await attempt(t, r.readline())
        state(t, r)
    t.run(main())


@mixed
def test_a_subclass_that_waits_by_itself(t):
    class Lines(of(t, "StreamReader")):
        async def lines(self, n):
            got = []
            while len(got) < n:
                while b"\n" not in self._buffer:
                    await self._wait_for_data("lines")
                line, _, self._buffer[:] = bytes(self._buffer).partition(b"\n")
                got.append(line)
            return got

    async def main():
        r = Lines(loop=t.loop)
        task = t.loop.create_task(r.lines(3))
        for piece in (b"a", b"b\nc", b"\nd\n"):
            await asyncio.sleep(0)
            r.feed_data(piece)
        await attempt(t, task)
        task = t.loop.create_task(r.lines(1))
        await asyncio.sleep(0)
        await attempt(t, r._wait_for_data("other"))
        task.cancel()
        await asyncio.wait([task])
        state(t, r)
        r.feed_eof()
        await attempt(t, r._wait_for_data("other"))
    t.run(main())


# --- any split of the bytes gives the same

def _script(seed):
    """Random reads, and the bytes for them."""
    rng = random.Random(seed)
    alphabet = b"ab\n\r;"
    data = bytes(rng.choice(alphabet) for _ in range(rng.randrange(400)))
    reads = []
    for _ in range(rng.randrange(1, 40)):
        kind = rng.choice(("read", "readline", "readuntil", "readexactly", "all"))
        argument = {"read": rng.randrange(0, 30), "readexactly": rng.randrange(0, 30), "readline": None, "all": -1,
                    "readuntil": rng.choice((b";", b"\r\n", b"ab;", b"bbbb", (b";", b"\r\n", b"aab") if TAKES_TUPLE else b";"))}[kind]
        reads.append((kind, argument))
    return data, reads, rng.choice((3, 7, 20, 65536))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("kit", ["asyncloop", "our_classes"])
def test_one_chunk_or_byte_by_byte(seed, kit):
    data, reads, limit = _script(seed)

    def scenario(t):
        async def reading(r):
            for kind, argument in reads:
                read = r.readline() if argument is None else r.read(argument) if kind == "all" else getattr(r, kind)(argument)
                t.say(kind, argument)
                await attempt(t, read)
            t.say(bytes(r._buffer))

        async def main():
            for size in (1, 2, 5, len(data) + 1):
                r = new_reader(t, limit=limit)
                r.set_transport(Notes(t))
                task = t.loop.create_task(reading(r))
                for at in range(0, len(data), size):
                    r.feed_data(data[at:at + size])
                    await asyncio.sleep(0)
                    if seed % 2:
                        await asyncio.sleep(0)
                r.feed_eof()
                await task
        t.run(main())
    assert observe(scenario, KITS[kit]) == observe(scenario, KITS["asyncio"])
