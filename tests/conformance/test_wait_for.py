"""asyncio.wait_for against asyncloop.wait_for."""
import asyncio
import gc
import inspect
import sys
import weakref

from sidebyside import mixed, same


async def value(t, n=1, delay=None):
    if delay is not None:
        await t.sleep(delay)
    return n


async def failing(t, delay=None):
    if delay is not None:
        await t.sleep(delay)
    raise ValueError("failed")


def linked(exc):
    """The exception and its cause."""
    return type(exc).__name__, str(exc), type(exc.__cause__).__name__, exc.__suppress_context__


async def attempt(t, coro):
    try:
        t.say("returned", await coro)
    except BaseException as exc:
        t.say("raised", linked(exc))


@mixed
def test_in_time(t):
    lib = t.kit.classes

    async def main():
        for timeout in (60, 60.0, None, 10 ** 10):
            for delay in (None, 0, 0.0001):
                await attempt(t, lib.wait_for(value(t, "x", delay), timeout))
                await attempt(t, lib.wait_for(failing(t, delay), timeout))
                await attempt(t, lib.wait_for(t.task(value(t, "task", delay)), timeout))
            done = t.future()
            done.set_result("done")
            await attempt(t, lib.wait_for(done, timeout))
            done = t.future()
            done.set_exception(KeyError("done"))
            await attempt(t, lib.wait_for(done, timeout))
            done = t.future()
            done.cancel("cancelled")
            await attempt(t, lib.wait_for(done, timeout))
            await attempt(t, lib.wait_for(t.sleep(0, "sleep"), timeout))
            await attempt(t, lib.wait_for(t.gather(value(t), value(t, 2)), timeout))
            await attempt(t, lib.wait_for(lib.wait_for(value(t, "inner", 0), timeout), timeout))
        t.say(asyncio.current_task().cancelling())

    t.run(main())


@mixed
def test_too_late(t):
    lib = t.kit.classes

    async def slow():
        try:
            await t.sleep(60)
        finally:
            t.say("cleaned up")

    async def main():
        for timeout in (0.001, 1e-9, 0, -1, -0.5, False):
            await attempt(t, lib.wait_for(slow(), timeout))
            task = t.task(slow())
            await t.sleep(0)
            await attempt(t, lib.wait_for(task, timeout))
            t.say(task.cancelled())
            future = t.future()
            await attempt(t, lib.wait_for(future, timeout))
            t.say(future.cancelled())
            await attempt(t, lib.wait_for(t.sleep(60), timeout))
            t.say(asyncio.current_task().cancelling())

    t.run(main())


@mixed
def test_no_time_at_all(t):
    lib = t.kit.classes

    async def started():
        t.say("started")

    async def main():
        for timeout in (0, -1):
            await attempt(t, lib.wait_for(started(), timeout))
            done = t.future()
            done.set_result("done")
            await attempt(t, lib.wait_for(done, timeout))
            done = t.future()
            done.set_exception(ValueError("done"))
            await attempt(t, lib.wait_for(done, timeout))
            done = t.future()
            done.cancel("cancelled")
            await attempt(t, lib.wait_for(done, timeout))
            await attempt(t, lib.wait_for(5, timeout))

    t.run(main())


@mixed
def test_it_ends_otherwise_when_it_is_cancelled(t):
    lib = t.kit.classes

    async def stubborn(make):
        try:
            await t.sleep(60)
        except asyncio.CancelledError:
            await t.sleep(0)
            return make()

    def raising():
        raise ValueError("while it was cancelled")

    async def main():
        for timeout in (0.001, 0):
            for make in (lambda: "a value", raising):
                await attempt(t, lib.wait_for(stubborn(make), timeout))
                task = t.task(stubborn(make))
                await t.sleep(0)
                await attempt(t, lib.wait_for(task, timeout))
                t.say(task.done(), task.cancelled(), task.cancelling())

    t.run(main())


@mixed
def test_cancelled_while_waiting(t):
    lib = t.kit.classes

    async def slow(result=None):
        try:
            await t.sleep(60)
        except asyncio.CancelledError as exc:
            t.say("cancelled with", exc.args)
            if result is not None:
                return result
            raise

    async def main():
        for timeout in (60, None):
            for make in (slow, lambda: t.task(slow()), t.future, lambda: slow("instead"), lambda: t.task(slow("instead"))):
                inner = make()
                task = t.task(lib.wait_for(inner, timeout))
                await t.sleep(0)
                await t.sleep(0)
                task.cancel("stop")
                await attempt(t, task)
                t.say(task.cancelled(), getattr(inner, "cancelled", lambda: None)())

    t.run(main())


@mixed
def test_done_and_cancelled_in_one_pass(t):
    lib = t.kit.classes

    async def main():
        for end in (lambda f: f.set_result("result"), lambda f: f.set_exception(ValueError("error")), lambda f: f.cancel("inner")):
            for first in (True, False):
                future = t.future()
                task = t.task(lib.wait_for(future, 60))
                await t.sleep(0)
                if first:
                    end(future)
                task.cancel("outer")
                if not first and not future.done():
                    end(future)
                await attempt(t, task)

    t.run(main())


@mixed
def test_cancelled_while_it_cancels(t):
    lib = t.kit.classes

    async def stubborn():
        try:
            await t.sleep(60)
        except asyncio.CancelledError:
            for _ in range(4):
                try:
                    await t.sleep(0)
                except asyncio.CancelledError:
                    t.say("again")
            return "at last"

    async def main():
        for passes in range(1, 6):
            for timeout in (0, 1e-9):
                inner = t.task(stubborn())
                await t.sleep(0)
                task = t.task(lib.wait_for(inner, timeout))
                for _ in range(passes):
                    await t.sleep(0)
                t.say(passes, timeout == 0, task.cancel("outer"))
                await attempt(t, task)
                t.say(inner.cancelling() >= 1)
                await lib.wait([inner])

    t.run(main())


@mixed
def test_what_may_be_given(t):
    lib = t.kit.classes

    class Awaitable:
        def __await__(self):
            yield from t.sleep(0).__await__()
            return "awaited"

    class Bad:
        def __await__(self):
            return 5

    async def main():
        for make in (Awaitable, Bad, lambda: 5, lambda: None, lambda: iter([]), lambda: [], Awaitable().__await__):
            for timeout in (60, None):
                await attempt(t, lib.wait_for(make(), timeout))
        for timeout in ("x", [], 1j, object()):
            coro = value(t)
            try:
                await lib.wait_for(coro, timeout)
            except TypeError as exc:
                t.say(str(exc)[:40].split(" of type")[0].split("object")[0])
            coro.close()
        coro = value(t)
        await coro
        await attempt(t, lib.wait_for(coro, 60))

    t.run(main())


@mixed
def test_signature(t):
    lib = t.kit.classes
    t.say(str(inspect.signature(lib.wait_for)))
    for call in (lambda: lib.wait_for(), lambda: lib.wait_for(1), lambda: lib.wait_for(1, 2, 3), lambda: lib.wait_for(1, timeout=1, loop=1),
                 lambda: lib.wait_for(timeout=1)):
        try:
            call().close()
        except TypeError as exc:
            t.say(str(exc))
    coro = lib.wait_for(fut=None, timeout=None)
    t.say(asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__, asyncio.iscoroutinefunction(lib.wait_for))
    coro.close()
    lib.wait_for(None, 1)
    gc.collect()
    future = t.future()
    for timeout in (1, None, 0):
        try:
            lib.wait_for(future, timeout).send(None)
        except RuntimeError as exc:
            t.say(str(exc))


@mixed
def test_in_which_task_it_runs(t):
    lib = t.kit.classes

    async def current():
        return asyncio.current_task()

    async def main():
        task = asyncio.current_task()
        t.say(await lib.wait_for(current(), 60) is task, await lib.wait_for(current(), None) is task,
              len(asyncio.all_tasks()))

    t.run(main())


@mixed
def test_order_of_events(t):
    lib = t.kit.classes

    async def step(name):
        for i in range(3):
            t.say(name, i)
            await t.sleep(0)
        return name

    async def main():
        await t.gather(lib.wait_for(step("a"), 60), step("b"), lib.wait_for(t.task(step("c")), 60), lib.wait_for(step("d"), None))

    t.run(main())


@mixed
def test_closed_and_thrown_into(t):
    lib = t.kit.classes

    async def slow():
        try:
            await t.sleep(60)
        except BaseException as exc:
            t.say(type(exc).__name__)
            raise

    async def inside():
        coro = lib.wait_for(slow(), 60)
        t.say(asyncio.isfuture(coro.send(None)))
        t.attempt(coro.close)
        coro = lib.wait_for(slow(), None)
        coro.send(None)
        t.attempt(coro.throw, ValueError("thrown"))
        t.attempt(coro.send, None)
        coro = lib.wait_for(value(t), 60)
        t.attempt(coro.throw, KeyError("before it began"))

    async def main():
        if sys.version_info >= (3, 12):  # before, a task is left behind
            await inside()

    t.run(main())


@mixed
def test_native_futures(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        for make in (asyncio.futures._CFuture, asyncio.futures._PyFuture):
            for timeout in (60, None):
                future = make(loop=loop)
                loop.call_soon(future.set_result, "set")
                await attempt(t, lib.wait_for(future, timeout))
            for timeout in (0.001, 0):
                future = make(loop=loop)
                await attempt(t, lib.wait_for(future, timeout))
                t.say(future.cancelled())
        for make in (asyncio.tasks._CTask, asyncio.tasks._PyTask):
            await attempt(t, lib.wait_for(make(value(t, 1, 0), loop=loop), 60))
            await attempt(t, lib.wait_for(make(value(t, 1, 60), loop=loop), 0.001))
            await attempt(t, make(lib.wait_for(value(t, 1, 0), 60), loop=loop))
            await attempt(t, make(lib.wait_for(value(t, 1, 60), 0.001), loop=loop))

    t.run(main())


@mixed
def test_nothing_is_kept(t):
    lib = t.kit.classes

    async def main():
        for timeout in (60, 0.001):
            future = t.future()
            ref = weakref.ref(future)
            if timeout == 60:
                asyncio.get_running_loop().call_soon(future.set_result, 1)
            try:
                await lib.wait_for(future, timeout)
            except TimeoutError:
                pass
            del future
            gc.collect()
            t.say(ref() is None)

    t.run(main())


@same
def test_of_a_bounded_step(t):
    """Equal deadlines: the limit was there first."""
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.time = lambda: now
        waiting = t.task(lib.wait_for(t.sleep(1, "slept"), 1))
        await t.sleep(0)
        await t.sleep(0)
        loop.time = lambda: now + 2
        await attempt(t, waiting)
        del loop.time

    t.run(main())
