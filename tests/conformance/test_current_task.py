"""Who is the current task where other people's code runs between two steps: finalizers, callbacks of weak references, exception handlers.

Each scenario says, for every piece of such code, which task asyncio.current_task() gave there; asyncio's loop and ours must agree.
"""
import asyncio
import collections.abc
import concurrent.futures
import contextlib
import contextvars
import gc
import threading
import weakref

import pytest

from kits import ORACLE, OURS, passes


def current():
    task = asyncio.current_task()
    return task and task.get_name()


class Dies:
    """Says when it does, and who is the current task then."""

    def __init__(self, said, name):
        self.said = said
        self.name = name

    def __del__(self):
        self.said.append((self.name, current()))


class DyingError(Exception):
    def __init__(self, said, name):
        super().__init__(name)
        self.held = Dies(said, name)


async def result_of_a_future(loop, said):
    async def waits(future):
        await future

    future = loop.create_future()
    task = loop.create_task(waits(future), name="waiter")
    await passes(1)
    future.set_result(Dies(said, "result"))
    del future
    await task


async def result_in_a_list_of_a_future(loop, said):
    async def waits(future):
        await future

    future = loop.create_future()
    task = loop.create_task(waits(future), name="waiter")
    await passes(1)
    future.set_result([Dies(said, "result")])
    del future, task
    await passes(3)


async def value_dropped_in_the_step(loop, said):
    async def waits(future):
        value = await future
        said.append(("still there", current()))
        del value
        said.append(("gone", current()))

    future = loop.create_future()
    loop.create_task(waits(future), name="waiter")
    await passes(1)
    future.set_result(Dies(said, "value"))
    future = None
    await passes(3)


async def result_of_a_task(loop, said):
    async def holds():
        return [Dies(said, "result")]

    loop.create_task(holds(), name="holder")
    await passes(3)


async def local_variable_of_a_task(loop, said):
    async def holds():
        held = Dies(said, "local")
        await asyncio.sleep(0)
        held.name = "local, after its steps"

    loop.create_task(holds(), name="holder")
    await passes(3)


async def exception_of_a_task(loop, said):
    async def fails():
        held = Dies(said, "local of a frame in a traceback")
        raise DyingError(said, "exception")

    loop.set_exception_handler(lambda _, context: said.append(("handler", context["message"], current())))
    loop.create_task(fails(), name="fails")
    await passes(3)
    gc.collect()


async def exception_that_was_retrieved(loop, said):
    async def fails():
        raise DyingError(said, "exception")

    async def asks(task):
        with contextlib.suppress(DyingError):
            await task

    loop.create_task(asks(loop.create_task(fails(), name="fails")), name="asks")
    await passes(5)
    gc.collect()


async def cancelled_task(loop, said):
    async def waits():
        held = Dies(said, "local")
        await asyncio.sleep(100)

    task = loop.create_task(waits(), name="waits")
    await passes(1)
    task.cancel()
    del task
    await passes(5)


async def cancelled_while_awaited(loop, said):
    async def waits(future):
        held = Dies(said, "local")
        try:
            await future
        finally:
            held.name = "local, after the cancellation"

    future = loop.create_future()
    loop.create_task(waits(future), name="waits")
    await passes(1)
    future.cancel()
    del future
    await passes(5)


async def weak_reference_to_a_task(loop, said):
    async def nothing():
        pass

    task = loop.create_task(nothing(), name="nothing")
    ref = weakref.ref(task, lambda _: said.append(("weak reference", current())))
    del task
    await passes(3)
    assert ref() is None


async def weak_reference_to_a_coroutine(loop, said):
    async def nothing():
        pass

    coro = nothing()
    ref = weakref.ref(coro, lambda _: said.append(("weak reference", current())))
    loop.create_task(coro, name="nothing")
    del coro
    await passes(3)
    assert ref() is None


async def weak_reference_to_a_future(loop, said):
    async def waits(future):
        await future

    future = loop.create_future()
    ref = weakref.ref(future, lambda _: said.append(("weak reference", current())))
    loop.create_task(waits(future), name="waiter")
    await passes(1)
    future.set_result(None)
    del future
    await passes(3)
    assert ref() is None


async def context_of_a_task(loop, said):
    variable = contextvars.ContextVar("variable")

    async def sets():
        variable.set(Dies(said, "context variable"))

    loop.create_task(sets(), name="sets")
    await passes(3)


async def arguments_of_a_callback(loop, said):
    async def schedules():
        loop.call_soon(str, Dies(said, "argument"))
        await asyncio.sleep(0)

    loop.create_task(schedules(), name="schedules")
    await passes(3)


async def arguments_of_a_cancelled_callback(loop, said):
    async def schedules():
        handle = loop.call_soon(str, Dies(said, "argument"))
        loop.call_later(0, str, Dies(said, "argument of a timer"))
        handle.cancel()
        await asyncio.sleep(0)

    loop.create_task(schedules(), name="schedules")
    await asyncio.sleep(0.01)


async def subclasses_with_a_finalizer(loop, said):
    class MyTask(asyncio.Task):
        def __del__(self):
            said.append(("task", current()))

    class MyFuture(asyncio.Future):
        def __del__(self):
            said.append(("future", current()))

    async def waits(future):
        await future

    future = MyFuture(loop=loop)
    task = MyTask(waits(future), loop=loop, name="waits")
    await passes(1)
    future.set_result(None)
    del future, task
    await passes(3)


async def coroutine_of_another_kind(loop, said):
    class Coroutine(collections.abc.Coroutine):
        def send(self, value):
            raise StopIteration

        def throw(self, *args):
            raise args[0]

        def close(self):
            pass

        def __await__(self):
            return self

        def __del__(self):
            said.append(("coroutine", current()))

    loop.create_task(Coroutine(), name="other")
    await passes(3)


async def children_of_gather(loop, said):
    async def gives(n):
        await asyncio.sleep(0)
        return Dies(said, f"result {n}")

    async def gathers():
        await asyncio.gather(*(loop.create_task(gives(n), name=f"child {n}") for n in range(3)))

    loop.create_task(gathers(), name="gathers")
    await passes(8)


async def child_of_gather_that_fails(loop, said):
    async def gives(n):
        held = Dies(said, f"local {n}")
        await asyncio.sleep(0)
        if n == 1:
            raise DyingError(said, "exception")
        return Dies(said, f"result {n}")

    async def gathers():
        with contextlib.suppress(DyingError):
            await asyncio.gather(*(loop.create_task(gives(n), name=f"child {n}") for n in range(3)))

    loop.create_task(gathers(), name="gathers")
    await passes(8)


async def result_of_sleep(loop, said):
    async def sleeps():
        await asyncio.sleep(0.001, Dies(said, "result"))
        said.append(("after", current()))

    await loop.create_task(sleeps(), name="sleeps")


async def pending_task_is_destroyed(loop, said):
    class Forgets:
        """A future that does not keep its callbacks."""
        _asyncio_future_blocking = False

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            pass

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self

    async def waits():
        await Forgets()

    loop.set_exception_handler(lambda _, context: said.append((context["message"], current())))
    loop.create_task(waits(), name="waits")
    await passes(3)
    gc.collect()


async def result_of_a_thread_that_nobody_waits_for(loop, said):
    go = threading.Event()

    def works():
        go.wait()
        return [Dies(said, "result")]

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        async def waits():
            await loop.run_in_executor(executor, works)

        task = loop.create_task(waits(), name="waits")
        await passes(2)
        task.cancel()
        await passes(2)
        go.set()
        executor.submit(int).result()  # the one thread has let go of the first result before it begins this call
        await passes(3)


async def many_deallocations(loop, said):
    """So deep that the interpreter puts some off."""
    async def holds():
        chain = Dies(said, "the innermost")
        for _ in range(5000):
            chain = [chain]
        return chain

    loop.create_task(holds(), name="holder")
    await passes(3)


SCENARIOS = (result_of_a_future, result_in_a_list_of_a_future, value_dropped_in_the_step, result_of_a_task, local_variable_of_a_task,
             exception_of_a_task, exception_that_was_retrieved, cancelled_task, cancelled_while_awaited, weak_reference_to_a_task,
             weak_reference_to_a_coroutine, weak_reference_to_a_future, context_of_a_task, arguments_of_a_callback,
             arguments_of_a_cancelled_callback, subclasses_with_a_finalizer, coroutine_of_another_kind, children_of_gather,
             child_of_gather_that_fails, result_of_sleep, pending_task_is_destroyed, result_of_a_thread_that_nobody_waits_for,
             many_deallocations)


def run(kit, scenario):
    """Twice: the second time objects and contexts that are kept for use come from the first."""
    said = []
    with asyncio.Runner(loop_factory=kit.new_loop) as runner:
        async def main():
            asyncio.current_task().set_name("main")
            for _ in range(2):
                await scenario(asyncio.get_running_loop(), said)
                said.append("--")
        runner.run(main())
    gc.collect()
    return said


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_current_task_between_steps(scenario):
    theirs, ours = run(ORACLE, scenario), run(OURS, scenario)
    assert len(theirs) > 2
    assert ours == theirs
