"""asyncloop.testing: when the clock jumps, when it waits, in which order; and that all else is asyncio's."""
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

import asyncloop
from asyncloop.testing import Stuck, VirtualClock, VirtualLoop
from sidebyside import child_env

DAY = 24 * 3600.0


@pytest.fixture
def clock():
    return VirtualClock(stuck=0)


@pytest.fixture
def real():
    """Real seconds since the test began: a test that should take no time must not have waited for its timers."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


# ---- jumps


@pytest.mark.parametrize("sleep", [asyncio.sleep, asyncloop.sleep])
def test_a_sleep_takes_no_time(clock, real, sleep):
    async def main():
        await sleep(365 * DAY)
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == 365 * DAY == clock.time() and real() < DAY


def test_the_clock_begins_where_it_is_told_and_stands_while_code_runs():
    clock = VirtualClock(start=1000)

    async def main():
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        time.sleep(0.002)
        for _ in range(10):
            await asyncio.sleep(0)
        times.append(loop.time())
        await asyncio.sleep(0.25)
        return [*times, loop.time()]

    assert clock.run(main()) == [1000, 1000, 1000.25]


def test_timers_come_in_their_order_and_each_at_its_time(clock):
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        for delay in (3, 1, 2, 1, DAY, 0):
            loop.call_later(delay, lambda delay=delay: seen.append((delay, loop.time())))
        await asyncio.sleep(2 * DAY)
        return seen

    assert clock.run(main()) == [(delay, delay) for delay in (0, 1, 1, 2, 3, DAY)]


def test_timeouts(clock):
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        at = [loop.time()]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(11), 10)
        at.append(loop.time())
        async with asyncloop.timeout(10):
            await asyncio.sleep(9)
        return [*at, loop.time()]

    assert clock.run(main()) == [10, 20, 29]


def test_a_cancelled_timer_is_not_jumped_to(clock):
    async def main():
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.sleep(7)

    clock.run(main())
    assert clock.time() == 7


def test_a_timer_that_is_never_due(clock):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(float("inf"), print)
        await asyncio.sleep(1)
        await asyncio.sleep(float("inf"))

    with pytest.raises(Stuck):
        clock.run(main())
    assert clock.time() == 1


def test_jump(clock):
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        loop.call_later(10, lambda: seen.append(loop.time()))
        clock.jump(4)
        await asyncio.sleep(0)
        assert seen == []
        clock.jump(20)
        await asyncio.sleep(0)
        return seen

    assert clock.run(main()) == [24]
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            clock.jump(wrong)


def test_several_loops_one_after_the_other_share_the_clock(clock):
    for n in (1, 2, 3):
        clock.run(asyncio.sleep(100))
        assert clock.time() == 100 * n and clock.loops_made == n


def test_a_loop_alone_has_a_clock_of_its_own():
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(50))
    assert loop.time() == loop.clock.time() == 50
    loop.close()


def test_debug_mode(clock):
    async def main():
        await asyncio.sleep(DAY)
        return asyncio.get_running_loop().get_debug()

    assert clock.run(main(), debug=True) is True and clock.time() == DAY


@pytest.mark.parametrize("wrong", [dict(start=float("nan")), dict(start=float("inf")), dict(grace=-1), dict(grace=float("inf")), dict(stuck=-1)])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError):
        VirtualClock(**wrong)


# ---- what comes from outside


def test_a_conversation_on_loopback_goes_before_the_timers(clock):
    """Both ends are here: every byte has come before the clock moves, however many turns that takes."""
    async def answer(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        got = []
        for _ in range(50):
            writer.write(b"word\n")
            got.append(await asyncio.wait_for(reader.readline(), 0.001))
        assert loop.time() == 0 and clock.waits_for() == []
        await asyncio.sleep(DAY)  # with the server and the connection open
        writer.close()
        server.close()
        await asyncio.sleep(1)  # the other end closes: 3.11 loses its socket if the task that serves it is cancelled
        return got

    assert clock.run(main()) == [b"WORD\n"] * 50 and clock.time() == DAY + 1


@pytest.mark.parametrize("kind", ["unix", "pipe"])
def test_both_ends_here(clock, kind, tmp_path):
    """No grace for what can only come from this loop: with a grace of a day a jump that waited for it would never come."""
    clock.grace = DAY

    async def main():
        loop = asyncio.get_running_loop()
        if kind == "unix":
            ends = []

            def on_connection(reader, writer):
                writer.write(b"hello\n")
                ends.append(writer)

            ends.append(await asyncio.start_unix_server(on_connection, tmp_path / "s"))
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            assert await reader.readline() == b"hello\n"
            ends.append(writer)
        else:
            fds = os.pipe()
            ends = [(await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(fds[0], "rb")))[0],
                    (await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(fds[1], "wb")))[0]]
        await asyncio.sleep(DAY)
        for end in ends:
            end.close()
        for _ in range(3):
            await asyncio.sleep(0)

    clock.run(main())
    assert clock.time() == DAY


def test_an_end_outside_is_given_the_grace(clock):
    """A descriptor whose other end is not in the loop: what comes within the grace comes before the timer, however soon that is in the clock's time."""
    clock.grace = 60

    async def main():
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setblocking(False)
        with here, there:
            sender = threading.Timer(0.05, there.send, [b"x"])
            sender.start()
            got = await asyncio.wait_for(loop.sock_recv(here, 10), DAY)
            sender.join()
        return got, loop.time()

    assert clock.run(main()) == (b"x", 0)


def test_after_the_grace_it_jumps(clock):
    clock.grace = 0.001

    async def main():
        here, there = socket.socketpair()
        here.setblocking(False)
        with here, there, pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(here, 10), DAY)

    clock.run(main())
    assert clock.time() == DAY


def test_a_short_timer_does_not_wait_longer_than_a_real_one(clock, real):
    clock.grace = 3600

    async def main():
        here, there = socket.socketpair()
        here.setblocking(False)
        with here, there, pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(here, 10), 0.001)

    clock.run(main())
    assert clock.time() == 0.001 and real() < 3600


@pytest.mark.parametrize("how", ["run_in_executor", "asyncio.to_thread", "asyncloop.to_thread"])
def test_calls_in_threads_are_waited_for(clock, how):
    """The timeout does not jump past a call that is on its way; the clock goes at the real pace meanwhile."""
    async def main():
        loop = asyncio.get_running_loop()
        calls = {"run_in_executor": lambda *args: loop.run_in_executor(None, *args), "asyncio.to_thread": asyncio.to_thread,
                 "asyncloop.to_thread": asyncloop.to_thread}
        reasons = []
        loop.call_later(0.001, lambda: reasons.extend(clock.waits_for()))
        await asyncio.wait_for(calls[how](time.sleep, 0.05), 60)
        assert 0.001 <= loop.time() < 60 and reasons == ["calls in an executor: 1"]
        before = loop.time()
        await asyncio.sleep(DAY)  # the pool's thread is idle
        return loop.time() - before

    assert clock.run(main()) == pytest.approx(DAY)


def test_a_call_that_waits_for_a_timer_of_the_loop(clock):
    """A thread that goes on only when a timer has come: no deadlock."""
    async def main():
        told = threading.Event()
        asyncio.get_running_loop().call_later(0.05, told.set)
        return await asyncio.to_thread(told.wait, 60)

    assert clock.run(main()) is True


def test_a_name_is_looked_up_for_real(clock):
    async def main():
        return await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM), 60)

    assert clock.run(main()) and clock.time() < 60


def test_a_thread_of_the_programs_own_is_given_the_grace(clock):
    clock.grace = 60

    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, [done.set])
        thread.start()
        await asyncio.wait_for(done.wait(), DAY)
        thread.join()
        return loop.time()

    assert clock.run(main()) == 0


def test_hold(clock):
    clock.grace = 0

    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, [done.set])
        with clock.hold():
            assert clock.waits_for() == ["hold() is in force"]
            thread.start()
            await asyncio.wait_for(done.wait(), 60)
        thread.join()
        assert 0 < loop.time() < 60 and clock.waits_for() == []
        await asyncio.sleep(DAY)

    clock.run(main())
    assert clock.time() > DAY


def test_child_processes_are_waited_for(clock):
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(.1); print('done')", stdout=subprocess.PIPE)
        assert clock.waits_for() == ["child processes: 1"]
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        before = asyncio.get_running_loop().time()
        assert before < 60
        await asyncio.sleep(DAY)
        return out, asyncio.get_running_loop().time() - before

    out, slept = clock.run(main())
    assert out == b"done\n" and slept == pytest.approx(DAY)


def test_child_processes_that_serve_are_not(real):
    clock = VirtualClock(wait_for_children=False, grace=0.001)

    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
        assert clock.waits_for() == []
        await asyncio.sleep(DAY)
        with clock.hold():
            await process.communicate(b"\n")

    clock.run(main())
    assert clock.time() >= DAY and real() < DAY


def test_signals_come_while_it_waits(clock):
    import signal

    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, done.set)
        sender = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
        sender.start()
        await done.wait()  # no timer, nothing watched: not stuck, as a signal is expected
        sender.join()
        return loop.remove_signal_handler(signal.SIGUSR1)

    assert clock.run(main()) is True


def test_ctrl_c_during_a_real_wait():
    code = ("import asyncio, os, signal, threading\nfrom asyncloop.testing import VirtualClock\nclock = VirtualClock()\n"
            "async def main():\n"
            "    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()\n"
            "    with clock.hold():\n        await asyncio.sleep(60)\n"
            "try: clock.run(main())\nexcept KeyboardInterrupt: print('interrupted', clock.time() < 60)\n")
    done = subprocess.run([sys.executable, "-c", code], env=child_env(), text=True, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == ("interrupted True\n", "")


# ---- nothing left


def test_stuck(clock):
    async def waits_in_vain():
        await asyncio.get_running_loop().create_future()

    async def main():
        await asyncio.create_task(waits_in_vain(), name="in vain")

    with pytest.raises(Stuck, match=r"(?s)would wait for ever:.*in vain at .*test_virtual_clock.py\", line \d+, in waits_in_vain"):
        clock.run(main())


def test_what_listens_is_not_stuck(clock):
    async def main():
        loop, connected = asyncio.get_running_loop(), asyncio.Event()

        async def on_connection(reader, writer):
            writer.close()
            connected.set()

        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        caller = threading.Timer(0.05, lambda: socket.create_connection(address).close())
        caller.start()
        await connected.wait()
        caller.join()
        server.close()
        return loop.time()

    assert clock.run(main()) == 0


# ---- two at once


def test_while_two_loops_run_the_clock_does_not_jump(clock):
    seen = []

    async def other():
        await asyncio.sleep(0.01)  # for real
        seen.append(clock.waits_for())

    async def main():
        await asyncio.to_thread(clock.run, other())

    clock.run(main())
    another = "another loop with this clock is running"
    assert sorted(seen[0]) == [another, another, "calls in an executor: 1"]


def test_a_loop_in_another_thread(clock):
    """Everybody else may call into it: no loop there is stuck, and the calls get the grace."""
    clock.grace = 60
    loop = clock.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    slept = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "slept"), loop)
    assert slept.result(60) == "slept"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# ---- everywhere


def test_everywhere(clock):
    async def main():
        await asyncio.sleep(DAY)
        return type(asyncio.get_running_loop())

    before = asyncio.new_event_loop, asyncio.events.new_event_loop
    with clock.everywhere():
        assert asyncio.run(main()) is VirtualLoop
        assert asyncloop.run(main()) is VirtualLoop
        with asyncio.Runner() as runner:
            assert runner.run(main()) is VirtualLoop
        for make in (asyncio.new_event_loop, asyncloop.new_event_loop):
            loop = make()
            assert type(loop) is VirtualLoop
            loop.close()
    assert clock.time() == 3 * DAY
    assert before == (asyncio.new_event_loop, asyncio.events.new_event_loop)
    loop = asyncloop.new_event_loop()
    assert type(loop) is asyncloop.Loop
    loop.close()


# ---- the order


def order_of_tasks(seed, n=20, times=3):
    clock, seen = VirtualClock(seed=seed), []

    async def worker(i):
        for _ in range(times):
            seen.append(i)
            await asyncio.sleep(1)

    async def main():
        await asyncio.gather(*(worker(i) for i in range(n)))

    clock.run(main())
    return seen


def test_without_a_seed_the_order_is_asyncios():
    assert order_of_tasks(None) == [*range(20)] * 3


def test_a_seed_gives_another_order_and_always_the_same():
    orders = {seed: order_of_tasks(seed) for seed in (1, 2, 3, -1, 2**70)}
    assert {seed: order_of_tasks(seed) for seed in orders} == orders
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    for order in orders.values():
        for i in range(0, 60, 20):  # every task steps once a second
            assert sorted(order[i:i + 20]) == [*range(20)] != order[i:i + 20]


def test_all_orders_of_three_come_up():
    orders = {tuple(order_of_tasks(seed, n=3, times=1)) for seed in range(100)}
    assert len(orders) == 6


def test_timers_of_one_time_are_shuffled_and_no_others():
    def order(seed):
        clock, seen = VirtualClock(seed=seed), []

        async def main():
            loop = asyncio.get_running_loop()
            for delay in (1, 2):
                for i in range(10):
                    loop.call_later(delay, seen.append, (delay, i))
            await asyncio.sleep(3)

        clock.run(main())
        return seen

    for seed in (1, 2):
        seen = order(seed)
        assert [delay for delay, _ in seen] == [1] * 10 + [2] * 10
        assert [i for _, i in seen] != [*range(10)] * 2 and sorted(seen) == [(delay, i) for delay in (1, 2) for i in range(10)]


def test_call_soon_keeps_its_order_and_what_stands_between_callbacks():
    """What call_soon promises holds: callbacks in the order they were registered, and no task is moved across one."""
    for seed in range(20):
        clock, seen = VirtualClock(seed=seed), []

        async def task(name):
            seen.append(name)

        async def main():
            loop = asyncio.get_running_loop()
            for i in range(5):
                loop.call_soon(seen.append, i)
                tasks = [loop.create_task(task(f"task {i}")), loop.create_task(task(f"task {i}"))]
            await asyncio.wait(tasks)

        clock.run(main())
        assert seen == [what for i in range(5) for what in (i, f"task {i}", f"task {i}")]


def test_a_race_is_found():
    """Two tasks that read, wait and write: lost updates show in asyncio's order only if the tasks are made the wrong way round."""
    def balance(seed):
        clock, account = VirtualClock(seed=seed), {"balance": 100}

        async def check():
            await asyncio.sleep(1)
            return account["balance"] >= 100

        async def spend():
            await asyncio.sleep(1)
            account["balance"] -= 100

        async def main():
            ok, _ = await asyncio.gather(check(), spend())
            return ok

        return clock.run(main())

    assert balance(None) is True
    assert {balance(seed) for seed in range(20)} == {True, False}


def test_tasks_that_wait_for_one_future_are_shuffled():
    def order(seed):
        clock, seen = VirtualClock(seed=seed), []

        async def main():
            event = asyncio.Event()

            async def waiter(i):
                await event.wait()
                seen.append(i)

            tasks = [asyncio.create_task(waiter(i)) for i in range(10)]
            await asyncio.sleep(1)
            seen.clear()
            event.set()
            await asyncio.gather(*tasks)

        clock.run(main())
        return seen

    assert order(None) == [*range(10)]
    assert order(7) != [*range(10)] and sorted(order(7)) == [*range(10)] and order(7) == order(7)


# ---- hooks of the loop that a program might meet


def test_the_private_poll_is_for_the_running_loop(clock):
    loop = clock.new_event_loop()
    with contextlib.closing(loop), pytest.raises(RuntimeError, match="for the wait of the running loop"):
        loop._poll(0)


def test_an_error_of_the_wait_leaves_the_loop():
    class Wrong(asyncloop.Loop):
        def _wait_until(self, when):
            raise LookupError(when)

    loop = Wrong()
    with contextlib.closing(loop), pytest.raises(LookupError, match="^None$"):
        loop.run_forever()


def test_a_wait_that_does_nothing_leaves_the_loop_alive():
    """The method may return early as often as it likes."""
    class Lazy(asyncloop.Loop):
        calls = 0

        def _wait_until(self, when):
            Lazy.calls += 1
            if Lazy.calls == 1000:
                self.call_soon(self.stop)

    loop = Lazy()
    with contextlib.closing(loop):
        loop.run_forever()
    assert Lazy.calls == 1000


def test_importing_asyncloop_does_not_import_this():
    done = subprocess.run([sys.executable, "-c", "import sys, asyncloop; print('asyncloop.testing' in sys.modules)"], env=child_env(), text=True,
                          capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == ("False\n", "")
