"""asyncio.shield against asyncloop.shield."""
import asyncio
import gc
import inspect
import sys
import weakref

from sidebyside import attempt, blot, mixed, same


async def value(t, n=1, delay=0):
    await t.sleep(delay)
    return n


async def failing(t, delay=0):
    await t.sleep(delay)
    raise ValueError("failed")


@mixed
def test_inner_ends(t):
    lib = t.kit.classes

    async def main():
        await attempt(t, lib.shield(value(t)))
        await attempt(t, lib.shield(failing(t)))
        task = t.task(value(t, 2))
        await attempt(t, lib.shield(task))
        t.say(lib.shield(task) is task)
        for end in (lambda f: f.set_result("result"), lambda f: f.set_exception(KeyError("error")), lambda f: f.cancel("message")):
            inner = t.future()
            outer = lib.shield(inner)
            t.say(blot(repr(outer))[:16], isinstance(outer, asyncio.Future), outer is inner, outer.get_loop() is t.loop)
            end(inner)
            t.say(outer.done())
            await attempt(t, outer)
            t.say(outer.cancelled(), inner.cancelled(), lib.shield(inner) is inner)

    t.run(main())


@mixed
def test_outer_is_cancelled(t):
    lib = t.kit.classes

    async def waiting(inner):
        await lib.shield(inner)

    async def main():
        for end in (lambda f: f.set_result("result"), lambda f: f.set_exception(KeyError("error")), lambda f: f.cancel("message")):
            inner = t.future()
            task = t.task(waiting(inner))
            await t.sleep(0)
            task.cancel("outer")
            await attempt(t, task)
            t.say(inner.done(), len(inner._callbacks or ()))
            await t.sleep(0)
            t.say(inner.done(), len(inner._callbacks or ()))
            end(inner)
            await t.sleep(0)
            inner.cancelled() or inner.exception()

    t.run(main())


@mixed
def test_both_in_one_pass(t):
    lib = t.kit.classes

    async def main():
        for end in (lambda f: f.set_result("result"), lambda f: f.set_exception(KeyError("nobody asks")), lambda f: f.cancel("message")):
            for first in (True, False):
                inner = t.future()
                outer = lib.shield(inner)
                if first:
                    end(inner)
                t.say(outer.cancel("outer"))
                if not first:
                    end(inner)
                await attempt(t, outer)
                await t.sleep(0)
                await t.sleep(0)
                del inner, outer
                gc.collect()

    t.record_contexts()
    t.run(main())


@mixed
def test_an_exception_nobody_asks_for(t):
    lib = t.kit.classes

    async def main():
        inner = t.future()
        outer = lib.shield(inner)
        outer.cancel()
        await t.sleep(0)
        await t.sleep(0)
        inner.set_exception(ValueError("after the cancellation"))
        await t.sleep(0)
        del inner, outer
        gc.collect()
        outer = lib.shield(failing(t))
        await t.sleep(0)
        await t.sleep(0)
        await t.sleep(0)
        del outer
        gc.collect()
        await t.sleep(0)

    t.record_contexts()
    t.run(main())
    gc.collect()


@mixed
def test_outer_finished_by_somebody_else(t):
    lib = t.kit.classes

    async def main():
        inner = t.future()
        outer = lib.shield(inner)
        outer.set_result("elsewhere")
        t.say(bool(inner._callbacks))
        await t.sleep(0)
        t.say(len(inner._callbacks or ()))
        inner.set_result(1)
        await attempt(t, outer)
        inner = t.future()
        outer = lib.shield(inner)
        inner.set_result(1)
        outer.set_exception(ValueError("elsewhere"))
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(str(context["exception"])))
        await t.sleep(0)
        await t.sleep(0)
        t.say(contexts)
        await attempt(t, outer)

    t.run(main())


@mixed
def test_order_of_events(t):
    lib = t.kit.classes

    async def main():
        inner = t.future()
        inner.add_done_callback(lambda f: t.say("before"))
        outer = lib.shield(inner)
        inner.add_done_callback(lambda f: t.say("after"))
        outer.add_done_callback(lambda f: t.say("outer"))
        inner.set_result(1)
        t.say(await outer)
        inner = t.future()
        outer = lib.shield(inner)
        outer.add_done_callback(lambda f: t.say("outer", len(inner._callbacks or ())))
        asyncio.get_running_loop().call_soon(t.say, "soon")
        outer.cancel()
        await t.sleep(0)
        t.say("slept")
        await t.sleep(0)
        inner.cancel()

    t.run(main())


@mixed
def test_of_a_shield_and_of_gather(t):
    lib = t.kit.classes

    async def main():
        inner = t.future()
        outer = lib.shield(lib.shield(inner))
        outer.cancel()
        await t.sleep(0)
        t.say(outer.cancelled(), inner.cancelled())
        inner.set_result(1)
        children = [t.future(), t.future()]
        outer = t.gather(*(lib.shield(c) for c in children))
        await t.sleep(0)
        outer.cancel()
        await attempt(t, outer)
        t.say([c.cancelled() for c in children])
        whole = t.gather(*children)
        outer = lib.shield(whole)
        outer.cancel()
        await attempt(t, outer)
        for child in children:
            child.set_result(2)
        await attempt(t, whole)

    t.run(main())


@mixed
def test_what_may_be_given(t):
    lib = t.kit.classes

    class Awaitable:
        def __await__(self):
            yield from t.sleep(0).__await__()
            return "awaited"

    async def main():
        await attempt(t, lib.shield(Awaitable()))
        await attempt(t, lib.shield(t.sleep(0, "slept")))
        for bad in (5, None, [], "x"):
            t.attempt(lib.shield, bad)
        for call in (lambda: lib.shield(), lambda: lib.shield(1, 2), lambda: lib.shield(fut=1), lambda: lib.shield(1, arg=1)):
            try:
                call()
            except TypeError as exc:
                t.say(str(exc))
        t.say(await lib.shield(arg=value(t)))
        t.say(str(inspect.signature(lib.shield)))

    t.run(main())


@mixed
def test_native_futures(t):
    lib = t.kit.classes

    async def main():
        loop = asyncio.get_running_loop()
        for make in (asyncio.futures._CFuture, asyncio.futures._PyFuture):
            for end in (lambda f: f.set_result("result"), lambda f: f.set_exception(KeyError("error")), lambda f: f.cancel()):
                inner = make(loop=loop)
                outer = lib.shield(inner)
                end(inner)
                await attempt(t, outer)
                t.say(lib.shield(inner) is inner)
            inner = make(loop=loop)
            outer = lib.shield(inner)
            outer.cancel()
            await t.sleep(0)
            await t.sleep(0)
            t.say(inner.done(), len(inner._callbacks or ()))
            inner.set_result(1)
        task = asyncio.tasks._CTask(value(t), loop=loop)
        await attempt(t, lib.shield(task))

    t.run(main())


@mixed
def test_nothing_is_kept(t):
    lib = t.kit.classes

    async def main():
        inner = t.future()
        outer = lib.shield(inner)
        refs = weakref.ref(inner), weakref.ref(outer)
        outer.cancel()
        await t.sleep(0)
        await t.sleep(0)
        del outer
        t.say(refs[1]() is None)
        del inner
        t.say(refs[0]() is None)
        inner = t.future()
        outer = lib.shield(inner)
        refs = weakref.ref(inner), weakref.ref(outer)
        del inner, outer
        gc.collect()
        t.say([ref() is None for ref in refs])
        inner = t.future()
        outer = lib.shield(inner)
        inner.set_result(1)
        await outer
        ref = weakref.ref(inner)
        del inner
        await t.sleep(0)
        gc.collect()
        t.say(ref() is None, outer.result())

    t.run(main())


@mixed
def test_outside_of_a_loop(t):
    lib = t.kit.classes
    inner = t.future()
    outer = lib.shield(inner)
    t.say(outer.get_loop() is t.loop)
    inner.set_result(5)
    t.say(t.loop.run_until_complete(outer))


@same
def test_call_graph(t):
    """3.14+: who waits for what is shielded."""
    if sys.version_info < (3, 14):
        return
    lib = t.kit.classes

    def awaited_by(future):
        return sorted(task.get_name() for task in (future._asyncio_awaited_by or ()))

    async def waiting(inner):
        await lib.shield(inner)

    async def main():
        for end in (lambda f: None, lambda f: f.set_result(1)):
            inner = t.future()
            task = t.task(waiting(inner), name="waits")
            await t.sleep(0)
            t.say(awaited_by(inner))
            end(inner)
            task.cancel()
            await attempt(t, task)
            await t.sleep(0)
            t.say(awaited_by(inner))

    t.run(main())
