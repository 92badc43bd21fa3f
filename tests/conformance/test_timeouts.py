"""asyncio.timeout, timeout_at and Timeout against asyncloop's."""
import asyncio
import contextlib
import decimal
import fractions
import gc
import inspect
import math
import sys
import weakref

from kits import chain
from sidebyside import blot, mixed, same

# The asyncio of Debian's 3.11.2 does not: there a timeout in a task that is being cancelled ends with the CancelledError.
COUNTS_CANCELLATIONS = "_cancelling" in asyncio.Timeout.__aenter__.__code__.co_names


async def attempt(t, coro):
    try:
        t.say("returned", await coro)
    except BaseException as exc:
        t.say("raised", chain(exc))


@mixed
def test_a_block_in_time(t):
    lib = t.kit.classes

    async def main():
        task = asyncio.current_task()
        cm = lib.timeout_at(1e9)
        t.say(repr(cm), cm.when(), cm.expired(), isinstance(cm, asyncio.Timeout), cm.__class__.__name__)
        async with cm as got:
            t.say(got is cm, repr(cm), cm.when(), cm.expired(), task.cancelling())
            await t.sleep(0)
        t.say(repr(cm), cm.when(), cm.expired(), task.cancelling())
        async with lib.timeout(None) as cm:
            t.say(repr(cm), cm.when())
            await t.sleep(0)
        t.say(repr(cm))

    t.run(main())


@mixed
def test_a_block_that_takes_too_long(t):
    lib = t.kit.classes

    async def late(delay):
        async with lib.timeout(delay) as cm:
            try:
                await t.sleep(60)
            finally:
                t.say(repr(cm), cm.expired(), asyncio.current_task().cancelling())

    async def main():
        for delay in (0.001, 0, -1, -math.inf, 1, False):
            if delay == 1:
                continue
            await attempt(t, late(delay))
            t.say(asyncio.current_task().cancelling())
        cm = lib.timeout_at(0)
        try:
            async with cm:
                await t.future()
        except TimeoutError as exc:
            t.say(chain(exc))
        t.say(repr(cm), cm.expired(), cm.when())

    t.run(main())


@mixed
def test_the_end_of_the_block_comes_first(t):
    """The deadline has passed, but the block does not await anything any more."""
    lib = t.kit.classes

    async def main():
        async with lib.timeout(0) as cm:
            t.say(repr(cm)[:17])
        t.say(repr(cm), asyncio.current_task().cancelling())
        await t.sleep(0)
        await t.sleep(0)
        async with lib.timeout(0) as cm:
            await t.sleep(0)
            t.say("not reached")

    async def outer():
        await attempt(t, main())
        t.say(asyncio.current_task().cancelling())

    t.run(outer())


@mixed
def test_what_counts_as_a_delay(t):
    lib = t.kit.classes

    async def block(delay, make):
        async with make(delay) as cm:
            t.say(type(cm.when()).__name__)
            await t.sleep(0)

    class Odd:
        def __radd__(self, now):
            return now + 100

        def __repr__(self):
            return "Odd"

    async def main():
        for delay in (100, 100.5, 10 ** 400, math.inf, math.nan, fractions.Fraction(201, 2), decimal.Decimal(1), "1", [], True, Odd(), 1j):
            t.say(repr(delay)[:20])
            if delay != delay:  # asyncio's heap has no order for it
                cm = lib.timeout(delay)
                t.say(repr(cm.when()))
                continue
            await attempt(t, block(delay, lib.timeout))
        for when in (10 ** 9, 1e9, fractions.Fraction(10 ** 9), decimal.Decimal(10 ** 9), "1", [], Odd(), 1j):
            t.say(repr(when)[:20])
            await attempt(t, block(when, lib.timeout_at))

    t.run(main())


@mixed
def test_reschedule(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        cm = lib.timeout(None)
        t.attempt(cm.reschedule, 5)
        async with cm:
            cm.reschedule(1e9)
            t.say(repr(cm), cm.when())
            cm.reschedule(None)
            t.say(repr(cm), cm.when())
            cm.reschedule(0)
            cm.reschedule(when=1e9)
            await t.sleep(0)
            await t.sleep(0)
            cm.reschedule(0)
            cm.reschedule(-1)
            cm.reschedule(None)
            await t.sleep(0)
            await t.sleep(0)
            cm.reschedule(loop.time() + 0.0001)
            cm.reschedule(loop.time() + 100)
            await t.sleep(0.001)
            t.attempt(cm.reschedule, "x")
            cm.reschedule(None)
            await t.sleep(0)
        t.attempt(cm.reschedule, 5)
        t.attempt(cm.reschedule, None)
        try:
            async with lib.timeout(100) as cm:
                cm.reschedule(0)
                try:
                    await t.sleep(1)
                finally:
                    t.attempt(cm.reschedule, 5)
        except TimeoutError:
            t.say("timeout")
        t.attempt(cm.reschedule, 5)

    t.run(main())


@mixed
def test_when_the_alarm_comes_among_other_callbacks(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        try:
            async with lib.timeout(0) as cm:
                loop.call_soon(t.say, "after", )
                loop.call_soon(lambda: t.say(cm.expired()))
                await t.future()
        except TimeoutError:
            t.say("timeout")
        try:
            async with lib.timeout(100) as cm:
                loop.call_soon(lambda: t.say(1, cm.expired()))
                cm.reschedule(0)
                loop.call_soon(lambda: t.say(2, cm.expired()))
                cm.reschedule(1e9)
                loop.call_soon(lambda: t.say(3, cm.expired()))
                cm.reschedule(-1)
                loop.call_soon(lambda: t.say(4, cm.expired()))
                await t.future()
        except TimeoutError:
            t.say("timeout")

    t.run(main())


@mixed
def test_one_in_the_other(t):
    lib = t.kit.classes

    async def nested(outer_delay, inner_delay):
        try:
            async with lib.timeout(outer_delay) as outer:
                try:
                    async with lib.timeout(inner_delay) as inner:
                        await t.sleep(60)
                finally:
                    t.say("outer", outer.expired(), "inner", inner.expired(), asyncio.current_task().cancelling())
        finally:
            t.say("outer", outer.expired(), "inner", inner.expired(), asyncio.current_task().cancelling())

    async def main():
        await attempt(t, nested(0.001, 60))
        await attempt(t, nested(60, 0.001))
        await attempt(t, nested(0, 0))
        await attempt(t, nested(-1, 60))
        t.say(asyncio.current_task().cancelling())

    t.run(main())


@mixed
def test_other_exceptions_than_the_cancellation(t):
    lib = t.kit.classes

    async def replaced(make):
        async with lib.timeout(0):
            try:
                await t.sleep(60)
            finally:
                raise make()

    async def in_context():
        async with lib.timeout(0):
            try:
                await t.sleep(60)
            except asyncio.CancelledError:
                try:
                    raise KeyError("inner")
                except KeyError:
                    raise ValueError("outer")  # noqa: B904

    async def grouped():
        async with lib.timeout(0):
            try:
                await t.sleep(60)
            except asyncio.CancelledError:
                errors = []
                for make in (ValueError, KeyError):
                    try:
                        raise make("in a group")
                    except make as exc:
                        errors.append(exc)
                raise ExceptionGroup("group", errors)  # noqa: B904

    class MyCancelled(asyncio.CancelledError):
        pass

    async def main():
        await attempt(t, replaced(lambda: ValueError("replaced")))
        await attempt(t, replaced(lambda: asyncio.CancelledError("again")))
        await attempt(t, replaced(lambda: MyCancelled("mine")))
        await attempt(t, replaced(lambda: TimeoutError("own")))
        await attempt(t, in_context())
        try:
            await grouped()
        except ExceptionGroup as group:
            t.say(chain(group), [chain(exc) for exc in group.exceptions])
        t.say(asyncio.current_task().cancelling())

    t.run(main())


@mixed
def test_swallowed_in_the_block(t):
    lib = t.kit.classes

    async def main():
        async with lib.timeout(0) as cm:
            try:
                await t.sleep(60)
            except asyncio.CancelledError:
                t.say("swallowed", asyncio.current_task().cancelling())
        t.say(repr(cm), asyncio.current_task().cancelling())
        await t.sleep(0)

    t.run(main())


@mixed
def test_cancelled_from_outside_too(t):
    lib = t.kit.classes

    async def limited(delay):
        task = asyncio.current_task()
        try:
            async with lib.timeout(delay) as cm:
                await t.sleep(60)
        finally:
            t.say(repr(cm), task.cancelling())

    async def main():
        for delay, times in ((60, 1), (60, 2), (0, 1), (0, 2)):
            task = t.task(limited(delay))
            await t.sleep(0)
            for _ in range(times):
                task.cancel("outside")
            await attempt(t, task)
            t.say(task.cancelled(), task.cancelling())
        task = t.task(limited(60))
        task.cancel("before it began")
        await attempt(t, task_or_nothing(task))

    async def task_or_nothing(task):
        with contextlib.suppress(UnboundLocalError):
            await task

    t.run(main())


@mixed
def test_a_task_that_was_being_cancelled_before(t):
    lib = t.kit.classes

    async def stubborn():
        try:
            await t.sleep(60)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            try:
                async with lib.timeout(0) as cm:
                    await t.sleep(60)
            except TimeoutError as exc:
                t.say(chain(exc), task.cancelling())
            t.say(repr(cm), task.cancelling())
            task.cancel()
            try:
                async with lib.timeout(0) as cm:
                    await t.sleep(60)
            except BaseException as exc:
                t.say(chain(exc), task.cancelling())
            t.say(repr(cm), task.cancelling(), task.uncancel())

    async def main():
        task = t.task(stubborn())
        await t.sleep(0)
        task.cancel()
        await attempt(t, task)

    t.run(main())


@mixed
def test_wrong_use(t):
    lib = t.kit.classes

    async def entered(cm):  # a second time: refused, but not by 3.11.2
        return await cm.__aenter__() is cm

    async def main():
        cm = lib.timeout(60)
        async with cm:
            await attempt(t, entered(cm))
        await attempt(t, entered(cm))
        await attempt(t, cm.__aexit__(None, None, None))
        await attempt(t, lib.timeout(1).__aexit__(None, None, None))
        for call in (lambda: lib.timeout(), lambda: lib.timeout(1, 2), lambda: lib.timeout(delay=1, when=2), lambda: lib.timeout_at(),
                     lambda: lib.timeout_at(delay=1), lambda: lib.Timeout(), lambda: lib.Timeout(1, 2), lambda: lib.Timeout(1, when=2),
                     lambda: cm.reschedule(), lambda: cm.reschedule(1, 2), lambda: cm.when(1) and 0, lambda: cm.__aexit__(1, 2)):
            try:
                t.say(repr(call())[:10])
            except TypeError as exc:
                text = str(exc)
                t.say("TypeError", text if "takes no arguments" not in text and "when()" not in text else "when")

    t.run(main())
    t.attempt(lib.timeout, 1)
    t.attempt(lib.timeout, None)
    cm = lib.timeout_at(5)
    try:
        cm.__aenter__().send(None)
    except BaseException as exc:
        t.say(chain(exc))


@mixed
def test_outside_of_a_task(t):
    lib = t.kit.classes

    def callback():
        try:
            lib.timeout(60).__aenter__().send(None)
        except BaseException as exc:
            t.say(chain(exc))

    t.loop.call_soon(callback)
    t.pump()


@mixed
def test_what_aenter_and_aexit_are(t):
    lib = t.kit.classes

    async def main():
        cm = lib.timeout(60)
        coro = cm.__aenter__()
        t.say(asyncio.iscoroutine(coro), inspect.isawaitable(coro), coro.__name__, coro.__qualname__, repr(cm))
        coro.close()
        t.say(repr(cm))
        t.say(await cm.__aenter__() is cm)
        t.say(await cm.__aexit__(None, None, None))
        t.say(asyncio.iscoroutinefunction(cm.__aenter__), asyncio.iscoroutinefunction(lib.Timeout.__aexit__))
        cm = lib.timeout(60)
        cm.__aenter__()
        gc.collect()

    t.run(main())


@mixed
def test_in_an_exit_stack(t):
    lib = t.kit.classes

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(lib.timeout(60))
            await stack.enter_async_context(lib.timeout(0))
            await t.sleep(60)

    async def outer():
        await attempt(t, main())

    t.run(outer())


@mixed
def test_its_attributes(t):
    lib = t.kit.classes

    async def main():
        cm = lib.timeout(60)
        t.say(cm._task, cm._state.name, cm._timeout_handler, isinstance(cm._when, float))
        async with cm:
            t.say(cm._task is asyncio.current_task(), cm._state.value, cm._timeout_handler is None)
            if COUNTS_CANCELLATIONS:
                t.say(cm._cancelling)
            cm.mine = 1
            t.say(cm.mine, weakref.ref(cm)() is cm, hash(cm) == hash(cm), cm == cm)
        t.say(cm._task is asyncio.current_task(), cm._state.value, cm._timeout_handler)

    t.run(main())


@mixed
def test_a_subclass(t):
    class Mine(t.kit.classes.Timeout):
        def __init__(self, when, name):
            super().__init__(when)
            self.name = name

        async def __aenter__(self):
            t.say("enter", self.name)
            return await super().__aenter__()

    async def main():
        try:
            async with Mine(0, "mine") as cm:
                t.say(cm.name, isinstance(cm, Mine), repr(cm)[:17])
                await t.sleep(60)
        except TimeoutError as exc:
            t.say(chain(exc))

    t.run(main())


@mixed
def test_a_task_class_with_a_cancel_of_its_own(t):
    class Task(t.kit.Task):
        def cancel(self, msg=None):
            t.say("cancel", msg)
            return super().cancel(msg)

        def uncancel(self):
            t.say("uncancel")
            return super().uncancel()

        def cancelling(self):
            t.say("cancelling")
            return super().cancelling()

    async def main():
        async with t.kit.classes.timeout(0):
            await t.sleep(60)

    async def outer():
        await attempt(t, Task(main(), loop=t.loop))

    t.run(outer())


@mixed
def test_many_at_once(t):
    lib = t.kit.classes

    async def limited(i):
        try:
            async with lib.timeout(0.001 * (i % 5) if i % 2 else 60):
                await t.sleep(60 if i % 2 else 0.001 * (i % 3))
            return "in time"
        except TimeoutError:
            return "late"

    async def main():
        t.say(await t.gather(*(limited(i) for i in range(60))))

    t.run(main())


@mixed
def test_left_by_a_generator(t):
    lib = t.kit.classes

    async def ticks():
        async with lib.timeout(60) as cm:
            kept.append(cm)
            while True:
                yield 1
                await t.sleep(0)

    async def main():
        generator = ticks()
        t.say(await generator.__anext__())
        await generator.aclose()
        t.say(repr(kept[0]))

    kept = []
    t.run(main())


@same
def test_on_a_native_task(t):
    """A task of asyncio's own on either loop."""
    lib = t.kit.classes

    async def main():
        async with lib.timeout(60) as cm:
            t.say(cm._task is asyncio.current_task(), type(cm._task) is type(asyncio.current_task()))
        async with lib.timeout(0):
            await t.sleep(60)

    async def outer():
        task = asyncio.tasks._CTask(main(), loop=t.loop) if hasattr(asyncio.tasks, "_CTask") else asyncio.Task(main(), loop=t.loop)
        await attempt(t, task)
        if sys.version_info >= (3, 12):
            async def eager():
                async with lib.timeout(60) as cm:
                    t.say(cm._task is asyncio.current_task(), asyncio.current_task().get_name())
                    await t.sleep(0)
                    t.say(cm._task is asyncio.current_task(), blot(repr(cm))[:17])

            await asyncio.tasks._CTask(eager(), loop=t.loop, eager_start=True, name="eager")

    t.run(outer())


class Stubborn:
    """Something to await whose cancel() calls `refuse` the first time."""

    _asyncio_future_blocking = False

    def __init__(self, loop, refuse):
        self.loop, self.inner, self.refuse = loop, loop.create_future(), refuse

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        self.inner.add_done_callback(lambda future: callback(self), context=context)

    def cancel(self, msg=None):
        refuse, self.refuse = self.refuse, None
        if refuse is not None:
            refuse()
        return self.inner.cancel()

    def result(self):
        return self.inner.result()

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self
        return self.result()


def not_now():
    raise ValueError("not now")


@mixed
def test_rescheduled_after_a_cancel_that_failed(t):
    """The alarm is over, whatever came of it: the next one is not taken for it."""
    lib = t.kit.classes

    async def block(again, after):
        loop = asyncio.get_running_loop()
        async with lib.timeout(0.01) as cm:
            loop.call_later(0.03, lambda: [t.say(repr(cm)[:18]), cm.reschedule(again and loop.time() + again)])
            if after is not None:
                loop.call_later(0.04, cm.reschedule, after)
            await Stubborn(loop, not_now)

    async def main():
        for again, after in ((0.01, None), (-1, None), (0.02, 1e9), (None, None), (None, -1)):
            task = t.task(block(again, after))
            await asyncio.wait([task], timeout=0.15)
            t.say(task.done(), task.cancelling())
            task.cancel()
            t.attempt(await_done, task)
            await attempt(t, task)

    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], context["exception"]))
    t.run(main())


def await_done(task):
    return task.done()


@mixed
def test_rescheduled_or_begun_anew_inside_of_cancel(t):
    lib = t.kit.classes

    async def block(act):
        loop = asyncio.get_running_loop()
        async with lib.timeout(0.01) as cm:
            await Stubborn(loop, lambda: act(cm, loop))

    async def main():
        for act in (lambda cm, loop: cm.reschedule(loop.time() + 0.02), lambda cm, loop: cm.reschedule(-1), lambda cm, loop: cm.reschedule(None),
                    lambda cm, loop: cm.__init__(None), lambda cm, loop: cm.__init__(loop.time() + 1)):
            await attempt(t, t.task(block(act)))
            await asyncio.sleep(0.04)

    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], context["exception"]))
    t.run(main())


@mixed
def test_an_alarm_by_hand_and_begun_anew(t):
    """The old timer is still to come when the new one is armed."""
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        cm = lib.timeout(0.03)
        try:
            async with cm:
                cm._on_timeout()
                await asyncio.sleep(1)
        except TimeoutError as exc:
            t.say(chain(exc))
        cm.__init__(loop.time() + 0.2)
        await attempt(t, wait_within(cm))

    async def wait_within(cm):
        async with cm:
            await asyncio.sleep(0.1)

    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], context["exception"]))
    t.run(main())


@same(kits=("asyncloop", "our_classes"))
def test_what_its_callback_raises_is_reported_with_the_handle(t):
    """Of a task whose cancel() fails: message, exception and handle, as of any callback."""
    lib = t.kit.classes
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        task = asyncio.current_task()

        def fail(*args):
            raise LookupError("no")
        timeout = lib.timeout(0.001)
        async with timeout:
            task.cancel = fail
            await lib.sleep(0.02)
            del task.cancel
            timeout.reschedule(None)

    t.run(main())
    for context in reports:
        t.say(sorted(context), context["message"].partition(" at ")[0], repr(context["exception"]))


@same(kits=("asyncloop", "our_classes"))
def test_what_a_group_raises_in_its_callback_is_reported_with_the_handle(t):
    lib = t.kit.classes
    reports = []

    async def fails():
        raise ValueError("first")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        task = asyncio.current_task()

        def fail(*args):
            raise LookupError("no")
        try:
            async with lib.TaskGroup() as group:
                task.cancel = fail
                group.create_task(fails())
                await lib.sleep(0.01)
                del task.cancel
        except BaseExceptionGroup as exc:
            t.say(exc)

    t.run(main())
    for context in reports:
        t.say(sorted(context), context["message"].partition("(")[0], repr(context["exception"]))
