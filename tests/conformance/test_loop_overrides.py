"""Methods of the loop that a subclass, or somebody on the class or the instance, has replaced: helpers, tasks and futures call them."""
import asyncio
import contextvars

from sidebyside import same

NAMES = ("call_soon", "call_later", "call_at", "create_future")
var = contextvars.ContextVar("var", default="unset")


def counting(t, *names):
    """A class of loop that counts the calls of these methods."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    def wrapper(name):
        def method(self, *args, **kwargs):
            self.calls[name] = self.calls.get(name, 0) + 1
            return getattr(base, name)(self, *args, **kwargs)
        return method

    class Counting(base):
        def __init__(self):
            self.calls = {}
            super().__init__()

    for name in names:
        setattr(Counting, name, wrapper(name))
    return Counting


async def waits(t):
    """One of each helper; yields their names as it goes."""
    lib = t.kit.classes
    loop = asyncio.get_running_loop()

    async def child(value):
        await lib.sleep(0)
        return value

    async def slow():
        await lib.sleep(30)

    yield "begin"
    await lib.sleep(0)
    yield "sleep(0)"
    await lib.sleep(0.001)
    yield "sleep"
    await lib.create_task(child(1))
    yield "create_task"
    await lib.gather(child(1), child(2))
    yield "gather"
    await lib.wait([lib.create_task(child(1))])
    yield "wait"
    await lib.wait([lib.create_task(child(1))], timeout=30)
    yield "wait with a timeout"
    await lib.wait([loop.create_future()], timeout=0.001)
    yield "wait in vain"
    for each in lib.as_completed([child(1), child(2)], timeout=30):
        await each
    yield "as_completed"
    async with lib.timeout(30):
        await lib.sleep(0)
    yield "timeout"
    try:
        async with lib.timeout(-1):
            await slow()
    except TimeoutError:
        yield "timeout in the past"
    await lib.wait_for(child(1), 30)
    yield "wait_for"
    try:
        await lib.wait_for(slow(), 0.001)
    except TimeoutError:
        yield "wait_for in vain"
    async with lib.TaskGroup() as group:
        group.create_task(child(1))
        group.create_task(child(2))
    yield "TaskGroup"
    lock, event, queue = lib.Lock(), lib.Event(), lib.Queue()
    await lock.acquire()
    waiting = [lib.create_task(x) for x in (lock.acquire(), event.wait(), queue.get())]
    await lib.sleep(0)
    lock.release()
    event.set()
    queue.put_nowait(1)
    await lib.gather(*waiting)
    yield "lock, event, queue"
    inner = lib.create_task(child(1))
    await lib.shield(inner)
    outer = lib.shield(lib.create_task(child(1)))
    outer.cancel()
    await lib.sleep(0.001)
    yield "shield"
    future = loop.create_future()
    future.add_done_callback(lambda f: None)
    future.add_done_callback(lambda f: None)
    future.set_result(None)
    future.add_done_callback(lambda f: None)
    await lib.sleep(0)
    yield "callbacks"
    task = lib.create_task(slow())
    await lib.sleep(0)
    task.cancel()
    await lib.wait([task])
    yield "cancel"


def run_counted(t, loop):
    async def main():
        async for name in waits(t):
            t.say(name, dict(sorted(loop.calls.items())))
            loop.calls.clear()

    loop.run_until_complete(loop.create_task(main()))


@same
def test_each_helper_calls_what_a_subclass_overrides(t):
    for names in (("call_soon",), ("call_later",), ("call_at",), ("create_future",), NAMES):
        loop = t.new_loop(counting(t, *names))
        t.say(names)
        run_counted(t, loop)


@same
def test_scaled_time(t):
    """A loop for tests on which every delay is a thousand times shorter."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    class Scaled(base):
        def call_later(self, delay, callback, *args, **kwargs):
            return super().call_later(delay / 10000, callback, *args, **kwargs)

    loop = t.new_loop(Scaled)

    async def main():
        lib = t.kit.classes
        t.say(await lib.sleep(50, "slept"))
        done, pending = await lib.wait([loop.create_future()], timeout=50)
        t.say(len(done), len(pending))

    loop.run_until_complete(main())


@same
def test_on_the_instance_while_it_runs(t):
    loop = t.loop
    calls = []

    def spy(name):
        real = getattr(loop, name)

        def method(*args, **kwargs):
            calls.append(name)
            return real(*args, **kwargs)
        setattr(loop, name, method)

    async def main():
        lib = t.kit.classes
        await lib.sleep(0.001)
        t.say(calls)
        for name in NAMES:
            spy(name)
            await lib.sleep(0.001)
            async with lib.timeout(30):
                await lib.create_task(lib.sleep(0))
            t.say(name, calls)
            calls.clear()
            delattr(loop, name)
            await lib.sleep(0.001)
            t.say(calls)
        loop.__dict__["call_soon"] = lambda *args, **kwargs: (calls.append("dict"), type(loop).call_soon(loop, *args, **kwargs))[1]
        await lib.sleep(0.001)  # noticed by the next poll at the latest
        calls.clear()
        await lib.sleep(0)
        t.say(calls)
        del loop.__dict__["call_soon"]
        await lib.sleep(0.001)
        calls.clear()
        await lib.sleep(0)
        t.say(calls)

    loop.run_until_complete(main())


@same
def test_on_the_class_between_runs(t):
    Class = counting(t)
    loop = t.new_loop(Class)

    async def main():
        await t.kit.classes.sleep(0.001)

    for name in NAMES:
        loop.run_until_complete(main())
        t.say(loop.calls)
        setattr(Class, name, getattr(counting(t, name), name))
        loop.run_until_complete(main())
        t.say(sorted(loop.calls.items()))
        delattr(Class, name)
        loop.calls.clear()
        loop.run_until_complete(main())
        t.say(loop.calls)


@same
def test_what_an_overridden_call_soon_is_given(t):
    """The callback's name, its arguments and the context are asyncio's."""
    probe = t.kit.new_loop()
    base = type(probe)
    probe.close()

    class Loop(base):
        def call_soon(self, callback, *args, context=None):
            if self.is_running():
                owner = getattr(callback, "__self__", None)
                t.say(type(owner).__name__ if isinstance(owner, asyncio.Task) else "", [type(a).__name__ for a in args],
                      None if context is None else context.get(var))
            return super().call_soon(callback, *args, context=context)

    loop = t.new_loop(Loop)

    async def main():
        var.set("main")
        future = loop.create_future()
        future.add_done_callback(lambda f: t.say("called", var.get()))
        var.set("later")
        task = asyncio.current_task()
        loop.call_later(0.001, future.set_result, 1)
        await future
        t.say(asyncio.current_task() is task, var.get())
        failing = t.task(fails())
        try:
            await failing
        except LookupError as exc:
            t.say(exc)
        future = loop.create_future()
        waiter = t.task(wait_for_it(future))
        await t.sleep(0)
        waiter.cancel("why")
        try:
            await waiter
        except asyncio.CancelledError as exc:
            t.say(exc.args)

    async def fails():
        await t.sleep(0)
        raise LookupError("x")

    async def wait_for_it(future):
        await future

    loop.run_until_complete(loop.create_task(main()))


@same
def test_call_soon_that_raises(t):
    loop = t.loop

    def refuse(*args, **kwargs):
        raise LookupError("no")

    async def main():
        future = loop.create_future()
        future.add_done_callback(print)
        loop.call_soon = refuse
        try:
            t.attempt(future.set_result, 1)
            coro = t.sleep(0)
            t.attempt(t.kit.Task, coro, loop=loop)
            coro.close()
        finally:
            del loop.call_soon
        t.say(future.done())

    loop.run_until_complete(main())


@same
def test_call_later_calls_call_at(t):
    loop = t.loop
    seen = []
    real = loop.call_at

    def call_at(when, callback, *args, **kwargs):
        seen.append((type(when).__name__, when > loop.time(), args, kwargs))
        handles.append(real(when, callback, *args, **kwargs))
        return handles[-1]

    handles = []
    loop.call_at = call_at
    t.say(loop.call_later(10, print, 1, 2) is handles[-1])
    t.say(loop.call_later(10, print, context=None) is handles[-1])
    t.attempt(loop.call_later, None, print)
    t.attempt(loop.call_later, "x", print)
    context = contextvars.copy_context()
    loop.call_later(10, print, 1, context=context)
    t.say([s[:3] + (s[3].get("context") is context, sorted(s[3])) for s in seen])
