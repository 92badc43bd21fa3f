"""uvicorn, gunicorn and hypercorn as people start them: each request is answered with the class of the loop that it runs on."""
import contextlib
import itertools
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import peers
from sidebyside import child_env

for each in "uvicorn", "gunicorn", "uvicorn_worker", "hypercorn", "h2":
    peers.client(each, each.replace("_", "-"))

pytestmark = pytest.mark.limit(80)
OURS, NATIVE = "asyncloop.Loop", "asyncio.unix_events._UnixSelectorEventLoop"
RUNNER = ["-m", "asyncloop"]

APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        open("slow", "w").close()
        await asyncio.sleep(1)
    cls = type(asyncio.get_running_loop())
    body = f"{cls.__module__}.{cls.__qualname__} {os.getpid()} first HTTP/{scope['http_version']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
"""


class Server:
    """A server in a process of its own, started by `python WORDS…`; {port} in a word is its port."""

    def __init__(self, python, place, words):
        self.python, self.place, self.words = python, place, words
        self.log = place / "log"

    def __enter__(self):
        (self.place / "app.py").write_text(APP)
        with contextlib.ExitStack() as stack:
            self.port = stack.enter_context(peers.port())
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen([self.python, *(word.format(port=self.port) for word in self.words)], cwd=self.place, stdin=subprocess.DEVNULL,
                                                env=child_env(PYTHONDONTWRITEBYTECODE="1"), stdout=log, stderr=log, start_new_session=True)
            self.kept = stack.pop_all()
        return self

    def __exit__(self, *exc):
        with self.kept:
            if self.process.poll() is None and exc == (None, None, None):
                self.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(peers.LONG)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def get(self, path="/", timeout=peers.LONG):
        """What the application said: loop, process, text, protocol."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
            return answer.read().decode().split()

    def until(self, condition=lambda said: True):
        """The first answer of which that is true.  A server that starts, or starts anew, may refuse or reset."""
        end = time.monotonic() + peers.LONG
        while True:
            with contextlib.suppress(OSError):
                said = self.get(timeout=5)
                if condition(said):
                    return said
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"no answer (status {self.process.poll()}):\n{self.log.read_text()[-3000:]}", pytrace=False)
            time.sleep(0.02)


@pytest.fixture
def serve(hooked_python, tmp_path):
    return lambda *words: Server(hooked_python, tmp_path, words)


UVICORN = ["-m", "uvicorn", "app:app", "--port", "{port}"]


@pytest.mark.parametrize("loop", ["auto", "asyncio", "none", "uvloop", "asyncloop:new_event_loop"])
def test_uvicorn_under_the_runner(serve, loop):
    if loop == "uvloop":
        peers.client("uvloop")
    with serve(*RUNNER, *UVICORN, "--loop", loop) as server:
        assert server.until()[0] == OURS


@pytest.mark.parametrize("loop, name", [("asyncio", NATIVE), ("asyncloop:new_event_loop", OURS)])
def test_uvicorn_by_itself(serve, loop, name):
    with serve(*UVICORN, "--loop", loop) as server:
        assert server.until()[0] == name


def test_uvicorns_workers(serve):
    with serve(*RUNNER, *UVICORN, "--workers", "2") as server:
        first = server.until()
        second = server.until(lambda said: said[1] != first[1])
        assert first[0] == second[0] == OURS


def test_uvicorns_reload(serve, tmp_path):
    with serve(*RUNNER, *UVICORN, "--reload") as server:
        assert server.until()[::2] == [OURS, "first"]
        (tmp_path / "app.py").write_text(APP.replace("first", "second"))
        newer = itertools.count(time.time() + 10)

        def is_the_second(said):
            if said[2] == "second":
                return True
            # The reloader may have taken its first look after the change, and then waits for the next one.
            os.utime(tmp_path / "app.py", (next(newer),) * 2)
            return False

        assert server.until(is_the_second)[0] == OURS


GUNICORN = ["-m", "gunicorn", "app:app", "-b", "127.0.0.1:{port}", "--graceful-timeout", "20", "--no-control-socket"]


def gunicorn_words():
    """--no-control-socket came with gunicorn 25."""
    import gunicorn
    return GUNICORN if gunicorn.version_info >= (25,) else GUNICORN[:-1]


@pytest.mark.parametrize("prefix, worker", [(RUNNER, "uvicorn_worker.UvicornWorker"), ([], "asyncloop.gunicorn.UvicornWorker")], ids=["runner", "ours"])
def test_gunicorn(serve, tmp_path, prefix, worker):
    """HUP starts new workers; TERM lets the request that is under way end."""
    with serve(*prefix, *gunicorn_words(), "-k", worker) as server:
        name, first, *_ = server.until()
        assert name == OURS
        server.process.send_signal(signal.SIGHUP)
        assert server.until(lambda said: said[1] != first)[0] == OURS
        slow = []
        client = threading.Thread(target=lambda: slow.append(server.get("/slow")))
        client.start()
        end = time.monotonic() + peers.LONG
        while not (tmp_path / "slow").exists() and time.monotonic() < end:
            time.sleep(0.01)
        server.process.terminate()
        client.join(peers.LONG)
        assert slow and slow[0][0] == OURS
        assert server.process.wait(peers.LONG) == 0
    assert not re.search("Traceback|Worker failed", server.log.read_text())


@pytest.mark.parametrize("worker", ["asyncio", "uvloop"])
def test_hypercorn(serve, worker):
    if worker == "uvloop":
        peers.client("uvloop")
    with serve(*RUNNER, "-m", "hypercorn", "app:app", "-b", "127.0.0.1:{port}", "-k", worker) as server:
        assert server.until()[0] == OURS
        if worker == "asyncio":
            answer = peers.call("curl", "-sS", "--http2-prior-knowledge", f"http://127.0.0.1:{server.port}/")
            assert answer.split()[::3] == [OURS, "HTTP/2"]
