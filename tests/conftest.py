"""Fixtures of every test: the loop under test, a watchdog, a check for leaked file descriptors.

`kit` and `loop` run a test twice, on asyncio's loop (which shows that the test is right) and on asyncloop's.  The runs on asyncio's loop are left
out unless --asyncio-too is given, as they say nothing about asyncloop; they have the marker asyncio_alone.
See sidebyside.py for the tests that compare the two.  A missing asyncloop is an error, never a skip.
"""
import asyncio
import faulthandler
import gc
import os
import signal
import socket
import sys
import warnings

import pytest

import hooked
import kits
import sidebyside

LIMIT_SECONDS = 90  # a busy machine takes ten times as long as an idle one
_real_stderr = None


class Hung(KeyboardInterrupt):
    """The test ran out of time.  A KeyboardInterrupt, as only that leaves a running loop."""


def pytest_addoption(parser):
    parser.addoption("--asyncio-too", action="store_true", help="also run what runs on asyncio's loop alone (-m asyncio_alone: only that)")
    parser.addoption("--long", action="store_true", help="also run what takes many minutes (the whole suite without the GIL)")


def pytest_configure(config):
    global _real_stderr
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: Ctrl-C is among what is tested
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _real_stderr = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    config.addinivalue_line("markers", "limit(seconds): time limit of this test instead of %d s" % LIMIT_SECONDS)
    config.addinivalue_line("markers", "asyncio_alone: runs on asyncio's loop alone; left out without --asyncio-too")
    config.addinivalue_line("markers", "long: takes many minutes; skipped without --long")
    config.addinivalue_line("filterwarnings", "error::ResourceWarning")
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnraisableExceptionWarning")
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")


def pytest_unconfigure(config):
    _real_stderr.close()


def pytest_report_header(config):
    return f"loop under test: {sidebyside.subject.__name__} from {sidebyside.subject.__file__}"


def pytest_terminal_summary(terminalreporter):
    late = [run for run in sidebyside.matched_runs if run[2] > 1]
    for scenario, kit, number in late:
        terminalreporter.write_line(f"{scenario} on {kit} was equal to run {number} of asyncio's, whose runs differ from each other")


def freeze():
    """What is there now never dies: later collections need not look at it, and there are many of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def frozen():
    freeze()  # what the modules before have left: imports, caches, pytest's reports


# The parameters that name the loop of a test, or of one of its ends.
LOOP_PARAMETERS = ("kit", "kind", "way", "client", "server", "module")


def is_asyncio_alone(item):
    """Whether every loop that the test's parameters name is asyncio's."""
    params = getattr(item, "callspec", None) and item.callspec.params or {}
    named = [params[name].partition("-")[0] for name in LOOP_PARAMETERS if isinstance(params.get(name), str)]
    return "asyncio" in named and not {"asyncloop", "our_classes", "native_classes"} & set(named)


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marker
def pytest_collection_modifyitems(config, items):
    """A test that fails on asyncio's own loop is run again, twice at most: that run only shows that the test is right, and asyncio
    has races of its own on a busy machine (a child watcher's thread that still ends).  On our loop nothing is run again."""
    if not config.getoption("--long", default=False):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes many minutes: --long"))
    alone = [item for item in items if not _is_foreign(item) and is_asyncio_alone(item)]
    for item in alone:
        item.add_marker(pytest.mark.asyncio_alone)
        if config.pluginmanager.hasplugin("rerunfailures"):
            item.add_marker(pytest.mark.flaky(reruns=2))
    if alone and not config.getoption("--asyncio-too", default=False):
        config.hook.pytest_deselected(items=alone)
        left_out = set(alone)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session):
    freeze()


def _is_foreign(item):
    """CPython's own tests bring their own limits and clean-up."""
    return os.sep + os.path.join("tests", "cpython") + os.sep in str(item.path)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Fails a test that takes too long, with the traceback of every thread on the real stderr."""
    if _is_foreign(pyfuncitem):
        return (yield)
    marker = pyfuncitem.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else LIMIT_SECONDS) * sidebyside.PATIENCE

    def on_alarm(signum, frame):
        faulthandler.dump_traceback(file=_real_stderr)
        raise Hung

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # A loop that never looks at signals is ended by force.
    faulthandler.dump_traceback_later(seconds + 15, exit=True, file=_real_stderr)
    try:
        return (yield)
    except Hung:
        pytest.fail(f"no end after {seconds:g} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def open_fds():
    fds = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the one that listed them
    return fds


@pytest.fixture(autouse=True)
def no_fd_leaks(request):
    """A test leaves no file descriptor behind."""
    if _is_foreign(request.node):
        yield
        return
    before = open_fds()
    yield

    def leaked():
        return {fd: what for fd, what in open_fds().items() if before.get(fd) != what}

    if leaked():
        gc.collect()
        left = leaked()
        assert not left, f"leaked file descriptors: {left}"


@pytest.fixture(params=kits.KINDS)
def kit(request):
    return kits.KITS[request.param]


@pytest.fixture(params=["client", "server"])
def side(request):
    """Which end of a TLS connection is under test."""
    return request.param


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def version(request):
    return request.param


@pytest.fixture(params=["policy", "loop_factory"])
def way(request, kit, policy_kept):
    return sidebyside.WayIn(kit, request.param == "policy")


@pytest.fixture
def new_loop(kit):
    """A factory of loops that are closed at the end of the test."""
    loops = []

    def make():
        loop = kit.new_loop()
        loops.append(loop)
        return loop

    yield make
    for loop in loops:
        if not loop.is_closed():
            sidebyside.drain(loop)
            loop.close()


@pytest.fixture
def loop(new_loop):
    return new_loop()


@pytest.fixture(scope="session")
def hooked_python(tmp_path_factory):
    """The path of a Python that honours ASYNCLOOP in its environment."""
    return hooked.python(str(tmp_path_factory.mktemp("hooked") / "env"))


@pytest.fixture
def policy_kept():
    """Whatever policy or current loop a test sets, the next one finds the default."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(None)


@pytest.fixture
def pair():
    """Two connected sockets, not blocking."""
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()
