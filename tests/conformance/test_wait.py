"""asyncio.wait against asyncloop.wait."""
import asyncio
import gc
import inspect
import sys
import weakref

from sidebyside import attempt, awaited_by, mixed, same


async def value(t, n=1, delay=0):
    if delay is not None:
        await t.sleep(delay)
    return n


async def failing(t, delay=0):
    await t.sleep(delay)
    raise ValueError("failed")


def shown(sets, names):
    done, pending = sets
    assert type(done) is type(pending) is set
    return sorted(names[x] for x in done), sorted(names[x] for x in pending)


def named(futures):
    return {future: i for i, future in enumerate(futures)}


@mixed
def test_return_when(t):
    """In which pass it returns, when each child ends in a pass of its own."""
    lib = t.kit.classes
    ends = {"result": lambda f: f.set_result(1), "error": lambda f: f.set_exception(ValueError("failed")), "cancel": lambda f: f.cancel()}
    plans = ([(0, "result"), (0, "result"), (0, "result")], [(0, "result"), (5, "cancel")], [(1, "error"), (5, "cancel"), (5, "result")],
             [(3, "error"), (1, "result"), (5, "cancel")], [(1, "cancel"), (3, "error")], [(2, "error")])

    async def main():
        for return_when in (asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, "ALL_COMPLETED", "FIRST_" + "COMPLETED"):
            for plan in plans:
                futures = [t.future() for _ in plan]
                task = t.task(lib.wait(futures, timeout=60, return_when=return_when))
                await t.sleep(0)
                said = False
                for now in range(10):
                    for future, (when, how) in zip(futures, plan):
                        if when == now:
                            ends[how](future)
                    await t.sleep(0)
                    if task.done() and not said:
                        t.say(return_when, now, shown(task.result(), named(futures)))
                        said = True
                for future in futures:
                    future.cancelled() or future.exception()

    t.run(main())


@mixed
def test_done_already(t):
    """One more pass all the same."""
    lib = t.kit.classes

    async def main():
        done, other = t.future(), t.future()
        done.set_result(1)
        order = []
        asyncio.get_running_loop().call_soon(order.append, "before")
        t.say(shown(await lib.wait([done]), {done: 0}), order)
        t.say(shown(await lib.wait([done, other], return_when=asyncio.FIRST_COMPLETED), {done: 0, other: 1}))
        broken = t.future()
        broken.set_exception(ValueError("retrieved by wait"))
        t.say(shown(await lib.wait([broken, other], return_when=asyncio.FIRST_EXCEPTION), {broken: 0, other: 1}))
        broken = t.future()
        broken.set_exception(ValueError("retrieved by nobody"))
        t.say(shown(await lib.wait([broken]), {broken: 0}))
        other.cancel()

    t.run(main())
    gc.collect()


@mixed
def test_what_may_be_given(t):
    lib = t.kit.classes

    class Unhashable(list):
        pass

    class Falsy(list):
        def __bool__(self):
            return False

    async def main():
        future = t.future()
        future.set_result(1)
        for fs in ([future], (future,), {future}, frozenset([future]), {future: 1}, iter([future]), Unhashable([future])):
            t.say(shown(await lib.wait(fs), {future: 0}))
        coro = value(t)
        await attempt(t, lib.wait(f for f in [future, future]))
        for fs in ([], (), set(), iter([]), Falsy([future]), future, coro, 5, None, "", "ab", [5], [None, future], [[]], [coro], [future, coro], object):
            await attempt(t, lib.wait(fs))
        coro.close()
        for timeout in ("x", []):
            await attempt(t, lib.wait([t.future()], timeout=timeout))
        for return_when in ("", "first_completed", None, 5, [], Exception):
            await attempt(t, lib.wait([future], return_when=return_when))

    t.run(main())


@mixed
def test_signature(t):
    lib = t.kit.classes
    t.attempt(inspect.signature, lib.wait)
    for call in (lambda: lib.wait(), lambda: lib.wait([], 1), lambda: lib.wait([], 1, 2), lambda: lib.wait([], until=1), lambda: lib.wait([], fs=[]),
                 lambda: lib.wait(timeout=1)):
        try:
            call().close()
        except TypeError as exc:
            t.say(str(exc))
    coro = lib.wait(fs=[], timeout=None, return_when=asyncio.ALL_COMPLETED)
    t.say(asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__, asyncio.iscoroutinefunction(lib.wait))
    try:
        coro.send(None)
    except ValueError as exc:
        t.say(str(exc))
    lib.wait([])
    gc.collect()
    try:
        lib.wait([t.future()]).send(None)
    except RuntimeError as exc:
        t.say(str(exc))


@mixed
def test_timeouts(t):
    lib = t.kit.classes

    async def main():
        future = t.future()
        for timeout in (0, -1, 0.001, True - 1, 1e-9):
            t.say(shown(await lib.wait([future], timeout=timeout), {future: 0}))
        asyncio.get_running_loop().call_soon(future.set_result, 1)
        t.say(shown(await lib.wait([future], timeout=60), {future: 0}))

    t.run(main())


@mixed
def test_cancelled(t):
    lib = t.kit.classes

    async def main():
        futures = [t.future(), t.task(value(t, 1, 60))]
        for timeout in (None, 60):
            task = t.task(lib.wait(futures, timeout=timeout))
            await t.sleep(0)
            t.say([len(f._callbacks or ()) for f in futures])
            task.cancel("stop")
            await attempt(t, task)
            t.say([f.done() for f in futures], [len(f._callbacks or ()) for f in futures])
        futures[0].set_result(1)
        task = t.task(lib.wait([futures[0]]))
        await t.sleep(0)
        task.cancel()
        await attempt(t, task)
        futures[1].cancel()

    t.run(main())


@mixed
def test_woken_and_cancelled_in_one_pass(t):
    lib = t.kit.classes

    async def main():
        for first in (True, False):
            future = t.future()
            task = t.task(lib.wait([future]))
            await t.sleep(0)
            if first:
                future.set_result(1)
            task.cancel()
            if not first:
                future.set_result(1)
            await attempt(t, task)

    t.run(main())


@mixed
def test_order_of_events(t):
    lib = t.kit.classes

    async def waiting(name, futures, **kw):
        done, pending = await lib.wait(futures, **kw)
        t.say(name, len(done), len(pending))

    async def main():
        futures = [t.future() for _ in range(4)]
        tasks = [t.task(waiting("all", futures)), t.task(waiting("first", futures, return_when=asyncio.FIRST_COMPLETED)),
                 t.task(waiting("exception", futures, return_when=asyncio.FIRST_EXCEPTION))]
        await t.sleep(0)
        for i, future in enumerate(futures):
            future.add_done_callback(lambda f, i=i: t.say("callback", i))
            if i == 2:
                future.set_exception(ValueError())
            else:
                future.set_result(i)
            t.say("set", i)
            await t.sleep(0)
        await t.gather(*tasks)
        t.say([type(f.exception()).__name__ for f in futures])

    t.run(main())


@mixed
def test_mixed_children(t):
    """asyncio's own futures and tasks, ours, subclasses, and things that only look like futures."""
    lib = t.kit.classes

    class Future(t.kit.Future):
        def add_done_callback(self, *args, **kw):
            t.say("add", len(args))
            return super().add_done_callback(*args, **kw)

        def remove_done_callback(self, fn):
            t.say("remove")
            return super().remove_done_callback(fn)

        def done(self):
            t.say("done")
            return super().done()

    async def main():
        loop = asyncio.get_running_loop()
        native = loop.run_in_executor(None, int, "5")
        futures = [asyncio.futures._CFuture(loop=loop), asyncio.futures._PyFuture(loop=loop), t.future(), Future(loop=loop),
                   t.task(value(t)), native, asyncio.tasks._PyTask(value(t), loop=loop)]
        for future in futures[:4]:
            loop.call_soon(future.set_result, 1)
        for kw in ({}, {"return_when": asyncio.FIRST_EXCEPTION}, {"timeout": 60}):
            t.say(shown(await lib.wait(futures, **kw), named(futures)))
        futures = [asyncio.futures._CFuture(loop=loop), asyncio.futures._PyFuture(loop=loop), Future(loop=loop), t.future()]
        t.say(shown(await lib.wait(futures, timeout=0.001), named(futures)))
        t.say([len(f._callbacks or ()) for f in futures])
        futures[1].set_exception(ValueError("x"))
        t.say(shown(await lib.wait(futures, return_when=asyncio.FIRST_EXCEPTION), named(futures)))

    t.run(main())


@mixed
def test_the_same_child_twice_and_by_two(t):
    lib = t.kit.classes

    async def main():
        future = t.future()
        asyncio.get_running_loop().call_soon(future.set_result, 1)
        tasks = [t.task(lib.wait([future, future])), t.task(lib.wait({future}))]
        for sets in await t.gather(*tasks):
            t.say(shown(sets, {future: 0}))

    t.run(main())


@mixed
def test_nothing_is_kept(t):
    lib = t.kit.classes

    async def main():
        future = t.future()
        ref = weakref.ref(future)
        asyncio.get_running_loop().call_soon(future.set_result, 1)
        sets = await lib.wait([future], timeout=60)
        del future, sets
        await t.sleep(0)
        gc.collect()
        t.say(ref() is None)
        pending = t.future()
        ref = weakref.ref(pending)
        sets = await lib.wait([pending], timeout=0.001)
        del pending, sets
        await t.sleep(0)
        gc.collect()
        t.say(ref() is None)

    t.run(main())


@mixed
def test_from_another_loop(t):
    lib = t.kit.classes

    async def main():
        await attempt(t, lib.wait([t.future(loop=t.new_loop())], timeout=0.001))

    t.run(main())


@same
def test_call_graph(t):
    """3.14+: who waits for a child."""
    if sys.version_info < (3, 14):
        return
    lib = t.kit.classes

    async def main():
        futures = [t.future(), t.task(value(t, 1, 60))]
        task = t.task(lib.wait(futures), name="waits")
        await t.sleep(0)
        await t.sleep(0)
        t.say(awaited_by(futures))
        task.cancel()
        await attempt(t, task)
        t.say(awaited_by(futures))
        task = t.task(lib.wait(futures, return_when=asyncio.FIRST_COMPLETED), name="waits")
        await t.sleep(0)
        futures[0].set_result(1)
        await task
        t.say(awaited_by(futures))
        futures[1].cancel()

    t.run(main())
