"""asyncio's event loop, tasks, transports, streams and helpers in C: an unmodified asyncio program, faster.

    asyncloop.run(main())                                           instead of asyncio.run(main())
    asyncloop.run(main, threads=4)                                  a loop in each of 4 threads, which run main(0) … main(3)
    asyncio.run(main(), loop_factory=asyncloop.new_event_loop)      the same, Python 3.12 and later
    asyncloop.install()                                             for programs that are not to be changed further
    python -m asyncloop script.py                                   for programs that are not to be changed at all

PYTEST_DONT_REWRITE: the plug-in would have pytest rewrite the package, and warn that it was imported before.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

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
    _text = (
        f"asyncloop's C extension is not built for Python {sys.version_info[0]}.{sys.version_info[1]} in {__path__[0]}; "
        "in a checkout, build it with: pip install -e ."
    )
    if sys.argv[:1] == ["-m"] and ("-m", "asyncloop") in zip(sys.orig_argv, sys.orig_argv[1:]):
        sys.exit(_text)  # runpy looks for the module that is to be run: this one
    raise ImportError(_text) from None
from . import _registry
from ._install import install, uninstall
from ._streams import open_connection, open_unix_connection, start_server, start_unix_server
from .loop import Loop, new_event_loop

if TYPE_CHECKING:
    from ._metrics import Metrics
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
    "Metrics",
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


@overload
def run(
    main: Coroutine[Any, Any, _T], *, threads: None = None, debug: bool | None = None, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> _T: ...
@overload
def run(
    main: Callable[[int], Coroutine[Any, Any, _T]],
    *,
    threads: SupportsIndex,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> list[_T]: ...
def run(
    main: Any, *, threads: SupportsIndex | None = None, debug: bool | None = None, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> Any:
    """asyncio.run on a loop of ours: run main, cancel what it left, close the loop, and return what main returned.

    threads: main is a function, and a loop runs main(0) in this thread, others main(1) … main(threads - 1) in threads of their own, each in a copy of this
    context.  Returns the list of what they returned, in this order.  The first that fails has the others cancelled; when all have ended, the failures are
    raised together as an ExceptionGroup (SystemExit and KeyboardInterrupt alone), as by a TaskGroup.  Ctrl-C ends all of them as asyncio.run ends one.

    debug: None takes the loop's own choice (PYTHONASYNCIODEBUG, -X dev).  loop_factory: makes another loop than ours.  Nothing of asyncio is replaced.
    """
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop if loop_factory is None else loop_factory
    if threads is not None:
        from . import _threads

        return _threads.run(main, threads, debug, factory)
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=factory)
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)


def __getattr__(name: str) -> Any:
    """Metrics and EventLoopPolicy, made when they are first asked for: where asyncio has no policies there is no such name."""
    if name == "Metrics":
        from ._metrics import Metrics

        globals()[name] = Metrics
        return Metrics
    if name == "EventLoopPolicy":
        try:
            from ._policy import EventLoopPolicy
        except ImportError as exc:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {exc}") from None
        globals()[name] = EventLoopPolicy
        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
