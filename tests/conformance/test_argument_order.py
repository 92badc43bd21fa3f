"""Several wrong arguments at once: which of them is the one that is complained of, and what became of the right ones."""
import asyncio
import contextvars
import inspect
import itertools
import os
import re
import socket
import sys
from asyncio import selector_events, unix_events

import pytest

from sidebyside import OURS, mixed, same

EAGER = sys.version_info >= (3, 12)
NATIVE_STREAM, NATIVE_DATAGRAM = selector_events._SelectorSocketTransport, selector_events._SelectorDatagramTransport
NATIVE_READING, NATIVE_WRITING = unix_events._UnixReadPipeTransport, unix_events._UnixWritePipeTransport


class Sour:
    """Neither true nor false, and says so."""

    def __bool__(self):
        raise LookupError("neither")

    def __str__(self):
        raise LookupError("no name")

    __repr__ = object.__repr__


async def value():
    return 1


def trials(**choices):
    """Every combination of one value for each name."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values))


def attempt(t, shown, call, coro=None):
    try:
        result = call()
    except BaseException as exc:
        t.say(shown, "raised", exc, coro is not None and inspect.getcoroutinestate(coro))
        return None
    t.say(shown, type(result).__name__, coro is not None and inspect.getcoroutinestate(coro))
    return result


def picture(options):
    return [name + "=" + ("" if name == "loop" and option else type(option).__name__) for name, option in options.items()]


@mixed
def test_task(t):
    async def trial(options, good):
        coro = value() if good else 5
        task = attempt(t, picture(options) + [good], lambda: t.kit.Task(coro, **options), coro if good else None)
        if task is not None:
            task.cancel()
            task._log_destroy_pending = False
            if options["context"] is None:
                await asyncio.wait([task])
            else:
                await asyncio.sleep(0)
        if good:
            coro.close()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: t.say(context["message"].partition(" in callback")[0], type(context.get("exception")).__name__))
        extra = {"eager_start": [False, True, Sour()]} if EAGER else {}
        for good in (True, False):
            for options in trials(loop=[loop, 5], name=[None, Sour()], context=[None, 2.5], **extra):
                if good and options["context"] and options.get("eager_start") is True and sys.version_info < (3, 15):
                    continue  # asyncio's then stays the current task for ever: see the next test
                await trial(options, good)

    t.keep_warnings = False
    t.run(main())


@pytest.mark.skipif(not EAGER, reason="eager tasks are new in 3.12")
@pytest.mark.parametrize("context", [2.5, "x", object])
def test_eager_task_in_what_is_no_context(context):
    """The coroutine was not touched, no task is left, nothing is reported."""
    reported = []

    async def main():
        loop, me, coro = asyncio.get_running_loop(), asyncio.current_task(), value()
        loop.set_exception_handler(lambda loop, context: reported.append(context))
        with pytest.raises(TypeError) as info:
            OURS.Task(coro, loop=loop, context=context, eager_start=True)
        assert str(info.value) == ("an instance of Context was expected" if sys.version_info < (3, 15)
                                   else f"a contextvars.Context was expected, got {type(context).__name__}")
        assert inspect.getcoroutinestate(coro) == inspect.CORO_CREATED
        assert asyncio.current_task() is me and asyncio.all_tasks() == {me}
        assert await coro == 1

    loop = OURS.new_loop()
    loop.run_until_complete(main())
    loop.close()
    assert reported == []


@same
def test_create_task(t):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: t.say(context["message"], type(context.get("exception")).__name__))
        for good in (True, False):
            for options in trials(name=[None, Sour(), 5], context=[None, contextvars.copy_context()]):
                for create in (loop.create_task, t.kit.classes.create_task):
                    coro = value() if good else 5
                    task = attempt(t, picture(options), lambda: create(coro, **options), coro if good else None)
                    if task is not None:
                        t.say(await task)
                    if good:
                        coro.close()

    t.run(main())


@mixed
def test_futures(t):
    async def main():
        for loop in (asyncio.get_running_loop(), None, 5, Sour()):
            attempt(t, isinstance(loop, asyncio.AbstractEventLoop) or type(loop).__name__, lambda: t.kit.Future(loop=loop))
        attempt(t, "position", lambda: t.kit.Future(5))
        attempt(t, "name", lambda: t.kit.Future(loops=5))

    t.run(main())


@mixed
def test_helpers(t):
    lib = t.kit.classes

    async def main():
        number = [1, 0, -1, None, "x", 2.5, Sour()]
        for kind, name in ((lib.Semaphore, "value"), (lib.BoundedSemaphore, "value"), (lib.Barrier, "parties"), (lib.Queue, "maxsize"),
                           (lib.PriorityQueue, "maxsize")):
            for each in number:
                attempt(t, [kind.__name__, type(each).__name__], lambda: kind(**{name: each}))
        for kind in (lib.Lock, lib.Event, lib.Condition, lib.Semaphore, lib.BoundedSemaphore, lib.Queue, lib.TaskGroup):
            for options in ({"loop": None}, {"loop": 5}, {"nothing": 1}):
                attempt(t, [kind.__name__, picture(options)], lambda: kind(**options))
        for lock in (None, 5, lib.Lock()):
            attempt(t, ["Condition", type(lock).__name__], lambda: lib.Condition(lock))
        attempt(t, "timeout", lambda: lib.timeout())
        attempt(t, "timeout", lambda: lib.timeout(1, 2))
        attempt(t, "timeout", lambda: lib.timeout("x"))
        attempt(t, "Timeout", lambda: lib.Timeout())

    t.run(main())


@mixed
def test_waiting(t):
    """Nothing is scheduled or awaited before the arguments are right."""
    lib = t.kit.classes

    async def done(shown, make, *coros):
        try:
            result = make()
            if inspect.isawaitable(result):
                result = await result
            t.say(shown, type(result).__name__)
        except BaseException as exc:
            t.say(shown, exc)
        t.say([inspect.getcoroutinestate(coro) for coro in coros])
        for coro in coros:
            coro.close()

    async def main():
        for timeout in (None, "x", Sour(), -1):
            coro = value()
            await done(["wait_for", type(timeout).__name__], lambda: lib.wait_for(coro, timeout), coro)
            await done(["wait_for 5", type(timeout).__name__], lambda: lib.wait_for(5, timeout))
        for when in ("ALL_COMPLETED", "x", None):
            for things in ([], [5], 5, value()):
                await done(["wait", when, type(things).__name__], lambda: lib.wait(things, return_when=when))
                getattr(things, "close", bool)()
        for things in ([5], 5, [None]):
            await done(["as_completed", type(things).__name__], lambda: list(lib.as_completed(things, timeout="x")))
        await done("shield", lambda: lib.shield(5))
        await done("sleep", lambda: lib.sleep("x"))
        await done("sleep", lambda: lib.sleep(Sour()))
        await asyncio.sleep(0)

    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"]))
    t.keep_warnings = False
    t.run(main())


@same
def test_streams(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        for options in trials(limit=[1, 0, -1, "x", None, Sour()], loop=[loop, None]):
            attempt(t, picture(options), lambda: lib.StreamReader(**options))
        reader = lib.StreamReader(loop=loop)
        for options in trials(stream_reader=[reader, None, 5], client_connected_cb=[None, value], loop=[loop, None]):
            attempt(t, picture(options), lambda: lib.StreamReaderProtocol(**options))

    t.keep_warnings = False
    t.run(main())


# --- too many, too few, of other names

def misfits(function):
    """Arguments that function, a method without its self, does not take: (positional, by name)."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    required = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    n_positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    kinds = {p.kind for p in parameters}
    only = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    for n in range(len(required)):
        yield required[:n], {}
        yield [], dict.fromkeys(required[:n])
    if required:
        yield required, {required[0]: None}
        yield required[:1], {required[0]: None}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        for n in (1, 2):
            yield [None] * (n_positional + n), {}
            yield [None] * (n_positional + n), only
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        yield required, {"zzzzzzzz": None}
        yield required[1:], {"zzzzzzzz": None}
        yield [], {"zzzzzzzz": None, "yyyyyyyy": None}
        yield [None] * (n_positional + 1), {"zzzzzzzz": None}


def refuses(t, holder, classes):
    """Says how each method of asyncio's class, on an object of either, refuses what does not fit."""
    seen = set()
    for name, function in ((name, function) for cls in classes for name, function in vars(cls).items()):
        if name in seen or name.startswith("_") or not inspect.isfunction(function) or len(inspect.signature(function).parameters) == 1:
            continue  # a method in C that takes nothing has CPython's own words for builtin functions
        seen.add(name)
        for args, kwargs in misfits(function):
            try:
                result = getattr(holder, name)(*args, **kwargs)
            except TypeError as exc:
                t.say(name, len(args), list(kwargs), re.sub(r"\w*Mixin\.(?=\w+\()", "", str(exc)))
            else:
                t.say(name, len(args), list(kwargs), "was taken")
                if asyncio.iscoroutine(result):
                    result.close()
    t.say(sorted(seen))


@same
def test_loops_refuse_what_does_not_fit(t):
    refuses(t, t.loop, [asyncio.SelectorEventLoop, asyncio.SelectorEventLoop.__base__, asyncio.base_events.BaseEventLoop])


@same
def test_streams_refuse_what_does_not_fit(t):
    refuses(t, t.kit.classes.StreamReader(loop=t.loop), [asyncio.StreamReader])
    for args, kwargs in misfits(asyncio.StreamReader.__init__):
        t.attempt(t.kit.classes.StreamReader, *args, **kwargs)


@same
def test_transports_refuse_what_does_not_fit(t):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        refuses(t, transport, NATIVE_STREAM.__mro__[:-1])
        datagrams, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        refuses(t, datagrams, NATIVE_DATAGRAM.__mro__[:-1])
        r, w = os.pipe()
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(r, "rb", 0))
        refuses(t, reading, NATIVE_READING.__mro__[:-1])
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0))
        refuses(t, writing, NATIVE_WRITING.__mro__[:-1])
        for each in (transport, datagrams, writing, reading):
            each.abort() if hasattr(each, "abort") else each.close()
        b.close()
        await asyncio.sleep(0.01)

    t.keep_warnings = False
    t.run(main())


@same
def test_locks_queues_and_groups_refuse_what_does_not_fit(t):
    refuses(t, t.kit.classes.TaskGroup(), [asyncio.TaskGroup])
    for name in ("Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue"):
        cls = getattr(t.kit.classes, name)
        refuses(t, cls(1) if name == "Barrier" else cls(), getattr(asyncio, name).__mro__[:-1])


# --- by name

@same
def test_create_task_by_name(t):
    async def main():
        loop = asyncio.get_running_loop()
        var = contextvars.ContextVar("var", default="unset")
        context = contextvars.copy_context()
        context.run(var.set, "set")

        async def named():
            return asyncio.current_task().get_name() == "given", var.get()

        for options in ({}, {"name": "given"}, {"context": context}, {"name": "given", "context": context}, {"name": None, "context": None}):
            t.say(await loop.create_task(coro=named(), **options))
        coro = named()
        for options in ({"coro": coro}, {"zzzzzzzz": 1}, {"loop": loop}):
            attempt(t, sorted(options), lambda: loop.create_task(coro, **options), coro)
        coro.close()
        many = dict.fromkeys("abcdefghij", 1)
        loop.set_task_factory(lambda loop, coro, **options: (t.say(sorted(options)), asyncio.Task(coro, loop=loop))[1])
        for options in ({}, {"name": "given"}, {"context": context}, many):
            for way in (lambda: loop.create_task(coro, **options), lambda: loop.create_task(coro=coro, **options)):
                coro = value()
                task = attempt(t, sorted(options), way, coro)
                coro.close() if task is None else await task

    t.run(main())
