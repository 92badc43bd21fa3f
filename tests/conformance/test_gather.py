"""asyncio.gather against asyncloop.gather."""
import asyncio
import concurrent.futures
import contextvars
import gc
import sys
import weakref

from sidebyside import OURS, blot, mixed


async def value(n=1):
    return n


async def late(t, n=1):
    await t.sleep(0.001)
    return n


async def failing(text="failed"):
    raise ValueError(text)


def shown(results):
    return [repr(r) if isinstance(r, BaseException) else r for r in results]


@mixed
def test_results_in_the_order_of_the_arguments(t):
    async def main():
        t.say(await t.gather(late(t, 1), value(2), late(t, 3)))
        future = t.future()
        t.loop.call_soon(future.set_result, "future")
        t.say(await t.gather(future, t.task(value(4)), value(5)))
        t.say(await t.gather(value(None)))
        t.say(await t.gather(*[value(i) for i in range(200)]))

    t.run(main())


@mixed
def test_type_and_repr_of_the_outer(t):
    async def main():
        outer = t.gather(value(1), late(t, 2))
        t.say(isinstance(outer, asyncio.Future), asyncio.isfuture(outer), asyncio.iscoroutine(outer),
              type(outer).__name__, outer.done(), outer.get_loop() is t.loop)
        t.say(blot(repr(outer)))
        await outer
        t.say(blot(repr(outer)), outer.result(), outer.exception())
        t.attempt(outer.cancel)

    t.run(main())


@mixed
def test_empty(t):
    async def main():
        outer = t.gather()
        t.say(outer.done(), type(outer).__name__)
        t.say(await outer, outer.done(), outer.result())
        t.say(await t.gather(return_exceptions=True))
        t.say(await t.gather(*[], return_exceptions=True))

    t.run(main())


@mixed
def test_empty_without_a_running_loop(t):
    asyncio.set_event_loop(None)
    t.attempt(t.gather)
    coro = value()
    t.attempt(t.gather, coro)
    coro.close()


@mixed
def test_outside_of_the_loop_with_futures(t):
    futures = [t.future() for _ in range(3)]
    outer = t.gather(*futures)
    for i, future in enumerate(futures):
        future.set_result(i)
    t.say(outer.done())
    t.say(t.loop.run_until_complete(outer))


@mixed
def test_first_exception(t):
    async def main():
        slow = t.task(late(t, "slow"))
        outer = t.gather(slow, failing("one"), failing("two"))
        try:
            await outer
        except ValueError as exc:
            t.say(exc)
        t.say(slow.done(), outer.exception())
        t.say(await slow)
        await t.sleep(0)

    t.run(main())


@mixed
def test_second_exception_is_not_reported(t):
    t.record_contexts()

    async def main():
        tasks = [t.task(failing(str(i))) for i in range(3)]
        try:
            await t.gather(*tasks)
        except ValueError as exc:
            t.say(exc)

    t.run(main())
    gc.collect()


@mixed
def test_exception_of_a_dropped_gather(t):
    t.record_contexts()

    async def main():
        t.gather(failing("nobody looks"))
        await t.sleep(0.002)

    t.run(main())
    gc.collect()


@mixed
def test_return_exceptions(t):
    async def main():
        cancelled = t.future()
        cancelled.cancel("before")
        later = t.future()
        t.loop.call_soon(later.cancel, "later")

        async def cancels():
            raise asyncio.CancelledError("own")

        results = await t.gather(value(1), failing("x"), cancelled, later, cancels(), return_exceptions=True)
        t.say(shown(results))
        for result in results[2:]:
            t.say(result.args)

    t.run(main())


@mixed
def test_child_cancelled(t):
    async def main():
        child = t.task(asyncio.sleep(10))
        outer = t.gather(child, late(t))
        await t.sleep(0)
        child.cancel("child only")
        try:
            await outer
        except asyncio.CancelledError as exc:
            t.say(exc.args)
        t.say(outer.cancelled(), outer.done())
        t.attempt(outer.exception)

    t.run(main())


@mixed
def test_outer_cancelled(t):
    for return_exceptions in (False, True):
        async def main():
            children = [t.task(asyncio.sleep(10)) for _ in range(2)] + [t.task(value("done"))]
            outer = t.gather(*children, return_exceptions=return_exceptions)
            await t.sleep(0)
            await t.sleep(0)
            t.say(outer.cancel("from outside"), outer.done(), outer.cancelled())
            try:
                await outer
            except asyncio.CancelledError as exc:
                t.say(exc.args)
            t.say([c.cancelled() for c in children], outer.cancelled(), outer.cancel())

        t.run(main())


@mixed
def test_outer_cancelled_with_all_children_done(t):
    async def main():
        children = [t.future() for _ in range(2)]
        outer = t.gather(*children)
        for child in children:
            child.set_result(1)
        t.say(outer.cancel())
        t.say(await outer)

    t.run(main())


@mixed
def test_children_that_refuse_to_be_cancelled(t):
    async def stubborn():
        try:
            await t.sleep(10)
        except asyncio.CancelledError:
            return "refused"

    async def main():
        for return_exceptions in (False, True):
            outer = t.gather(stubborn(), stubborn(), return_exceptions=return_exceptions)
            await t.sleep(0)
            t.say(outer.cancel())
            try:
                t.say(await outer)
            except asyncio.CancelledError as exc:
                t.say("cancelled", exc.args)
            t.say(outer.cancelled())

    t.run(main())


@mixed
def test_awaiting_task_cancelled(t):
    async def main():
        children = [t.task(asyncio.sleep(10)) for _ in range(3)]

        async def gatherer():
            await t.gather(*children)

        task = t.task(gatherer())
        await t.sleep(0)
        t.say(task._fut_waiter is not None)
        task.cancel("the awaiting one")
        try:
            await task
        except asyncio.CancelledError as exc:
            t.say(exc.args)
        t.say([c.cancelled() for c in children], task.cancelled())

    t.run(main())


@mixed
def test_duplicates(t):
    async def main():
        coro = value("coro")
        future = t.future()
        t.loop.call_soon(future.set_result, "future")
        task = t.task(value("task"))
        outer = t.gather(coro, future, task, coro, future, task, future)
        t.say(await outer)
        t.say(len(outer._children) if hasattr(outer, "_children") else None)
        future = t.future()
        outer = t.gather(future, future)
        future.cancel()
        try:
            await outer
        except asyncio.CancelledError:
            t.say("cancelled")

    t.run(main())


@mixed
def test_done_children(t):
    async def main():
        done = t.future()
        done.set_result(1)
        outer = t.gather(done)
        t.say(outer.done())
        t.say(await outer)
        broken = t.future()
        broken.set_exception(KeyError("k"))
        outer = t.gather(done, broken, value(5))
        t.say(outer.done())
        try:
            await outer
        except KeyError as exc:
            t.say(exc)
        t.say(await t.gather(done, done))

    t.run(main())


@mixed
def test_other_awaitables(t):
    class Awaitable:
        def __await__(self):
            yield
            return "awaitable"

    async def main():
        t.say(await t.gather(Awaitable(), value(1)))
        source = concurrent.futures.Future()
        t.loop.call_soon(source.set_result, "wrapped")
        t.say(await t.gather(asyncio.wrap_future(source)))
        for cls in (asyncio.Future, OURS.Future):
            future = cls(loop=t.loop)
            t.loop.call_soon(future.set_result, "either")
            t.say(await t.gather(future))
        t.say(await t.gather(t.gather(value(1), value(2)), asyncio.gather(value(3))))

    t.run(main())


@mixed
def test_wrong_arguments(t):
    async def main():
        for wrong in (5, None, "x", value, [value]):
            t.attempt(t.gather, wrong)
        coros = [value(), value()]
        t.attempt(lambda: t.gather(coros))
        t.attempt(lambda: t.gather(coros[0], wrong=1))
        t.attempt(lambda: t.gather(coros[1], loop=t.loop))
        for coro in coros:
            coro.close()

    t.run(main())


@mixed
def test_wrong_argument_after_good_ones(t):
    async def main():
        good = t.future()
        t.attempt(lambda: t.gather(good, 5))
        good.set_result(1)
        await t.sleep(0)

    t.run(main())


@mixed
def test_loop_mismatch(t):
    mine, other = t.loop, t.new_loop()
    foreign = t.kit.Future(loop=other)

    async def main():
        own = t.future()
        t.attempt(lambda: t.gather(own, foreign))
        t.attempt(lambda: t.gather(foreign, own))
        t.attempt(lambda: t.gather(foreign).get_loop() is other)
        coro = value()
        t.attempt(lambda: t.gather(foreign, coro))
        coro.close()

    mine.run_until_complete(t.kit.Task(main(), loop=mine))


@mixed
def test_environment_of_the_children(t):
    var = contextvars.ContextVar("var", default="none")

    async def look():
        return var.get()

    async def main():
        var.set("main")
        outer = t.gather(look(), look())
        var.set("later")
        t.say(await outer)

    t.run(main())


@mixed
def test_nested(t):
    async def main():
        t.say(await t.gather(t.gather(value(1), late(t, 2)), t.gather(late(t, 3)), t.gather()))
        inner = t.gather(asyncio.sleep(10))
        outer = t.gather(inner, asyncio.sleep(10))
        await t.sleep(0)
        outer.cancel()
        try:
            await outer
        except asyncio.CancelledError:
            t.say(inner.cancelled(), outer.cancelled())

    t.run(main())


@mixed
def test_one_gather_awaited_twice(t):
    async def wait(outer):
        return await outer

    async def main():
        outer = t.gather(late(t, 1), value(2))
        t.say(await t.gather(wait(outer), wait(outer)))
        t.say(await outer)

    t.run(main())


@mixed
def test_in_wait_for_and_shield(t):
    async def main():
        t.say(await asyncio.wait_for(t.gather(value(1), late(t, 2)), 5))
        children = [t.task(asyncio.sleep(10))]
        try:
            await asyncio.wait_for(t.gather(*children), 0.001)
        except asyncio.TimeoutError:
            t.say("timed out", children[0].cancelled())
        t.say(await asyncio.shield(t.gather(late(t, 3))))
        done, pending = await asyncio.wait([t.gather(value(1)), t.gather(late(t))])
        t.say(len(done), len(pending))

    t.run(main())


@mixed
def test_order_of_completion_and_callbacks(t):
    order = []

    async def step(n):
        order.append(f"start {n}")
        await t.sleep(0)
        order.append(f"end {n}")

    async def main():
        outer = t.gather(step(1), step(2))
        outer.add_done_callback(lambda f: order.append("outer"))
        order.append("made")
        t.loop.call_soon(order.append, "soon")
        await outer
        order.append("awaited")

    t.run(main())
    t.say(order)


@mixed
def test_eager_factory(t):
    if sys.version_info < (3, 12):
        t.say("came with 3.12")
        return

    async def main():
        t.loop.set_task_factory(asyncio.eager_task_factory)
        outer = t.gather(value(1), value(2))
        t.say(outer.done())
        t.say(await outer)
        outer = t.gather(value(1), late(t, 2), return_exceptions=True)
        t.say(outer.done())
        t.say(await outer)
        try:
            await t.gather(failing(), value())
        except ValueError as exc:
            t.say(exc)

    t.run(main())


@mixed
def test_children_are_named_like_any_task(t):
    async def name():
        return asyncio.current_task().get_name().startswith("Task-")

    async def main():
        t.say(await t.gather(name(), name()))

    t.run(main())


@mixed
def test_task_factory_is_used(t):
    made = []

    def factory(loop, coro, **kw):
        made.append(coro.__name__)
        kw.pop("eager_start", None)
        return t.kit.Task(coro, loop=loop, **kw)

    async def main():
        t.loop.set_task_factory(factory)
        await t.gather(value(1), value(2))
        t.loop.set_task_factory(None)

    t.run(main())
    t.say(made)


@mixed
def test_memory_is_released(t):
    class Mark:
        pass

    async def main():
        mark = Mark()
        ref = weakref.ref(mark)

        async def carry(mark):
            await t.sleep(0)
            return mark

        results = await t.gather(carry(mark), carry(mark))
        del mark, results
        gc.collect()
        t.say(ref() is None)

    t.run(main())


@mixed
def test_dropped_outer_of_pending_children(t):
    t.record_contexts()
    future = t.future()
    t.gather(future)
    gc.collect()
    future.set_result(1)
    t.pump(2)
    del future
    gc.collect()


@mixed
def test_keyboard_interrupt_in_a_child(t):
    async def leave():
        raise KeyboardInterrupt("child")

    async def main():
        try:
            await t.gather(leave(), value())
        except KeyboardInterrupt:
            t.say("seen inside")
            raise

    t.attempt(t.run, main())
    t.attempt(t.pump, 3)


@mixed
def test_debug_mode(t):
    t.loop.set_debug(True)

    async def main():
        t.say(await t.gather(value(1), late(t, 2)))

    t.run(main())
    t.loop.set_debug(False)


@mixed
def test_call_graph(t):
    if sys.version_info < (3, 14):
        t.say("came with 3.14")
        return

    async def main():
        async def gatherer():
            await t.gather(child)

        child = t.task(asyncio.sleep(0.002), name="child")
        waiting = t.task(gatherer(), name="gatherer")
        await t.sleep(0)
        await t.sleep(0)
        graph = asyncio.capture_call_graph(child)
        t.say(len(graph.awaited_by), [[l.future.get_name() for l in g.awaited_by] for g in graph.awaited_by])
        await waiting
        t.say(list(child._asyncio_awaited_by or ()))

    t.run(main())
