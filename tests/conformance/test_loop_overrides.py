"""Methods of the loop that a subclass, or somebody on the class or the instance, has replaced: helpers, tasks and futures call them."""
import asyncio
import contextlib
import contextvars
import os
import socket

import pytest

import tls_peers
from sidebyside import KITS, compare, same

NAMES = ("call_soon", "call_later", "call_at", "create_future")
var = contextvars.ContextVar("var", default="unset")


def counting(t, *names):
    """A class of loop that counts the calls of these methods."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    def wrapper(name):
        def method(self, *args, **kwargs):
            self.calls[name] = self.calls.get(name, 0) + 1
            return getattr(base, name)(self, *args, **kwargs)
        return method

    class Counting(base):
        def __init__(self):
            self.calls = {}
            super().__init__()

    for name in names:
        setattr(Counting, name, wrapper(name))
    return Counting


async def waits(t):
    """One of each helper; yields their names as it goes."""
    lib = t.kit.classes
    loop = asyncio.get_running_loop()

    async def child(value):
        await lib.sleep(0)
        return value

    async def slow():
        await lib.sleep(30)

    yield "begin"
    await lib.sleep(0)
    yield "sleep(0)"
    await lib.sleep(0.001)
    yield "sleep"
    await lib.create_task(child(1))
    yield "create_task"
    await lib.gather(child(1), child(2))
    yield "gather"
    await lib.wait([lib.create_task(child(1))])
    yield "wait"
    await lib.wait([lib.create_task(child(1))], timeout=30)
    yield "wait with a timeout"
    await lib.wait([loop.create_future()], timeout=0.001)
    yield "wait in vain"
    for each in lib.as_completed([child(1), child(2)], timeout=30):
        await each
    yield "as_completed"
    async with lib.timeout(30):
        await lib.sleep(0)
    yield "timeout"
    try:
        async with lib.timeout(-1):
            await slow()
    except TimeoutError:
        yield "timeout in the past"
    await lib.wait_for(child(1), 30)
    yield "wait_for"
    try:
        await lib.wait_for(slow(), 0.001)
    except TimeoutError:
        yield "wait_for in vain"
    async with lib.TaskGroup() as group:
        group.create_task(child(1))
        group.create_task(child(2))
    yield "TaskGroup"
    lock, event, queue = lib.Lock(), lib.Event(), lib.Queue()
    await lock.acquire()
    waiting = [lib.create_task(x) for x in (lock.acquire(), event.wait(), queue.get())]
    await lib.sleep(0)
    lock.release()
    event.set()
    queue.put_nowait(1)
    await lib.gather(*waiting)
    yield "lock, event, queue"
    inner = lib.create_task(child(1))
    await lib.shield(inner)
    outer = lib.shield(lib.create_task(child(1)))
    outer.cancel()
    await lib.sleep(0.001)
    yield "shield"
    future = loop.create_future()
    future.add_done_callback(lambda f: None)
    future.add_done_callback(lambda f: None)
    future.set_result(None)
    future.add_done_callback(lambda f: None)
    await lib.sleep(0)
    yield "callbacks"
    task = lib.create_task(slow())
    await lib.sleep(0)
    task.cancel()
    await lib.wait([task])
    yield "cancel"


def run_counted(t, loop):
    async def main():
        async for name in waits(t):
            t.say(name, dict(sorted(loop.calls.items())))
            loop.calls.clear()

    loop.run_until_complete(loop.create_task(main()))


@same
def test_each_helper_calls_what_a_subclass_overrides(t):
    for names in (("call_soon",), ("call_later",), ("call_at",), ("create_future",), NAMES):
        loop = t.new_loop(counting(t, *names))
        t.say(names)
        run_counted(t, loop)


@same
def test_scaled_time(t):
    """A loop for tests on which every delay is a thousand times shorter."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    class Scaled(base):
        def call_later(self, delay, callback, *args, **kwargs):
            return super().call_later(delay / 10000, callback, *args, **kwargs)

    loop = t.new_loop(Scaled)

    async def main():
        lib = t.kit.classes
        t.say(await lib.sleep(50, "slept"))
        done, pending = await lib.wait([loop.create_future()], timeout=50)
        t.say(len(done), len(pending))

    loop.run_until_complete(main())


@same
def test_on_the_instance_while_it_runs(t):
    loop = t.loop
    calls = []

    def spy(name):
        real = getattr(loop, name)

        def method(*args, **kwargs):
            calls.append(name)
            return real(*args, **kwargs)
        setattr(loop, name, method)

    async def main():
        lib = t.kit.classes
        await lib.sleep(0.001)
        t.say(calls)
        for name in NAMES:
            spy(name)
            await lib.sleep(0.001)
            async with lib.timeout(30):
                await lib.create_task(lib.sleep(0))
            t.say(name, calls)
            calls.clear()
            delattr(loop, name)
            await lib.sleep(0.001)
            t.say(calls)
        loop.__dict__["call_soon"] = lambda *args, **kwargs: (calls.append("dict"), type(loop).call_soon(loop, *args, **kwargs))[1]
        await lib.sleep(0.001)  # noticed by the next poll at the latest
        calls.clear()
        await lib.sleep(0)
        t.say(calls)
        del loop.__dict__["call_soon"]
        await lib.sleep(0.001)
        calls.clear()
        await lib.sleep(0)
        t.say(calls)

    loop.run_until_complete(main())


@same
def test_on_the_class_between_runs(t):
    Class = counting(t)
    loop = t.new_loop(Class)

    async def main():
        await t.kit.classes.sleep(0.001)

    for name in NAMES:
        loop.run_until_complete(main())
        t.say(loop.calls)
        setattr(Class, name, getattr(counting(t, name), name))
        loop.run_until_complete(main())
        t.say(sorted(loop.calls.items()))
        delattr(Class, name)
        loop.calls.clear()
        loop.run_until_complete(main())
        t.say(loop.calls)


@same
def test_what_an_overridden_call_soon_is_given(t):
    """The callback's name, its arguments and the context are asyncio's."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    class Loop(base):
        def call_soon(self, callback, *args, context=None):
            if self.is_running():
                owner = getattr(callback, "__self__", None)
                t.say(type(owner).__name__ if isinstance(owner, asyncio.Task) else "", [type(a).__name__ for a in args],
                      None if context is None else context.get(var))
            return super().call_soon(callback, *args, context=context)

    loop = t.new_loop(Loop)

    async def main():
        var.set("main")
        future = loop.create_future()
        future.add_done_callback(lambda f: t.say("called", var.get()))
        var.set("later")
        task = asyncio.current_task()
        loop.call_later(0.001, future.set_result, 1)
        await future
        t.say(asyncio.current_task() is task, var.get())
        failing = t.task(fails())
        try:
            await failing
        except LookupError as exc:
            t.say(exc)
        future = loop.create_future()
        waiter = t.task(wait_for_it(future))
        await t.sleep(0)
        waiter.cancel("why")
        try:
            await waiter
        except asyncio.CancelledError as exc:
            t.say(exc.args)

    async def fails():
        await t.sleep(0)
        raise LookupError("x")

    async def wait_for_it(future):
        await future

    loop.run_until_complete(loop.create_task(main()))


@same
def test_call_soon_that_raises(t):
    loop = t.loop

    def refuse(*args, **kwargs):
        raise LookupError("no")

    async def main():
        future = loop.create_future()
        future.add_done_callback(print)
        loop.call_soon = refuse
        try:
            t.attempt(future.set_result, 1)
            coro = t.sleep(0)
            t.attempt(t.kit.Task, coro, loop=loop)
            coro.close()
        finally:
            del loop.call_soon
        t.say(future.done())

    loop.run_until_complete(main())


@same
def test_call_later_calls_call_at(t):
    loop = t.loop
    seen = []
    real = loop.call_at

    def call_at(when, callback, *args, **kwargs):
        seen.append((type(when).__name__, when > loop.time(), args, kwargs))
        handles.append(real(when, callback, *args, **kwargs))
        return handles[-1]

    handles = []
    loop.call_at = call_at
    t.say(loop.call_later(10, print, 1, 2) is handles[-1])
    t.say(loop.call_later(10, print, context=None) is handles[-1])
    t.attempt(loop.call_later, None, print)
    t.attempt(loop.call_later, "x", print)
    context = contextvars.copy_context()
    loop.call_later(10, print, 1, context=context)
    t.say([s[:3] + (s[3].get("context") is context, sorted(s[3])) for s in seen])


# What transports schedule for themselves, by the last part of the callback's name; tasks' steps and futures' callbacks are counted above.
OWN_WORK = {"connection_made", "_add_reader", "_set_result_unless_cancelled", "_call_connection_lost", "eof_received", "connection_lost", "close", "resume", "_do_read"}


class Quiet(asyncio.Protocol):
    def __init__(self, seen):
        self.seen, self.is_lost = seen, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.seen.append(("made", var.get()))

    def data_received(self, data):
        self.seen.append(("data", bytes(data)))

    def datagram_received(self, data, address):
        self.seen.append(("datagram", bytes(data)))

    def eof_received(self):
        self.seen.append("eof")

    def connection_lost(self, exc):
        self.seen.append(("lost", exc))
        self.is_lost.done() or self.is_lost.set_result(None)


def noting(t, where):
    """A loop that notes which of a transport's work goes by call_soon; where it is replaced: in a class derived from it, or on the instance."""
    names = []

    def note(callback):
        while hasattr(callback, "func"):
            callback = callback.func
        name = getattr(callback, "__qualname__", "").rpartition(".")[2]
        if name in OWN_WORK:
            names.append(name)

    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    class Noting(base):
        def call_soon(self, callback, *args, **kwargs):
            note(callback)
            return super().call_soon(callback, *args, **kwargs)

    if where == "class":
        return t.new_loop(Noting), names
    loop = t.new_loop()
    real = loop.call_soon

    def call_soon(callback, *args, **kwargs):
        note(callback)
        return real(callback, *args, **kwargs)
    loop.call_soon = call_soon
    return loop, names


async def by_tcp(loop, seen):
    a, b = socket.socketpair()
    var.set("of the connection")
    _, one = await loop.create_connection(lambda: Quiet(seen), sock=a)
    _, two = await loop.connect_accepted_socket(lambda: Quiet(seen), b)
    one.transport.write(b"x")
    await asyncio.sleep(0.01)
    one.transport.pause_reading()
    one.transport.resume_reading()
    one.transport.close()
    await one.is_lost
    await two.is_lost


async def by_abort(loop, seen):
    a, b = socket.socketpair()
    _, one = await loop.create_connection(lambda: Quiet(seen), sock=a)
    one.transport.abort()
    await one.is_lost
    b.close()


async def by_server(loop, seen):
    protocols = []
    server = await loop.create_server(lambda: protocols.append(Quiet(seen)) or protocols[-1], "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    await asyncio.sleep(0.02)
    server.close()
    client.close()
    await protocols[0].is_lost
    await server.wait_closed()


async def by_datagrams(loop, seen):
    transport, protocol = await loop.create_datagram_endpoint(lambda: Quiet(seen), local_addr=("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await asyncio.sleep(0.01)
    transport.close()
    await protocol.is_lost


async def by_pipes(loop, seen):
    reading, writing = os.pipe()
    _, one = await loop.connect_read_pipe(lambda: Quiet(seen), open(reading, "rb", 0))
    _, two = await loop.connect_write_pipe(lambda: Quiet(seen), open(writing, "wb", 0))
    two.transport.write(b"x")
    await asyncio.sleep(0.01)
    two.transport.close()
    await one.is_lost
    await two.is_lost


async def by_streams(loop, seen):
    async def serve(reader, writer):
        seen.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    done = loop.create_future()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    writer.close()
    await writer.wait_closed()
    await done
    server.close()
    await server.wait_closed()


async def by_tls(loop, seen):
    one, two = Quiet(seen), Quiet(seen)
    await tls_peers.both(one, two)
    one.transport.write(b"x")
    await asyncio.sleep(0.02)
    one.transport.pause_reading()
    one.transport.resume_reading()
    await asyncio.sleep(0.02)
    one.transport.close()
    await one.is_lost
    await two.is_lost


@pytest.mark.parametrize("where", ["class", "instance"])
@pytest.mark.parametrize("work", [by_tcp, by_abort, by_server, by_datagrams, by_pipes, by_streams, by_tls])
def test_transports_schedule_by_it(work, where):
    def scenario(t):
        loop, names = noting(t, where)
        seen = []
        loop.run_until_complete(loop.create_task(work(loop, seen)))
        t.say(seen)
        if work in (by_server, by_streams):  # here an accepted connection has nobody who waits for its start
            names[:] = [name for name in names if name != "_set_result_unless_cancelled"]
        t.say(sorted(names))
    compare(scenario, KITS["asyncloop"])


def test_a_callback_that_was_put_off():
    """By a call_soon that keeps it: it is run when the program likes, and a second time without harm."""
    def scenario(t):
        loop, _ = noting(t, "class")
        kept = []

        async def main():
            a, b = socket.socketpair()
            _, one = await loop.create_connection(lambda: Quiet(t.said), sock=a)
            loop.call_soon = lambda callback, *args, **kwargs: kept.append((callback, args))
            one.transport.close()
            del loop.call_soon
            await asyncio.sleep(0)
            t.say("closing", one.transport.is_closing(), len(kept))
            callback, args = kept.pop()
            callback(*args)
            t.say(one.is_lost.done(), one.transport.get_extra_info("socket") is None)
            if t.kit.name != "asyncio":
                callback(*args)
                one.transport.abort()
            b.close()
        loop.run_until_complete(loop.create_task(main()))
    compare(scenario, KITS["asyncloop"])


@contextlib.contextmanager
def tasks_by(task_class):
    """asyncio.tasks.Task is this class."""
    before = asyncio.tasks.Task
    asyncio.tasks.Task = task_class
    try:
        yield
    finally:
        asyncio.tasks.Task = before


class Recorded(asyncio.tasks._PyTask):
    """Tasks in Python, which know what the loop called them with."""

    asked = []

    def __init__(self, coro, *args, **kwargs):
        self.asked.append((args, sorted(kwargs), kwargs["loop"] is asyncio.get_running_loop(), kwargs.get("name"), "context" in kwargs))
        super().__init__(coro, *args, **kwargs)


@same
def test_tasks_of_the_class_that_stands_in_asyncio_tasks(t):
    """The loop makes its tasks by the name asyncio.tasks.Task, for whoever asks it for one, as long as something else stands there."""
    lib = t.kit.classes

    async def child(value):
        await lib.sleep(0)
        return type(asyncio.current_task()) is Recorded, value

    async def grouped():
        async with lib.TaskGroup() as group:
            tasks = group.create_task(child(1)), group.create_task(child(2), name="named")
        return [task.result() for task in tasks]

    async def main():
        loop = asyncio.get_running_loop()
        Recorded.asked.clear()
        for _ in range(2):
            with tasks_by(Recorded):
                made = loop.create_task(child(0), name="a name"), lib.create_task(child(1)), lib.ensure_future(child(2))
                t.say(len(asyncio.all_tasks(loop) & set(made)), made[0].get_name(), *[await task for task in made])
                t.say(await loop.create_task(child(3), context=contextvars.copy_context()))
                t.say(await lib.gather(child(4), child(5)), await lib.shield(child(6)), await grouped())
                t.say([await each for each in lib.as_completed([child(7)])])
                coro = child(8)
                t.attempt(loop.create_task, coro, loop=loop)
                coro.close()
                loop.set_task_factory(lambda loop, coro, **kwargs: lib.Task(coro, loop=loop, **kwargs))
                t.say("a factory comes first", (await loop.create_task(child(9)))[0])
                loop.set_task_factory(None)
            t.say("and then", await loop.create_task(child(10)), await grouped())
        t.say(Recorded.asked)

    t.run(main())


@same
def test_a_class_in_asyncio_tasks_that_fails(t):
    async def main():
        async def child():
            pass

        def no_tasks(coro, **kwargs):
            raise LookupError(sorted(kwargs))

        with tasks_by(no_tasks):
            for make in asyncio.get_running_loop().create_task, t.kit.classes.create_task, t.kit.classes.gather, t.kit.classes.ensure_future:
                coro = child()
                t.attempt(make, coro)
                coro.close()
            coro = child()
            t.attempt(asyncio.get_running_loop().create_task, coro, strange=1)
            coro.close()

    t.run(main())
