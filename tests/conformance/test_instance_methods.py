"""What a program sets on a future or a task itself (fut.cancel = …) is what asyncio's helpers call: trio-asyncio forwards cancellation so."""
import asyncio

from sidebyside import mixed


class Spy:
    """Wraps methods of one object, on the object, and says each call."""

    def __init__(self, t, target, *names, answers=None):
        for name in names:
            setattr(target, name, self.wrapper(t, name, getattr(target, name), answers or {}))

    @staticmethod
    def wrapper(t, name, real, answers):
        def call(*args, **kwargs):
            t.say(name, sum(not callable(arg) for arg in args), sorted(kwargs))
            return answers[name] if name in answers else real(*args, **kwargs)
        return call


ALL = ("cancel", "done", "cancelled", "result", "exception", "add_done_callback", "remove_done_callback", "get_loop")


@mixed
def test_a_task_cancels_what_it_awaits_by_the_attribute(t):
    async def main():
        loop = asyncio.get_running_loop()
        for answer in (True, False):
            waited = t.future()
            Spy(t, waited, "cancel", answers={"cancel": answer})

            async def waiter():
                try:
                    return await waited
                except asyncio.CancelledError as exc:
                    t.say("cancelled", exc.args)
                    raise

            task = t.task(waiter())
            await t.settle()
            t.say(task.cancel("why"))
            await t.settle()
            t.say(task.done(), waited.done())
            if not waited.done():
                waited.set_result("late")
            try:
                t.say(await task)
            except asyncio.CancelledError:
                t.say("cancelled")
        # a cancellation that came before the task waited
        waited = loop.create_future()
        Spy(t, waited, "cancel")

        async def cancels_itself():
            asyncio.current_task().cancel("early")
            await waited

        task = t.task(cancels_itself())
        await t.settle()
        t.say(task.cancelled(), waited.cancelled())

    t.run(main())


@mixed
def test_a_task_reads_what_it_awaits_without_the_attributes(t):
    async def main():
        waited = t.future()
        Spy(t, waited, *ALL)

        async def waiter():
            return await waited

        task = t.task(waiter())
        await t.settle()
        waited.set_result("read")
        t.say(await task)

    t.run(main())


@mixed
def test_gather_calls_the_attributes(t):
    async def main():
        lib = t.kit.classes
        children = [t.future() for _ in range(3)]
        for child in children:
            Spy(t, child, *ALL)
        whole = lib.gather(*children, return_exceptions=True)
        children[0].set_result(1)
        await t.settle()
        t.say(whole.cancel("enough"))
        await t.settle()
        try:
            t.say(await whole)
        except asyncio.CancelledError:
            t.say("cancelled")
        done = t.future()
        done.set_exception(LookupError("x"))
        Spy(t, done, *ALL)
        try:
            await lib.gather(done, t.future())
        except LookupError as exc:
            t.say(exc)
        ok = t.future()
        ok.set_result(5)
        Spy(t, ok, "result", "exception", answers={"result": "from the wrapper", "exception": None})
        t.say(await lib.gather(ok))

    t.run(main())


@mixed
def test_wait_and_as_completed_call_the_attributes(t):
    async def main():
        lib = t.kit.classes
        child = t.future()
        Spy(t, child, "add_done_callback", "remove_done_callback", "cancelled", "exception")
        done, pending = await lib.wait([child], timeout=0.01)
        t.say(len(done), len(pending))
        asyncio.get_running_loop().call_later(0.01, child.set_result, "set")
        done, pending = await lib.wait([child, t.future()], return_when=asyncio.FIRST_EXCEPTION, timeout=0.1)
        t.say(len(done), len(pending))
        other = t.future()
        Spy(t, other, "add_done_callback", "remove_done_callback")
        asyncio.get_running_loop().call_later(0.01, other.set_result, "set")
        for each in lib.as_completed([other]):
            t.say(await each)

    t.run(main())


@mixed
def test_a_wrapper_that_is_taken_away_again(t):
    async def main():
        lib = t.kit.classes
        child = t.future()
        Spy(t, child, "add_done_callback")
        waits = t.task(lib.wait([child], timeout=0.01))
        await t.settle()
        del child.add_done_callback
        t.say([len(x) for x in await waits], child._callbacks)
        Spy(t, child, "remove_done_callback")
        t.say([len(x) for x in await lib.wait([child], timeout=0.01)], child._callbacks)
        child.cancel()

    t.run(main())


@mixed
def test_shield_calls_the_attributes(t):
    async def main():
        inner = t.future()
        Spy(t, inner, "cancelled", "exception", "result", "cancel")
        outer = t.kit.classes.shield(inner)
        outer.cancel()
        await t.settle()
        outer = t.kit.classes.shield(inner)
        inner.set_result(3)
        t.say(await outer)

    t.run(main())


@mixed
def test_timeout_and_wait_for_cancel_by_the_attribute(t):
    async def main():
        lib = t.kit.classes
        task = asyncio.current_task()
        Spy(t, task, "cancel", "uncancel", "cancelling")
        try:
            async with lib.timeout(0.01):
                await t.sleep(30)
        except TimeoutError:
            t.say("timeout", task.cancelling())

        async def slow():
            await t.sleep(30)

        waited = t.task(slow())
        Spy(t, waited, "cancel", "done")
        try:
            await lib.wait_for(waited, 0.01)
        except TimeoutError:
            t.say("timeout", waited.cancelled())
        waited = t.task(slow())
        Spy(t, waited, "cancel", "done")
        await t.settle()
        try:
            await lib.wait_for(waited, 0)
        except TimeoutError:
            t.say("timeout", waited.cancelled())

    t.run(main())


@mixed
def test_a_task_group_calls_the_attributes(t):
    async def main():
        lib = t.kit.classes

        async def fails():
            await t.sleep(0)
            raise LookupError("x")

        async def body():
            Spy(t, asyncio.current_task(), "cancel", "uncancel", "cancelling", "done")
            async with lib.TaskGroup() as group:
                slow = group.create_task(t.sleep(30))
                Spy(t, slow, "cancel")
                group.create_task(fails())

        try:
            await t.task(body())
        except ExceptionGroup as exc:
            t.say(exc.exceptions)

    t.run(main())


@mixed
def test_a_task_with_other_attributes(t):
    """Attributes that are no methods change nothing."""
    async def main():
        lib = t.kit.classes
        future, task = t.future(), t.task(t.sleep(0.001, "slept"))
        future.note = task.note = "mine"
        future.set_result(1)
        t.say(await lib.gather(future, task), [len(x) for x in await lib.wait([future, task])])
        task = t.task(t.sleep(30))
        task.note = 1
        await t.settle()
        t.say(task.cancel(), task.note)
        try:
            await task
        except asyncio.CancelledError:
            t.say("cancelled")

    t.run(main())


@mixed
def test_locks_and_queues_call_the_attributes_of_their_waiters(t):
    async def main():
        lib = t.kit.classes
        lock, semaphore, event, queue = lib.Lock(), lib.Semaphore(0), lib.Event(), lib.Queue()
        await lock.acquire()
        tasks = [t.task(waits()) for waits in (lock.acquire, semaphore.acquire, event.wait, queue.get)]
        await t.settle()
        for waiters in (lock._waiters, semaphore._waiters, event._waiters, queue._getters):
            Spy(t, waiters[0], "done", "cancelled", "set_result")
        for wake in (lock.release, semaphore.release, event.set, lambda: queue.put_nowait(1)):
            t.say("wake")
            wake()
            t.say("woken")
            await t.settle()
        t.say([await task for task in tasks])

    t.run(main())


@mixed
def test_a_waiter_that_says_it_is_done_is_not_woken(t):
    async def main():
        lib = t.kit.classes
        queue, event = lib.Queue(), lib.Event()
        tasks = [t.task(waits()) for waits in (queue.get, queue.get, event.wait)]
        await t.settle()
        for waiters in (queue._getters, event._waiters):
            Spy(t, waiters[0], "done", answers={"done": True})
        queue.put_nowait("for the second")
        event.set()
        await t.settle()
        t.say([task.done() for task in tasks])
        for task in tasks:
            task.cancel()
        await t.settle()

    t.run(main())
