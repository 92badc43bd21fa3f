"""Signals: handlers of the loop, handlers of Python, Ctrl-C, also while the loop is blocked in the poll."""
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sidebyside import PATIENCE, child, child_env, run_until, same

USR1 = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handlers_restored():
    before = {number: signal.getsignal(number) for number in (USR1, signal.SIGUSR2, signal.SIGCHLD, signal.SIGINT)}
    yield
    for number, handler in before.items():
        assert signal.getsignal(number) == handler, f"signal {number} was left with another handler"
    assert signal.set_wakeup_fd(-1) == -1, "a wakeup fd was left"


def send_later(number, delay=0.01):
    thread = threading.Timer(delay, os.kill, (os.getpid(), number))
    thread.start()
    return thread


def test_add_signal_handler(loop):
    seen = []

    def on_signal(*args):
        seen.append(args)
        loop.stop()

    loop.add_signal_handler(USR1, on_signal, 1, "two")
    thread = send_later(USR1)
    loop.run_forever()
    thread.join()
    assert seen == [(1, "two")]
    assert loop.remove_signal_handler(USR1) is True
    assert loop.remove_signal_handler(USR1) is False


def test_blocked_in_the_poll(loop):
    """Nothing is scheduled: the loop sleeps without limit until the signal."""
    loop.add_signal_handler(USR1, loop.stop)
    started = time.monotonic()
    thread = send_later(USR1, 0.05)
    loop.run_forever()
    thread.join()
    assert 0.04 < time.monotonic() - started < 60
    loop.remove_signal_handler(USR1)


def test_handler_runs_as_a_callback(loop):
    """In the loop, not in the signal frame: between others, in the loop's thread."""
    seen = []

    async def main():
        loop.add_signal_handler(USR1, lambda: seen.append((asyncio.get_running_loop() is loop, asyncio.current_task())))
        os.kill(os.getpid(), USR1)
        for _ in range(1000):
            if seen:
                break
            await asyncio.sleep(0.001)
        loop.remove_signal_handler(USR1)

    loop.run_until_complete(main())
    assert seen == [(True, None)]


def test_several_signals(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "usr1")
    loop.add_signal_handler(signal.SIGUSR2, seen.append, "usr2")
    for _ in range(3):
        os.kill(os.getpid(), USR1)
    os.kill(os.getpid(), signal.SIGUSR2)
    run_until(loop, lambda: len(set(seen)) == 2)
    loop.remove_signal_handler(USR1)
    loop.remove_signal_handler(signal.SIGUSR2)
    assert set(seen) == {"usr1", "usr2"}


def test_while_the_ready_queue_is_never_empty(loop):
    seen = []
    started = time.monotonic()

    def spin():
        if seen or time.monotonic() - started > 30 * PATIENCE:
            loop.stop()
        else:
            loop.call_soon(spin)

    loop.add_signal_handler(USR1, seen.append, 1)
    loop.call_soon(spin)
    thread = send_later(USR1)
    loop.run_forever()
    thread.join()
    loop.remove_signal_handler(USR1)
    assert seen == [1]


def test_replaced_handler(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "old")
    loop.add_signal_handler(USR1, seen.append, "new")
    os.kill(os.getpid(), USR1)
    run_until(loop, lambda: seen)
    assert seen == ["new"]
    loop.remove_signal_handler(USR1)


def test_close_removes_the_handlers(kit):
    loop = kit.new_loop()
    loop.add_signal_handler(USR1, int)
    assert signal.getsignal(USR1) is not signal.SIG_DFL
    loop.close()
    assert signal.getsignal(USR1) is signal.SIG_DFL


def test_sigint_handler_is_given_back(loop):
    loop.add_signal_handler(signal.SIGINT, int)
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_that_fails(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.add_signal_handler(USR1, lambda: 1 / 0)
    os.kill(os.getpid(), USR1)
    run_until(loop, lambda: contexts)
    loop.remove_signal_handler(USR1)
    assert len(contexts) == 1 and isinstance(contexts[0]["exception"], ZeroDivisionError)
    assert contexts[0]["message"].startswith("Exception in callback test_handler_that_fails")


def test_python_handler_wakes_an_idle_loop(loop):
    """A handler set by signal.signal runs at once, though the loop waits without limit (uvicorn, anyio)."""
    seen = []

    def on_signal(number, frame):
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    before = signal.signal(USR1, on_signal)
    try:
        thread = send_later(USR1)
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(USR1, before)
    assert seen == [USR1]


def test_python_handler_that_only_schedules(loop):
    """call_soon, without waking, from a Python handler that interrupted the poll."""
    before = signal.signal(USR1, lambda number, frame: loop.call_soon(loop.stop))
    try:
        thread = send_later(USR1)
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(USR1, before)


def test_exception_of_a_python_handler_leaves_run_forever(loop):
    class Stop(Exception):
        pass

    def on_signal(number, frame):
        raise Stop

    before = signal.signal(USR1, on_signal)
    try:
        thread = send_later(USR1)
        with pytest.raises(Stop):
            loop.run_forever()
        thread.join()
        assert not loop.is_running()
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        signal.signal(USR1, before)


def test_exception_of_a_python_handler_while_spinning(loop):
    class Stop(Exception):
        pass

    def on_signal(number, frame):
        raise Stop

    def spin():
        loop.call_soon(spin)

    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    before = signal.signal(USR1, on_signal)
    try:
        thread = send_later(USR1)
        loop.call_soon(spin)
        loop.call_later(2 * PATIENCE, loop.stop)
        try:
            loop.run_forever()
        except Stop:
            return  # between two callbacks
        # inside a callback: there it is that callback's own exception
        assert [type(c["exception"]) for c in contexts] == [Stop]
    finally:
        thread.join()
        signal.signal(USR1, before)


def test_sigchld_handler(loop):
    seen = []

    def on_child():
        seen.append(True)
        loop.stop()

    loop.add_signal_handler(signal.SIGCHLD, on_child)
    process = subprocess.Popen(["true"])
    loop.run_forever()
    process.wait()
    loop.remove_signal_handler(signal.SIGCHLD)
    assert seen


@same
def test_wrong_use(t):
    async def coro():
        pass

    for number in (0, -1, 65, 1000, "USR1", None, 1.0, [], signal.SIGKILL, signal.SIGSTOP):
        t.attempt(t.loop.add_signal_handler, number, print)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            t.attempt(t.loop.remove_signal_handler, number)
    t.attempt(t.loop.add_signal_handler, USR1, coro)
    c = coro()
    t.attempt(t.loop.add_signal_handler, USR1, c)
    c.close()
    t.attempt(t.loop.remove_signal_handler, USR1)
    t.say(signal.getsignal(USR1))


@same
def test_only_the_main_thread(t):
    t.loop

    def other():
        t.attempt(t.loop.add_signal_handler, USR1, print)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    t.attempt(t.loop.add_signal_handler, USR1, print)
    t.attempt(t.loop.remove_signal_handler, USR1)


# --- Ctrl-C, in processes of their own

CTRL_C = """
async def main():
    print("started", flush=True)
    try:
        %s
    except asyncio.CancelledError:
        print("cancelled")
        raise
    finally:
        print("finally")

try:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def interrupt(kit, body, times=1):
    head = "import asyncio, os, signal, sys, threading, time, kits\n" \
           f"kit = kits.KITS[{kit.name!r}]\nnew_loop = kit.new_loop\n"
    process = subprocess.Popen([sys.executable, "-u", "-c", head + body], env=child_env(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "started\n", process.stderr.read()
        for _ in range(times):
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
        while times > 1 and process.poll() is None:  # two at once are one to a process that was not running
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2 * PATIENCE)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60 * PATIENCE)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out.split(), err


@pytest.mark.parametrize("waiting", ["await asyncio.sleep(60)", "await asyncio.Event().wait()",
                                     "await kit.sleep(60)", "await asyncio.get_running_loop().create_future()",
                                     "while True: await kit.sleep(0)"])
def test_ctrl_c_cancels_the_main_task(kit, waiting):
    status, out, err = interrupt(kit, CTRL_C % waiting)
    assert (status, out) == (0, ["cancelled", "finally", "interrupted"]), err
    assert err == ""


def test_ctrl_c_in_synchronous_code(kit):
    """A second Ctrl-C interrupts code that never gives control back."""
    status, out, err = interrupt(kit, CTRL_C % "time.sleep(60)", times=2)
    assert (status, out[-1]) == (0, "interrupted"), err


def test_ctrl_c_under_run_forever(kit):
    body = """
loop = new_loop()
async def main():
    print("started", flush=True)
    await asyncio.sleep(60)
task = loop.create_task(main())
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted", task.done(), loop.is_running())
task.cancel()
try:
    loop.run_until_complete(task)
except asyncio.CancelledError:
    print("usable")
loop.close()
"""
    status, out, err = interrupt(kit, body)
    assert (status, out, err) == (0, ["interrupted", "False", "False", "usable"], "")


def test_ctrl_c_without_any_timer_or_task(kit):
    body = """
loop = new_loop()
loop.call_soon(print, "started")
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted")
loop.close()
"""
    status, out, err = interrupt(kit, body)
    assert (status, out, err) == (0, ["interrupted"], "")


def test_uncaught_ctrl_c_ends_the_process_by_the_signal(kit):
    body = """
async def main():
    print("started", flush=True)
    await asyncio.sleep(60)
with asyncio.Runner(loop_factory=new_loop) as runner:
    runner.run(main())
"""
    status, out, err = interrupt(kit, body)
    assert status == -signal.SIGINT and err.rstrip().endswith("KeyboardInterrupt")


def test_sigterm_default_ends_the_process(kit):
    got = child("""
loop = new_loop()
loop.call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
loop.run_forever()
""", kit)
    assert got.returncode == -signal.SIGTERM


def test_exit_in_a_callback_keeps_the_status(kit):
    got = child("""
loop = new_loop()
loop.call_soon(sys.exit, 7)
loop.run_forever()
""", kit)
    assert got.returncode == 7 and "Traceback" not in got.stderr
