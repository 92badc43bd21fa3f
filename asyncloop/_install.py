"""install() and uninstall(): make asyncloop what an unmodified program gets from asyncio.

install() sets the policy and binds the names of asyncio's functions and classes, the loop's class among them, to our twins: in the package `asyncio` and
in the module that defines them.  Code that imported a name earlier keeps asyncio's.  install() remembers what each name meant, and uninstall() binds
it again, unless somebody else has bound the name meanwhile.

A twin of a class accepts asyncio's own objects and subclasses in isinstance and issubclass (src/core/twin.h), so a program may mix the two kinds.
Private names stay as they are: `asyncio.tasks._CTask` is still asyncio's.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from asyncio import unix_events
from typing import Any

from . import _asyncloop
from .loop import Loop

# Our twin's name, which is asyncio's name too, and the modules where it is bound.
_HELPERS = {
    # futures and tasks
    "Future": ("asyncio", "asyncio.futures"),
    "Task": ("asyncio", "asyncio.tasks"),
    "all_tasks": ("asyncio", "asyncio.tasks"),
    "create_task": ("asyncio", "asyncio.tasks"),
    "current_task": ("asyncio", "asyncio.tasks"),
    "ensure_future": ("asyncio", "asyncio.tasks"),
    "run_coroutine_threadsafe": ("asyncio", "asyncio.tasks"),
    "to_thread": ("asyncio", "asyncio.threads"),
    "wrap_future": ("asyncio", "asyncio.futures"),
    # waiting
    "as_completed": ("asyncio", "asyncio.tasks"),
    "gather": ("asyncio", "asyncio.tasks"),
    "shield": ("asyncio", "asyncio.tasks"),
    "sleep": ("asyncio", "asyncio.tasks", "asyncio.streams"),
    "wait": ("asyncio", "asyncio.tasks"),
    "wait_for": ("asyncio", "asyncio.tasks"),
    "TaskGroup": ("asyncio", "asyncio.taskgroups"),
    "Timeout": ("asyncio", "asyncio.timeouts"),
    "timeout": ("asyncio", "asyncio.timeouts"),
    "timeout_at": ("asyncio", "asyncio.timeouts"),
    # locks and queues
    "Barrier": ("asyncio", "asyncio.locks"),
    "BoundedSemaphore": ("asyncio", "asyncio.locks"),
    "Condition": ("asyncio", "asyncio.locks"),
    "Event": ("asyncio", "asyncio.locks"),
    "Lock": ("asyncio", "asyncio.locks"),
    "Semaphore": ("asyncio", "asyncio.locks"),
    "LifoQueue": ("asyncio", "asyncio.queues"),
    "PriorityQueue": ("asyncio", "asyncio.queues"),
    "Queue": ("asyncio", "asyncio.queues"),
    # streams
    "StreamReader": ("asyncio", "asyncio.streams"),
    "StreamReaderProtocol": ("asyncio", "asyncio.streams"),
    "StreamWriter": ("asyncio", "asyncio.streams"),
    "open_connection": ("asyncio", "asyncio.streams"),
    "open_unix_connection": ("asyncio", "asyncio.streams"),
    "start_server": ("asyncio", "asyncio.streams"),
    "start_unix_server": ("asyncio", "asyncio.streams"),
}

# The loop's class, under asyncio's names for its own.
_LOOPS = ("SelectorEventLoop", "EventLoop")  # the second from 3.13 on

# (module or class, name, what was there, what we put there), and (policy before, our policy): empty when not installed.
_rebound: list[tuple[Any, str, Any, Any]] = []
_policies: list[tuple[Any, Any]] = []
# install() and uninstall() hold it: a second thread would take what is half done for finished.
_lock = threading.RLock()


def _twin(name: str) -> Any:
    """Our object of that name, from C or from the package; None where this Python version keeps asyncio's."""
    return getattr(_asyncloop, name, None) or getattr(importlib.import_module(__package__), name, None)


def _rebind(where: Any, name: str, value: Any) -> None:
    """Bind a name that exists to value, and remember what it meant."""
    if hasattr(where, name):
        _rebound.append((where, name, getattr(where, name), value))
        setattr(where, name, value)


def _rebind_loops() -> None:
    """Bind asyncio's names for its loop's class to ours, and let asyncio's default policies make our loop.

    A default policy may exist already, so its class stays, and we change the attribute that says which loop it makes.
    """
    _rebind(Loop, "_stands_for", getattr(unix_events, "_UnixSelectorEventLoop"))
    for name in _LOOPS:
        _rebind(asyncio, name, Loop)
        _rebind(unix_events, name, Loop)
    if _policies:
        from . import _policy

        _rebind(_policy.DEFAULT, "_loop_factory", Loop)


def install(*, helpers: bool = True) -> None:
    """Set the policy, and rebind asyncio's helpers (sleep, gather, Queue, Task …) and its loop's class to ours unless helpers is false.

    A second call does nothing.  Call it before you import modules that take names out of asyncio (`from asyncio import Queue`).
    """
    with _lock:
        if not _policies:
            try:
                from . import _policy
            except ImportError:
                pass  # no policies in this Python: the helpers only
            else:
                before, ours = _policy.get_policy(), _policy.EventLoopPolicy()
                _policy.set_policy(ours)
                _policies.append((before, ours))
        if helpers and not _rebound:
            for name, modules in _HELPERS.items():
                twin = _twin(name)
                if twin is None:
                    continue
                for module in map(importlib.import_module, modules):
                    _rebind(module, name, twin)
            _rebind_loops()
            _show(True)


def _show(installed: bool) -> None:
    """Set __module__ of our twins to asyncio's modules, or back to asyncloop: repr, pickle and inspect read it."""
    _asyncloop._show_native(installed)
    for _, name, before, twin in _rebound:
        if name in _HELPERS and type(twin) is type(_show):
            twin.__module__ = before.__module__ if installed else __package__


def uninstall() -> None:
    """Undo install().  Without an install() it does nothing."""
    with _lock:
        if _rebound:
            _show(False)
        while _rebound:
            module, name, before, twin = _rebound.pop()
            if getattr(module, name, None) is twin:
                setattr(module, name, before)
        while _policies:
            from . import _policy

            policy_before, ours = _policies.pop()
            if _policy.get_policy() is ours:
                _policy.set_policy(policy_before)
