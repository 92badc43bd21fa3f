"""Calls in other threads and futures of two worlds: run_in_executor, to_thread, wrap_future, run_coroutine_threadsafe, as asyncio's."""
import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import sys
import threading

import pytest

import interleave
from kits import PATIENCE
from sidebyside import OURS, child, mixed

var = contextvars.ContextVar("var", default="unset")


def helpers(t):
    return interleave.Helpers(t.kit.classes)


async def gives_its_value(awaitable):
    return await awaitable


def raises(exc):
    raise exc


class Odd(BaseException):
    pass


OUTCOMES = [
    functools.partial(pow, 2, 5), functools.partial(raises, ValueError("v")), functools.partial(raises, ValueError), functools.partial(raises, Odd("o")),
    functools.partial(raises, concurrent.futures.CancelledError("c")), functools.partial(raises, concurrent.futures.TimeoutError("t")),
    functools.partial(raises, concurrent.futures.InvalidStateError("i")), functools.partial(raises, asyncio.CancelledError("a")), lambda: print(1, 2, bad=3),
    None, 5,
]  # fmt: skip


@mixed
def test_how_a_call_ends(t):
    """Results and exceptions of all kinds; some are not those of asyncio and are made such."""
    for call in OUTCOMES:
        t.attempt(t.run, gives_its_value(t.loop.run_in_executor(None, call)))
        t.attempt(t.run, helpers(t).to_thread(call))
    t.say(t.run(gives_its_value(t.loop.run_in_executor(None, pow, 2, 10))))
    t.say(t.run(gives_its_value(t.loop.run_in_executor(func=int, executor=None))))
    t.say(t.run(helpers(t).to_thread(dict, [("a", 1)], b=2, func=3)))


@mixed
def test_exceptions_that_end_the_program_elsewhere(t):
    """SystemExit and KeyboardInterrupt of a thread are the future's like any other."""
    for exc in SystemExit(3), KeyboardInterrupt():
        future = t.loop.run_in_executor(None, raises, exc)
        while not future.done():
            t.run(t.sleep(0.001))
        t.say(future.exception())


@mixed
def test_stop_iteration(t):
    seen = []
    t.loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    future = t.loop.run_in_executor(None, raises, StopIteration(3))
    while not (future.done() or seen):
        t.run(t.sleep(0.001))
    t.say(seen, future.done() and future.exception())
    future.cancel()


@mixed
def test_wrong_arguments(t):
    t.attempt(lambda: asyncio.iscoroutine(helpers(t).to_thread()))
    for args in (), (None,), (5, int), ("x", int):
        exc = t.attempt(lambda: t.loop.run_in_executor(*args)) if len(args) == 2 else None
        t.say(type(exc))
    coro = helpers(t).to_thread(int)
    is_function = inspect.iscoroutinefunction if sys.version_info >= (3, 13) else asyncio.iscoroutinefunction
    t.say(asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__, is_function(helpers(t).to_thread))
    coro.close()
    helpers(t).to_thread(int)
    t.attempt(lambda: coro.send(None))


@mixed
def test_no_loop_runs(t):
    coro = helpers(t).to_thread(int)
    t.attempt(coro.send, None)


@mixed
def test_contexts(t):
    """to_thread runs in a copy of the caller's context, run_in_executor in that of the thread."""

    def call():
        seen = var.get()
        var.set("thread's")
        return seen, var.get()

    async def main():
        var.set("caller's")
        for _ in range(2):
            t.say(await helpers(t).to_thread(call), var.get())
        t.say((await t.loop.run_in_executor(None, call))[1], var.get())
        t.say(await helpers(t).to_thread(call))

    t.loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
    t.run(main())


class Pool(concurrent.futures.ThreadPoolExecutor):
    """A subclass that looks at what it is given."""

    def __init__(self, *args):
        super().__init__(*args)
        self.seen = []

    def submit(self, fn, /, *args, **kwargs):
        self.seen.append((fn, args, kwargs))
        return super().submit(fn, *args, **kwargs)


@mixed
def test_executors_of_the_users(t):
    for pool in concurrent.futures.ThreadPoolExecutor(1), Pool(1):
        with pool:
            t.say(t.run(gives_its_value(t.loop.run_in_executor(pool, pow, 2, 3))))
        t.attempt(t.loop.run_in_executor, pool, int)
        t.say(getattr(pool, "seen", None))
    pool = Pool(1)
    t.loop.set_default_executor(pool)
    t.say(t.run(helpers(t).to_thread(pow, 2, 4)), len(pool.seen), t.loop._default_executor is pool)
    with concurrent.futures.ThreadPoolExecutor(1) as watched:
        submit, seen = watched.submit, []
        watched.submit = lambda *args: (seen.append(args), submit(*args))[1]
        t.say(t.run(gives_its_value(t.loop.run_in_executor(watched, pow, 2, 5))), seen)


@mixed
def test_executors_that_are_none(t):
    class Fake:
        def __init__(self, made):
            self.made = made

        def submit(self, fn, *args):
            if isinstance(self.made, BaseException):
                raise self.made
            return self.made

    done, own = concurrent.futures.Future(), t.loop.create_future()
    done.set_result("done")
    own.set_result("own")
    for made in done, own, OSError("no threads"):
        t.attempt(lambda: t.run(gives_its_value(t.loop.run_in_executor(Fake(made), int))))
    t.say(t.loop.run_in_executor(Fake(own), int) is own)
    for made in None, 5, "x":
        t.attempt(t.loop.run_in_executor, Fake(made), int)


@mixed
def test_a_pool_that_cannot_start_its_threads(t):
    import logging

    logging.getLogger("concurrent.futures").setLevel(logging.CRITICAL + 1)
    pool = concurrent.futures.ThreadPoolExecutor(1, initializer=lambda: 1 / 0)
    for _ in range(2):
        t.attempt(lambda: t.run(gives_its_value(t.loop.run_in_executor(pool, int))))
    pool.shutdown()
    logging.getLogger("concurrent.futures").setLevel(logging.NOTSET)


def held_pool():
    """A pool of one thread that is busy, and what lets it go on."""
    pool, began, go_on = concurrent.futures.ThreadPoolExecutor(1), threading.Event(), threading.Event()
    pool.submit(lambda: (began.set(), go_on.wait()))
    assert began.wait(30 * PATIENCE)
    return pool, go_on


@mixed
def test_cancelled_before_its_turn(t):
    """The function is not called."""
    pool, go_on = held_pool()
    ran = []
    first, second, third = [t.loop.run_in_executor(pool, ran.append, n) for n in range(3)]
    t.say(second.cancel(), second.cancel())
    t.attempt(lambda: t.run(gives_its_value(second)))
    go_on.set()
    t.run(gives_its_value(third))
    t.say(ran, first.done(), second.cancelled())
    pool.shutdown()


@mixed
def test_cancelled_by_the_pool(t):
    pool, go_on = held_pool()
    ran = []
    futures = [t.loop.run_in_executor(pool, ran.append, n) for n in range(3)]
    pool.shutdown(wait=False, cancel_futures=True)
    for future in futures:
        t.attempt(lambda: t.run(gives_its_value(future)))
    go_on.set()
    pool.shutdown()
    t.say(ran)


@mixed
def test_ends_after_the_loop(t):
    """Nobody waits for the call any more: no error, no report."""
    pool, go_on = held_pool()
    futures = [t.loop.run_in_executor(pool, raises, ValueError()), t.loop.run_in_executor(pool, int)]
    t.loop.close()
    go_on.set()
    pool.shutdown()
    t.say([future.done() for future in futures])


@mixed
def test_finished_by_somebody_else(t):
    """asyncio asserts; what it asserts is reported."""
    seen = []
    t.loop.set_exception_handler(lambda loop, context: seen.append(type(context["exception"])))
    pool, go_on = held_pool()
    future = t.loop.run_in_executor(pool, pow, 2, 3)
    wrapped = helpers(t).wrap_future(pool.submit(int), loop=t.loop)
    future.set_result("mine")
    wrapped.set_result("mine")
    go_on.set()
    if type(future).__module__ == "asyncloop":
        seen.append(AssertionError)  # a call whose future is done is not made at all
    while len(seen) < 2:
        t.run(t.sleep(0.001))
    t.say(seen, future.result(), wrapped.result())
    pool.shutdown()


@pytest.mark.parametrize("kind", ["method of a subclass", "attribute"])
def test_to_thread_uses_the_loops_own_run_in_executor(kind):
    """A loop that overrides run_in_executor is asked."""
    seen = []

    def run_in_executor(loop, executor, func, *args):
        seen.append((executor, type(func), args))
        return OURS.loops.Loop.run_in_executor(loop, executor, func, *args)

    if kind == "attribute":
        loop = OURS.new_loop()
        loop.run_in_executor = functools.partial(run_in_executor, loop)
    else:
        loop = type("Mine", (OURS.loops.Loop,), {"run_in_executor": run_in_executor})()
    try:
        assert loop.run_until_complete(OURS.classes.to_thread(pow, 2, 3)) == 8
        assert seen == [(None, functools.partial, ())]
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_an_unknown_pool_gets_its_calls_by_submit():
    """Were the standard library's pool another one, its submit would be used."""
    code = """
from concurrent.futures import thread
calls = []
def submit(self, fn, /, *args, **kwargs):
    calls.append(fn)
    return original(self, fn, *args, **kwargs)
original = thread.ThreadPoolExecutor.submit
thread.ThreadPoolExecutor.submit = submit
loop = new_loop()
async def main():
    return await loop.run_in_executor(None, pow, 2, 3), await kit.classes.to_thread(pow, 2, 4)
assert loop.run_until_complete(main()) == (8, 16)
assert len(calls) == 2, calls
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
print("well")
"""
    got = child(code, OURS)
    assert got.stdout == "well\n", got.stderr


# --- wrap_future


@mixed
def test_wrap_future(t):
    h = helpers(t)

    async def main():
        for end in ("set_result", 1), ("set_exception", ValueError(2)), ("cancel",), ("set_exception", concurrent.futures.CancelledError(3)):
            for when in "before", "after", "in a thread":
                future = concurrent.futures.Future()
                finish = functools.partial(getattr(future, end[0]), *end[1:])
                if when == "before":
                    finish()
                wrapped = h.wrap_future(future)
                if when == "after":
                    finish()
                elif when == "in a thread":
                    thread = threading.Thread(target=finish)
                    thread.start()
                t.say(isinstance(wrapped, asyncio.Future), wrapped.get_loop() is t.loop)
                try:
                    t.say(await wrapped)
                except BaseException as exc:
                    t.say("raised", exc)
                if when == "in a thread":
                    thread.join()

    t.run(main())


@mixed
def test_wrap_future_cancels(t):
    h = helpers(t)
    for is_running in False, True:
        future = concurrent.futures.Future()
        if is_running:
            future.set_running_or_notify_cancel()
        wrapped = h.wrap_future(future, loop=t.loop)
        t.say(wrapped.cancel("message"), future.cancelled())
        t.pump(2)
        t.say(wrapped.cancelled(), future.cancelled())
        if is_running:
            future.set_result(5)
            t.pump(2)
    own = t.loop.create_future()
    t.say(h.wrap_future(own, loop=5) is own)
    own.cancel()
    for wrong in None, 5, "x":
        t.attempt(h.wrap_future, wrong, loop=t.loop)
    t.attempt(h.wrap_future)
    t.attempt(h.wrap_future, concurrent.futures.Future(), t.loop)


@mixed
def test_wrap_future_of_a_closed_loop(t):
    future = concurrent.futures.Future()
    wrapped = helpers(t).wrap_future(future, loop=t.loop)
    t.loop.close()
    future.set_result(1)
    t.say(wrapped.done())


# --- run_coroutine_threadsafe


@mixed
def test_run_coroutine_threadsafe(t):
    h = helpers(t)

    async def value(n):
        await h.sleep(0)
        return n

    async def fails(exc):
        await h.sleep(0)
        raise exc

    async def main():
        for coro in value(1), fails(ValueError(2)), fails(asyncio.CancelledError("c")), fails(concurrent.futures.TimeoutError(3)), h.sleep(0, "slept"):
            future = h.run_coroutine_threadsafe(coro, t.loop)
            t.say(type(future), future.done())
            while not future.done():
                await h.sleep(0)
            t.attempt(future.result, 0)
            t.say(future.cancelled())
        future = h.run_coroutine_threadsafe(h.sleep(60), t.loop)
        await h.sleep(0)
        t.say(future.cancel(), future.cancelled())
        for _ in range(4):
            await h.sleep(0)
        t.say(len(asyncio.all_tasks()))
        never = h.run_coroutine_threadsafe(value(3), t.loop)
        t.say(never.cancel())
        for _ in range(4):
            await h.sleep(0)
        t.say(len(asyncio.all_tasks()), never.cancelled())

    t.run(main())
    for wrong in None, 5, value, t.loop.create_future():
        t.attempt(h.run_coroutine_threadsafe, wrong, t.loop)
    t.attempt(h.run_coroutine_threadsafe)
    t.loop.close()
    coro = value(4)
    t.attempt(h.run_coroutine_threadsafe, coro, t.loop)
    coro.close()


@mixed
def test_run_coroutine_threadsafe_whose_task_is_not_made(t):
    h = helpers(t)
    seen = []
    t.loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))

    async def main():
        pass

    for exc in ValueError("factory"), RuntimeError("factory"), asyncio.CancelledError():
        t.loop.set_task_factory(lambda loop, coro, **kwargs: raises(exc))
        coro = main()
        future = h.run_coroutine_threadsafe(coro, t.loop)
        t.pump(2)
        t.say(future.done(), future.cancelled())
        t.attempt(future.result, 0)
        coro.close()
    t.loop.set_task_factory(lambda loop, coro, **kwargs: interleave.NATIVE["Task"](coro, loop=loop))
    future = h.run_coroutine_threadsafe(main(), t.loop)
    t.pump(4)
    t.say(future.done(), seen)


# --- create_task, ensure_future, current_task, all_tasks


@mixed
def test_create_task(t):
    h = helpers(t)

    async def value():
        return asyncio.current_task().get_name(), var.get()

    async def main():
        context = contextvars.copy_context()
        context.run(var.set, "in the context")
        for kwargs in {}, {"name": "n"}, {"name": 5}, {"context": context}, {"name": "both", "context": context}, {"name": None, "context": None}:
            task = h.create_task(value(), **kwargs)
            t.say(isinstance(task, asyncio.Task), await task)
        t.say(await h.create_task(coro=value(), name="by name"))
        for args, kwargs in ((), {}), ((5,), {}), ((None,), {"name": "n"}), ((), {"name": "n"}):
            t.attempt(lambda: h.create_task(*args, **kwargs))
        coro = value()
        t.attempt(lambda: h.create_task(coro, "n"))
        with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
            h.create_task(coro, other=1)
        coro.close()
        t.loop.set_task_factory(lambda loop, coro, **kwargs: (t.say(sorted(kwargs)), interleave.NATIVE["Task"](coro, loop=loop))[1])
        t.say(await h.create_task(value(), name="made"))
        await h.create_task(value())
        t.loop.set_task_factory(None)

    t.run(main())
    coro = main()
    t.attempt(h.create_task, coro)
    coro.close()


@mixed
def test_ensure_future(t):
    h = helpers(t)

    class Awaitable:
        def __await__(self):
            yield from h.sleep(0).__await__()
            return "awaited"

    async def value():
        return 1

    async def main():
        for awaitable in value(), h.sleep(0, 2), Awaitable():
            future = h.ensure_future(awaitable)
            t.say(isinstance(future, asyncio.Task), await future)
        own = t.future()
        t.say(h.ensure_future(own) is own, h.ensure_future(own, loop=t.loop) is own, h.ensure_future(own, loop=None) is own)
        own.cancel()

    t.run(main())
    t.say(t.loop.run_until_complete(h.ensure_future(value(), loop=t.loop)))
    t.attempt(h.ensure_future, t.future(), loop=5)
    for wrong in None, 5, value:
        t.attempt(h.ensure_future, wrong, loop=t.loop)
    t.attempt(h.ensure_future)
    t.loop.set_task_factory(lambda loop, coro, **kwargs: raises(RuntimeError("no tasks")))
    coro = value()
    t.attempt(h.ensure_future, coro, loop=t.loop)
    t.say(inspect.getcoroutinestate(coro))
    t.loop.set_task_factory(lambda loop, coro, **kwargs: raises(ValueError("no tasks")))
    coro = value()
    t.attempt(h.ensure_future, coro, loop=t.loop)
    t.say(inspect.getcoroutinestate(coro))
    coro.close()
    t.loop.close()
    t.attempt(h.ensure_future, value(), loop=t.loop)


@mixed
def test_current_task_and_all_tasks(t):
    h = helpers(t)
    other = t.new_loop()

    async def main():
        me = h.current_task()
        native = interleave.NATIVE["Task"](look("native"), loop=t.loop, name="native")
        ours = t.task(look("other"), name="other")
        elsewhere = t.task(look("elsewhere"), loop=other, name="elsewhere")
        t.say(me is asyncio.current_task(), h.current_task(t.loop) is me, h.current_task(loop=None) is me, h.current_task(other) is None)
        t.say(h.all_tasks() == {me, native, ours},  h.all_tasks(other) == {elsewhere})
        t.loop.call_soon(lambda: t.say(h.current_task(), len(h.all_tasks())))
        await native
        await ours
        t.say(h.all_tasks() == {me}, h.all_tasks(loop=t.loop) == {me})
        elsewhere.cancel()

    async def look(name):
        t.say(h.current_task().get_name() == name, h.current_task() is asyncio.current_task())
        await h.sleep(0)
        t.say(h.current_task().get_name() == name)

    t.run(main())
    t.attempt(h.current_task)
    t.attempt(h.all_tasks)
    t.say(h.current_task(t.loop), h.all_tasks(t.loop))
    for function in h.current_task, h.all_tasks:
        with pytest.raises(TypeError):
            function(1, 2)


if sys.version_info >= (3, 12):
    @mixed
    def test_all_tasks_sees_eager_ones(t):
        h = helpers(t)

        async def look():
            t.say(h.current_task() in h.all_tasks(), h.current_task() is asyncio.current_task())
            await h.sleep(0)

        async def main():
            t.loop.set_task_factory(asyncio.eager_task_factory)
            await h.create_task(look())

        t.run(main())


@mixed
def test_a_pool_that_is_shut_down_in_the_loops_thread(t):
    """From 3.14 on its futures are cancelled at once, before in a later pass."""
    async def main():
        pool, go_on = concurrent.futures.ThreadPoolExecutor(1), threading.Event()
        running, queued = t.loop.run_in_executor(pool, go_on.wait), t.loop.run_in_executor(pool, print)
        pool.shutdown(wait=False, cancel_futures=True)
        t.say(running.done(), queued.cancelled())
        go_on.set()
        t.say(await running)
        t.say(queued.cancelled())

    t.run(main())


@mixed
def test_a_running_loop_that_is_replaced_for_every_thread(t):
    """From 3.14 on the thread that says the loop runs in it ends the future itself."""
    before = asyncio.events._get_running_loop
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asyncio.events._get_running_loop = lambda: t.loop
        try:
            futures = [t.loop.run_in_executor(pool, int, "7"), t.loop.run_in_executor(pool, int, "x")]
            pool.submit(int).result()  # the others are over
            t.say([future.done() for future in futures])
        finally:
            asyncio.events._get_running_loop = before
        t.loop.run_until_complete(asyncio.wait(futures))
        t.say(futures[0].result(), futures[1].exception())
