"""Fixtures of the programs that run on the loop."""
import asyncio
import logging
import os
import time
import warnings

import pytest

import peers
from sidebyside import KITS, PATIENCE, WayIn

LIMIT = 30
# asyncio's own watchers on 3.11 and 3.12, when another wait for the child (Popen's poll) came first.
WATCHER_IS_LATE = ("child process pid ", "unknown child process pid ")


@pytest.fixture(params=["asyncio-loop_factory", *peers.OUR_WAYS])
def way(request, policy_kept):
    """Both ways to our loop, and asyncio as the control."""
    kit, by = request.param.split("-")
    return WayIn(KITS[kit], by == "policy")


@pytest.fixture
def run(request, way, caplog):
    """Runs a coroutine function as a program's main: no task, warning or record of the log may be left, but for the module's KNOWN_WARNINGS."""
    known = getattr(request.module, "KNOWN_WARNINGS", ())

    def run(main, *args):
        left = []

        async def body():
            way.check(asyncio.get_running_loop())
            before = peers.sockets()
            result = await main(*args)
            # Clients that close a connection do not wait for its end; over TLS the server has a word in it.
            end = time.monotonic() + LIMIT * PATIENCE
            while (tasks := asyncio.all_tasks() - {asyncio.current_task()}) | (peers.sockets() - before) and time.monotonic() < end:
                await asyncio.sleep(0.01)
            left.extend(tasks)
            return result

        with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO):
            warnings.simplefilter("always")
            result = way.run(body())
        assert left == []
        assert [str(w.message) for w in caught if w.category is not DeprecationWarning] == []
        warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.getMessage() not in known]
        if way.kit.name == "asyncio":
            warned = [text for text in warned if not text.lower().startswith(WATCHER_IS_LATE)]
        assert warned == []
        return result
    return run


@pytest.fixture
def by_portable_engine(request):
    """Runs the tests of the same file once more on our loop, with TLS through the ssl module's own objects."""
    if os.environ.get("ASYNCLOOP_TLS") == "portable":
        pytest.skip("this is that other run")
    return lambda **more: peers.again(request.path, ASYNCLOOP_TLS="portable", **more)
