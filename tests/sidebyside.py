"""Runs one scenario on asyncio's loop and on asyncloop's and compares all that can be seen of it.

A Trial is one run of a scenario on one kit.  What it leaves is an outcome: the result or the exception, what the scenario
said, warnings, records of the asyncio log, contexts given to the exception handler.  Addresses, task numbers, class and
module names that are bound to differ are blotted out; everything else must be equal.
"""
import asyncio
import functools
import gc
import logging
import os
import pprint
import re
import subprocess
import sys
import traceback
import warnings

import pytest

from kits import KITS, MIXED, ORACLE, OURS, PATIENCE, SANITIZED, SUBJECT, pump, subject  # noqa: F401

_BLOTS = [(re.compile(pattern), text) for pattern, text in (
    (r"0x[0-9a-fA-F]{4,}", "0x"),
    (r"Task-\d+", "Task-N"),
    (r"_UnixSelectorEventLoop|(?:asyncloop\.)?(?:loop\.)?(?<![A-Za-z_.])Loop(?= (?:running|closed|object))", "LOOP"),
    (r"\b(?:BaseEventLoop|BaseSelectorEventLoop|_?UnixSelectorEventLoop|LOOP|Loop|_SelectorEventLoop)\.(?=\w+\()", ""),
    (r"\b(?:_asyncio|asyncio\.futures|asyncio\.tasks|asyncio\.events|asyncloop\._asyncloop|asyncloop|asyncio)"
     r"\.(?=(?:Future|Task|Handle|TimerHandle)\b)", ""),
    (r"\bfd=\d+", "fd=N"),
    (r"\b_SelectorDatagramTransport\b", "DatagramTransport"),
    (r"when=\d+\.\d{4,}", "when=T"),
    (r"<sleep\(\)(?: running at| done, defined at) [^>]*>", "<sleep()>"),
    (r"<(?:_asyncio\.)?TaskStepMethWrapper object at 0x>\(\)", "Task.task_step()"),
)]


# The frames of a traceback in a text, with their source line: those outside of the tests are how the call got there.
_FRAMES = re.compile(r'  File "(?P<file>[^"]+)", line \d+, in [^\n]+(?:\n    [^\n]+)?(?:\n|$)')


def blot(text):
    """The text without what differs from run to run."""
    if '  File "' in text and "created at" in text.lower():
        text = _FRAMES.sub(lambda m: m[0] if "/tests/conformance/" in m["file"] or "/tests/internal/" in m["file"] else "", text)
    for pattern, replacement in _BLOTS:
        text = pattern.sub(replacement, text)
    return text


def plain(value):
    """A comparable picture of any value."""
    if isinstance(value, BaseException):
        return (blot(f"{type(value).__module__}.{type(value).__qualname__}"), blot(str(value)))
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and type(value).__name__ in ("list", "tuple"):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(v) for v in value), key=repr)
    if isinstance(value, (str, bytes, int, float, bool, type(None))):
        return blot(value) if isinstance(value, str) else value
    return blot(repr(value))


class _Records(logging.Handler):
    def __init__(self, sink):
        super().__init__(logging.DEBUG)
        self.sink = sink

    def emit(self, record):
        exc = record.exc_info[1] if record.exc_info else None
        self.sink.append((record.levelname, blot(record.getMessage()), plain(exc) if exc else None))


class Trial:
    """One run of a scenario on one kit."""

    def __init__(self, kit):
        self.kit = kit
        self.said = []
        self.contexts = []
        self.keep_warnings = True
        self._loops = []
        self.sleep = kit.sleep
        self.gather = kit.gather
        self.Future = kit.Future
        self.Task = kit.Task

    @property
    def loop(self):
        return self._loops[0] if self._loops else self.new_loop()

    def new_loop(self, factory=None):
        loop = (factory or self.kit.new_loop)()
        self._loops.append(loop)
        return loop

    def future(self, **kw):
        return self.kit.Future(loop=kw.pop("loop", None) or self.loop, **kw)

    def task(self, coro, **kw):
        return self.kit.Task(coro, loop=kw.pop("loop", None) or self.loop, **kw)

    def run(self, coro):
        return self.loop.run_until_complete(self.task(coro))

    def pump(self, times=1):
        """Runs that many passes of the loop."""
        pump(self.loop, times)

    async def settle(self, times=4):
        """Lets the loop make some passes, by the kit's sleep()."""
        for _ in range(times):
            await self.sleep(0)

    def say(self, *what):
        self.said.append(plain(list(what) if len(what) != 1 else what[0]))

    def attempt(self, call, *args, **kw):
        """Calls, and says the result or the exception."""
        try:
            result = call(*args, **kw)
        except BaseException as exc:
            self.say("raised", exc)
            return exc
        self.say("returned", result)
        return result

    def record_contexts(self, loop=None):
        """Installs an exception handler that keeps what it is given."""
        (loop or self.loop).set_exception_handler(lambda loop, context: self.contexts.append(plain(context)))

    def finish(self):
        for loop in self._loops:
            if not loop.is_closed() and not loop.is_running():
                loop.set_debug(False)
                drain(loop)
                loop.close()
        self._loops.clear()


def drain(loop):
    tasks = asyncio.all_tasks(loop)
    if tasks:
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=30))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())


def observe(scenario, kit):
    """Runs the scenario on the kit and returns its outcome, a dict of plain values."""
    trial = Trial(kit)
    records = []
    outcome = {}
    logger = logging.getLogger("asyncio")
    handler = _Records(records)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                outcome["result"] = plain(scenario(trial))
            except (Exception, asyncio.CancelledError) as exc:
                outcome["exception"] = plain(exc)
                outcome["where"] = [f"{f.name}:{f.lineno}" for f in traceback.extract_tb(exc.__traceback__)
                                    if f.filename == scenario.__code__.co_filename][:5]
            finally:
                gc.collect()
                trial.finish()
                gc.collect()
        if trial.keep_warnings:
            outcome["warnings"] = [(w.category.__name__, blot(str(w.message))) for w in caught]
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
    outcome.update(said=trial.said, contexts=trial.contexts, log=records)
    return outcome


def compare(scenario, kit):
    gc.collect()  # what an earlier test left is not this one's warning
    theirs, ours = [], None
    # One line for all: tracebacks that were recorded name it.  asyncio is asked again where ours differs: it may be unsteady on a busy machine.
    for each in (ORACLE, kit, ORACLE, ORACLE):
        outcome = observe(scenario, each)
        if each is kit:
            ours = outcome
        else:
            theirs.append(outcome)
        if ours is not None and ours in theirs:
            matched_runs.append((scenario.__name__, kit.name, len(theirs)))
            return ours
    pytest.fail(differences(theirs, ours, kit.name), pytrace=False)


# (scenario, kit, which of asyncio's runs ours was equal to), of every comparison: conftest.py tells of those that needed more than the first.
matched_runs = []


def differences(theirs, ours, name):
    """What differs from asyncio's runs, and whether those agree with each other."""
    lines = [f"differs from asyncio, in each of its {len(theirs)} runs" + (
        "" if all(each == theirs[0] for each in theirs) else ", which differ from each other: below is the first")]
    for key in sorted(set(theirs[0]) | set(ours)):
        if theirs[0].get(key) != ours.get(key):
            lines.append(f"{key}:\n  asyncio:   {pprint.pformat(theirs[0].get(key), width=150)}\n"
                         f"  {name}: {pprint.pformat(ours.get(key), width=150)}")
    return "\n".join(lines)


def same(scenario=None, *, kits=("asyncloop",)):
    """Makes a test of a scenario (a function of a Trial): its outcome on each kit is the outcome on asyncio."""
    if scenario is None:
        return functools.partial(same, kits=kits)

    def test(subject_kit):
        outcome = compare(scenario, KITS[subject_kit])
        assert outcome.get("exception") is None, \
            f"the scenario itself failed on asyncio: {outcome['exception']} {outcome['where']}"

    test.__name__ = test.__qualname__ = scenario.__name__
    test.__doc__ = scenario.__doc__
    test.__module__ = scenario.__module__
    return pytest.mark.parametrize("subject_kit", kits)(test)


mixed = functools.partial(same, kits=MIXED)


async def attempt(t, awaitable):
    """Awaits, and says the result or the exception."""
    try:
        t.say("returned", await awaitable)
    except BaseException as exc:
        t.say("raised", type(exc).__name__, str(exc))


def awaited_by(futures):
    """3.14+: the names of the tasks that wait for each."""
    return [sorted(task.get_name() for task in (f._asyncio_awaited_by or ())) for f in futures]


class WayIn:
    """How a program gets its loop: the policy makes it, or a factory does."""

    def __init__(self, kit, by_policy):
        self.kit = kit
        self.by_policy = by_policy
        if by_policy:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # policies are deprecated from 3.14 on
                asyncio.set_event_loop_policy(kit.policy())

    def new_loop(self):
        return asyncio.new_event_loop() if self.by_policy else self.kit.new_loop()

    def run(self, coro, **kw):
        if self.by_policy:
            return asyncio.run(coro, **kw)
        if sys.version_info < (3, 12):
            with asyncio.Runner(loop_factory=self.kit.new_loop, **kw) as runner:
                return runner.run(coro)
        return asyncio.run(coro, loop_factory=self.kit.new_loop, **kw)

    def check(self, loop):
        fresh = self.kit.new_loop()
        try:
            assert type(loop) is type(fresh)
        finally:
            fresh.close()


def run_until(loop, condition):
    """Runs the loop until the condition is true.  A test that waits for it in vain ends by its time limit."""
    def look():
        if condition():
            loop.stop()
        else:
            loop.call_later(0.001, look)

    loop.call_soon(look)
    loop.run_forever()


def child_env(**extra):
    """An environment in which a child process imports the very packages tested here."""
    where = os.path.dirname(os.path.dirname(os.path.abspath(subject.__file__)))
    path = [where] if SUBJECT != "asyncio" else []
    path += [os.path.dirname(os.path.abspath(__file__))]
    old = os.environ.get("PYTHONPATH")
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(path + ([old] if old else [])))
    env.pop("ASYNCLOOP", None)  # these tests may themselves run under `python -m asyncloop`
    env.update(extra)
    return env


def child(code, kit=OURS, *, args=(), timeout=60, **env):
    """Runs code in a fresh interpreter in which `kit`, `new_loop`, `Future` and `Task` are the kit's."""
    head = f"import asyncio, os, sys, signal, time, threading\nimport kits\nkit = kits.KITS[{kit.name!r}]\n" \
           "new_loop, Future, Task = kit.new_loop, kit.Future, kit.Task\n"
    return subprocess.run([sys.executable, *args, "-c", head + code], env=child_env(**env), text=True,
                          capture_output=True, timeout=timeout * PATIENCE)
