"""The loops under test, the classes used on them, and what many tests need.  No pytest here: child processes import it too.

The oracle is asyncio's loop with asyncio's classes; the kits compared with it are ours (our loop, our classes), our classes on
asyncio's loop, and asyncio's classes on our loop.

ASYNCLOOP_TEST_SUBJECT names another module in asyncloop's place (asyncio: are the scenarios themselves steady?  uvloop: do they
notice a difference?).
"""
import asyncio
import importlib
import os
import time
import warnings

SUBJECT = os.environ.get("ASYNCLOOP_TEST_SUBJECT", "asyncloop")
# Slow builds (sanitizers) multiply every time limit by this.
PATIENCE = float(os.environ.get("ASYNCLOOP_TEST_PATIENCE", "1"))
# The loops of the tests that run on each by itself.  asyncio's needs no second run when only our TLS engine differs.
KINDS = ["asyncloop"] if os.environ.get("ASYNCLOOP_TLS") == "portable" else ["asyncio", "asyncloop"]

with open("/proc/self/maps") as maps:
    SANITIZED = "libasan" in maps.read()

subject = importlib.import_module(SUBJECT)


class Kit:
    """A kind of loop, and the Future, Task, sleep and gather used on it."""

    def __init__(self, name, loops, classes):
        self.name = name
        self.loops = loops
        self.classes = classes
        self.new_loop = loops.new_event_loop
        self.Future = getattr(classes, "Future", asyncio.Future)
        self.Task = getattr(classes, "Task", asyncio.Task)
        self.sleep = getattr(classes, "sleep", asyncio.sleep)
        self.gather = getattr(classes, "gather", asyncio.gather)

    def policy(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if self.loops is asyncio:
                return asyncio.DefaultEventLoopPolicy()
            return self.loops.EventLoopPolicy()

    def __repr__(self):
        return self.name


ORACLE = Kit("asyncio", asyncio, asyncio)
OURS = Kit("asyncloop", subject, subject)
OUR_CLASSES = Kit("our_classes", asyncio, subject)
NATIVE_CLASSES = Kit("native_classes", subject, asyncio)
KITS = {kit.name: kit for kit in (ORACLE, OURS, OUR_CLASSES, NATIVE_CLASSES)}
MIXED = ("asyncloop", "our_classes", "native_classes")


async def until(condition, what="the condition"):
    """Waits for something that an event of the loop brings about."""
    end = time.monotonic() + 20 * PATIENCE  # less than the watchdog of conftest.py
    while not condition():
        assert time.monotonic() < end, f"{what} never came true"
        await asyncio.sleep(0.001)


async def passes(n=1):
    """Lets the loop make n passes."""
    for _ in range(n):
        await asyncio.sleep(0)


def pump(loop, times=1):
    """Runs that many passes of a loop."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


def chain(exc, most=20):
    """An exception with what it comes from."""
    shown = []
    while exc is not None and len(shown) < most:
        shown.append((type(exc).__name__, str(exc), type(exc.__cause__).__name__, exc.__suppress_context__))
        exc = exc.__context__
    return shown


class Recorder(asyncio.BaseProtocol):
    """What the tests' protocols have in common: they say what happens to them, and keep their transport and whether it was lost."""

    def __init__(self, say=lambda *what: None):
        self.say = say
        self.lost = False
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.say("made")

    def pause_writing(self):
        self.say("pause")

    def resume_writing(self):
        self.say("resume")

    def connection_lost(self, exc):
        self.lost = True
        self.say("lost", exc)


class Echo(asyncio.Protocol):
    """Sends back what comes in, and closes at the end of it."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends back what comes in."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)
