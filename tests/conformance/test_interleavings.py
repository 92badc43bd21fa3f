"""Every helper in small programs of several tasks, cancelled at every step, on asyncio's objects and on ours: the same trace (see tests/interleave.py)."""
import random
import threading

import pytest

import interleave
from kits import KITS, MIXED, ORACLE

S = ("sleep", 1, 0)


def two(*ops, first=()):
    """The same operations in two tasks (with numbers of their own), and perhaps another task before them."""
    return tuple(filter(None, (tuple(first), tuple(ops), tuple(ops))))


# Each is cancelled at every step, every task of it.
PROGRAMS = {
    "sleep": two(("sleep", 1, 2.25), S),
    "gather": (((("gather", 1, False, ("sleep", 2, 1.25), ("sleep", 3, 2.25), S)),), (("sleep", 4, 2.25), S)),
    "gather failing": ((("gather", 1, False, ("fail", 2), ("sleep", 3, 2.25)), S),),
    "gather exceptions": ((("gather", 1, True, ("fail", 2), ("catch", 3, ("sleep", 4, 2.25))), S),),
    "wait": ((("wait", 1, 2.5, "FIRST_COMPLETED", ("sleep", 2, 1.25), ("sleep", 3, 3.25)), S), (("event_wait", 5),)),
    "wait all": ((("wait", 1, None, "ALL_COMPLETED", ("sleep", 2, 1.25), ("fail", 3)), S),),
    "wait exception": ((("wait", 1, None, "FIRST_EXCEPTION", ("sleep", 2, 3.25), ("fail", 3)), S),),
    "wait_for": ((("wait_for", 1, 2.5, ("sleep", 2, 1.25)), S), (("wait_for", 3, 1.5, ("sleep", 4, 4.25)), S)),
    "wait_for none": ((("wait_for", 1, None, ("event_wait", 2)), S), (("sleep", 3, 1.25), ("event_set", 4))),
    "wait_for zero": ((("wait_for", 1, 0, ("event_wait", 2)), S), (("wait_for", 3, 0, S),)),
    "wait_for resists": ((("wait_for", 1, 1.5, ("catch", 2, ("sleep", 3, 5.25))), S),),
    "wait_for slow to end": ((("wait_for", 1, 1.5, ("finally", 2, ("sleep", 3, 5.25), ("sleep", 4, 2.25))), S),),
    "wait_for a lock": two(("wait_for", 1, 1.5, ("lock", 2, 0, ("sleep", 3, 2.25))), S),
    "wait_for a queue": ((("wait_for", 1, 3.5, ("get", 2, 0)), S), (("sleep", 3, 2.25), ("put", 4, 0), ("put", 5, 0)), (("get", 6, 0),)),
    "shield": ((("shield", 1, ("sleep", 2, 2.25)), S), (("shield", 3, ("fail", 4)),)),
    "shield in wait_for": ((("wait_for", 1, 1.5, ("shield", 2, ("sleep", 3, 3.25))), S),),
    "as_completed": ((("as_completed", 1, None, ("sleep", 2, 2.25), ("sleep", 3, 1.25), ("fail", 4)), S),),
    "as_completed late": ((("as_completed", 1, 1.5, ("sleep", 2, 2.25), ("sleep", 3, 1.25)), S),),
    "timeout": ((("timeout", 1, 1.5, ("sleep", 2, 3.25)), S), (("timeout", 3, 4.5, ("sleep", 4, 1.25)), S)),
    "timeout none": ((("timeout", 1, None, ("sleep", 2, 2.25)), S),),
    "timeout swallowed": ((("timeout", 1, 1.5, ("catch", 2, ("sleep", 3, 3.25)), ("sleep", 4, 1.25)), S),),
    "timeout nested": ((("timeout", 1, 2.5, ("timeout", 2, 1.5, ("sleep", 3, 4.25)), S), S),),
    "timeout_at": ((("timeout_at", 1, 1.25, ("sleep", 2, 4.25)), S), (("timeout_at", 3, 3.25, ("sleep", 4, 1.25)), S)),
    "group": ((("group", 1, (("sleep", 2, 1.25), ("sleep", 3, 2.25)), ("sleep", 4, 0)), S),),
    "group failing": ((("group", 1, (("fail", 2), ("sleep", 3, 2.25)), ("sleep", 4, 3.25)), S),),
    "group, body failing": ((("group", 1, (("sleep", 2, 1.25), ("sleep", 3, 2.25)), ("fail", 4)), S),),
    "group in timeout": ((("timeout", 1, 1.5, ("group", 2, (("sleep", 3, 4.25),), ("sleep", 4, 3.25))), S),),
    "uncancel": ((("uncancel", 1, ("sleep", 2, 3.25)), ("sleep", 3, 1.25)),),
    "lock": two(("lock", 1, 0, ("sleep", 2, 1.25)), S, first=(("lock", 3, 0, ("sleep", 4, 1.25)),)),
    "lock handed on": two(("lock", 1, 0, ("sleep", 2, 0)), ("lock", 3, 0, ("sleep", 4, 0))),
    "semaphore": two(("semaphore", 1, ("sleep", 2, 1.25)), ("semaphore", 3, ("sleep", 4, 0)), first=(("semaphore", 5, ("sleep", 6, 2.25)),)),
    "bounded": two(("bounded", 1, ("sleep", 2, 1.25)), S) + ((("sleep", 5, 1.25), ("release", 3)),),
    "event": two(("event_wait", 1), S, first=(("sleep", 3, 2.25), ("event_set", 4))),
    "condition": two(("condition_wait", 1), S, first=(("sleep", 3, 2.25), ("condition_notify", 4, 1), ("sleep", 5, 1.25), ("condition_notify", 6, 0))),
    "condition wait_for": two(("condition_wait_for", 1), first=(("sleep", 2, 1.25), ("condition_notify", 3, 0), ("event_set", 4), ("condition_notify", 5, 0))),
    "barrier": two(("barrier_wait", 1), S, ("barrier_wait", 2), first=(("barrier_wait", 3),)),
    "barrier block": two(("barrier_block", 1, ("sleep", 2, 1.25)), S),
    "barrier reset": two(("barrier_wait", 1), first=(("barrier_wait", 3),)) + ((("barrier_reset", 4), ("sleep", 5, 1.25), ("barrier_abort", 6)),),
    "queue": ((("get", 1, 0), S, ("get", 2, 0)), (("get", 3, 0),), (("put", 4, 0), ("put", 5, 0), ("put", 6, 0), ("put", 7, 0))),
    "queue full": two(("put", 1, 0), ("put", 2, 0), S, first=(("sleep", 3, 2.25), ("get", 4, 0), ("get", 5, 0), S, ("get", 6, 0))),
    "queue of priorities": ((("put", 3, 2), ("put", 1, 2), ("put", 2, 2)), (("sleep", 4, 1.25), ("get", 5, 2), ("get", 6, 2), ("get", 7, 2))),
    "queue, last first": ((("put", 3, 3), ("put", 1, 3), ("put", 2, 3)), (("sleep", 4, 1.25), ("get", 5, 3), ("get", 6, 3), ("get", 7, 3))),
    "queue join": ((("put", 1, 0), ("join", 2, 0), S), (("join", 3, 0),), (("sleep", 4, 1.25), ("get", 5, 0), ("task_done", 6, 0), ("task_done", 7, 0))),
    "queue shut down": two(("get", 1, 0), first=(("sleep", 2, 1.25), ("shutdown", 3, 0, False), ("put", 4, 0))),
    "full queue shut down": two(("put", 1, 0), first=(("sleep", 2, 1.25), ("shutdown", 3, 0, True), ("get", 4, 0), ("join", 5, 0))),
    "read": ((("read", 1, 3), ("read", 2, 3), ("read", 3, -1)), (("sleep", 4, 1.25), ("feed", 5, b"abcde"), S, ("feed_eof", 6))),
    "readexactly": ((("readexactly", 1, 4), ("readexactly", 2, 4)), (("feed", 3, b"ab"), S, ("feed", 4, b"cdef"), S, ("feed_eof", 5))),
    "readline": ((("readline", 1), ("readline", 2), ("readline", 3)), (("feed", 4, b"on"), S, ("feed", 5, b"e\ntwo\nthr"), S, ("feed_eof", 6))),
    "readuntil": ((("readuntil", 1), ("readuntil", 2)), (("feed", 4, b"one;t"), S, ("feed", 5, b"wo and much too long;"), S, ("feed_eof", 6))),
    "two readers": two(("read", 1, 2), first=(("sleep", 2, 1.25), ("feed", 3, b"abc"), ("feed_eof", 4))),
    "future": two(("future", 1), S, first=(("sleep", 2, 1.25), ("future_set", 3))),
    "future cancelled": two(("catch", 1, ("future", 2)), S, first=(("sleep", 3, 1.25), ("future_cancel", 4))),
    "cancelled by another": ((("sleep", 1, 4.25), S), (S, ("cancel", 2, 0), ("cancel", 3, 0), ("cancel", 4, 1), S)),
}

STEPS = 9


def cancellations(program):
    """Of every task, at every step, once and twice; and of two tasks."""
    yield ()
    for step in range(STEPS):
        for task in range(len(program)):
            yield ((step, task, None),)
            yield ((step, task, "first"), (step, task, "second"))
            yield ((step, task, None), (step + 1, task, "again"))
        if len(program) > 1:
            yield ((step, 0, None), (step, 1, None))
            yield ((step, 1, None), (step + 1, 0, None))


@pytest.fixture(params=MIXED)
def subject_kit(request):
    return KITS[request.param]


@pytest.fixture(scope="module", autouse=True)
def forget_traces():
    yield
    interleave.run_oracle.cache_clear()


@pytest.mark.parametrize("name", PROGRAMS)
def test_cancelled_at_every_step(subject_kit, name):
    program = PROGRAMS[name]
    for plan in cancellations(program):
        trouble = interleave.check(ORACLE, subject_kit, program, plan)
        assert trouble is None, trouble


N_RANDOM, CHUNK = 240, 20


@pytest.mark.parametrize("first", range(0, N_RANDOM, CHUNK))
def test_random_programs(subject_kit, first):
    for seed in range(first, first + CHUNK):
        program, choose = interleave.Maker(seed).program(), random.Random(seed)
        plans = [(), *[tuple(sorted((choose.randrange(STEPS), choose.randrange(len(program)), None) for _ in range(choose.randint(1, 3))))
                       for _ in range(5)]]
        for plan in plans:
            trouble = interleave.check(ORACLE, subject_kit, program, plan)
            assert trouble is None, f"seed {seed}\n{trouble}"


def test_every_operation_is_used():
    made = [interleave.Maker(seed).program() for seed in range(N_RANDOM)]
    missing = [name for name in interleave.OPERATIONS if not interleave.uses(tuple(made), {name})]
    assert missing == []
    unused = {name for name in interleave.OPERATIONS if not interleave.uses(tuple(PROGRAMS.values()), {name})}
    assert unused <= {"event_clear", "put_nowait", "get_nowait"}


def test_a_difference_is_found():
    """A lock that wakes the wrong waiter, a sleep that takes a pass more."""

    class Wrong:
        name = "wrong"
        new_loop = staticmethod(ORACLE.new_loop)

        class classes:
            class Lock(interleave.NATIVE["Lock"]):
                def release(self):
                    if self._waiters:
                        self._waiters.rotate()
                    super().release()

    program = PROGRAMS["lock"]
    assert interleave.check(ORACLE, ORACLE, program, ()) is None
    assert "asyncio:" in interleave.check(ORACLE, Wrong, program, ())

    class Late(Wrong):
        class classes:
            @staticmethod
            async def sleep(delay, result=None):
                await interleave.NATIVE["sleep"](0)
                return await interleave.NATIVE["sleep"](delay, result)

    assert interleave.check(ORACLE, Late, PROGRAMS["sleep"], ()) is not None


# --- a thread: its call is held back, so that cancelling comes before, while or after it runs


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("way", ["to_thread", "run_in_executor"])
def test_thread_cancelled_at_every_step(subject_kit, way, step):
    def outcome(kit):
        helpers, loop = interleave.Helpers(kit.classes), kit.new_loop()
        began, go_on, said = threading.Event(), threading.Event(), []

        def call(n):
            began.set()
            go_on.wait()
            said.append("ran")
            if n:
                raise ValueError(n)
            return n

        async def user(n):
            try:
                if way == "to_thread":
                    return await helpers.to_thread(call, n)
                return await loop.run_in_executor(None, call, n)
            except BaseException as exc:
                said.append(interleave.show(exc))
                raise

        def one_pass():
            loop.call_soon(loop.stop)
            loop.run_forever()

        try:
            tasks = [helpers.Task(user(n), loop=loop) for n in range(2)]
            for _ in range(step):
                one_pass()
            if step:
                assert began.wait(30)
            said.append(tasks[0].cancel())
            for _ in range(3):
                one_pass()
            said.append([task.done() for task in tasks])
            go_on.set()
            loop.run_until_complete(helpers.wait(tasks))
            loop.run_until_complete(loop.shutdown_default_executor())
            return sorted(map(str, said)), [interleave.ending(task) for task in tasks]
        finally:
            go_on.set()
            loop.close()

    assert outcome(subject_kit) == outcome(ORACLE)
