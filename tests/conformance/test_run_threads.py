"""asyncloop.run(main, threads=N): N loops in N threads, which end together.  On every Python: without the GIL they are only faster."""
import asyncio
import contextvars
import gc
import signal
import socket
import subprocess
import sys
import threading
import traceback

import pytest

import asyncloop
from kits import SUBJECT, until
from sidebyside import PATIENCE, child_env

pytestmark = pytest.mark.skipif(SUBJECT != "asyncloop", reason="is about a function that only asyncloop has")

N = 4
variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Every loop is closed (the descriptors tell) and every thread has ended."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def run(kit, main, threads=N, **kw):
    return asyncloop.run(main, threads=threads, loop_factory=kit.new_loop, **kw)


async def forever(said=None):
    try:
        await asyncio.sleep(3600)
    finally:
        if said is not None:
            said.append(asyncio.get_running_loop())


def flat(group):
    """The types and texts of the exceptions of a group."""
    return [(type(exc), str(exc)) for exc in group.exceptions]


# --- what it returns

@pytest.mark.parametrize("threads", [1, 2, 7])
def test_results_are_in_order(kit, threads):
    async def main(i):
        await asyncio.sleep(0.002 * (threads - i))
        return i * 10

    assert run(kit, main, threads) == [i * 10 for i in range(threads)]


def test_each_has_a_loop_and_a_thread_of_its_own(kit):
    async def main(i):
        return asyncio.get_running_loop(), threading.current_thread(), asyncio.current_task()

    loops, threads, tasks = zip(*run(kit, main))
    assert len(set(loops)) == len(set(threads)) == len(set(tasks)) == N
    assert threads[0] is threading.current_thread()
    assert [thread.name for thread in threads[1:]] == [f"asyncloop.run-{i}" for i in range(1, N)]
    assert all(loop.is_closed() for loop in loops) and all(task.done() for task in tasks)


def test_they_run_at_the_same_time(kit):
    """Each waits until all are there."""
    there = []

    async def main(i):
        there.append(i)
        await until(lambda: len(there) == N)
        return i

    assert run(kit, main) == list(range(N))


def test_the_default_loop_is_ours():
    async def main(i):
        return type(asyncio.get_running_loop())

    assert asyncloop.run(main, threads=2) == [asyncloop.Loop] * 2


def test_without_threads_a_loop_factory_is_taken_too(kit):
    async def main():
        return asyncio.get_running_loop()

    made = []
    assert [asyncloop.run(main(), loop_factory=lambda: made.append(kit.new_loop()) or made[0])] == made


@pytest.mark.parametrize("debug", [None, True, False])
def test_debug(kit, debug):
    async def main(i):
        return asyncio.get_running_loop().get_debug()

    assert run(kit, main, debug=debug) == [bool(debug)] * N


def test_contexts_are_copies_of_the_callers(kit):
    async def main(i):
        before = variable.get()
        variable.set(i)
        await asyncio.sleep(0.002)
        return before, variable.get()

    variable.set("callers")
    assert run(kit, main) == [("callers", i) for i in range(N)]
    assert variable.get() == "callers"


def test_it_can_be_called_in_any_thread(kit):
    results = []

    async def main(i):
        return threading.current_thread() is thread

    thread = threading.Thread(target=lambda: results.append(run(kit, main)))
    thread.start()
    thread.join()
    assert results == [[True, False, False, False]]


def test_what_a_main_leaves_is_cancelled(kit):
    said = []

    async def main(i):
        task = asyncio.create_task(forever(said))
        await asyncio.sleep(0)
        return task, asyncio.get_running_loop()

    tasks, loops = zip(*run(kit, main))
    assert all(task.cancelled() for task in tasks) and set(said) == set(loops)


def test_servers_share_a_port(kit):
    """Each thread has a server of its own on one port; the kernel gives every connection to one of them."""
    with socket.socket() as holder:  # bound but not listening: the port is ours, and gets no connection
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        ready, ends = [], []

        async def serve(reader, writer):
            writer.write(await reader.readexactly(5))
            writer.close()

        async def ask():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        async def main(i):
            async with await asyncio.start_server(serve, "127.0.0.1", port, reuse_port=True):
                ready.append(i)
                await until(lambda: len(ready) == N)
                answers = [await ask() for _ in range(10)]
                ends.append(i)
                await until(lambda: len(ends) == N)
                return answers

        assert run(kit, main) == [[b"hello"] * 10] * N


# --- failures

@pytest.mark.parametrize("failing", [0, 1, N - 1])
def test_the_first_failure_cancels_the_others(kit, failing):
    said, there = [], []

    async def main(i):
        there.append(i)
        if i == failing:
            await until(lambda: len(there) == N)
            raise LookupError("here")
        await forever(said)

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert raised.value.message == "unhandled errors in the threads of asyncloop.run()"
    assert flat(raised.value) == [(LookupError, "here")] and len(set(said)) == N - 1
    assert raised.value.__cause__ is None
    assert any(frame.name == "main" for frame in traceback.extract_tb(raised.value.exceptions[0].__traceback__))


def test_failures_while_the_others_end_are_told_too(kit):
    there = []

    async def main(i):
        there.append(i)
        if i == 1:
            await until(lambda: len(there) == N)
            raise LookupError(1)
        try:
            await forever()
        finally:
            if i != 2:
                raise OSError(i)

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert flat(raised.value)[0] == (LookupError, "1")
    assert sorted(flat(raised.value)[1:], key=str) == [(OSError, "0"), (OSError, "3")]


def test_a_main_is_cancelled_once(kit):
    """A second failure does not break into the cleaning up that the first one has begun."""
    there, cleaned = [], []

    async def main(i):
        there.append(i)
        try:
            if i == 0:
                await until(lambda: len(there) == N)
                raise LookupError(0)
            await forever()
        finally:
            if i == 1:
                raise OSError(i)
            for _ in range(20):
                await asyncio.sleep(0.001)
            cleaned.append(i)

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert sorted(cleaned) == [0, 2, 3] and {type(exc) for exc in raised.value.exceptions} == {LookupError, OSError}


def test_results_of_those_that_ignore_the_end_are_lost_with_the_others(kit):
    there = []

    async def main(i):
        there.append(i)
        if i == 0:
            await until(lambda: len(there) == N)
            raise LookupError(0)
        try:
            await forever()
        except asyncio.CancelledError:
            return i

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert flat(raised.value) == [(LookupError, "0")]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("failing", [0, N - 1])
def test_what_ends_a_program_is_raised_alone(kit, kind, failing):
    there, said = [], []

    async def main(i):
        there.append(i)
        if i == failing:
            await until(lambda: len(there) == N)
            raise kind(5)
        try:
            await forever(said)
        finally:
            raise OSError(i)

    with pytest.raises(kind) as raised:
        run(kit, main)
    assert raised.value.args == (5,) and len(said) == N - 1


def test_a_base_exception_makes_a_base_group(kit):
    class Strange(BaseException):
        pass

    async def main(i):
        if i == 1:
            raise Strange(i)
        await forever()

    with pytest.raises(BaseExceptionGroup) as raised:
        run(kit, main)
    assert flat(raised.value) == [(Strange, "1")] and not isinstance(raised.value, ExceptionGroup)


@pytest.mark.parametrize("cancelled", [0, 2])
def test_a_main_that_is_cancelled_from_within_does_not_end_the_others(kit, cancelled):
    """As a task of a TaskGroup; but then there is no list of results, and what asyncio.run would raise is raised."""
    done = []

    async def main(i):
        if i == cancelled:
            raise asyncio.CancelledError("by itself")
        await asyncio.sleep(0.01)
        done.append(i)

    with pytest.raises(asyncio.CancelledError, match="by itself"):
        run(kit, main)
    assert sorted([*done, cancelled]) == list(range(N))


@pytest.mark.parametrize("failing", [0, 3])
def test_a_failing_function_is_a_failure(kit, failing):
    said = []

    def main(i):
        if i == failing:
            raise LookupError(i)
        return forever(said)

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert flat(raised.value) == [(LookupError, str(failing))]


def test_what_is_no_coroutine(kit):
    with pytest.raises(ExceptionGroup) as raised:
        run(kit, lambda i: [i] if i == 2 else forever())
    assert flat(raised.value) == [(TypeError, "main(2) must return a coroutine, not [2]")]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_loop_that_cannot_be_made(kit):
    made = []

    def factory():
        made.append(1)
        if len(made) == 3:
            raise OSError("no more loops")
        return kit.new_loop()

    with pytest.raises(ExceptionGroup) as raised:
        asyncloop.run(lambda i: forever(), threads=N, loop_factory=factory)
    assert flat(raised.value) == [(OSError, "no more loops")]
    del raised
    gc.collect()


def test_a_thread_that_cannot_be_started(kit, monkeypatch):
    start, said = threading.Thread.start, []

    def refuse(thread):
        if thread.name.endswith("-2"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ExceptionGroup) as raised:
        run(kit, lambda i: forever(said))
    assert flat(raised.value) == [(RuntimeError, "can't start new thread")] and len(said) <= 1


def test_failures_of_cleaning_up(kit):
    """What Runner.close raises is that thread's failure, even after a result."""
    class Bad(Exception):
        pass

    def factory():
        loop = kit.new_loop()

        async def shutdown_asyncgens():
            if threading.current_thread().name == "asyncloop.run-1":
                raise Bad("in the end")

        loop.shutdown_asyncgens = shutdown_asyncgens
        return loop

    async def main(i):
        if i != 1:
            await forever()

    with pytest.raises(ExceptionGroup) as raised:
        asyncloop.run(main, threads=N, loop_factory=factory)
    assert flat(raised.value) == [(Bad, "in the end")]


def test_a_task_that_fails_while_it_is_cancelled_is_reported(kit):
    contexts = []

    async def bad():
        try:
            await forever()
        finally:
            raise LookupError

    async def main(i):
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        asyncio.create_task(bad())
        await asyncio.sleep(0)
        return i

    assert run(kit, main) == list(range(N))
    assert [(context["message"], type(context["exception"])) for context in contexts] == [("unhandled exception during asyncio.run() shutdown", LookupError)] * N


def test_a_loop_that_is_stopped_is_a_failure(kit):
    async def main(i):
        if i == 1:
            asyncio.get_running_loop().stop()
        await forever()

    with pytest.raises(ExceptionGroup) as raised:
        run(kit, main)
    assert flat(raised.value) == [(RuntimeError, "Event loop stopped before Future completed.")]


# --- wrong use

@pytest.mark.parametrize("threads, kind, text", [
    (0, ValueError, "threads must be at least 1, not 0"),
    (-3, ValueError, "threads must be at least 1, not -3"),
    (1.5, TypeError, "'float' object cannot be interpreted as an integer"),
    ("2", TypeError, "'str' object cannot be interpreted as an integer"),
])
def test_wrong_numbers(threads, kind, text):
    with pytest.raises(kind) as raised:
        asyncloop.run(lambda i: forever(), threads=threads)
    assert str(raised.value) == text


def test_a_coroutine_in_place_of_a_function():
    main = forever()
    with pytest.raises(TypeError, match="with threads, main must be a function that takes the thread's number, not <coroutine object forever"):
        asyncloop.run(main, threads=2)
    main.close()


def test_inside_a_running_loop(kit):
    async def main():
        with pytest.raises(RuntimeError, match=r"^asyncio.run\(\) cannot be called from a running event loop$"):
            asyncloop.run(lambda i: forever(), threads=2)

    loop = kit.new_loop()
    loop.run_until_complete(main())
    loop.close()


# --- Ctrl-C, in a child process

HEAD = """
import asyncio, asyncloop, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
N = 4
said, there, loops = [], [], []
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
def wait(condition):
    while not condition():
        time.sleep(0.001)
def interrupt_when(*conditions):
    def work():
        for condition in conditions:
            wait(condition)
            interrupt()
    threading.Thread(target=work, daemon=True).start()
async def forever(i):
    there.append(i)
    loops.append(asyncio.get_running_loop())
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        said.append(("cancelled", i))
        raise
def outcome(main, threads=N):
    try:
        return asyncloop.run(main, threads=threads)
    except BaseException as exc:
        return type(exc).__name__
    finally:
        assert all(loop.is_closed() for loop in loops), loops
        assert not [t for t in threading.enumerate() if t.name.startswith("asyncloop")]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def child(code):
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", HEAD + code], env=child_env(), text=True, capture_output=True, timeout=60 * PATIENCE)
    return done.returncode, done.stdout.splitlines(), done.stderr


def check(code, *lines, told=()):
    """told: what the lines on stderr may begin with."""
    status, out, err = child(code)
    assert (status, out) == (0, list(lines)), err
    assert [line for line in err.splitlines() if not line.startswith(told)] == []


def test_ctrl_c_ends_all():
    check("""
interrupt_when(lambda: len(there) == N)
print(outcome(forever))
print(sorted(said))
""", "KeyboardInterrupt", str([("cancelled", i) for i in range(4)]))


def test_ctrl_c_ends_the_program_as_with_asyncio_run():
    status, out, err = child("""
interrupt_when(lambda: len(there) == N)
asyncloop.run(forever, threads=N)
""")
    assert status == -signal.SIGINT and out == [] and err.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_when_the_first_has_ended():
    check("""
async def main(i):
    if i:
        await forever(i)
interrupt_when(lambda: len(there) == N - 1 and time.sleep(0.05) is None)
print(outcome(main))
print(sorted(said))
""", "KeyboardInterrupt", str([("cancelled", i) for i in range(1, 4)]))


def test_ctrl_c_that_is_answered_with_results():
    check("""
async def main(i):
    try:
        await forever(i)
    except asyncio.CancelledError:
        return i
interrupt_when(lambda: len(there) == N)
print(outcome(main))
""", "[0, 1, 2, 3]")


def test_ctrl_c_that_is_answered_with_an_error():
    check("""
async def main(i):
    try:
        await forever(i)
    finally:
        if i == 2:
            raise LookupError
interrupt_when(lambda: len(there) == N)
try:
    asyncloop.run(main, threads=N)
except* LookupError:
    print("group", len(said))
""", "group 4")


def test_ctrl_c_while_a_main_computes():
    """The one that never waits in its loop is cancelled when it does."""
    check("""
async def main(i):
    if i == 0:
        there.append(i)
        wait(lambda: len(said) == N - 1)
    await forever(i)
interrupt_when(lambda: len(there) == N)
print(outcome(main))
""", "KeyboardInterrupt")


def test_second_ctrl_c_ends_a_cleaning_up_that_hangs():
    """As with asyncio.run: it leaves the loop, and what is left is cancelled again."""
    check("""
async def main(i):
    try:
        await forever(i)
    finally:
        try:
            await asyncio.sleep(3600)
        finally:
            said.append(i)
interrupt_when(lambda: len(there) == N, lambda: len(said) == N)
print(outcome(main))
print(sorted(said[N:]))
""", "KeyboardInterrupt", "[0, 1, 2, 3]")


def test_third_ctrl_c_ends_what_refuses_to_be_cancelled():
    """The tasks are pending for ever; asyncio.run says so too."""
    check("""
async def main(i):
    there.append(i)
    loops.append(asyncio.get_running_loop())
    for _ in range(2):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            said.append(i)
    await asyncio.sleep(3600)
interrupt_when(lambda: len(there) == N, lambda: len(said) == N, lambda: len(said) == 2 * N)
print(outcome(main))
""", "KeyboardInterrupt", told=("Task was destroyed but it is pending!", "task: <Task cancelling"))


def test_fourth_ctrl_c_waits_no_longer_for_code_that_blocks():
    check("""
blocked = threading.Event()
async def main(i):
    there.append(i)
    loops.append(asyncio.get_running_loop())
    if i == 1:
        blocked.wait()
    await asyncio.sleep(3600)
interrupt_when(lambda: len(there) == N, *[lambda: time.sleep(0.1) is None] * 3)
try:
    asyncloop.run(main, threads=N)
except KeyboardInterrupt:
    print("interrupted", [loop.is_closed() for loop in loops].count(False), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
blocked.set()
for thread in threading.enumerate():
    if thread.name.startswith("asyncloop"):
        thread.join()
print("ended", all(loop.is_closed() for loop in loops))
""", "interrupted 1 True", "ended True", told=("Task was destroyed but it is pending!", "task: <Task cancelling"))


def test_a_signal_handler_of_the_program_is_left_alone():
    check("""
seen = []
async def main(i):
    if i == 0:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, seen.append, i)
        while not seen:
            await asyncio.sleep(0.001)
    return i
interrupt_when(lambda: signal.getsignal(signal.SIGINT) is not signal.default_int_handler and time.sleep(0.2) is None)
print(outcome(main), seen)
""", "[0, 1, 2, 3] [0]")


def test_what_a_signal_handler_of_the_program_raises_ends_all():
    check("""
def on_term(number, frame):
    sys.exit(7)
signal.signal(signal.SIGTERM, on_term)
def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)
async def main(i):
    if i:
        await forever(i)
interrupt_when(lambda: len(there) == N - 1 and time.sleep(0.05) is None)
print(outcome(main))
print(sorted(said))
""", "SystemExit", str([("cancelled", i) for i in range(1, 4)]))


def test_ctrl_c_at_any_moment():
    """A run, a Ctrl-C a little later each time: it ends, with the results or with KeyboardInterrupt."""
    check("""
def swallowed(unraisable):  # a Ctrl-C in a finalizer or a weak reference's callback is Python's to drop
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
sys.unraisablehook = swallowed
async def main(i):
    await asyncio.sleep(0.002 * i)
    return i
ends = set()
for n in range(60):
    def work():
        time.sleep(n * 0.0002)
        interrupt()
    thread = threading.Thread(target=work)
    try:
        thread.start()
        ends.add(str(outcome(main)))
        thread.join()
    except KeyboardInterrupt:
        ends.add("late")
    thread.join()
assert ends <= {"KeyboardInterrupt", "[0, 1, 2, 3]", "late"}, ends
print("ended")
""", "ended")
