"""The same random program of tasks, futures, callbacks, timers, locks and queues on asyncio and on asyncloop: the traces must be equal.

A driver reschedules itself in every pass, so no loop ever waits, and time() is the number of passes: what runs when does not depend on the machine.
Every random choice is the actor's own, so a seed fixes the program as long as the order is the same.  Deadlines are all different, as asyncio does not
say in which order equal ones run.  ASYNCLOOP_FUZZ_SEEDS=FIRST:LAST runs others.
"""
import asyncio
import contextvars
import gc
import itertools
import os
import random

import pytest

import asyncloop

PASSES = 120
FIRST, LAST = map(int, os.environ.get("ASYNCLOOP_FUZZ_SEEDS", "0:40").split(":"))
variable = contextvars.ContextVar("variable", default=0)


def with_own_time(base):
    class Loop(base):
        passed = 0

        def time(self):
            return float(self.passed)

    return Loop


# The loop, and the module whose helpers are used on it.
KITS = {
    "asyncio": (with_own_time(asyncio.SelectorEventLoop), asyncio),
    "loop": (with_own_time(asyncloop.Loop), asyncio),
    "helpers": (with_own_time(asyncio.SelectorEventLoop), asyncloop),
    "all": (with_own_time(asyncloop.Loop), asyncloop),
}


class Program:
    def __init__(self, kit, seed):
        loop_class, self.helpers = KITS[kit]
        self.loop = loop_class()
        self.seed = seed
        self.trace = []
        self.reports = []
        self.futures, self.tasks, self.handles, self.callbacks = [], [], [], []
        self.lock, self.condition, self.event = self.helpers.Lock(), self.helpers.Condition(), self.helpers.Event()
        self.semaphore, self.queue = self.helpers.Semaphore(2), self.helpers.Queue(2)
        self.n_actors = itertools.count()
        self.n_deadlines = itertools.count(1)
        self.loop.set_exception_handler(self.on_report)

    def on_report(self, loop, context):
        self.reports.append((context["message"].split(" at ")[0].split("(")[0], repr(context.get("exception"))))

    def note(self, *what):
        self.trace.append((self.loop.passed, *what))

    def delay(self, rng):
        return rng.choice([-1, 0, 1, 2, 3, 5, 8]) + next(self.n_deadlines) * 1e-6

    # ---- what an actor may do at once

    def make_future(self, rng, name):
        self.futures.append(self.loop.create_future())

    def make_actor(self, rng, name):
        if len(self.tasks) < 60:
            self.tasks.append(self.loop.create_task(self.actor(next(self.n_actors))))

    def finish(self, rng, name):
        if self.futures:
            future, kind = rng.choice(self.futures), rng.randrange(4)
            try:
                if kind == 0:
                    self.note(name, "cancelled", future.cancel())
                elif kind == 1:
                    future.set_exception(rng.choice([ValueError("set"), KeyError, asyncio.CancelledError("set")]))
                else:
                    future.set_result(rng.randrange(100))
            except asyncio.InvalidStateError:
                self.note(name, "invalid state")

    def cancel_task(self, rng, name):
        if self.tasks:
            i = rng.randrange(len(self.tasks))
            task = self.tasks[i]
            done = task.cancel(*rng.choice([(), ("message",)]))
            self.note(name, "cancels", i, done, task.cancelling())

    def uncancel_task(self, rng, name):
        if self.tasks:
            i = rng.randrange(len(self.tasks))
            self.note(name, "uncancels", i, self.tasks[i].uncancel())

    def schedule(self, rng, name):
        n = len(self.handles)
        if rng.random() < 0.5:
            handle = self.loop.call_soon(self.on_call, name, n)
        else:
            handle = self.loop.call_later(self.delay(rng), self.on_call, name, n)
        self.handles.append(handle)

    def cancel_handle(self, rng, name):
        if self.handles:
            rng.choice(self.handles).cancel()

    def add_callback(self, rng, name):
        awaitables = self.futures + self.tasks
        if awaitables:
            number = len(self.callbacks)

            def callback(future):
                self.note("callback", number, future.cancelled(), variable.get())
                if number % 7 == 0:
                    raise ValueError("callback")

            self.callbacks.append(callback)
            rng.choice(awaitables).add_done_callback(callback)

    def remove_callback(self, rng, name):
        if self.callbacks:
            callback = rng.choice(self.callbacks)
            self.note(name, "removes", [f.remove_done_callback(callback) for f in self.futures + self.tasks])

    def set_variable(self, rng, name):
        self.note(name, "variable", variable.get())
        variable.set(rng.randrange(1000))

    def turn_event(self, rng, name):
        self.event.set() if rng.random() < 0.7 else self.event.clear()

    def put_or_get(self, rng, name):
        try:
            self.note(name, "at once", self.queue.put_nowait(name) if rng.random() < 0.5 else self.queue.get_nowait())
        except (asyncio.QueueFull, asyncio.QueueEmpty) as exc:
            self.note(name, "at once", type(exc).__name__)

    def on_call(self, name, n):
        self.note("call", name, n, variable.get())
        rng = random.Random(f"{self.seed}/{name}/{n}")
        if rng.random() < 0.3:
            self.at_once(rng, ("call", name, n))
        if rng.random() < 0.05:
            raise ZeroDivisionError("call")

    ACTIONS = [make_future, make_actor, finish, finish, cancel_task, uncancel_task, schedule, schedule, cancel_handle, add_callback, remove_callback,
               set_variable, turn_event, put_or_get]

    def at_once(self, rng, name):
        rng.choice(self.ACTIONS)(self, rng, name)

    # ---- what it may wait for

    async def wait(self, rng, name):
        kind = rng.randrange(15)
        if kind > 8:
            return await self.wait_in_line(rng, name, kind)
        helpers = self.helpers
        awaitables = self.futures + self.tasks[name + 1 :]  # never in a circle: cancelling one is a RecursionError half way
        some = [rng.choice(awaitables) for _ in range(rng.randrange(1, 4))] if awaitables else []
        if kind < 2 or not some:
            return await helpers.sleep(0, "slept")
        if kind == 2:
            return await helpers.sleep(self.delay(rng), "slept")
        if kind == 3:
            return await some[0]
        if kind == 4:
            return await helpers.shield(some[0])
        if kind == 5:
            return len(await helpers.gather(*some, return_exceptions=rng.random() < 0.5))
        if kind == 6:
            return await helpers.wait_for(some[0], self.delay(rng))
        if kind == 7:
            done, pending = await helpers.wait(set(some), timeout=self.delay(rng), return_when=rng.choice(["FIRST_COMPLETED", "ALL_COMPLETED"]))
            return len(done), len(pending)
        async with helpers.timeout(self.delay(rng)):
            return await helpers.gather(helpers.sleep(self.delay(rng)), helpers.sleep(0))

    async def wait_in_line(self, rng, name, kind):
        helpers = self.helpers
        if kind == 9:
            async with self.lock:
                self.note(name, "holds", repr(self.lock).partition("[")[2])
                return await helpers.sleep(self.delay(rng))
        if kind == 10:
            async with self.semaphore:
                self.note(name, "has", repr(self.semaphore).partition("[")[2])
                return await helpers.sleep(self.delay(rng))
        if kind == 11:
            return await helpers.wait_for(self.event.wait(), self.delay(rng))
        if kind == 12:
            async with self.condition:
                self.condition.notify(rng.randrange(3))
                return await helpers.wait_for(self.condition.wait(), self.delay(rng)) if rng.random() < 0.3 else await self.condition.wait()
        if kind == 13:
            async with helpers.TaskGroup() as group:
                children = [group.create_task(self.queue.put((name, i))) for i in range(rng.randrange(4))]
            return [child.result() for child in children]
        return await self.queue.get()

    async def actor(self, name):
        rng = random.Random(f"{self.seed}/{name}")
        for step in range(rng.randrange(2, 12)):
            for _ in range(rng.randrange(3)):
                self.at_once(rng, name)
            try:
                self.note(name, step, "got", repr(await self.wait(rng, name)))
            except asyncio.CancelledError as exc:
                self.note(name, step, "cancelled", exc.args, asyncio.current_task().cancelling())
                if rng.random() < 0.5:
                    raise
            except Exception as exc:
                self.note(name, step, "raised", repr(exc))
        if rng.random() < 0.1:
            raise LookupError(name)
        return name

    # ---- the run

    def drive(self):
        self.loop.passed += 1
        if self.loop.passed < PASSES:
            if self.loop.passed % 10 == 0:
                self.make_actor(None, "driver")
            self.loop.call_soon(self.drive)
        elif self.loop.passed < PASSES + 60 and any(not t.done() for t in asyncio.all_tasks(self.loop)):
            for task in self.tasks:
                task.cancel()
            self.loop.call_soon(self.drive)
        else:
            self.loop.stop()

    def run(self):
        for _ in range(3):
            self.make_future(None, "driver")
            self.make_actor(None, "driver")
        self.loop.call_soon(self.drive)
        self.loop.run_forever()
        self.note("left", sorted(t.done() for t in self.tasks), sorted(f.done() for f in self.futures), len(asyncio.all_tasks(self.loop)))
        self.outcomes = [(f.cancelled(), f.cancelled() or repr(f.exception())) for f in self.tasks + self.futures if f.done()]
        self.tasks.clear(), self.futures.clear(), self.handles.clear(), self.callbacks.clear()
        gc.collect()
        self.loop.close()
        return self.trace, self.outcomes, sorted(self.reports)


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_same_program_same_trace(seed):
    expected = Program("asyncio", seed).run()
    assert len(expected[0]) > 50
    for kit in ("loop", "helpers", "all"):
        found = Program(kit, seed).run()
        for i, (a, b) in enumerate(zip(expected[0], found[0])):
            assert b == a, f"{kit}: line {i} of the trace differs after {expected[0][max(0, i - 5):i]}"
        assert len(found[0]) == len(expected[0]), kit
        assert found[1:] == expected[1:], kit
