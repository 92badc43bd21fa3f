"""asyncio.sleep against asyncloop.sleep."""
import asyncio
import decimal
import fractions
import gc
import inspect
import sys
import threading
import time
import warnings
import weakref

import pytest

from sidebyside import PATIENCE, blot, mixed


@mixed
def test_results(t):
    async def main():
        for delay in (0, 0.0, -1, -0.5, 1e-9, 0.001, False):
            t.say(await t.sleep(delay), await t.sleep(delay, "result"), await t.sleep(delay, result=5))
            t.say(await t.sleep(delay, (1, 2)), await t.sleep(delay, ()), await t.sleep(delay, None))
            t.say(await t.sleep(delay, StopIteration(4)), await t.sleep(delay, ValueError("as a value")))

    t.run(main())


@mixed
def test_keyword_delay(t):
    async def main():
        t.say(await t.sleep(delay=0, result=1))

    t.run(main())


@mixed
def test_wrong_arguments(t):
    async def main():
        for args, kw in (((), {}), ((0, 1, 2), {}), ((0,), {"loop": None}), ((0,), {"wrong": 1}), ((0, 1), {"result": 2})):
            try:
                t.sleep(*args, **kw)
                t.say("accepted")
            except TypeError:
                t.say("TypeError")

    t.run(main())


@mixed
def test_wrong_delays(t):
    async def main():
        for delay in (None, "x", b"", [], object, 1j, float("nan"), -float("nan"), {}):
            try:
                t.say(await t.sleep(delay))
            except Exception as exc:
                t.say(exc)

    t.run(main())


@mixed
def test_infinity_and_huge(t):
    async def main():
        for delay in (float("inf"), 1e300, 10**30, 1e18, 1e9):
            task = t.task(t.sleep(delay))
            await t.sleep(0)
            await t.sleep(0.001)
            t.say(task.done())
            task.cancel()
            await asyncio.wait([task])
            t.say(task.cancelled())
        t.say(await t.sleep(-float("inf"), "minus infinity"))

    t.run(main())


@mixed
def test_number_likes(t):
    class Index:
        def __index__(self):
            return 0

    class Float(float):
        pass

    async def main():
        for delay in (decimal.Decimal("0.001"), fractions.Fraction(1, 1000), Index(), Float(0.001), Float(0)):
            try:
                t.say(await t.sleep(delay, "ok"))
            except Exception as exc:
                t.say(exc)

    t.run(main())


def test_is_a_coroutine(kit, loop):
    sleep = kit.sleep(0)
    assert asyncio.iscoroutine(sleep)
    assert inspect.isawaitable(sleep)
    sleep.close()
    assert callable(kit.sleep)

    async def main():
        assert await asyncio.create_task(kit.sleep(0, "task")) == "task"
        assert await asyncio.ensure_future(kit.sleep(0, "future")) == "future"
        assert await asyncio.wait_for(kit.sleep(0, "wait_for"), 30) == "wait_for"
        assert await asyncio.wait_for(kit.sleep(0, "no limit"), None) == "no limit"
        assert await asyncio.shield(kit.sleep(0.001, "shield")) == "shield"
        assert await asyncio.gather(kit.sleep(0, 1), kit.sleep(0.001, 2)) == [1, 2]
        done, _ = await asyncio.wait([asyncio.create_task(kit.sleep(0, 3))])
        assert done.pop().result() == 3
        async with asyncio.TaskGroup() as group:
            task = group.create_task(kit.sleep(0.001, 4))
        assert task.result() == 4
        assert [await f for f in asyncio.as_completed([kit.sleep(0, 5)])] == [5]

    loop.run_until_complete(main())
    assert loop.run_until_complete(kit.sleep(0, "until complete")) == "until complete"
    with asyncio.Runner(loop_factory=kit.new_loop) as runner:
        assert runner.run(kit.sleep(0.001, "runner")) == "runner"


def test_run_coroutine_threadsafe_of_a_sleep(kit, loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        assert asyncio.run_coroutine_threadsafe(kit.sleep(0.001, 5), loop).result(30) == 5
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@mixed
def test_awaited_twice(t):
    async def main():
        sleep = t.sleep(0, 1)
        t.say(await sleep)
        try:
            await sleep
        except RuntimeError as exc:
            t.say(exc)
        sleep = t.sleep(0.001, 1)
        t.say(await sleep)
        try:
            await sleep
        except RuntimeError as exc:
            t.say(exc)

    t.run(main())


@mixed
def test_send_throw_close(t):
    sleep = t.sleep(0, "r")
    t.say(sleep.send(None))
    try:
        sleep.send(None)
    except StopIteration as exc:
        t.say("stopped", exc.value)
    t.attempt(sleep.send, None)
    sleep = t.sleep(0)
    t.attempt(sleep.send, "non-None to a fresh one")
    t.say(sleep.close(), sleep.close())
    t.attempt(sleep.send, None)
    sleep = t.sleep(0)
    t.attempt(sleep.throw, ValueError("thrown before the start"))
    t.attempt(sleep.send, None)
    sleep = t.sleep(0)
    sleep.send(None)
    t.attempt(sleep.throw, ValueError("thrown while suspended"))
    t.attempt(sleep.throw, KeyError("again"))
    sleep = t.sleep(0)
    sleep.send(None)
    t.say(sleep.close())
    t.attempt(sleep.throw, KeyError("after close"))


@mixed
def test_throw_into_a_waiting_one(t):
    async def main():
        for delay in (0, 0.5):
            sleep = t.sleep(delay)
            coro = sleep.__await__()
            first = coro.send(None)
            t.say(first is None)
            t.attempt(coro.throw, ValueError("out"))

    t.run(main())


@mixed
def test_outside_of_a_loop(t):
    sleep = t.sleep(1)
    t.attempt(sleep.send, None)
    sleep = t.sleep(0)
    t.say(sleep.send(None))
    sleep.close()
    negative = t.sleep(-5)
    t.say(negative.send(None))
    negative.close()


@mixed
def test_cancel(t):
    async def main():
        for delay in (0, 0.001, 10):
            task = t.task(t.sleep(delay))
            task.cancel("before the start")
            try:
                await task
            except asyncio.CancelledError as exc:
                t.say(delay, exc.args)

            async def wrapper():
                try:
                    await t.sleep(delay)
                except asyncio.CancelledError as exc:
                    t.say(delay, "inside", exc.args)
                    raise

            task = t.task(wrapper())
            await t.sleep(0)
            t.say(task.cancel("while asleep"))
            try:
                await task
            except asyncio.CancelledError as exc:
                t.say(exc.args, task.cancelled())

    t.run(main())


@mixed
def test_cancel_and_sleep_again(t):
    async def stubborn():
        for i in range(3):
            try:
                await t.sleep(10)
            except asyncio.CancelledError:
                t.say("again", i)
        await t.sleep(0.001)
        return "rested"

    async def main():
        task = t.task(stubborn())
        for _ in range(3):
            await t.sleep(0)
            task.cancel()
        t.say(await task)

    t.run(main())


@mixed
def test_timeouts(t):
    async def main():
        try:
            async with asyncio.timeout(0.001):
                await t.sleep(10)
        except TimeoutError:
            t.say("timeout")
        try:
            await asyncio.wait_for(t.sleep(10), 0.001)
        except asyncio.TimeoutError:
            t.say("wait_for")
        async with asyncio.timeout(10):
            t.say(await t.sleep(0.001, "in time"))

    t.run(main())


@mixed
def test_order_of_zero_sleeps(t):
    async def steps(name):
        for i in range(3):
            t.say(name, i)
            await t.sleep(0 if i != 1 else -1)

    async def main():
        await t.gather(*(steps(n) for n in "abc"))

    t.run(main())


def test_order_of_sleeps(kit, loop):
    order, deadlines = [], []

    async def one(delay):
        deadlines.append((loop.time() + delay, delay))
        await kit.sleep(delay)
        order.append(delay)

    async def main():
        await kit.gather(*(one(d) for d in (0.02, 0.002, 0.011, 0.006, 0.016)))
        assert order == [delay for _, delay in sorted(deadlines)]

    loop.run_until_complete(main())


def test_many_at_once(kit, loop):
    async def main():
        started = time.monotonic()
        results = await kit.gather(*(kit.sleep(0.001 + (i % 7) / 1000, i) for i in range(2000)))
        return results, time.monotonic() - started

    results, took = loop.run_until_complete(main())
    assert results == list(range(2000)) and 0.007 <= took < 30 * PATIENCE


def test_never_awaited_warns(kit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kit.sleep(1)
        gc.collect()
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert str(caught[0].message) == "coroutine 'sleep' was never awaited"


def test_names(kit):
    sleep = kit.sleep(0)
    try:
        assert sleep.__name__ == "sleep" and sleep.__qualname__ == "sleep"
        assert "sleep" in repr(sleep)
    finally:
        sleep.close()
    assert kit.sleep.__name__ == "sleep"
    assert list(inspect.signature(kit.sleep).parameters) == ["delay", "result"]


def test_task_repr_names_it(kit, loop):
    async def main():
        task = kit.Task(kit.sleep(10), loop=loop, name="n")
        await kit.sleep(0)
        text = repr(task)
        stack = task.get_stack()
        task.cancel()
        await asyncio.wait([task])
        return text, stack

    text, stack = loop.run_until_complete(main())
    assert "coro=<sleep()" in text
    assert len(stack) <= 1


@mixed
def test_cancelled_sleep_leaves_no_timer(t):
    class Mark:
        pass

    async def main():
        mark = Mark()
        ref = weakref.ref(mark)
        task = t.task(t.sleep(1000, mark))
        await t.sleep(0)
        del mark
        task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()
        t.say(ref() is None)

    t.run(main())


@mixed
def test_wakes_at_the_loops_own_time(t):
    async def main():
        before = t.loop.time()
        await t.sleep(0.003)
        t.say(t.loop.time() - before >= 0.003 - 1e-6)

    t.run(main())


@mixed
def test_task_destroyed_while_asleep(t):
    t.record_contexts()

    def build():
        task = t.task(t.sleep(1000), name="sleeper")
        t.pump(2)
        return len(repr(task)) > 0

    t.say(build())
    t.loop.close()
    gc.collect()


def test_pending_sleeps_of_a_closed_loop(kit):
    loop = kit.new_loop()
    tasks = [kit.Task(kit.sleep(1000), loop=loop) for _ in range(20)]
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
        assert "pending" in blot(repr(task))
    del tasks, task
    gc.collect()


@pytest.mark.parametrize("debug", [False, True])
def test_in_debug_mode(kit, loop, debug):
    loop.set_debug(debug)

    async def main():
        return await kit.sleep(0), await kit.sleep(0.001, 5)

    assert loop.run_until_complete(main()) == (None, 5)
    loop.set_debug(False)


@mixed
def test_eager_task_that_sleeps(t):
    if sys.version_info < (3, 12):
        t.say("came with 3.12")
        return

    async def main():
        for delay in (0, 0.001):
            task = t.task(t.sleep(delay, "r"), eager_start=True)
            t.say(task.done())
            t.say(await task)

    t.run(main())


@mixed
def test_awaited_by_hand(t):
    """What __await__() gives is an iterator, with all that a coroutine's has."""

    class Awaitable:
        def __init__(self, coro):
            self.coro = coro

        def __await__(self):
            return (yield from self.coro.__await__())

    class Handing(Awaitable):
        def __await__(self):
            return self.coro.__await__()

    async def main():
        for kind in Awaitable, Handing:
            t.say(await kind(t.sleep(0, 1)), await kind(t.sleep(0.001, (2, 3))))
            task = asyncio.ensure_future(kind(t.sleep(60)))
            await t.sleep(0)
            await t.sleep(0)
            task.cancel()
            t.say(await t.gather(task, return_exceptions=True))

    t.run(main())
    it = t.sleep(0, (4, 5)).__await__()
    t.say(iter(it) is it, next(it))
    try:
        next(it)
    except StopIteration as stop:
        t.say(stop.value)
    for method, args in ("send", (None,)), ("throw", (ValueError("late"),)), ("close", ()):
        t.attempt(getattr(it, method), *args)
    it = t.sleep(0).__await__()
    t.attempt(it.throw, ValueError("early"))
    it = t.sleep(0).__await__()
    it.close()
    t.attempt(next, it)
    coro = t.sleep(0)
    with pytest.raises(TypeError, match="is not iterable"):
        iter(coro)
    coro.close()
