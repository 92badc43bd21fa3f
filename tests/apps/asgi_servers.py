"""uvicorn, gunicorn and hypercorn as people start them, with an application that tells on which loop and in which process it runs."""
import contextlib
import os
import signal
import subprocess
import time
import urllib.request

import pytest

import peers
from sidebyside import child_env

for each in "uvicorn", "gunicorn", "uvicorn_worker", "hypercorn", "h2":
    peers.client(each, each.replace("_", "-"))

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


UVICORN = ["-m", "uvicorn", "app:app", "--port", "{port}"]
GUNICORN = ["-m", "gunicorn", "app:app", "-b", "127.0.0.1:{port}", "--graceful-timeout", "20", "--no-control-socket"]


def gunicorn_words():
    """--no-control-socket came with gunicorn 25."""
    import gunicorn
    return GUNICORN if gunicorn.version_info >= (25,) else GUNICORN[:-1]
