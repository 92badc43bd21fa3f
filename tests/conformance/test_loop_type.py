"""The loop as a Python object: isinstance, subclassing, attributes, weak references, factories of tasks and futures."""
import asyncio
import contextvars
import gc
import inspect
import sys
import warnings
import weakref

import pytest

from sidebyside import OURS, mixed, same


async def value(n=1):
    return n


def test_isinstance_and_hash(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert hash(loop) == hash(loop) and loop == loop and loop in {loop}
    assert weakref.ref(loop)() is loop


def test_subclass_and_attributes(kit):
    loop = kit.new_loop()
    base = type(loop)
    loop.close()

    class Sub(base):
        extra = "class attribute"

        def __init__(self):
            super().__init__()
            self.number = 5

        def time(self):
            return super().time()

    loop = Sub()
    try:
        loop.anything = [1]
        assert loop.number == 5 and loop.anything == [1] and loop.extra == "class attribute"
        assert vars(loop)["anything"] == [1]
        assert loop.run_until_complete(value(3)) == 3
        del loop.anything
        assert not hasattr(loop, "anything")
    finally:
        loop.close()


def test_loop_is_collected(kit):
    loop = kit.new_loop()
    loop.myself = loop
    loop.set_exception_handler(lambda l, context, loop=loop: None)
    loop.call_soon(int)
    loop.call_later(5, int)
    ref = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert ref() is None


class Mixin:
    """Another loop's methods, by asyncio's attributes."""

    def is_closed(self):
        return self._closed

    def is_running(self):
        return self._thread_id is not None

    def get_debug(self):
        return self._debug

    def get_task_factory(self):
        return self._task_factory

    def get_exception_handler(self):
        return self._exception_handler


@pytest.mark.parametrize("first", ["mixin", "loop"])
def test_methods_that_read_asyncios_attributes(kit, first):
    """Methods of a mixin may be those of BaseEventLoop: the attributes must not ask the methods."""
    base = kit.new_loop()
    bases = (Mixin, type(base)) if first == "mixin" else (type(base), Mixin)
    base.close()
    loop = type("Mixed", bases, {})()
    assert not loop.is_closed() and not loop._closed and not loop.is_running() and loop.get_debug() is False
    assert loop.get_task_factory() is None and loop.get_exception_handler() is None

    async def main():
        return loop.is_running(), loop.is_closed()
    assert loop.run_until_complete(main()) == (True, False)
    loop.close()
    assert loop.is_closed() and loop._closed


def test_no_attribute_asks_a_method():
    """Whatever method of a loop a subclass replaces by one that reads an attribute: it ends."""
    base = OURS.new_loop()
    base_type = type(base)
    names = ("_closed", "_thread_id", "_debug", "_task_factory", "_exception_handler", "_default_executor", "_asyncgens", "_signal_handlers",
             "slow_callback_duration")
    methods = [name for name in dir(base) if not name.startswith("_") and callable(getattr(base, name))]
    for name in names:
        for method in methods:
            replaced = type("Replaced", (base_type,), {method: lambda self, *args, **kw: getattr(self, name)})
            loop = replaced()
            getattr(loop, name)
            delattr(replaced, method)
            loop.close()
    base.close()


def test_every_abstract_method():
    """What asyncio's loop answers to, ours does."""
    theirs = {name for name in dir(asyncio.AbstractEventLoop) if not name.startswith("_")}
    ours = OURS.new_loop()
    try:
        missing = [name for name in sorted(theirs) if getattr(type(ours), name) is getattr(asyncio.AbstractEventLoop, name)]
    finally:
        ours.close()
    assert missing == []


@same
def test_private_attributes_libraries_read(t):
    loop = t.loop
    t.say(loop._closed, loop._thread_id, loop._default_executor, loop._executor_shutdown_called, loop._debug)
    t.attempt(loop._check_closed)
    t.attempt(loop._check_running)
    loop.call_soon(lambda: t.say(loop._thread_id is not None))
    t.pump()
    t.say(loop._thread_id)
    loop.close()
    t.say(loop._closed)
    t.attempt(loop._check_closed)


@same
def test_repr(t):
    t.say(t.loop)
    t.loop.call_soon(lambda: t.say(t.loop))
    t.pump()
    t.loop.set_debug(True)
    t.say(t.loop)
    t.loop.close()
    t.say(t.loop)


@same
def test_slow_callback_duration_is_an_attribute(t):
    t.say(t.loop.slow_callback_duration)
    for value_ in (0.5, 0, 3):
        t.loop.slow_callback_duration = value_
        t.say(t.loop.slow_callback_duration)


@same
def test_create_future(t):
    future = t.loop.create_future()
    t.say(future, isinstance(future, asyncio.Future), asyncio.isfuture(future), future.get_loop() is t.loop)


@same
def test_create_task(t):
    async def main():
        context = contextvars.copy_context()
        tasks = [t.loop.create_task(value()), t.loop.create_task(value(), name="named"),
                 t.loop.create_task(value(), name=5), t.loop.create_task(value(), context=context),
                 t.loop.create_task(value(), name=None, context=None)]
        for task in tasks:
            t.say(isinstance(task, asyncio.Task), task.get_name(), task)
        if hasattr(tasks[3], "get_context"):
            t.say(tasks[3].get_context() is context)
        t.say([await task for task in tasks])

    t.loop.run_until_complete(main())


@same
def test_create_task_of_what_is_none(t):
    async def main():
        for wrong in (5, None, "x", value, print, t.loop.create_future(), [], object()):
            t.attempt(t.loop.create_task, wrong)

    t.loop.run_until_complete(main())


@same
def test_task_factory(t):
    t.say(t.loop.get_task_factory())
    calls = []

    def factory(loop, coro, **kw):
        calls.append((loop is t.loop, sorted(kw), inspect.iscoroutine(coro)))
        kw.pop("eager_start", None)
        return t.kit.Task(coro, loop=loop, **kw)

    t.loop.set_task_factory(factory)
    t.say(t.loop.get_task_factory() is factory)

    async def main():
        t.say(await asyncio.create_task(value(1)))
        t.say(await t.loop.create_task(value(2), name="named"))
        t.say(await t.loop.create_task(value(3), context=contextvars.copy_context()))

    t.loop.run_until_complete(main())
    t.say(calls)
    for wrong in (5, "x", object()):
        t.attempt(t.loop.set_task_factory, wrong)
    t.loop.set_task_factory(None)
    t.say(t.loop.get_task_factory())


@same
def test_task_factory_names(t):
    names = []

    class Own(asyncio.Future):
        def set_name(self, name):
            names.append(name)

    def factory(loop, coro, **kw):
        names.append(sorted(kw))
        coro.close()
        future = Own(loop=loop)
        future.set_result(None)
        return future

    t.loop.set_task_factory(factory)

    async def main():
        pass

    for kw in ({}, {"name": "n"}, {"name": None}):
        t.attempt(lambda: type(t.loop.create_task(main(), **kw)).__name__)
        t.say(names)


@same
def test_eager_task_factory(t):
    if not hasattr(asyncio, "eager_task_factory"):
        t.say("came with 3.12")
        return
    order = []

    async def child(n):
        order.append(f"start {n}")
        if n == 2:
            await t.sleep(0)
        order.append(f"end {n}")
        return n

    async def main():
        t.loop.set_task_factory(asyncio.eager_task_factory)
        t.say(t.loop.get_task_factory() is asyncio.eager_task_factory)
        one = asyncio.create_task(child(1))
        order.append("between")
        two = asyncio.create_task(child(2), name="second")
        order.append("after")
        t.say(one.done(), two.done(), two.get_name(), asyncio.current_task() is not two)
        t.say(len(asyncio.all_tasks()))
        t.say(await one, await two)
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(child(i)) for i in range(4)]
        t.say([task.result() for task in made])
        t.say(await asyncio.gather(child(1), child(2)))

    t.loop.run_until_complete(main())
    t.say(order)


@same
def test_create_eager_factory(t):
    if not hasattr(asyncio, "create_eager_task_factory"):
        t.say("came with 3.12")
        return

    class MyTask(t.kit.Task):
        pass

    t.loop.set_task_factory(asyncio.create_eager_task_factory(MyTask))

    async def main():
        task = asyncio.create_task(value(5))
        t.say(task.done(), type(task) is MyTask, await task)

    t.loop.run_until_complete(main())


def test_our_loop_makes_our_classes():
    loop = OURS.new_loop()
    try:
        task = loop.create_task(value())
        assert type(loop.create_future()) is OURS.Future
        assert type(task) is OURS.Task
        loop.run_until_complete(task)
        if hasattr(asyncio, "eager_task_factory"):
            loop.set_task_factory(asyncio.eager_task_factory)

            async def main():
                return type(asyncio.create_task(value()))

            assert loop.run_until_complete(main()) is OURS.Task
    finally:
        loop.close()


# --- async generators

@same
def test_unfinished_generators_are_closed(t):
    async def ticker(name):
        try:
            while True:
                yield name
        finally:
            await t.sleep(0)
            t.say("closed", name)

    async def main():
        kept = ticker("kept")
        t.say(await kept.__anext__())
        dropped = ticker("dropped")
        t.say(await dropped.__anext__())
        del dropped
        gc.collect()
        await t.sleep(0)
        await t.sleep(0)
        await t.sleep(0)
        return kept

    kept = t.loop.run_until_complete(main())
    t.say("shut down")
    t.loop.run_until_complete(t.loop.shutdown_asyncgens())
    t.attempt(lambda: t.loop.run_until_complete(kept.__anext__()))


@same
def test_generator_first_used_after_the_shutdown(t):
    async def ticker():
        yield 1

    async def main():
        await t.loop.shutdown_asyncgens()
        async for i in ticker():
            t.say(i)

    t.loop.run_until_complete(main())


@same
def test_generator_that_fails_to_close(t):
    async def bad():
        try:
            yield 1
        finally:
            raise ValueError("cannot close")

    async def main():
        gen = bad()
        await gen.__anext__()
        return gen

    t.record_contexts()
    gen = t.loop.run_until_complete(main())
    t.loop.run_until_complete(t.loop.shutdown_asyncgens())
    del gen


@same
def test_asyncgen_hooks_are_put_back(t):
    def first(gen):
        pass

    def last(gen):
        pass

    old = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=first, finalizer=last)
    try:
        t.loop.call_soon(lambda: t.say(sys.get_asyncgen_hooks().firstiter is first))
        t.pump()
        now = sys.get_asyncgen_hooks()
        t.say(now.firstiter is first, now.finalizer is last)

        def fail():
            raise KeyboardInterrupt

        t.loop.call_soon(fail)
        t.attempt(t.loop.run_forever)
        now = sys.get_asyncgen_hooks()
        t.say(now.firstiter is first, now.finalizer is last)
    finally:
        sys.set_asyncgen_hooks(*old)


@same
def test_generator_collected_after_the_loop_closed(t):
    async def ticker():
        yield 1

    async def main():
        gen = ticker()
        await gen.__anext__()
        return gen

    loop = t.new_loop()
    gen = loop.run_until_complete(main())
    loop.close()
    del gen
    gc.collect()


# --- names to reach the loop by

def test_running_loop(loop):
    async def main():
        assert asyncio.get_running_loop() is loop
        assert asyncio.get_event_loop() is loop
        assert asyncio._get_running_loop() is loop

    loop.run_until_complete(main())
    assert asyncio._get_running_loop() is None


def test_set_event_loop(loop):
    asyncio.set_event_loop(loop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)


@mixed
def test_current_and_all_tasks(t):
    async def child():
        t.say(asyncio.current_task().get_name())
        await t.sleep(0)
        t.say(asyncio.current_task().get_name())

    async def main():
        t.say(asyncio.current_task().get_name(), len(asyncio.all_tasks()))
        tasks = [t.task(child(), name=f"child {i}") for i in range(3)]
        t.say(sorted(task.get_name() for task in asyncio.all_tasks()))
        t.loop.call_soon(lambda: t.say("in a callback", asyncio.current_task()))
        await t.gather(*tasks)
        t.say(sorted(task.get_name() for task in asyncio.all_tasks()))

    t.loop.run_until_complete(t.task(main(), name="main"))
    t.say(asyncio.current_task(t.loop), asyncio.all_tasks(t.loop))
    t.attempt(asyncio.current_task)
    t.attempt(asyncio.all_tasks)
    for wrong in (5, "x"):
        t.attempt(asyncio.all_tasks, wrong)


@same
def test_runner(t):
    with asyncio.Runner(loop_factory=t.kit.new_loop, debug=True) as runner:
        t.say(runner.get_loop().get_debug())
        t.say(runner.run(value(7)))

        async def leave_tasks():
            asyncio.create_task(asyncio.sleep(100), name="left")
            await asyncio.sleep(0)

        runner.run(leave_tasks())
