"""StopIteration that leaves a coroutine of asyncloop's own is PEP 479's RuntimeError, as it is with an `async def`."""
import asyncio
import inspect
import socket
import sys

from sidebyside import mixed, same


def stop(*args):
    raise StopIteration(4)


def chain(exc):
    return type(exc).__name__, str(exc), repr(exc.__cause__), repr(exc.__context__), exc.__suppress_context__


class Less:
    def __lt__(self, other):
        stop()


class Stops:
    """What is awaited: every method says StopIteration."""

    def __await__(self):
        stop()


async def outcome(t, make):
    """Awaited, as a task's coroutine, and sent into by hand."""

    async def awaiting():
        return await make()

    for how in ("await", "task", "send"):
        try:
            if how == "send":
                coro = make()
                t.say(how, type(coro.send(None)).__name__)
                coro.close()
                continue
            task = t.task(awaiting() if how == "await" else make())
            await asyncio.wait([task], timeout=0.1)
            if not task.done():
                t.say(how, "waits")
                task.cancel()
            t.say(how, await task)
        except BaseException as exc:
            t.say(how, chain(exc))
        await asyncio.sleep(0)


@mixed
def test_condition(t):
    async def main():
        condition = t.kit.classes.Condition()
        async with condition:
            await outcome(t, lambda: condition.wait_for(stop))
            condition._waiters = iter(())
            await outcome(t, lambda: condition.wait_for(iter([0]).__next__))

    t.run(main())


@mixed
def test_queues(t):
    lib = t.kit.classes

    class Put(lib.Queue):
        _put = stop

    class Get(lib.Queue):
        _get = stop

    class Size(lib.Queue):
        qsize = stop

    class Full(lib.Queue):
        full = stop
        empty = stop

    async def main():
        for kind in (Put, Get, Size, Full):
            queue = kind()
            await outcome(t, lambda: queue.put(1))
            await outcome(t, lambda: queue.get())
        queue = lib.PriorityQueue()
        queue.put_nowait(Less())
        await outcome(t, lambda: queue.put(Less()))

    t.run(main())


@mixed
def test_wait_for_and_wait(t):
    lib = t.kit.classes

    class Weird(t.kit.Future):
        cancel = stop

        def add_done_callback(self, callback, **kw):
            stop()

    async def main():
        await outcome(t, lambda: lib.wait_for(Stops(), None))
        await outcome(t, lambda: lib.wait_for(Stops(), 1))
        await outcome(t, lambda: lib.wait([Weird()]))
        await outcome(t, lambda: lib.wait([Weird()], timeout=1))

    t.run(main())


@mixed
def test_sleep(t):
    class Delay(float):
        def __le__(self, other):
            stop()

        def __add__(self, other):
            stop()

        __radd__ = __add__

    class Sum(float):
        def __radd__(self, other):
            stop()

    async def main():
        await outcome(t, lambda: t.sleep(Delay(1)))
        await outcome(t, lambda: t.sleep(Sum(1)))

    t.run(main())


@mixed
def test_blocks(t):
    lib = t.kit.classes

    class Acquire(lib.Lock):
        acquire = stop
        release = stop

    class Time(float):
        def __le__(self, other):
            stop()

    class Group(lib.TaskGroup):
        _abort = stop

    async def main():
        lock = Acquire()
        await outcome(t, lambda: lock.__aenter__())
        await outcome(t, lambda: lock.__aexit__(None, None, None))
        await outcome(t, lambda: lib.timeout_at(Time(1)).__aenter__())
        group = Group()
        await group.__aenter__()
        await outcome(t, lambda: group.__aexit__(KeyError, KeyError(), None))

    t.run(main())


@mixed
def test_as_completed(t):
    lib = t.kit.classes

    class Weird(t.kit.Future):
        result = stop

    async def main():
        future = Weird()
        future.set_result(1)
        for each in lib.as_completed([future]):
            try:
                t.say(await each)
            except BaseException as exc:
                t.say(chain(exc))

    t.run(main())


@mixed
def test_to_thread(t):
    lib = t.kit.classes

    async def main():
        class Loop:
            run_in_executor = stop

        get = asyncio.events.get_running_loop
        asyncio.events.get_running_loop = Loop
        try:
            coro = asyncio.to_thread(stop)
        finally:
            asyncio.events.get_running_loop = get
        coro.close()
        if sys.version_info >= (3, 13):  # before, StopIteration cannot be given to a future, which then never ends
            await outcome(t, lambda: lib.to_thread(stop) if hasattr(lib, "to_thread") else asyncio.to_thread(stop))

    t.run(main())


@same
def test_streams(t):
    lib = t.kit.streams if hasattr(t.kit, "streams") else t.kit.classes

    class Reader(lib.StreamReader):
        _wait_for_data = stop
        exception = stop

    class Transport:
        stops = True

        def is_closing(self):
            return stop() if self.stops else True

        def get_extra_info(self, name, default=None):
            return default

        is_reading = pause_reading = resume_reading = close = is_closing

    async def main():
        loop = asyncio.get_running_loop()
        reader = Reader(loop=loop)
        for make in (reader.read, lambda: reader.read(4), reader.readline, lambda: reader.readexactly(3), lambda: reader.readuntil(b"x"),
                     reader.__anext__):
            await outcome(t, make)
        protocol = lib.StreamReaderProtocol(lib.StreamReader(loop=loop), loop=loop)
        transport = Transport()
        writer = lib.StreamWriter(transport, protocol, None, loop)
        await outcome(t, writer.drain)
        writer = lib.StreamWriter(transport, protocol, reader, loop)
        await outcome(t, writer.drain)
        protocol._get_close_waiter = stop
        await outcome(t, writer.wait_closed)
        transport.stops = False

    t.run(main())


@same
def test_sock_methods(t):
    class Odd(socket.socket):
        recv = recv_into = recvfrom = recvfrom_into = send = sendto = stop

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with b, Odd(fileno=a.detach()) as odd:
            odd.setblocking(False)
            for make in (lambda: loop.sock_recv(odd, 4), lambda: loop.sock_recv_into(odd, bytearray(4)), lambda: loop.sock_recvfrom(odd, 4),
                         lambda: loop.sock_recvfrom_into(odd, bytearray(4)), lambda: loop.sock_sendall(odd, b"x"),
                         lambda: loop.sock_sendto(odd, b"x", ("127.0.0.1", 9))):
                await outcome(t, make)

    t.run(main())


@same
def test_thrown_into_one(t):
    """Before its first step, at an await of anything, and at a bare yield."""
    lib = t.kit.classes

    class Quiet:
        """Has neither throw() nor close()."""

        def __await__(self):
            return self

        def __iter__(self):
            return self

        def __next__(self):
            return None

    class Closing(Quiet):
        close = stop

    def attempt(call, *args):
        try:
            t.say(call(*args) if call.__name__ == "throw" else (call(*args), None)[1])
        except BaseException as exc:
            t.say(chain(exc))

    async def main():
        for make in (lambda: t.sleep(0, 7), lambda: t.sleep(1, 7), lambda: lib.Event().wait(), lambda: lib.wait_for(Quiet(), None),
                     lambda: lib.wait_for(Closing(), None), lambda: lib.wait_for(lib.Event().wait(), None)):
            for begin in (False, True):
                for end in ("throw", "close"):
                    coro = make()
                    if begin:
                        coro.send(None)
                    t.say(inspect.getcoroutinestate(coro) if begin else None)
                    attempt(*((coro.throw, StopIteration(5)) if end == "throw" else (coro.close,)))
                    coro.close()

    t.run(main())
