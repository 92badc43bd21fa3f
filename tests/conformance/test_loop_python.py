"""The Python part of the loop, side by side with asyncio's: exception handlers, executors, asynchronous generators, names and addresses,
signals, close."""
import asyncio
import concurrent.futures
import contextvars
import gc
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
import warnings

import pytest

from sidebyside import OURS, child, same

NI_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def debug_records(t, words, call):
    """What the call logs, debug records included, among all that begins with one of the words."""
    logger = logging.getLogger("asyncio")
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append((record.levelname, record.getMessage()))
    handlers, level = logger.handlers, logger.level
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG)
    try:
        call()
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
    t.say([r for r in records if r[1].startswith(words)])


# --- exception handlers


@same
def test_exception_handler_is_checked_and_kept(t):
    t.attempt(t.loop.get_exception_handler)
    for handler in (5, "text", ()):
        t.attempt(t.loop.set_exception_handler, handler)

    def handler(loop, context):
        pass

    t.loop.set_exception_handler(handler)
    t.say(t.loop.get_exception_handler() is handler)
    t.loop.set_exception_handler(None)
    t.say(t.loop.get_exception_handler())


@same
def test_default_handler_logs(t):
    for context in (
        {},
        {"message": ""},
        {"message": "told"},
        {"message": "told", "exception": ValueError("v"), "b": 2, "a": "text"},
        {"exception": KeyError("k"), "source_traceback": traceback.extract_stack()[:1]},
        {"message": "with handle", "handle_traceback": traceback.extract_stack()[:1]},
    ):
        t.loop.default_exception_handler(context)
        t.loop.call_exception_handler(context)


@same
def test_default_handler_of_no_context(t):
    t.attempt(t.loop.default_exception_handler, None)
    t.attempt(t.loop.call_exception_handler, 5)


@same
def test_handler_that_fails(t):
    def handler(loop, context):
        raise LookupError("in the handler")

    t.loop.set_exception_handler(handler)
    t.loop.call_exception_handler({"message": "first", "exception": ValueError("v")})


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_handler_that_leaves(kind):
    @same
    def scenario(t):
        def handler(loop, context):
            raise kind("out")

        t.loop.set_exception_handler(handler)
        t.attempt(t.loop.call_exception_handler, {"message": "m"})
        t.loop.set_exception_handler(None)
        t.loop.default_exception_handler = lambda context: handler(None, None)
        t.attempt(t.loop.call_exception_handler, {"message": "m"})

    scenario("asyncloop")


@same
def test_default_handler_that_fails(t):
    def default(context):
        raise LookupError("overridden")

    t.loop.default_exception_handler = default
    t.loop.call_exception_handler({"message": "m"})
    t.loop.set_exception_handler(lambda loop, context: 1 / 0)
    t.loop.call_exception_handler({"message": "m"})


@same
def test_handler_sees_failing_callbacks(t):
    t.record_contexts()
    t.loop.call_soon(lambda: 1 / 0)
    t.loop.call_later(0, [].pop)
    t.pump(2)


@same
def test_overridden_call_exception_handler(t):
    t.loop.call_exception_handler = lambda context: t.say(context)
    t.loop.call_soon(lambda: 1 / 0)
    t.pump()


@same
def test_handler_runs_in_the_context_of_what_failed(t):
    """From Python 3.12 on; in 3.11 in whatever context is current."""
    var = contextvars.ContextVar("var", default="none")
    t.loop.set_exception_handler(lambda loop, context: t.say(var.get()))

    async def fails():
        var.set("task")
        raise ValueError

    async def main():
        task = t.loop.create_task(fails())
        await asyncio.wait([task])
        del task

    t.run(main())
    gc.collect()
    context = contextvars.copy_context()
    context.run(var.set, "handle")
    t.loop.call_soon(lambda: 1 / 0, context=context)
    t.loop.call_later(0, lambda: 1 / 0, context=context)
    t.pump(3)
    t.loop.call_exception_handler({"message": "m"})


@same
def test_debug_reports_where_a_handle_was_made(t):
    t.loop.set_debug(True)
    seen = []
    default = t.loop.default_exception_handler

    def handler(loop, context):
        with_tb = dict(context)
        default(with_tb)
        seen.append(sorted(with_tb))

    t.loop.set_exception_handler(handler)
    logger = logging.getLogger("asyncio")
    logger.disabled = True
    try:
        t.loop.call_soon(lambda: 1 / 0)
        t.pump()
    finally:
        logger.disabled = False
    t.say(seen)


@same
def test_debug_reports_which_handle_was_running(t):
    t.loop.set_debug(True)
    keys = []
    t.loop.set_exception_handler(lambda loop, context: (loop.default_exception_handler(context), keys.append(sorted(context))))
    logger = logging.getLogger("asyncio")
    logger.disabled = True
    try:
        t.loop.call_soon(t.loop.call_exception_handler, {"message": "from a callback"})
        t.pump()
        t.loop.call_exception_handler({"message": "from outside"})
    finally:
        logger.disabled = False
    t.say(keys)


# --- executors


@same
def test_run_in_executor(t):
    async def main():
        t.say(await t.loop.run_in_executor(None, lambda a, b: a + b, 1, 2))
        t.say(await t.loop.run_in_executor(None, lambda: threading.current_thread().name.split("_")[0]))
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="own") as own:
            t.say(await t.loop.run_in_executor(own, lambda: threading.current_thread().name))
        try:
            await t.loop.run_in_executor(None, [].pop)
        except IndexError as exc:
            t.say(exc)
        future = t.loop.run_in_executor(None, int)
        t.say(asyncio.isfuture(future), future.get_loop() is t.loop, await future)

    t.run(main())
    t.say(type(t.loop._default_executor), t.loop._executor_shutdown_called)


@same
def test_run_in_executor_refuses(t):
    async def coroutine():
        pass

    t.attempt(t.loop.run_in_executor, None)
    t.loop.set_debug(True)
    t.attempt(t.loop.run_in_executor, None, coroutine)
    c = coroutine()
    t.attempt(t.loop.run_in_executor, None, c)
    c.close()
    t.attempt(t.loop.run_in_executor, None, 5)
    t.attempt(t.loop.run_in_executor, 5, int)
    t.loop.close()
    t.attempt(t.loop.run_in_executor, None, int)
    t.attempt(t.loop.getaddrinfo("127.0.0.1", 80).send, None)
    t.attempt(t.loop.getnameinfo(("127.0.0.1", 80), NI_NUMERIC).send, None)


@same
def test_set_default_executor(t):
    t.attempt(t.loop.set_default_executor, None)
    t.attempt(t.loop.set_default_executor, 5)

    class Executor(concurrent.futures.Executor):
        def __repr__(self):
            return "Executor()"

    t.attempt(t.loop.set_default_executor, Executor())
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    t.attempt(t.loop.set_default_executor, pool)
    t.say(t.run(_name_of_executors_thread(t.loop)))
    t.say(t.loop._default_executor is pool)


async def _name_of_executors_thread(loop):
    return await loop.run_in_executor(None, lambda: threading.current_thread().name)


@same
def test_shutdown_default_executor(t):
    t.run(t.loop.shutdown_default_executor())
    t.say(t.loop._executor_shutdown_called)
    t.attempt(t.loop.run_in_executor, None, int)
    t.attempt(t.run, t.loop.getaddrinfo("127.0.0.1", 1))
    t.attempt(t.run, t.loop.getnameinfo(("127.0.0.1", 1), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
    t.loop.run_in_executor(concurrent.futures.ThreadPoolExecutor(1), int).cancel()
    t.run(t.loop.shutdown_default_executor())


@same
def test_shutdown_default_executor_waits(t):
    ended = []

    async def main():
        t.loop.run_in_executor(None, lambda: (time.sleep(0.05), ended.append(1)))
        await t.loop.shutdown_default_executor()
        t.say(len(ended))

    t.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="shutdown_default_executor has a timeout from Python 3.12 on")
def test_shutdown_default_executor_with_a_timeout():
    @same
    def scenario(t):
        go_on = threading.Event()

        async def main():
            t.loop.run_in_executor(None, go_on.wait)
            await t.loop.shutdown_default_executor(0.05)

        t.run(t.loop.shutdown_default_executor(1))
        t.loop._executor_shutdown_called = False
        # 3.12 waits for the thread first and only then looks at the time
        threading.Timer(0.5, go_on.set).start()
        t.run(main())

    scenario("asyncloop")


def test_shutdown_default_executor_has_the_signature_of_this_version():
    import inspect

    ours, theirs = OURS.loops.Loop.shutdown_default_executor, asyncio.BaseEventLoop.shutdown_default_executor
    assert inspect.signature(ours) == inspect.signature(theirs)


PUBLIC = ["call_exception_handler", "default_exception_handler", "set_exception_handler", "get_exception_handler", "run_in_executor",
          "set_default_executor", "shutdown_asyncgens", "getaddrinfo", "getnameinfo", "close", "create_task", "create_future", "call_soon", "call_later", "call_at",
          "call_soon_threadsafe", "run_until_complete", "run_forever", "stop", "set_task_factory", "get_task_factory", "time", "add_reader", "add_signal_handler"]


@pytest.mark.parametrize("name", PUBLIC)
def test_same_parameters(name):
    import inspect

    ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (OURS.loops.Loop, asyncio.BaseEventLoop))
    ours, theirs = (list(each.parameters.values())[1:] for each in (ours, theirs))  # a method in C takes its self by position only
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@same
def test_shutdown_error_of_the_executor(t):
    class Pool(concurrent.futures.ThreadPoolExecutor):
        def shutdown(self, wait=True):
            super().shutdown(wait)
            raise OSError("cannot")

    t.loop.set_default_executor(Pool(1))
    t.attempt(t.run, t.loop.shutdown_default_executor())
    t.loop._default_executor = None


# --- asynchronous generators


async def _forever(t, name):
    try:
        while True:
            yield name
    finally:
        t.say("closing", name)
        await asyncio.sleep(0)
        t.say("closed", name)


@same
def test_asyncgens_are_closed_at_the_end(t):
    kept = []

    async def main():
        for name in ("a",):
            gen = _forever(t, name)
            kept.append(gen)
            t.say(await gen.__anext__())

    t.run(main())
    t.run(t.loop.shutdown_asyncgens())
    t.run(t.loop.shutdown_asyncgens())
    t.say(len(t.loop._asyncgens))


@same
def test_asyncgen_that_fails_at_the_end(t):
    t.record_contexts()

    async def fails():
        try:
            yield 1
        finally:
            raise LookupError("at the end")

    gen = fails()

    async def main():
        await gen.__anext__()

    t.run(main())
    t.run(t.loop.shutdown_asyncgens())


@same
def test_asyncgen_after_shutdown(t):
    async def main():
        await t.loop.shutdown_asyncgens()
        gen = _forever(t, "late")
        t.say(await gen.__anext__())
        await gen.aclose()

    t.run(main())


@same
def test_dropped_asyncgen_is_closed_by_the_loop(t):
    async def main():
        gen = _forever(t, "dropped")
        await gen.__anext__()
        del gen
        gc.collect()
        for _ in range(4):
            await asyncio.sleep(0)

    t.run(main())


@same
def test_asyncgen_hooks_are_put_back(t):
    hooks = sys.get_asyncgen_hooks()

    async def main():
        mine = sys.get_asyncgen_hooks()
        t.say(mine.firstiter == t.loop._asyncgen_firstiter_hook, mine.finalizer == t.loop._asyncgen_finalizer_hook)

    t.run(main())
    t.say(sys.get_asyncgen_hooks() == hooks)


@same
def test_asyncgen_dropped_after_close(t):
    loop = t.loop
    gen = _forever(t, "x")

    async def main():
        await gen.__anext__()

    t.run(main())
    loop.close()
    hook = loop._asyncgen_finalizer_hook
    t.say(hook(gen), len(loop._asyncgens))


# --- names and addresses

HOSTS = [None, "", "127.0.0.1", b"127.0.0.1", "127.1", "0.0.0.0", "255.255.255.255", "256.0.0.1", "127.0.0.1 ", "::1", b"::1", "::", "::ffff:127.0.0.1",
         "fe80::1%lo", "fe80::1%1", "fe80::1%nosuch", "::1%lo", "[::1]", "0x7f.1", "1", 5, bytearray(b"127.0.0.1"), "127.0.0.1\0", "\u0661.0.0.1", "::1%"]
PORTS = [None, 0, 80, "80", b"80", "", b"", "http", b"http", "no-such-service", "-1", -1, 65536, "65536", 2**40, 80.0, " 80", "\u0661"]
FAMILIES = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
TYPES = [0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, 77]
PROTOS = [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 200]
FLAGS = [0, socket.AI_PASSIVE, socket.AI_CANONNAME, socket.AI_NUMERICHOST, socket.AI_NUMERICSERV, socket.AI_V4MAPPED | socket.AI_ALL, socket.AI_ADDRCONFIG, 1 << 20]


def resolve(*args, **kw):
    try:
        return socket.getaddrinfo(*args, **kw)
    except Exception as exc:
        return type(exc), str(exc)


def needs_resolver(host, flags):
    """Hosts that would be asked of a name server; no test of ours may do that."""
    return isinstance(host, (str, bytes)) and host in ("", "256.0.0.1", "127.0.0.1 ", "[::1]", "\u0661.0.0.1", "::1%") and not flags & socket.AI_NUMERICHOST


def combinations():
    kinds = [*((k, p, 0) for k in TYPES for p in PROTOS), *((socket.SOCK_STREAM, 0, f) for f in FLAGS), (0, 0, socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)]
    yield from itertools.product(PORTS, FAMILIES, kinds[:1])
    yield from itertools.product([None, 80, "80", "http"], FAMILIES, kinds[1:])


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_getaddrinfo_is_the_socket_modules(ours, host):
    async def main():
        n = 0
        for port, family, (kind, proto, flags) in combinations():
            if needs_resolver(host, flags):
                continue
            kw = dict(family=family, type=kind, proto=proto, flags=flags)
            expected = resolve(host, port, **kw)
            try:
                got = await ours.getaddrinfo(host, port, **kw)
            except Exception as exc:
                got = type(exc), str(exc)
            assert got == expected and repr(got) == repr(expected), (host, port, kw)
            n += 1
        return n

    assert ours.run_until_complete(main()) > 0


@pytest.fixture
def ours():
    loop = OURS.new_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.parametrize("host, port", [("127.0.0.1", 80), (b"::1", "443"), ("fe80::1%lo", None), (None, 8080), ("0.0.0.0", b"")])
def test_numeric_host_needs_no_thread(ours, host, port):
    async def main():
        return await ours.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    assert ours.run_until_complete(main()) == socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    assert ours._default_executor is None


@pytest.mark.parametrize("host, port", [("localhost", 80), ("127.0.0.1", "http"), ("127.1", 80)])
def test_name_goes_to_the_thread(ours, host, port):
    assert ours.run_until_complete(ours.getaddrinfo(host, port)) == socket.getaddrinfo(host, port)
    assert ours._default_executor is not None


def test_replaced_getaddrinfo_is_called_in_the_thread(loop, monkeypatch):
    calls = []

    def getaddrinfo(*args, **kw):
        calls.append((args, kw, threading.current_thread() is threading.main_thread()))
        return ["answer"]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=1)) == ["answer"]
    assert calls == [(("127.0.0.1", 80, 0, 1, 0, 0), {}, False)]


@same
def test_getaddrinfo_in_debug_mode_logs(t):
    t.loop.set_debug(True)
    t.loop.time = lambda: 0.0
    for slow, host, port, kw in [
        (1.0, "127.0.0.1", 80, dict(family=socket.AF_INET, type=socket.SOCK_STREAM, proto=6, flags=socket.AI_NUMERICHOST)),
        (0.0, "::1", None, dict(type=socket.SOCK_STREAM)),
        (1.0, "localhost", "80", dict(type=socket.SOCK_STREAM)),
    ]:
        async def main():
            t.loop.slow_callback_duration = slow
            await t.loop.getaddrinfo(host, port, **kw)
            t.loop.slow_callback_duration = 100.0

        debug_records(t, ("Get address", "Getting address"), lambda: t.run(main()))


@same
def test_getaddrinfo_positional_arguments(t):
    t.attempt(t.loop.getaddrinfo, "127.0.0.1", 80, 0)
    t.attempt(t.loop.getaddrinfo, "127.0.0.1")


@same
def test_getnameinfo(t):
    for address, flags in [
        (("127.0.0.1", 80), NI_NUMERIC), (("::1", 80), NI_NUMERIC), (("::1", 80, 0, 0), NI_NUMERIC), (("127.0.0.1", 80, 0, 0), NI_NUMERIC),
        (("127.0.0.1", 80), NI_NUMERIC | socket.NI_DGRAM), (("fe80::1%lo", 80), NI_NUMERIC), (("127.0.0.1", 80), socket.NI_NUMERICHOST),
        (("127.0.0.1",), NI_NUMERIC), ((), NI_NUMERIC), (("127.0.0.1", "80"), NI_NUMERIC), (["127.0.0.1", 80], NI_NUMERIC), (("127.0.0.1", 80), "x"),
        ((None, 80), NI_NUMERIC), (("127.0.0.1", 99999), NI_NUMERIC), (("127.0.0.1", -1), NI_NUMERIC), (("127.0.0.1", 80), 1 << 40), (5, NI_NUMERIC),
    ]:
        t.attempt(t.run, t.loop.getnameinfo(address, flags))


def test_numeric_getnameinfo_needs_no_thread(ours):
    assert ours.run_until_complete(ours.getnameinfo(("127.0.0.1", 80), NI_NUMERIC)) == ("127.0.0.1", "80")
    assert ours._default_executor is None
    assert ours.run_until_complete(ours.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))[0] == "127.0.0.1"
    assert ours._default_executor is not None


# --- signals


@pytest.fixture(autouse=True)
def signals_kept():
    before = {s: signal.getsignal(s) for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGCHLD)}
    yield
    for s, handler in before.items():
        signal.signal(s, handler)
    assert signal.set_wakeup_fd(-1) == -1


def kick(t, sig, times=1):
    """Sends sig to this process from within the loop, and lets it run until the handler has had its turn."""
    for _ in range(times):
        t.loop.call_soon(os.kill, os.getpid(), sig)
    t.loop.call_later(0.02, t.loop.stop)
    t.loop.run_forever()


@same
def test_signal_handler(t):
    t.say(t.attempt(t.loop.add_signal_handler, signal.SIGUSR1, t.say, "got", 1))
    t.loop.add_signal_handler(signal.SIGUSR2, t.say, "got two")
    kick(t, signal.SIGUSR1)
    kick(t, signal.SIGUSR2)
    kick(t, signal.SIGUSR1)
    t.loop.add_signal_handler(signal.SIGUSR1, t.say, "another")
    kick(t, signal.SIGUSR1)
    t.say(t.loop.remove_signal_handler(signal.SIGUSR1), t.loop.remove_signal_handler(signal.SIGUSR1))
    t.say(signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL)
    kick(t, signal.SIGUSR2)
    t.say(t.loop.remove_signal_handler(signal.SIGUSR2))
    t.say(signal.set_wakeup_fd(-1))
    t.loop.add_signal_handler(signal.SIGUSR1, t.say, "once more")
    kick(t, signal.SIGUSR1)


@same
def test_sigint_handler_is_put_back(t):
    t.loop.add_signal_handler(signal.SIGINT, t.say, "int")
    kick(t, signal.SIGINT)
    t.say(t.loop.remove_signal_handler(signal.SIGINT), signal.getsignal(signal.SIGINT) is signal.default_int_handler)


@same
def test_signal_handler_refuses(t):
    async def coroutine():
        pass

    for sig in ("SIGUSR1", None, 1.0, 0, -1, 99, signal.SIGKILL, signal.SIGSTOP):
        t.attempt(t.loop.add_signal_handler, sig, print)
        t.attempt(t.loop.remove_signal_handler, sig)
    t.attempt(t.loop.add_signal_handler, signal.SIGUSR1, coroutine)
    c = coroutine()
    t.attempt(t.loop.add_signal_handler, signal.SIGUSR1, c)
    c.close()
    t.attempt(t.loop.add_signal_handler, signal.SIGUSR1)
    t.say(signal.getsignal(signal.SIGUSR1))
    t.say(signal.set_wakeup_fd(-1))
    t.loop.close()
    t.attempt(t.loop.add_signal_handler, signal.SIGUSR1, print)
    t.attempt(t.loop.remove_signal_handler, signal.SIGUSR1)


@same
def test_signal_handler_in_another_thread(t):
    thread = threading.Thread(target=t.attempt, args=(t.loop.add_signal_handler, signal.SIGUSR1, print))
    thread.start()
    thread.join()
    t.say(t.loop._signal_handlers)


@same
def test_signal_handler_that_fails(t):
    t.record_contexts()
    t.loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    kick(t, signal.SIGUSR1)
    t.say(t.contexts and sorted(t.contexts[0]))


@same
def test_cancelled_signal_handle_is_removed(t):
    t.loop.add_signal_handler(signal.SIGUSR1, t.say, "not")
    t.loop._signal_handlers[signal.SIGUSR1].cancel()
    kick(t, signal.SIGUSR1)
    t.say(t.loop._signal_handlers, signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL)


@same
def test_signal_handler_that_removes_itself(t):
    def once():
        t.say("once", t.loop.remove_signal_handler(signal.SIGUSR1))
        t.loop.add_signal_handler(signal.SIGUSR1, t.say, "the next")

    t.loop.add_signal_handler(signal.SIGUSR1, once)
    kick(t, signal.SIGUSR1)
    kick(t, signal.SIGUSR1)


@same
def test_signal_wakes_an_idle_loop(t):
    t.loop.add_signal_handler(signal.SIGUSR1, t.loop.stop)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    t.loop.run_forever()
    timer.join()
    t.say("woken")


@same
def test_signals_after_another_pending_one(t):
    got = []
    t.loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    t.loop.add_signal_handler(signal.SIGUSR2, got.append, 2)

    def both():
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGUSR1)

    t.loop.call_soon(both)
    t.loop.call_later(0.02, t.loop.stop)
    t.loop.run_forever()
    t.say(got)


@same
def test_plain_python_handler_that_raises(t):
    def handler(signum, frame):
        raise LookupError("from the handler")

    signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    t.attempt(t.loop.run_forever)
    timer.join()
    t.pump()
    t.say(t.loop.is_running())


@same
def test_close_removes_signal_handlers(t):
    t.loop.add_signal_handler(signal.SIGUSR1, print)
    t.loop.add_signal_handler(signal.SIGINT, print)
    t.loop.close()
    t.say(signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    t.say(signal.set_wakeup_fd(-1), t.loop._signal_handlers)


@same
def test_two_loops_with_signal_handlers(t):
    a, b = t.loop, t.new_loop()
    a.add_signal_handler(signal.SIGUSR1, t.say, "a")
    b.add_signal_handler(signal.SIGUSR2, t.say, "b")
    b.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
    b.call_later(0.02, b.stop)
    b.run_forever()


# --- close, __del__, repr


@same
def test_close(t):
    t.say(t.loop)
    t.loop.close()
    t.loop.close()
    t.say(t.loop, t.loop.is_closed(), t.loop._closed, t.loop._executor_shutdown_called, t.loop._default_executor)
    other = t.new_loop()
    other.call_soon(t.attempt, other.close)
    other.call_soon(t.say, other)
    other.call_soon(other.stop)
    other.run_forever()
    t.say(other.is_closed())


@same
def test_close_in_debug_mode_logs(t):
    loop = t.loop
    loop.set_debug(True)
    debug_records(t, "Close", loop.close)
    debug_records(t, "Close", loop.close)


@same
def test_close_shuts_the_executor_down(t):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    t.loop.set_default_executor(pool)
    t.loop.close()
    t.attempt(pool.submit, int)


def test_forgotten_loop_warns_and_is_closed(kit):
    loop = kit.new_loop()
    text = repr(loop)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert [(w.category, str(w.message)) for w in caught] == [(ResourceWarning, f"unclosed event loop {text}")]


def test_closed_loop_warns_of_nothing(kit):
    loop = kit.new_loop()
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert caught == []


def test_loop_left_at_the_end_of_the_program():
    got = child("import warnings; warnings.simplefilter('ignore')\nloop = new_loop()\nloop.add_signal_handler(signal.SIGUSR1, print)\n"
                "loop.run_until_complete(loop.run_in_executor(None, int))\n")
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


def test_subclass_overrides():
    class Mine(OURS.loops.Loop):
        def __init__(self):
            super().__init__()
            self.said = []

        def call_exception_handler(self, context):
            self.said.append(context["message"].split()[0])

        def __repr__(self):
            return "<Mine>"

    loop = Mine()
    try:
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert loop.said == ["Exception"] and repr(loop) == "<Mine>"
    finally:
        loop.close()


@same
def test_attributes_that_libraries_read(t):
    t.say(isinstance(t.loop, asyncio.AbstractEventLoop), t.loop._debug, t.loop._closed, t.loop._thread_id, t.loop._stopping)
    t.loop.set_debug(True)
    t.say(t.loop._debug)
    t.loop._debug = False
    t.say(t.loop.get_debug())
    t.loop.some_attribute = 5
    t.say(t.loop.some_attribute, hash(t.loop) == hash(t.loop))
    handle = asyncio.TimerHandle(t.loop.time() + 1, print, (), t.loop)
    t.loop.set_debug(True)
    handle.cancel()
    t.say(handle.cancelled())
