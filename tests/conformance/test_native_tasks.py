"""Tasks of asyncio's own on any loop, waiting for what its create_future() gives: aiohttp, and whoever took the class before install(), makes such tasks."""
import asyncio
import weakref

import pytest

from sidebyside import mixed

TASKS = {"C": asyncio.tasks._CTask, "Python": asyncio.tasks._PyTask}


class Value:
    pass


def current_name():
    task = asyncio.current_task()  # None in a task in Python, from 3.14 on
    return task and task.get_name()


ENDS = {
    "result": lambda f: f.set_result("value"),
    "no result": lambda f: f.set_result(None),
    "exception": lambda f: f.set_exception(LookupError("no value")),
    "cancelled": lambda f: f.cancel("why"),
}


@mixed
def test_what_it_waited_for(t):
    """Twice, as the first wake-up of all is not like the others; and several that wait for one future."""
    async def main(make, end):
        loop = asyncio.get_running_loop()
        for waiters in (1, 1, 3):
            future = loop.create_future()

            async def wait(name):
                t.say(name, "waits", current_name())
                try:
                    t.say(name, await future, current_name())
                except (LookupError, asyncio.CancelledError) as exc:
                    t.say(name, type(exc).__name__, exc.args)
                return name

            tasks = [make(wait(n), loop=loop, name=f"waiter {n}") for n in range(waiters)]
            await t.settle()
            end(future)
            t.say([await task for task in tasks])

    for make in TASKS.values():
        for end in ENDS.values():
            t.run(main(make, end))


@mixed
def test_result_of_somebodys_own(t):
    """A result() that was set on the future, or that a subclass has, is what the wake-up asks where it does not know the class."""
    asked = []

    class Own(t.Future):
        def result(self):
            asked.append("subclass")
            return super().result()

    async def main(make):
        loop = asyncio.get_running_loop()
        for kind in ("plain", "set", "subclass", "plain"):
            future = loop.create_future() if kind != "subclass" else Own(loop=loop)

            async def wait():
                return await future

            task = make(wait(), loop=loop)
            await t.settle()
            real = future.result
            if kind == "set" and hasattr(future, "__dict__"):
                future.result = lambda: asked.append("set") or real()
            future.set_result(kind)
            await t.settle()
            t.say(kind, task.done() and task.result(), future.done())

    for make in TASKS.values():
        t.run(main(make))


@mixed
def test_cancelled_while_the_wakeup_waits(t):
    """The future is done, the task not woken yet: the cancellation is not lost."""
    async def main(make):
        loop = asyncio.get_running_loop()
        for _ in range(2):
            future = loop.create_future()

            async def wait():
                try:
                    t.say(await future)
                except asyncio.CancelledError as exc:
                    t.say("cancelled", exc.args)
                    raise

            task = make(wait(), loop=loop)
            await t.settle()
            future.set_result("value")
            t.say(task.cancel("too late"))
            await t.settle()
            t.say(task.cancelled(), future.cancelled())

    for make in TASKS.values():
        t.run(main(make))


@mixed
def test_how_long_what_it_waited_for_lives(t):
    """The value lives on in the awaiting code only, and the future as long as the step that it woke."""
    async def main(make):
        loop = asyncio.get_running_loop()
        for _ in range(3):
            box = [loop.create_future()]
            seen = [weakref.ref(box[0])]

            async def wait():
                value = await box.pop()
                t.say(seen[0]() is not None)
                ref = weakref.ref(value)
                del value
                return ref

            task = make(wait(), loop=loop)
            await t.settle()
            future = seen[0]()
            future.set_result(Value())
            del future
            ref = await task
            t.say(seen[0]() is None, ref() is None)

    for make in TASKS.values():
        t.run(main(make))


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with 3.12")
@mixed
def test_eager_tasks(t):
    """As aiohttp makes them: eager_start, the first step inside of the caller's."""
    make = TASKS["C"]

    async def main():
        loop = asyncio.get_running_loop()

        async def wait(future):
            t.say("began in", current_name())
            value = await future
            t.say(value, current_name())
            return value

        for _ in range(3):
            done, pending = loop.create_future(), loop.create_future()
            done.set_result("done")
            tasks = [make(wait(f), loop=loop, eager_start=True, name=name) for f, name in ((done, "first"), (pending, "second"))]
            t.say([task.done() for task in tasks], current_name() == tasks[0].get_name())
            loop.call_soon(pending.set_result, "later")
            t.say([await task for task in tasks])

    t.run(main())
