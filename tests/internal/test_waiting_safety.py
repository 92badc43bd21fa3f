"""timeout, wait, shield, as_completed and TaskGroup with objects that call back at the worst moment: no crash, and the loop goes on."""
import asyncio
import gc

import pytest

import asyncloop
from sidebyside import OURS


@pytest.fixture
def loop():
    loop = OURS.new_loop()
    yield loop
    if not loop.is_closed():
        loop.close()
    gc.collect()


class Evil(asyncloop.Future):
    """A future whose methods do something else first."""

    on = {}

    def _do(self, name):
        action = self.on.get(name)
        if action is not None:
            action()

    def done(self):
        self._do("done")
        return super().done()

    def cancelled(self):
        self._do("cancelled")
        return super().cancelled()

    def exception(self):
        self._do("exception")
        return super().exception()

    def add_done_callback(self, fn, **kw):
        self.fn = fn
        self._do("add")
        super().add_done_callback(fn, **kw)

    def remove_done_callback(self, fn):
        self._do("remove")
        return super().remove_done_callback(fn)

    def cancel(self, msg=None):
        self._do("cancel")
        return super().cancel(msg)


def run(loop, coro):
    return loop.run_until_complete(asyncloop.wait_for(coro, 30))


def test_a_group_that_was_never_entered(loop):
    async def main():
        group = asyncloop.TaskGroup()
        with pytest.raises((AttributeError, ExceptionGroup)):  # as the version asks the parent, or does not
            await group.__aexit__(ValueError, ValueError(), None)
        group = asyncloop.TaskGroup()
        group._parent_cancel_requested = True
        with pytest.raises(AttributeError):
            await group.__aexit__(None, None, None)
        group = asyncloop.TaskGroup()
        group._tasks.add(5)
        with pytest.raises(AttributeError):
            await group.__aexit__(None, None, None)
        with pytest.raises((AttributeError, ExceptionGroup)):
            await group.__aexit__(KeyError, KeyError(), None)
        failed = loop.create_future()
        failed.set_exception(ValueError())
        with pytest.raises(AttributeError):
            group._on_task_done(failed)
        await asyncloop.TaskGroup().__aexit__(None, None, None)

    run(loop, main())


def test_a_group_begun_anew_in_its_block(loop):
    async def failing():
        raise ValueError

    async def main():
        for exc in (None, KeyError()):
            with pytest.raises((AttributeError, KeyError, ExceptionGroup)):
                async with asyncloop.TaskGroup() as group:
                    group.create_task(failing())
                    group.__init__()
                    if exc is not None:
                        raise exc
                    await asyncloop.sleep(0)
                    await asyncloop.sleep(0)
                    raise KeyError

    loop.set_exception_handler(lambda loop, context: None)
    run(loop, main())


def test_a_group_begun_anew_by_a_task_factory(loop):
    async def main():
        group = asyncloop.TaskGroup()

        def factory(loop, coro, **kw):
            group.__init__()
            return asyncloop.Task(coro, loop=loop, **kw)

        with pytest.raises(AttributeError):
            async with group:
                loop.set_task_factory(factory)
                task = group.create_task(asyncloop.sleep(0))
                loop.set_task_factory(None)
        await task

    run(loop, main())


def test_a_parent_that_begins_the_group_anew(loop):
    class Parent(asyncloop.Task):
        def cancel(self, msg=None):
            group.__init__()
            gc.collect()
            return super().cancel(msg)

        uncancel = cancelling = lambda self: group.__init__() or 0

    async def failing():
        raise ValueError

    async def main():
        nonlocal group
        async with asyncloop.TaskGroup() as group:
            group.create_task(failing())
            await asyncloop.sleep(10)

    group = None
    loop.set_exception_handler(lambda loop, context: None)
    task = Parent(main(), loop=loop)
    with pytest.raises((asyncio.CancelledError, ExceptionGroup, AttributeError)):
        run(loop, task)


def test_a_deadline_that_reschedules_when_it_is_compared(loop):
    class Deadline(float):
        def __le__(self, other):
            if self.depth < 3:
                Deadline.depth += 1
                cm.reschedule(Deadline(1e9))
                cm.reschedule(1e9)
            return super().__le__(other)

        depth = 0

    async def main():
        nonlocal cm
        for first in (Deadline(1e9), Deadline(0)):
            Deadline.depth = 0
            cm = asyncloop.timeout_at(first)
            try:
                async with cm:
                    await asyncloop.sleep(0)
                    await asyncloop.sleep(0)
            except TimeoutError:
                pass
            del cm
            cm = None
            gc.collect()

    cm = None
    run(loop, main())


def test_a_timeout_begun_anew(loop):
    async def main():
        cm = asyncloop.timeout(60)
        await cm.__aenter__()
        cm.__init__(1e9)
        await cm.__aenter__()
        cm.reschedule(0)
        cm.__init__(None)
        await asyncloop.sleep(0)
        await asyncloop.sleep(0)
        with pytest.raises(AssertionError):
            await cm.__aexit__(None, None, None)
        await cm.__aenter__()
        await cm.__aexit__(None, None, None)

    run(loop, main())


def test_a_loop_closed_with_timers_in_it(loop):
    async def blocked(coro):
        await coro

    kept = []
    tasks = [loop.create_task(blocked(coro)) for coro in (
        asyncloop.wait_for(loop.create_future(), 60), asyncloop.wait([loop.create_future()], timeout=60))]

    async def more():
        kept.append(asyncloop.timeout(60))
        await kept[0].__aenter__()
        kept.extend(asyncloop.as_completed([loop.create_future()], timeout=60))
        kept.append(asyncloop.timeout(60))
        await kept[-1].__aenter__()
        kept[-1].reschedule(0)

    loop.run_until_complete(more())
    for task in tasks:
        task._log_destroy_pending = False
    loop.close()
    for thing in kept:
        if hasattr(thing, "close"):
            thing.close()
    del tasks, task, kept, thing
    gc.collect()


def test_children_that_call_back(loop):
    """as_completed counts each child once, whatever its methods do while the time is up."""
    async def main():
        futures = [Evil(loop=loop) for _ in range(3)]
        coros = list(asyncloop.as_completed(futures, timeout=0.001))
        for future in futures:
            future.on = {"remove": lambda: [f.fn(f) for f in futures if f is not future]}
        for coro in coros:
            try:
                await asyncloop.wait_for(coro, 0.05)
            except (TimeoutError, asyncio.InvalidStateError):
                pass
        for future in futures:
            future.on = {}

    loop.set_exception_handler(lambda loop, context: None)
    run(loop, main())


@pytest.mark.parametrize("name", ["done", "cancelled", "exception", "add", "remove", "cancel"])
def test_children_that_drop_everything(loop, name):
    async def main():
        for make in (
            lambda f: asyncloop.wait([f], timeout=0.001),
            lambda f: asyncloop.wait([f, loop.create_future()], return_when="FIRST_EXCEPTION", timeout=0.01),
            lambda f: asyncloop.wait_for(f, 0.001),
            lambda f: asyncloop.wait_for(f, 0),
            lambda f: asyncloop.shield(f),
            lambda f: next(iter(asyncloop.as_completed([f], timeout=0.001))),
        ):
            for end in (lambda f: None, lambda f: f.set_result(1), lambda f: f.set_exception(ValueError()), lambda f: asyncloop.Future.cancel(f)):
                future = Evil(loop=loop)
                box = [make(future)]
                task = asyncio.ensure_future(box[0])
                box.clear()
                victims = [task]

                def action():
                    while victims:
                        victims.pop().cancel()
                    gc.collect()

                future.on = {name: action}
                await asyncloop.sleep(0)
                if not asyncloop.Future.done(future):
                    end(future)
                del future
                try:
                    await asyncloop.wait_for(task, 0.05)
                except BaseException as exc:
                    assert isinstance(exc, (asyncio.CancelledError, TimeoutError, ValueError)), exc

    loop.set_exception_handler(lambda loop, context: None)
    run(loop, main())


def test_a_group_with_such_children(loop):
    class Child(asyncloop.Task):
        def cancel(self, msg=None):
            for task in list(group._tasks):
                group._tasks.discard(task)
            return super().cancel(msg)

        def done(self):
            gc.collect()
            return super().done()

    async def failing():
        raise ValueError

    async def main():
        nonlocal group
        loop.set_task_factory(lambda loop, coro, **kw: Child(coro, loop=loop, **kw))
        try:
            async with asyncloop.TaskGroup() as group:
                tasks = [group.create_task(asyncloop.sleep(0.001)) for _ in range(3)]
                group.create_task(failing())
                await asyncloop.sleep(1)
        finally:
            loop.set_task_factory(None)
            await asyncloop.wait(tasks)

    group = None
    with pytest.raises(ExceptionGroup):
        run(loop, main())


def test_dropped_in_mid_wait(loop):
    """Coroutines and iterators that are thrown away with their timers running."""
    async def main():
        for _ in range(3):
            for coro in (asyncloop.wait([loop.create_future()], timeout=60), asyncloop.wait_for(loop.create_future(), 60),
                         next(iter(asyncloop.as_completed([loop.create_future()], timeout=60))),
                         asyncloop.wait_for(asyncloop.wait_for(asyncloop.sleep(60), 60), 60)):
                coro.send(None)
                del coro
                gc.collect()
            asyncloop.shield(loop.create_future())
            gc.collect()

    run(loop, main())
