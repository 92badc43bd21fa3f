"""asyncio's event loop, tasks, transports, streams and helpers in C: an unmodified asyncio program, faster.

    asyncloop.run(main())                                           instead of asyncio.run(main())
    asyncio.run(main(), loop_factory=asyncloop.new_event_loop)      the same, Python 3.12 and later
    asyncloop.install()                                             for programs that are not to be changed further
    python -m asyncloop script.py                                   for programs that are not to be changed at all
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

try:
    from ._asyncloop import (
        Barrier,
        BoundedSemaphore,
        Condition,
        Event,
        Future,
        LifoQueue,
        Lock,
        PriorityQueue,
        Queue,
        Semaphore,
        StreamReader,
        StreamReaderProtocol,
        StreamWriter,
        Task,
        TaskGroup,
        Timeout,
        all_tasks,
        as_completed,
        create_task,
        current_task,
        ensure_future,
        gather,
        run_coroutine_threadsafe,
        shield,
        sleep,
        timeout,
        timeout_at,
        to_thread,
        wait,
        wait_for,
        wrap_future,
    )
except ModuleNotFoundError:
    raise ImportError(
        f"asyncloop's C extension is not built for Python {sys.version_info[0]}.{sys.version_info[1]} in {__path__[0]}; "
        "in a checkout, build it with: pip install -e ."
    ) from None
from . import _registry
from ._install import install, uninstall
from ._streams import open_connection, open_unix_connection, start_server, start_unix_server
from .loop import Loop, new_event_loop

if TYPE_CHECKING:
    from ._policy import EventLoopPolicy

__version__ = "0.1.0"

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Future",
    "LifoQueue",
    "Lock",
    "Loop",
    "PriorityQueue",
    "Queue",
    "Semaphore",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "all_tasks",
    "as_completed",
    "create_task",
    "current_task",
    "ensure_future",
    "gather",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "to_thread",
    "uninstall",
    "wait",
    "wait_for",
    "wrap_future",
]
if TYPE_CHECKING or sys.version_info < (3, 16):
    __all__ += ["EventLoopPolicy"]

if sys.version_info >= (3, 14):
    from ._asyncloop import future_add_to_awaited_by, future_discard_from_awaited_by

    __all__ += ["future_add_to_awaited_by", "future_discard_from_awaited_by"]

_registry.join()

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """asyncio.run on a loop of ours: run main, cancel what it left, close the loop, and return what main returned.

    debug: None takes the loop's own choice (PYTHONASYNCIODEBUG, -X dev).  Nothing of asyncio is replaced.
    """
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=new_event_loop)
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def __getattr__(name: str) -> Any:
    """EventLoopPolicy, made when it is first asked for: where asyncio has no policies there is no such name."""
    if name == "EventLoopPolicy":
        try:
            from ._policy import EventLoopPolicy
        except ImportError as exc:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {exc}") from None
        globals()[name] = EventLoopPolicy
        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
