"""asyncio.as_completed against asyncloop.as_completed."""
import asyncio
import gc
import inspect
import sys
import weakref

from sidebyside import attempt, awaited_by, mixed, same

ASYNC = sys.version_info >= (3, 13)  # asynchronous iteration, and it begins at once


async def value(t, n=1, passes=0):
    for _ in range(passes):
        await t.sleep(0)
    return n


async def failing(t, passes=0):
    await value(t, 0, passes)
    raise ValueError("failed")


@mixed
def test_plain_iteration(t):
    lib = t.kit.classes

    async def main():
        for coro in lib.as_completed([value(t, i, 8 - 2 * i) for i in range(5)]):
            t.say(asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__)
            await attempt(t, coro)
        for coro in lib.as_completed([t.task(value(t, 1, 3)), failing(t, 1)]):
            await attempt(t, coro)
        t.say([await c for c in lib.as_completed([])])
        futures = [t.future() for _ in range(3)]
        futures[0].set_result("done before")
        futures[1].cancel("cancelled before")
        futures[2].set_exception(KeyError("failed before"))
        outcomes = []
        for coro in lib.as_completed(futures):
            try:
                outcomes.append(await coro)
            except (KeyError, asyncio.CancelledError) as exc:
                outcomes.append(repr(exc))
        t.say(sorted(outcomes))

    t.run(main())


@mixed
def test_asynchronous_iteration(t):
    if not ASYNC:
        t.say(hasattr(t.kit.classes.as_completed([]), "__aiter__"))
        return
    lib = t.kit.classes

    async def main():
        tasks = [t.task(value(t, i, 6 - 2 * i)) for i in range(3)]
        async for task in lib.as_completed(tasks):
            t.say(tasks.index(task), task.done(), await task)
        async for task in lib.as_completed([value(t, "coroutine"), failing(t, 3)]):
            t.say(isinstance(task, asyncio.Task))
            await attempt(t, task)
        async for _ in lib.as_completed([]):
            t.say("not reached")
        iterator = lib.as_completed([value(t)])
        t.say(iterator.__aiter__() is iterator, iter(iterator) is iterator)
        coro = iterator.__anext__()
        t.say(asyncio.iscoroutine(coro), coro.__name__)
        await coro
        await attempt(t, iterator.__anext__())
        t.attempt(next, iterator)

    t.run(main())


@mixed
def test_timeout(t):
    lib = t.kit.classes

    async def main():
        for timeout in (0.001, 0, -1):
            tasks = [t.future(), t.future(), t.future()]
            tasks[0].set_result("done before")
            for coro in lib.as_completed(tasks, timeout=timeout):
                await attempt(t, coro)
            t.say([len(f._callbacks or ()) for f in tasks])
        for coro in lib.as_completed([value(t, 1, 2), value(t, 1)], timeout=60):
            await attempt(t, coro)
        if ASYNC:
            done = t.future()
            done.set_result("done before")
            iterator = lib.as_completed([t.future(), done], timeout=0.001)
            try:
                async for future in iterator:
                    t.say(future.result())
            except TimeoutError as exc:
                t.say(repr(exc))
            await attempt(t, iterator.__anext__())
        for timeout in ("x", []):
            try:
                for coro in lib.as_completed([t.future()], timeout=timeout):
                    coro.close()
            except TypeError:
                t.say("TypeError")
        for coro in lib.as_completed([], timeout="x"):
            t.say("not reached")

    t.run(main())


@mixed
def test_in_any_order_and_at_once(t):
    """The coroutines get the results in the order in which they run, not in which they were made."""
    lib = t.kit.classes

    async def named(name, coro):
        await attempt(t, coro)
        t.say(name)

    async def main():
        coros = list(lib.as_completed([value(t, i, 3 * i + 1) for i in range(4)]))
        await t.gather(*(named(i, coro) for i, coro in reversed(list(enumerate(coros)))))
        coros = list(lib.as_completed([value(t, i) for i in range(4)]))
        for _ in range(4):
            await t.sleep(0)
        t.say(sorted([await coro for coro in coros[::-1]]))

    t.run(main())


@mixed
def test_a_cancelled_getter(t):
    lib = t.kit.classes

    async def main():
        for passes in range(4):
            futures = [t.future(), t.future()]
            coros = list(lib.as_completed(futures))
            tasks = [t.task(coro) for coro in coros]
            await t.sleep(0)
            futures[0].set_result("first")
            for _ in range(passes):
                await t.sleep(0)
            tasks[0].cancel()
            await attempt(t, tasks[0])
            futures[1].set_result("second")
            await t.sleep(0)
            await t.sleep(0)
            await t.sleep(0)
            t.say(tasks[1].done())
            await attempt(t, tasks[1])
        if ASYNC:
            future = t.future()
            iterator = lib.as_completed([future])
            task = t.task(iterator.__anext__())
            await t.sleep(0)
            task.cancel()
            await attempt(t, task)
            future.set_result("taken later")
            task = t.task(iterator.__anext__())
            await t.sleep(0)
            await t.sleep(0)
            t.say(task.done())
            await attempt(t, task)

    t.run(main())


@mixed
def test_what_may_be_given(t):
    lib = t.kit.classes

    class Awaitable:
        def __await__(self):
            yield from t.sleep(0).__await__()
            return "awaited"

    async def main():
        future = t.future()
        future.set_result(1)
        for fs in ([future], (future,), {future}, {future: 1}, iter([future]), [Awaitable()], [t.sleep(0, 5)]):
            for coro in lib.as_completed(fs):
                await attempt(t, coro)
        coro = value(t)
        for fs in (5, None, [5], [None], "x", [[]], future, coro, Awaitable(), (f for f in [future, future])):
            try:
                t.say([await each for each in lib.as_completed(fs)])
            except TypeError as exc:
                t.say(str(exc))
        coro.close()
        if ASYNC:
            t.attempt(lib.as_completed, future)
        for call in (lambda: lib.as_completed(), lambda: lib.as_completed([], 1), lambda: lib.as_completed([], loop=1)):
            try:
                call()
            except TypeError as exc:
                t.say(str(exc))
        t.say(list(lib.as_completed(fs=[], timeout=None)), str(inspect.signature(lib.as_completed)))

    t.run(main())


@mixed
def test_when_it_begins(t):
    lib = t.kit.classes

    async def main():
        before = len(asyncio.all_tasks())
        iterator = lib.as_completed([value(t), value(t)])
        t.say(len(asyncio.all_tasks()) - before)
        coros = list(iterator)
        t.say(len(asyncio.all_tasks()) - before, len(coros))
        t.say([await coro for coro in coros])

    t.run(main())


@mixed
def test_never_awaited(t):
    lib = t.kit.classes

    async def main():
        future = t.future()
        future.set_result(1)
        for coro in lib.as_completed([future]):
            del coro
        gc.collect()
        await t.sleep(0)

    t.run(main())


@mixed
def test_without_a_running_loop(t):
    lib = t.kit.classes
    if sys.version_info < (3, 14):
        asyncio.set_event_loop(t.loop)
    future = t.future()
    future.set_result(1)
    try:
        coros = list(lib.as_completed([future]))
        t.say(t.loop.run_until_complete(coros[0]))
    except RuntimeError as exc:
        t.say(str(exc)[:20])
    finally:
        if sys.version_info < (3, 14):
            asyncio.set_event_loop(None)


@mixed
def test_native_futures(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        futures = [asyncio.futures._CFuture(loop=loop), asyncio.futures._PyFuture(loop=loop), asyncio.tasks._CTask(value(t, 3, 9), loop=loop)]
        loop.call_soon(futures[0].set_result, 1)
        loop.call_soon(loop.call_soon, futures[1].set_result, 2)
        for coro in lib.as_completed(futures):
            await attempt(t, coro)
        futures = [asyncio.futures._CFuture(loop=loop), asyncio.futures._PyFuture(loop=loop)]
        for coro in lib.as_completed(futures, timeout=0.001):
            await attempt(t, coro)
        t.say([len(f._callbacks or ()) for f in futures])

    t.run(main())


@mixed
def test_nothing_is_kept(t):
    """What was taken is let go while others are still awaited."""
    lib = t.kit.classes

    async def main():
        futures = [t.future() for _ in range(3)]
        refs = [weakref.ref(f) for f in futures]
        iterator = iter(lib.as_completed(futures))
        for i in range(3):
            coro = next(iterator)
            futures[i].set_result(i)
            futures[i] = None
            t.say(await coro)
            del coro
            await t.sleep(0)
            gc.collect()
            if ASYNC:  # before, asyncio's generator keeps one of them in a variable
                t.say([ref() is None for ref in refs])

    t.run(main())


@same
def test_call_graph(t):
    """3.14+: who waits for the children."""
    if sys.version_info < (3, 14):
        return
    lib = t.kit.classes

    async def waiting(futures):
        for coro in lib.as_completed(futures, timeout=60):
            await coro

    async def main():
        futures = [t.future(), t.future(), t.future()]
        task = t.task(waiting(futures), name="waits")
        await t.sleep(0)
        t.say(awaited_by(futures))
        futures[0].set_result(1)
        await t.sleep(0)
        t.say(awaited_by(futures))
        for future in futures[1:]:
            future.set_result(2)
        await task
        t.say(awaited_by(futures))

    t.run(main())
