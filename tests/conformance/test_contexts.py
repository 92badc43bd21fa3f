"""What an exception's __context__ and __cause__ are, where one is raised while another is handled inside of a helper."""
import asyncio

from kits import chain
from sidebyside import mixed


async def ended(t, shown, task):
    await asyncio.wait([task], timeout=1)
    if task.cancelled():
        try:
            await task
        except asyncio.CancelledError as exc:
            t.say(shown, chain(exc))
    else:
        t.say(shown, chain(task.exception()) if task.exception() else task.result())


@mixed
def test_wait_for_that_is_cancelled(t):
    """In the pass in which its future ends, before it, and again while it cancels that."""
    lib = t.kit.classes

    async def stubborn(times, exc):
        for _ in range(times):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                pass
        if exc is not None:
            raise exc
        return "value"

    async def main():
        for how in ("result", "exception", "cancel"):
            future = t.future()
            task = t.task(lib.wait_for(future, 5))
            await asyncio.sleep(0.001)
            if how == "result":
                future.set_result(how)
            elif how == "exception":
                future.set_exception(ValueError("inner"))
            else:
                future.cancel("inner")
            task.cancel("outer")
            await ended(t, how, task)
        for times, exc in ((1, None), (1, ValueError("at the end")), (2, None), (2, ValueError("at the end"))):
            task = t.task(lib.wait_for(stubborn(times, exc), 5))
            await asyncio.sleep(0.001)
            task.cancel("first")
            await asyncio.sleep(0.001)
            if not task.done():
                task.cancel("second")
                await asyncio.sleep(0.001)
            if not task.done():
                task.cancel("third")
            await ended(t, times, task)

    t.run(main())


@mixed
def test_wait_for_whose_time_is_up(t):
    lib = t.kit.classes

    async def late(exc):
        try:
            await asyncio.sleep(5)
        finally:
            if exc is not None:
                raise exc

    async def main():
        for timeout in (0.001, 0, -1):
            for exc in (None, ValueError("late"), asyncio.CancelledError("own")):
                await ended(t, timeout, t.task(lib.wait_for(late(exc), timeout)))
                try:
                    raise KeyError("around")
                except KeyError:
                    try:
                        await lib.wait_for(late(exc and type(exc)("again")), timeout)
                    except BaseException as raised:
                        t.say(chain(raised))

    t.run(main())


@mixed
def test_condition_that_is_cancelled(t):
    """While it waits, and while it takes the lock again."""
    lib = t.kit.classes

    async def main():
        for times in (1, 2, 3):
            condition = lib.Condition()

            async def waits():
                async with condition:
                    await condition.wait()

            task = t.task(waits())
            await asyncio.sleep(0.001)
            await condition.acquire()
            for i in range(times):
                task.cancel(str(i))
                await asyncio.sleep(0.001)
            condition.release()
            await ended(t, times, task)

    t.run(main())


@mixed
def test_blocks(t):
    lib = t.kit.classes

    async def main():
        async def group():
            async with lib.TaskGroup() as g:
                g.create_task(asyncio.sleep(5))
                raise ValueError("body")

        async def limit(exc):
            async with lib.timeout(0.001):
                try:
                    await asyncio.sleep(5)
                finally:
                    if exc is not None:
                        raise exc

        await ended(t, "group", t.task(group()))
        for exc in (None, ValueError("in the block"), asyncio.CancelledError("own")):
            await ended(t, "timeout", t.task(limit(exc)))

    t.run(main())


@mixed
def test_queue_and_semaphore_that_are_cancelled(t):
    lib = t.kit.classes

    async def main():
        queue, full, semaphore = lib.Queue(), lib.Queue(1), lib.Semaphore(0)
        full.put_nowait(0)
        for make in (queue.get, lambda: full.put(1), semaphore.acquire, lib.Event().wait, lib.Barrier(2).wait):
            task = t.task(make())
            await asyncio.sleep(0.001)
            task.cancel("cancelled")
            await ended(t, "wait", task)

    t.run(main())
