"""Timers: never early, not late either, cancelled ones leave nothing, an overridden clock moves them."""
import contextvars
import decimal
import fractions
import gc
import random
import threading
import time
import tracemalloc

import pytest

from sidebyside import OURS, PATIENCE, same


@pytest.mark.parametrize("delay", [0.0, 1e-6, 50e-6, 100e-6, 300e-6, 0.001, 0.0015, 0.005, 0.0201])
def test_sleep_is_never_early_and_hardly_late(kit, loop, delay):
    async def main():
        late, end = [], time.monotonic() + 30 * PATIENCE
        # a busy machine delays many, not all
        while len(late) < 12 or min(late) >= 0.01 and time.monotonic() < end:
            before = time.monotonic()
            await kit.sleep(delay)
            late.append(time.monotonic() - before - delay)
        return late

    late = loop.run_until_complete(main())
    # asyncio counts a timer as due within one tick of the clock (1 ns here): allow for rounding
    assert min(late) >= -1e-6
    assert min(late) < 0.01


@pytest.mark.parametrize("delay", [50e-6, 0.001, 0.003])
def test_call_later_is_never_early(loop, delay):
    late, end = [], time.monotonic() + 30 * PATIENCE

    def on_time(when):
        late.append(loop.time() - when)
        if len(late) < 20 or min(late) >= 0.01 and time.monotonic() < end:
            schedule()
        else:
            loop.stop()

    def schedule():
        when = loop.time() + delay
        loop.call_at(when, on_time, when)

    schedule()
    loop.run_forever()
    assert min(late) >= -1e-6
    assert min(late) < 0.01


def test_our_sleeps_below_a_millisecond_are_short():
    """asyncio rounds these up to a millisecond: only ours is held to it."""
    loop = OURS.new_loop()
    try:
        async def main():
            took, end = [], time.monotonic() + 30 * PATIENCE
            while len(took) < 50 or min(took) >= 0.0009 and time.monotonic() < end:
                before = time.monotonic()
                await OURS.sleep(100e-6)
                took.append(time.monotonic() - before)
            return min(took)

        assert 100e-6 <= loop.run_until_complete(main()) < 0.0009
    finally:
        loop.close()


def test_many_timers_run_in_order(loop):
    rng = random.Random(5)
    ran = []
    base = loop.time()
    handles = [(when := base + rng.randrange(20_000) / 1e6, loop.call_at(when, lambda w=when: ran.append(w)))
               for _ in range(3000)]
    dropped = rng.sample(handles, 1000)
    for _, handle in dropped:
        handle.cancel()
    loop.call_at(base + 0.03, loop.stop)
    loop.run_forever()
    assert len(ran) == 2000
    assert ran == sorted(ran)


def test_timers_cancelled_by_timers(loop):
    ran = []
    now = loop.time()
    handles = {}

    def fire(i):
        ran.append(i)
        for j in (i + 1, i + 2):
            handles[j].cancel()

    for i in range(30):
        handles[i] = loop.call_at(now + i * 1e-5, fire, i)
    handles[30] = handles[31] = loop.call_at(now + 0.01, loop.stop)
    handles[30] = handles[31] = loop.call_later(60, fire, 99)
    loop.run_forever()
    assert ran == list(range(0, 30, 3))


def test_cancelled_timers_leave_nothing(loop):
    """100,000 of them, cancelled, and a pass of the loop: their memory is back."""
    def schedule_and_cancel(n):
        handles = [loop.call_later(3600 + i % 100, print, i) for i in range(n)]
        for handle in handles:
            handle.cancel()
        del handles, handle
        loop.call_later(0.0001, loop.stop)
        loop.run_forever()

    schedule_and_cancel(1000)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        schedule_and_cancel(100_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 300_000


def test_cancelled_timers_do_not_wake_or_keep_the_loop(loop):
    for _ in range(200):
        loop.call_later(60, print).cancel()
    started = time.monotonic()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert time.monotonic() - started < 30


def test_overridden_time_moves_the_scheduler(kit):
    probe = kit.new_loop()
    cls = type(probe)
    probe.close()

    class Virtual(cls):
        offset = 0.0

        def time(self):
            return super().time() + self.offset

    loop = Virtual()
    try:
        seen = []

        async def main():
            before = loop.time()
            task = loop.create_task(kit.sleep(1000, "woken"))
            loop.call_later(500, seen.append, "timer")
            await kit.sleep(0)
            loop.offset += 2000
            assert await task == "woken"
            return loop.time() - before

        started = time.monotonic()
        assert loop.run_until_complete(main()) >= 2000
        assert seen == ["timer"]
        assert time.monotonic() - started < 60
    finally:
        loop.close()


def test_time_replaced_on_the_instance(loop, kit):
    real = loop.time
    now = [real()]
    loop.time = lambda: now[0]
    seen = []
    loop.call_later(1000, seen.append, "first")
    loop.call_later(2000, seen.append, "second")

    def jump(seconds):
        now[0] += seconds

    loop.call_soon(jump, 1001)
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert seen == ["first"]
    loop.call_soon(jump, 1000)
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert seen == ["first", "second"]
    del loop.time
    assert abs(loop.time() - time.monotonic()) < 5


def test_loop_time_is_the_monotonic_clock(loop):
    a = time.monotonic()
    b = loop.time()
    c = time.monotonic()
    assert a <= b <= c
    times = [loop.time() for _ in range(1000)]
    assert times == sorted(times) and len(set(times)) > 100


def test_far_away_timers(loop):
    seen = []
    for delay in (1e5, 1e8, 1e9, 4e9):
        loop.call_later(delay, seen.append, delay)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == []


def test_infinite_and_huge_delays(loop):
    seen = []
    handles = [loop.call_later(delay, seen.append, delay) for delay in (float("inf"), 1e30, 1e300)]
    assert handles[0].when() == float("inf")
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == []
    for handle in handles:
        handle.cancel()


@same
def test_delays_of_several_types(t):
    for delay in (0, 0.0, True, -1, -0.5, 10**30, fractions.Fraction(1, 3)):
        t.attempt(lambda: type(t.loop.call_later(delay, print)).__name__)
        t.attempt(lambda: type(t.loop.call_at(delay, print)).__name__)


class Seconds(float):
    pass


@same
def test_a_deadline_is_handed_back_as_it_was_given(t):
    """when() of call_at() is the object, of call_later() what time() + delay gives."""
    for when in (5, 5.0, True, 10**6, Seconds(7), fractions.Fraction(3, 2), decimal.Decimal("2.5")):
        handle = t.loop.call_at(when, print, 1, 2)
        t.say(type(handle.when()).__name__, repr(handle.when()), handle.when() is when or type(when) is float, hash(handle) == hash(when), repr(handle._when))
        handle.cancel()
        t.say(repr(handle), handle.when() == when)
        try:
            handle = t.loop.call_later(when, print)
        except TypeError as exc:
            t.say(str(exc))
        else:
            t.say(type(handle.when()).__name__)
            handle.cancel()


@pytest.mark.parametrize("clock", [int, fractions.Fraction])
def test_a_deadline_by_an_own_clock(clock):
    @same
    def scenario(t):
        now = [clock(0)]
        t.loop.time = lambda: now[0]
        for delay in (5, 2.5, fractions.Fraction(7, 2)):
            handle = t.loop.call_later(delay, t.say, "ran", delay)
            t.say(repr(handle.when()), repr(handle._when))
        now[0] = clock(10)
        t.pump(2)
    scenario("asyncloop")


@pytest.mark.parametrize("n_args", [0, 1, 3, 8])
@pytest.mark.parametrize("debug", [False, True])
def test_a_given_deadline_does_not_disturb_the_call(n_args, debug):
    """It lies beside the arguments, the context and, in debug mode, the traceback."""
    @same
    def scenario(t):
        t.loop.set_debug(debug)
        variable = contextvars.ContextVar("variable", default=0)
        variable.set(5)
        context = contextvars.copy_context()
        for extra in ({}, {"context": context}):
            for when in (int(t.loop.time()), t.loop.time()):
                handle = t.loop.call_at(when, lambda *args: t.say(args, variable.get()), *range(n_args), **extra)
                t.say(handle.when() == when, handle._source_traceback is None, handle._args)
        t.pump(3)
        gc.collect()
    scenario("asyncloop")


@same
def test_negative_infinity_runs_at_once(t):
    t.loop.call_at(float("-inf"), t.say, "-inf")
    t.loop.call_later(float("-inf"), t.say, "later -inf")
    t.pump(2)


def test_idle_loop_sleeps(loop):
    """Waiting costs no processor time."""
    used = time.process_time()
    loop.call_later(0.2, loop.stop)
    loop.run_forever()
    assert time.process_time() - used < 0.1 * PATIENCE


def test_timer_added_by_a_thread_wakes_the_loop(loop):
    seen = []

    def from_thread():
        loop.call_soon_threadsafe(loop.call_later, 0.001, lambda: (seen.append(time.monotonic()), loop.stop()))

    timer = threading.Timer(0.02, from_thread)
    loop.call_later(30, loop.stop)
    started = time.monotonic()
    timer.start()
    loop.run_forever()
    timer.join()
    assert seen and seen[0] - started < 5
