"""asyncio.TaskGroup against asyncloop.TaskGroup."""
import asyncio
import contextvars
import gc
import inspect
import sys
import weakref

from sidebyside import blot, mixed, same


async def value(t, n=1, delay=0):
    await t.sleep(delay)
    return n


async def failing(t, exc=None, delay=0):
    await t.sleep(delay)
    raise exc or ValueError("failed")


def tree(exc):
    """An exception, its parts and what it comes from."""
    if isinstance(exc, BaseExceptionGroup):
        return [type(exc).__name__, exc.message, sorted((tree(each) for each in exc.exceptions), key=repr), type(exc.__cause__).__name__,
                type(exc.__context__).__name__, exc.__suppress_context__]
    return [type(exc).__name__, str(exc)]


async def attempt(t, awaitable):
    try:
        t.say("returned", await awaitable)
    except BaseException as exc:
        t.say("raised", tree(exc))
    task = asyncio.current_task()
    t.say("cancelling", task.cancelling())
    while task.cancelling():
        task.uncancel()


@mixed
def test_all_end_well(t):
    lib = t.kit.classes

    async def main():
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(value(t, i)) for i in range(5)]
            t.say(repr(group), len(group._tasks), isinstance(group, asyncio.TaskGroup), [isinstance(x, asyncio.Task) for x in tasks])
        t.say([x.result() for x in tasks], repr(group), group._tasks)
        async with lib.TaskGroup() as group:
            pass
        t.say(repr(group), repr(lib.TaskGroup()))
        async with lib.TaskGroup() as group:
            task = group.create_task(value(t))
            await task
            t.say(repr(group))
            await t.sleep(0)
            t.say(repr(group))
            group.create_task(value(t))

    t.run(main())


@mixed
def test_one_fails(t):
    lib = t.kit.classes

    async def waiting(name):
        try:
            await t.sleep(60)
        finally:
            t.say(name, "ended")

    async def in_the_body():
        async with lib.TaskGroup() as group:
            group.create_task(waiting("other"))
            group.create_task(failing(t))
            try:
                await t.sleep(60)
            finally:
                t.say(blot(repr(group)), asyncio.current_task().cancelling())

    async def in_aexit():
        async with lib.TaskGroup() as group:
            group.create_task(waiting("other"))
            group.create_task(failing(t))

    async def several():
        async with lib.TaskGroup() as group:
            for exc in (ValueError(1), KeyError(2), TypeError(3)):
                group.create_task(failing(t, exc))

    async def fails_when_cancelled():
        async def other():
            try:
                await t.sleep(60)
            finally:
                raise KeyError("in its end")

        async with lib.TaskGroup() as group:
            group.create_task(other())
            group.create_task(failing(t))

    async def main():
        for scenario in (in_the_body, in_aexit, several, fails_when_cancelled):
            await attempt(t, scenario())

    t.run(main())


@mixed
def test_the_body_raises(t):
    lib = t.kit.classes

    class MyCancelled(asyncio.CancelledError):
        pass

    async def body(exc, *coros):
        async with lib.TaskGroup() as group:
            for coro in coros:
                group.create_task(coro)
            raise exc

    async def main():
        for make in (lambda: ValueError("body"), lambda: asyncio.CancelledError("body"), lambda: MyCancelled("body"), lambda: GeneratorExit("body"),
                     lambda: ExceptionGroup("inner", [KeyError("x")])):
            await attempt(t, body(make()))
            await attempt(t, body(make(), value(t, 1, 60)))
            await attempt(t, body(make(), failing(t)))

            async def fails_then():
                try:
                    await t.sleep(60)
                finally:
                    raise KeyError("task")

            async def both(exc):
                async with lib.TaskGroup() as group:
                    group.create_task(fails_then())
                    await t.sleep(0)
                    await t.sleep(0)
                    raise exc

            await attempt(t, both(make()))

    t.run(main())


@mixed
def test_keyboard_interrupt_and_system_exit(t):
    lib = t.kit.classes

    async def from_task(exc):
        async with lib.TaskGroup() as group:
            group.create_task(value(t, 1, 60))
            group.create_task(failing(t, exc))
            await t.sleep(60)

    async def from_body(exc):
        async with lib.TaskGroup() as group:
            group.create_task(value(t, 1, 60))
            raise exc

    async def from_both(exc):
        async with lib.TaskGroup() as group:
            group.create_task(failing(t, KeyError("task")))
            await t.sleep(0)
            await t.sleep(0)
            raise exc

    for scenario in (from_task, from_body, from_both):
        for exc in (KeyboardInterrupt, SystemExit):
            task = t.task(scenario(exc("stop")))
            for _ in range(3):
                try:
                    t.loop.run_until_complete(task)
                    t.say("returned")
                except BaseException as error:
                    t.say("raised", tree(error))
                if task.done():
                    break
            t.say(task.done() and tree(task.exception()))


@mixed
def test_the_parent_is_cancelled(t):
    lib = t.kit.classes

    async def stubborn():
        try:
            await t.sleep(60)
        except asyncio.CancelledError:
            await t.sleep(0)
            await t.sleep(0)

    async def in_aexit(make):
        async with lib.TaskGroup() as group:
            group.create_task(make())

    async def in_body(make):
        async with lib.TaskGroup() as group:
            group.create_task(make())
            await t.sleep(60)

    async def outer(scenario, make):
        try:
            await scenario(make)
        finally:
            t.say("inside", asyncio.current_task().cancelling())

    async def main():
        for scenario in (in_aexit, in_body):
            for make in (stubborn, lambda: t.sleep(60), lambda: failing(t, KeyError("late"), 60)):
                for gaps in ((), (0,), (1,), (2,), (0, 0), (1, 1)):
                    task = t.task(outer(scenario, make))
                    await t.sleep(0)
                    await t.sleep(0)
                    task.cancel("outside")
                    for gap in gaps:
                        for _ in range(gap):
                            await t.sleep(0)
                        task.cancel("again")
                    await attempt(t, task)
                    t.say(task.cancelled(), task.cancelling())

    t.run(main())


@mixed
def test_cancelled_and_failing_at_once(t):
    lib = t.kit.classes

    async def fails_when_cancelled():
        try:
            await t.sleep(60)
        finally:
            raise ValueError("in its end")

    async def group_of(*makes):
        async with lib.TaskGroup() as group:
            for make in makes:
                group.create_task(make())
            await t.sleep(60)

    async def nested():
        async with lib.TaskGroup() as outer:
            outer.create_task(t.sleep(60))
            try:
                async with lib.TaskGroup() as inner:
                    inner.create_task(fails_when_cancelled())
                    outer.create_task(failing(t, KeyError("outer")))
                    await t.sleep(60)
            finally:
                t.say("between", asyncio.current_task().cancelling())

    async def swallows():
        try:
            async with lib.TaskGroup() as group:
                group.create_task(fails_when_cancelled())
                await t.sleep(60)
        except BaseExceptionGroup as exc:
            t.say(tree(exc), asyncio.current_task().cancelling())
            await t.sleep(0)
            t.say("not cancelled again")

    async def main():
        for scenario in (lambda: group_of(fails_when_cancelled), lambda: group_of(fails_when_cancelled, lambda: failing(t)), nested, swallows):
            for passes in (1, 2, 3):
                task = t.task(scenario())
                for _ in range(passes):
                    await t.sleep(0)
                task.cancel("outside")
                await attempt(t, task)
                t.say(task.cancelled(), task.cancelling())
        await attempt(t, nested())

    t.run(main())


@mixed
def test_tasks_that_are_cancelled(t):
    lib = t.kit.classes

    async def main():
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(t.sleep(60)), group.create_task(value(t))]
            await t.sleep(0)
            tasks[0].cancel("alone")
        t.say([x.cancelled() for x in tasks], tasks[1].result())

        async def cancelled():
            raise asyncio.CancelledError("by itself")

        async with lib.TaskGroup() as group:
            group.create_task(cancelled())

    async def outer():
        await attempt(t, main())

    t.run(outer())


@mixed
def test_create_task_at_the_wrong_time(t):
    lib = t.kit.classes

    async def main():
        coro = value(t)
        group = lib.TaskGroup()
        t.attempt(group.create_task, coro)
        coro.close()
        async with group:
            pass
        coro = value(t)
        t.attempt(group.create_task, coro)
        coro.close()
        await attempt(t, group.__aenter__())

        async def late(group):
            try:
                await t.sleep(60)
            finally:
                coro = value(t)
                t.attempt(group.create_task, coro)
                coro.close()

        async def shutting_down():
            async with lib.TaskGroup() as group:
                group.create_task(late(group))
                group.create_task(failing(t))

        await attempt(t, shutting_down())

        async def adds(group):
            await t.sleep(0)
            group.create_task(value(t)).add_done_callback(lambda f: t.say("added"))

        async with lib.TaskGroup() as group:
            group.create_task(adds(group))

    t.run(main())


@mixed
def test_create_task_arguments(t):
    lib = t.kit.classes
    var = contextvars.ContextVar("var", default="outside")

    async def show():
        return asyncio.current_task().get_name(), var.get()

    async def main():
        context = contextvars.copy_context()
        context.run(var.set, "inside")
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(show(), name="named"), group.create_task(show(), name=5), group.create_task(show(), name="both", context=context),
                     group.create_task(show(), name="none", context=None), group.create_task(coro=show(), name="by name")]
            t.say(blot(group.create_task(show(), name=None).get_name()), blot(group.create_task(show()).get_name()))
            for bad in (5, None, "x", t.future()):
                try:
                    group.create_task(bad)
                except TypeError as exc:
                    t.say(blot(str(exc))[:28])
            for call in (lambda: group.create_task(), lambda: group.create_task(1, 2), lambda: group.create_task(1, "name", None)):
                try:
                    call()
                except TypeError as exc:
                    t.say(str(exc))
        t.say([x.result() for x in tasks])
        for call in (lambda: lib.TaskGroup(1), lambda: lib.TaskGroup(name=1), lambda: group.__aexit__(1), lambda: group.__aenter__(1)):
            try:
                call()
            except TypeError as exc:
                t.say(str(exc))

    t.run(main())


@mixed
def test_an_eager_factory(t):
    if sys.version_info < (3, 12):
        return
    lib = t.kit.classes

    async def at_once(exc=None):
        if exc is not None:
            raise exc
        return "at once"

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(at_once(), name="a"), group.create_task(value(t, 5), name="b")]
            t.say([x.done() for x in tasks], len(group._tasks))
            await t.sleep(0)
            t.say([x.done() for x in tasks], len(group._tasks))
        t.say([x.result() for x in tasks], [x.get_name() for x in tasks])

        async def scenario():
            async with lib.TaskGroup() as group:
                group.create_task(value(t, 5, 60))
                group.create_task(at_once(ValueError("eager")))
                t.say("still in the body", blot(repr(group)))
                await t.sleep(60)

        await attempt(t, scenario())
        loop.set_task_factory(None)

    t.run(main())


@mixed
def test_a_task_factory(t):
    lib = t.kit.classes

    class Task(t.kit.Task):
        pass

    def factory(loop, coro, **kw):
        t.say(sorted(kw))
        return Task(coro, loop=loop, **kw)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(value(t, 1)), group.create_task(value(t, 2), name="named")]
            t.say([type(x).__name__ for x in tasks], tasks[1].get_name())
        loop.set_task_factory(None)

        async def scenario():
            loop.set_task_factory(factory)
            try:
                async with lib.TaskGroup() as group:
                    group.create_task(value(t, 1, 60))
                    group.create_task(failing(t))
            finally:
                loop.set_task_factory(None)

        await attempt(t, scenario())

    t.run(main())


@mixed
def test_wrong_use(t):
    lib = t.kit.classes

    async def main():
        async with lib.TaskGroup() as group:
            await attempt(t, group.__aenter__())
        coro = lib.TaskGroup().__aenter__()
        t.say(asyncio.iscoroutine(coro), coro.__name__, coro.__qualname__, asyncio.iscoroutinefunction(lib.TaskGroup.__aexit__))
        coro.close()
        lib.TaskGroup().__aenter__()
        gc.collect()

    t.run(main())
    for call in (lambda: lib.TaskGroup().__aenter__().send(None), lambda: t.loop.call_soon(t.attempt, lib.TaskGroup().__aenter__().send, None)):
        try:
            call()
        except RuntimeError as exc:
            t.say(blot(str(exc)))
    t.pump()


@mixed
def test_a_subclass(t):
    lib = t.kit.classes

    class Group(lib.TaskGroup):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def create_task(self, coro, **kw):
            t.say("create", self.name)
            return super().create_task(coro, **kw)

        def _on_task_done(self, task):
            t.say("done", task.cancelled())
            super()._on_task_done(task)

        def _abort(self):
            t.say("abort")
            super()._abort()

    async def scenario():
        async with Group("mine") as group:
            t.say(isinstance(group, Group), blot(repr(group)))
            group.create_task(value(t))
            group.create_task(failing(t, None, 0.001))
            await t.sleep(60)

    async def main():
        await attempt(t, scenario())

        class Plain(lib.TaskGroup):
            """Replaces nothing."""

        async with Plain() as group:
            task = group.create_task(value(t, 7))
        t.say(task.result(), weakref.ref(group)() is group)

    t.run(main())


@mixed
def test_its_attributes(t):
    lib = t.kit.classes

    async def main():
        group = lib.TaskGroup()
        t.say(group._entered, group._exiting, group._aborting, group._loop, group._parent_task, group._parent_cancel_requested, group._tasks,
              group._errors, group._base_error, group._on_completed_fut)
        async with group:
            t.say(group._entered, group._exiting, group._loop is t.loop, group._parent_task is asyncio.current_task())
            group.mine = 1
            t.say(group.mine, weakref.ref(group)() is group, hash(group) == hash(group))
        t.say(group._entered, group._exiting, group._errors, group._base_error)

        async def scenario():
            nonlocal group
            async with lib.TaskGroup() as group:
                group.create_task(failing(t))

        await attempt(t, scenario())
        t.say(group._aborting, group._parent_cancel_requested, group._errors, group._base_error, group._parent_task is None)

    t.run(main())


@mixed
def test_ended_by_hand(t):
    """The recipe of old: a group is told to end."""
    lib = t.kit.classes

    async def main():
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(t.sleep(60)) for _ in range(3)]
            await t.sleep(0)
            group._abort()
        t.say([x.cancelled() for x in tasks], repr(group))

    t.run(main())


@mixed
def test_cancel(t):
    lib = t.kit.classes
    t.say(hasattr(lib.TaskGroup, "cancel"))
    if not hasattr(asyncio.TaskGroup, "cancel"):
        return

    async def in_body():
        async with lib.TaskGroup() as group:
            group.create_task(t.sleep(60))
            group.cancel()
            group.cancel()
            t.say(blot(repr(group)), asyncio.current_task().cancelling())
            await t.sleep(60)
        t.say("after")
        group.cancel()

    async def before():
        group = lib.TaskGroup()
        group.cancel()
        async with group:
            t.say("in the body")
            await t.sleep(60)
        t.say("after")

    async def from_task():
        async with lib.TaskGroup() as group:
            async def ends():
                group.cancel()
                await t.sleep(60)

            group.create_task(ends())
            group.create_task(failing(t, None, 60))

    async def with_an_error():
        async def fails():
            try:
                await t.sleep(60)
            finally:
                raise ValueError("in its end")

        async with lib.TaskGroup() as group:
            group.create_task(fails())
            await t.sleep(0)
            group.cancel()

    async def without_a_wait():
        async with lib.TaskGroup() as group:
            group.cancel()
        await t.sleep(0)

    async def and_from_outside():
        async with lib.TaskGroup() as group:
            group.create_task(t.sleep(60))
            group.cancel()
            asyncio.current_task().cancel("outside")

    async def main():
        for scenario in (in_body, before, from_task, with_an_error, without_a_wait, and_from_outside):
            t.say(scenario.__name__)
            await attempt(t, t.task(scenario()))

    t.run(main())


@mixed
def test_a_generator_that_is_closed(t):
    lib = t.kit.classes

    async def ticks():
        async with lib.TaskGroup() as group:
            group.create_task(t.sleep(60))
            while True:
                yield 1

    async def main():
        generator = ticks()
        t.say(await generator.__anext__())
        await attempt(t, generator.aclose())

    t.run(main())


@mixed
def test_order_of_events(t):
    lib = t.kit.classes

    async def step(name, n):
        for i in range(n):
            t.say(name, i)
            await t.sleep(0)

    async def main():
        async with lib.TaskGroup() as group:
            for name in "abc":
                task = group.create_task(step(name, 2))
                task.add_done_callback(lambda f, name=name: t.say("callback", name, len(group._tasks)))
            t.say("body")
        t.say("after")

    t.run(main())


@mixed
def test_native_tasks(t):
    """The parent is a task of asyncio's own, and so are its children where the factory says so."""
    lib = t.kit.classes

    async def scenario(fails):
        async with lib.TaskGroup() as group:
            group.create_task(value(t))
            if fails:
                group.create_task(failing(t))
            await t.sleep(0.001)

    async def main():
        loop = asyncio.get_running_loop()
        for make in (asyncio.tasks._CTask, asyncio.tasks._PyTask):
            for factory in (None, lambda loop, coro, **kw: asyncio.tasks._CTask(coro, loop=loop, **kw)):
                loop.set_task_factory(factory)
                for fails in (False, True):
                    await attempt(t, make(scenario(fails), loop=loop))
                loop.set_task_factory(None)

    t.run(main())


@mixed
def test_no_cycles(t):
    """What failed is freed without the collector's help."""
    lib = t.kit.classes

    class Failure(Exception):
        pass

    async def main():
        ref = None
        try:
            async with lib.TaskGroup() as group:
                group.create_task(failing(t, Failure()))
        except BaseExceptionGroup as exc:
            ref = weakref.ref(exc.exceptions[0])
        del group
        await t.sleep(0)
        await t.sleep(0)
        gc.collect()
        t.say(ref() is None)

    t.run(main())


@same
def test_an_error_after_the_parent(t):
    """A parent that is done already, which takes some doing: the exception handler hears of the error."""
    lib = t.kit.classes
    kept = []

    async def parent():
        group = lib.TaskGroup()
        await group.__aenter__()
        kept.append(group.create_task(failing(t)))

    async def main():
        await t.task(parent())
        await t.sleep(0)
        await t.sleep(0)
        kept[0].exception()

    t.loop.set_exception_handler(lambda loop, context: t.say(sorted(context), blot(context["message"])[:12]))
    t.run(main())


@same
def test_call_graph(t):
    """3.14+: who waits for the tasks."""
    if sys.version_info < (3, 14):
        return
    lib = t.kit.classes

    async def scenario():
        async with lib.TaskGroup() as group:
            tasks = [group.create_task(t.sleep(60)), group.create_task(value(t))]
            t.say([sorted(x.get_name() for x in task._asyncio_awaited_by) for task in tasks])
            for _ in range(5):
                await t.sleep(0)
            t.say([sorted(x.get_name() for x in task._asyncio_awaited_by or ()) for task in tasks])
            tasks[0].cancel()

    async def main():
        await t.task(scenario(), name="parent")
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **kw: asyncio.tasks._CTask(coro, loop=loop, **kw))
        await asyncio.tasks._CTask(scenario(), loop=t.loop, name="parent")
        asyncio.get_running_loop().set_task_factory(None)

    t.run(main())


@mixed
def test_signature(t):
    lib = t.kit.classes
    t.say(str(inspect.signature(lib.TaskGroup)), str(inspect.signature(lib.TaskGroup().create_task)),
          str(inspect.signature(lib.TaskGroup.__aexit__)), str(inspect.signature(lib.TaskGroup().__aenter__)))
