"""uvicorn, gunicorn and hypercorn as people start them: each request is answered with the class of the loop that it runs on."""
import itertools
import os
import re
import signal
import threading
import time

import pytest

import peers
from asgi_servers import APP, NATIVE, OURS, RUNNER, UVICORN, Server, gunicorn_words

pytestmark = pytest.mark.limit(80)


@pytest.fixture
def serve(hooked_python, tmp_path):
    return lambda *words: Server(hooked_python, tmp_path, words)


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
