"""subprocess_exec, subprocess_shell, asyncio.create_subprocess_*: the child's life, its pipes, what is left behind."""
import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import warnings

import pytest

import kits
from kits import until
from sidebyside import OURS, same

PIPE = subprocess.PIPE


def python(code):
    return sys.executable, "-I", "-S", "-c", code


class Recorder(kits.Recorder, asyncio.SubprocessProtocol):
    def __init__(self, say=lambda *what: None):
        super().__init__(say)
        self.data = {1: b"", 2: b""}
        self.exited = False
        self.lost_pipes = []

    # How full a pipe gets differs from run to run.
    pause_writing, resume_writing = asyncio.BaseProtocol.pause_writing, asyncio.BaseProtocol.resume_writing

    def pipe_data_received(self, fd, data):
        self.data[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.lost_pipes.append(fd)
        self.say("pipe lost", fd, exc)

    def process_exited(self):
        self.exited = True
        self.say("exited")


def children():
    """The pids of this process's children, zombies included."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.fixture(autouse=True)
def no_children_left():
    before = children()
    yield
    for _ in range(3000):
        gc.collect()
        subprocess._cleanup()
        if not children() - before:
            return
        threading.Event().wait(0.01)
    assert children() - before == set()


# --- the transport and its protocol

@same
def test_events_of_a_child(t):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, *python(
            "import sys; data = sys.stdin.read(); print('out', data); print('err', file=sys.stderr); sys.exit(7)"))
        t.say(isinstance(transport, asyncio.SubprocessTransport), transport.get_pid() > 0, transport.get_returncode(), transport.is_closing())
        t.say(type(transport.get_extra_info("subprocess")).__name__, transport.get_protocol() is protocol)
        stdin = transport.get_pipe_transport(0)
        t.say([isinstance(transport.get_pipe_transport(fd), kind) for fd, kind in
               enumerate((asyncio.WriteTransport, asyncio.ReadTransport, asyncio.ReadTransport))], transport.get_pipe_transport(3))
        stdin.write(b"input")
        stdin.close()
        await until(lambda: protocol.lost)
        t.say(protocol.data, transport.get_returncode(), protocol.exited, await transport._wait())
        for call in (transport.kill, transport.terminate):
            t.attempt(call)
        t.attempt(transport.send_signal, signal.SIGTERM)
        transport.close()
        transport.close()
        t.say(transport.is_closing())
    t.run(main())


@same
def test_repr(t):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, "cat", stderr=subprocess.STDOUT)

        def show():
            text = re.sub(r"(fd|pid)=\d+", r"\1=N", repr(transport))
            return text.replace("_UnixReadPipe", "ReadPipe").replace("_UnixWritePipe", "WritePipe").replace("_UnixSub", "Sub")
        t.say(show())
        transport.get_pipe_transport(0).close()
        await until(lambda: protocol.lost)
        t.say(show())
        transport.close()
        t.say(show())
    t.run(main())


@same
def test_shell_and_signals(t):
    async def main():
        loop = asyncio.get_running_loop()
        for command, call in (("exit 3", None), ("kill -9 $$", None), ("exec sleep 30", "kill"), ("exec sleep 30", "terminate"),
                              ("exec sleep 30", signal.SIGUSR1), (b"exit 0", None)):
            transport, protocol = await loop.subprocess_shell(Recorder, command, stdin=None, stdout=None, stderr=None)
            if isinstance(call, str):
                getattr(transport, call)()
            elif call is not None:
                transport.send_signal(call)
            t.say(command, await transport._wait())
            await until(lambda: protocol.lost)
            transport.close()
    t.run(main())


@same
def test_close_kills(t):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Recorder, "sleep", "30")
        transport.close()
        t.say(transport.is_closing(), await transport._wait())
        await until(lambda: protocol.lost)
    t.run(main())


@same
def test_arguments(t):
    async def main():
        loop = asyncio.get_running_loop()

        async def attempt(coro):
            try:
                await coro
            except Exception as exc:
                t.say(type(exc).__name__, getattr(exc, "errno", None), str(exc))
        for kw in ({"universal_newlines": True}, {"bufsize": 4096}, {"text": True}, {"encoding": "utf-8"}, {"errors": "strict"}):
            await attempt(loop.subprocess_exec(Recorder, "true", **kw))
            await attempt(loop.subprocess_shell(Recorder, "true", **kw))
            await attempt(asyncio.create_subprocess_exec("true", **kw))
        await attempt(loop.subprocess_exec(Recorder, "true", shell=True))
        await attempt(loop.subprocess_shell(Recorder, "true", shell=False))
        await attempt(loop.subprocess_shell(Recorder, ["true"]))
        await attempt(loop.subprocess_exec(Recorder, "/no/such/program"))
        await attempt(loop.subprocess_exec(Recorder, "true", cwd="/no/such/folder"))
        await attempt(loop.subprocess_exec(Recorder, "true", no_such_keyword=1))
        await attempt(loop.subprocess_exec(Recorder, 5))
    t.keep_warnings = False
    t.run(main())


@same
def test_stdio_of_every_kind(t):
    async def main():
        import tempfile
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as file:
            transport, protocol = await loop.subprocess_exec(Recorder, "sh", "-c", "cat; echo on stderr >&2", stdin=subprocess.DEVNULL,
                                                             stdout=file, stderr=PIPE)
            t.say([transport.get_pipe_transport(fd) is not None for fd in range(3)])
            await until(lambda: protocol.lost)
            t.say(protocol.data)
            transport.close()
            transport, protocol = await loop.subprocess_exec(Recorder, "sh", "-c", "echo 1; echo 2 >&2", stdin=None, stderr=subprocess.STDOUT)
            await until(lambda: protocol.lost)
            t.say(protocol.data)
            transport.close()
    t.run(main())


def test_a_child_may_open_its_stdin(loop):
    """Real pipes: /dev/stdin and /proc/self/fd/1 can be opened, which a socket pair's cannot."""
    async def main():
        process = await asyncio.create_subprocess_shell("cat /dev/stdin > /proc/self/fd/1", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(b"through /dev/stdin")
        assert (out, process.returncode) == (b"through /dev/stdin", 0)
    loop.run_until_complete(main())


def test_popen_keywords(loop, tmp_path):
    code = ("import os, sys; print(os.getcwd(), os.environ.get('MARK'), oct(os.umask(0)), os.getpgid(0) == os.getpid(), "
            "os.getsid(0) == os.getpid(), os.path.exists('/proc/self/fd/%d'))")

    async def run(**kw):
        process = await asyncio.create_subprocess_exec(*python(code % inherited), stdout=PIPE, **kw)
        return (await process.communicate())[0].decode().split()
    inherited = os.open("/dev/null", os.O_RDONLY)

    async def main():
        assert (await run(cwd=tmp_path))[0] == str(tmp_path)
        assert (await run(env={"MARK": "here"}))[1] == "here"
        assert (await run(umask=0o027))[2] == "0o27"
        assert (await run(start_new_session=True))[3:5] == ["True", "True"]
        assert (await run(process_group=0))[3:5] == ["True", "False"]
        assert (await run(pass_fds=[inherited]))[5] == "True"
        assert (await run())[5] == "False"
        assert (await run(preexec_fn=lambda: os.umask(0o077)))[2] == "0o77"
        process = await asyncio.create_subprocess_exec("ignored", "-c", "exit 4", executable="/bin/sh")
        assert await process.wait() == 4
        if os.getuid() == 0:
            process = await asyncio.create_subprocess_exec("id", stdout=PIPE, user=65534, group=65534, extra_groups=[65534])
            out, _ = await process.communicate()
            assert b"uid=65534" in out and b"gid=65534" in out
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loop.run_until_complete(main())
    finally:
        os.close(inherited)


# --- asyncio.create_subprocess_*

def test_communicate_large_data_both_ways(loop):
    data = os.urandom(1 << 20) * 5

    async def main():
        process = await asyncio.create_subprocess_exec("tee", "/dev/stderr", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate(data)
        assert out == data and err == data and process.returncode == 0
    loop.run_until_complete(main())


def test_communicate_with_a_child_that_does_not_read(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(b"x" * 1_000_000)
        assert out == b"" and process.returncode == 0
    loop.run_until_complete(main())


def test_line_by_line(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        for i in range(50):
            process.stdin.write(b"line %d\n" % i)
            await process.stdin.drain()
            assert await process.stdout.readline() == b"line %d\n" % i
        process.stdin.close()
        await process.stdin.wait_closed()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0
    loop.run_until_complete(main())


def test_wait_before_and_after_the_end(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "0.05")
        assert process.returncode is None
        assert await asyncio.gather(process.wait(), process.wait()) == [0, 0]
        assert await process.wait() == 0 and process.returncode == 0
    loop.run_until_complete(main())


def test_cancelled_wait(loop):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "30")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), 0.02)
        process.kill()
        assert await process.wait() == -signal.SIGKILL
    loop.run_until_complete(main())


def test_cancelled_start_kills_the_child(loop):
    async def main():
        task = asyncio.ensure_future(asyncio.create_subprocess_exec("sleep", "30", stdin=PIPE, stdout=PIPE))
        await asyncio.sleep(0)
        before = children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)
        assert before and not children() & before
    loop.run_until_complete(main())


@same
def test_pipes_outlive_the_process(t):
    """A grandchild keeps stdout open after the child's end."""
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(lambda: Recorder(t.say), "sleep 1 & echo started", stdin=None, stderr=None)
        await until(lambda: protocol.exited and protocol.data[1])
        t.say(protocol.lost, transport.get_returncode(), protocol.data[1])
        await until(lambda: protocol.lost)
        transport.close()
    t.run(main())


@same
def test_process_outlives_its_pipes(t):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_shell(lambda: Recorder(t.say), "exec >&- 2>&-; read line; exec <&-; sleep 0.2; exit 5")
        await until(lambda: len(protocol.lost_pipes) == 2)
        t.say(protocol.exited, transport.get_returncode())
        transport.get_pipe_transport(0).write(b"go\n")
        await until(lambda: protocol.lost)
        t.say(transport.get_returncode())
        transport.close()
    t.run(main())


def test_reaped_by_somebody_else(caplog):
    """Its status is lost: 255, and a warning.  (On asyncio's 3.11 a thread reaps, and may be first.)"""
    loop = OURS.new_loop()

    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "30")
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        assert await process.wait() == 255
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert "255" in caplog.text


def test_polled_by_the_program():
    """Popen.poll() may reap the child first: its status is not lost (asyncio says 255)."""
    async def main():
        transport, protocol = await asyncio.get_running_loop().subprocess_exec(Recorder, "sh", "-c", "exit 6", stdin=None, stdout=None,
                                                                               stderr=None)
        popen = transport.get_extra_info("subprocess")
        while popen.poll() is None:
            pass
        transport.kill()  # nobody is hit
        assert await transport._wait() == 6
        await until(lambda: protocol.lost)
        transport.close()
    loop = OURS.new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_child_that_cannot_be_reaped_is_reported():
    """What goes wrong inside is not lost: here the Popen has no lock any more."""
    contexts = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        popen = process._transport.get_extra_info("subprocess")
        lock = popen._waitpid_lock
        del popen._waitpid_lock
        process.stdin.close()
        await until(lambda: contexts)
        popen._waitpid_lock = lock
        assert popen.wait() == 0
        process._transport._process_exited(0)
        assert await process.wait() == 0
    loop = OURS.new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert [type(c["exception"]) for c in contexts] == [AttributeError]


def test_a_pidfd_that_cannot_be_watched_is_closed():
    before = set(os.listdir("/proc/self/fd"))
    loop = OURS.new_loop()
    with pytest.raises(TypeError):
        loop._watch_exit(1)
    with pytest.raises(TypeError):
        loop._watch_exit("1", None, None, None)
    loop.close()
    fd = os.dup(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop._watch_exit(fd, None, None, None)
    assert set(os.listdir("/proc/self/fd")) == before


# --- without pidfd

@pytest.mark.parametrize("how", ["missing", "refused"])
def test_without_pidfd(monkeypatch, how):
    """A thread waits, and the loop's thread reaps."""
    if how == "missing":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        def refused(pid, flags=0):
            raise PermissionError(1, "no pidfd here")
        monkeypatch.setattr(os, "pidfd_open", refused)
    loop = OURS.new_loop()

    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert any(thread.name == f"asyncloop-wait-{process.pid}" for thread in threading.enumerate())
        assert (await process.communicate(b"data"))[0] == b"data"
        processes = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(10)]
        assert await asyncio.gather(*(each.wait() for each in processes)) == list(range(10))
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_without_pidfd_and_loop(monkeypatch, caplog):
    """The loop is closed before the child's end: the thread reaps it."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    loop = OURS.new_loop()

    async def main():
        return await asyncio.create_subprocess_exec("sleep", "0.2")
    process = loop.run_until_complete(main())
    loop.close()
    thread, = [thread for thread in threading.enumerate() if thread.name == f"asyncloop-wait-{process.pid}"]
    thread.join(60)
    assert f"that handles pid {process.pid} is closed" in caplog.text
    process._transport.close()


# --- nothing is left

@pytest.mark.parametrize("stdio", [None, PIPE])
def test_loop_closed_before_the_child_ends(stdio):
    """The pidfd is closed with the loop, the unclosed transport complains and kills."""
    before = set(os.listdir("/proc/self/fd"))
    loop = OURS.new_loop()

    async def main():
        return (await asyncio.create_subprocess_exec("sleep", "30", stdin=stdio, stdout=stdio)).pid
    pid = loop.run_until_complete(main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        gc.collect()
    assert any(re.match(rf"unclosed transport <_UnixSubprocessTransport pid={pid} running", str(w.message)) for w in caught)
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.limit(90)
def test_thousands_in_a_row(loop):
    """No descriptor, no zombie, no thread is left, once the ends of the pipes were heard too: wait() is only for the exit.

    asyncio's child watcher of 3.11 has a thread for each child, which may end a little after the child is heard of.
    """
    async def main():
        for _ in range(40):
            processes = [await asyncio.create_subprocess_exec("/bin/true", stdout=PIPE if i % 4 == 0 else None) for i in range(25)]
            assert await asyncio.gather(*(each.wait() for each in processes)) == [0] * 25
        for _ in range(3000):
            if len(os.listdir("/proc/self/fd")) == fds and threading.active_count() == threads:
                break
            await asyncio.sleep(0.01)
    fds, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    loop.run_until_complete(main())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == fds and threading.active_count() == threads


def test_two_threads_spawn_at_once():
    results, errors = [], []

    async def main():
        for _ in range(10):
            processes = await asyncio.gather(*(asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE) for _ in range(5)))
            for i, process in enumerate(processes):
                out, _ = await process.communicate(b"%d" % i)
                results.append((out, process.returncode) == (b"%d" % i, 0))

    def thread():
        loop = OURS.new_loop()
        try:
            loop.run_until_complete(main())
        except BaseException as exc:
            errors.append(exc)
        finally:
            loop.close()
    threads = [threading.Thread(target=thread) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(80)
    assert errors == [] and results == [True] * 100


def test_no_child_watcher_is_made():
    """Not even asked for, on any version; SIGCHLD stays as it was."""
    before = signal.getsignal(signal.SIGCHLD)
    loop = OURS.new_loop()

    async def main():
        return await (await asyncio.create_subprocess_exec("true")).wait()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert loop.run_until_complete(main()) == 0
    finally:
        loop.close()
    assert signal.getsignal(signal.SIGCHLD) is before


# --- a start that comes to nothing

@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("passes", range(12))
def test_a_start_is_cancelled(passes, everything):
    """At every pass the caller ends, and nothing is left: on Python 3.11 to 3.13 asyncio hangs, on 3.14 it may leave pipes open."""
    loop = OURS.new_loop()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    started = []

    def transports():
        return {id(each) for each in gc.get_objects() if isinstance(each, asyncio.SubprocessTransport)}

    async def caller():
        child = await asyncio.create_subprocess_exec("sleep", "0.05", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        started.append(child)
        try:
            await child.communicate()
        finally:
            await child.wait()

    async def main():
        before = set(os.listdir("/proc/self/fd"))
        task = asyncio.ensure_future(caller())
        for _ in range(passes):
            await asyncio.sleep(0)
        for each in asyncio.all_tasks() - {asyncio.current_task()} if everything else [task]:
            each.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.done() and (task.cancelled() or task.exception() is None)
        del task, each
        for _ in range(5):
            await asyncio.sleep(0)
        assert started or set(os.listdir("/proc/self/fd")) == before

    kept = transports()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loop.run_until_complete(main())
        finally:
            started.clear()
            loop.close()
        gc.collect()
    assert not reports and not [w for w in caught if w.category is ResourceWarning]
    assert not transports() - kept


@pytest.mark.parametrize("fails", ["stdin", "stdout", "stderr"])
def test_a_start_whose_pipe_fails(fails):
    """One of the pipes has no transport: the error comes out, the child is gone, nothing is open."""
    loop = OURS.new_loop()
    left = {"stdin": 0, "stdout": 1, "stderr": 2}[fails]
    made = []

    def failing(make):
        async def connect(*args):
            if len(made) == left:
                raise OSError("no transport")
            made.append(1)
            return await make(*args)
        return connect

    async def main():
        before = set(os.listdir("/proc/self/fd"))
        loop.connect_read_pipe, loop.connect_write_pipe = failing(loop.connect_read_pipe), failing(loop.connect_write_pipe)
        with pytest.raises(OSError, match="no transport"):
            await asyncio.wait_for(asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE, stderr=PIPE), 20)
        for _ in range(5):
            await asyncio.sleep(0)
        assert set(os.listdir("/proc/self/fd")) == before
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
        loop.__dict__.clear()
