"""What loop.metrics() returns, and the stack that loop.slow_callback_hook is given.  Imported when either is first needed."""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from types import CodeType, FrameType
from typing import Any

_DEPTH = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a loop has done since it was made, and what it holds now: a snapshot made by `loop.metrics()`.

    Counters only grow.  Times are in seconds.  docs/metrics.md says where each figure is taken.
    """

    passes: int
    """Turns of the loop: counter."""
    callbacks: int
    """Entries of the ready queue that were run, steps of tasks and cancelled handles among them: counter."""
    task_steps: int
    """Runs of a task's coroutine from one wait to the next, eager first steps included: counter."""
    polls: int
    """Times the kernel was asked for events with the GIL released, waiting or not: counter."""
    glances: int
    """Times it was asked without waiting, between polls, while callbacks were ready: counter."""
    time_polling: float
    """Seconds spent waiting for events: counter; by the kernel's tick, unless `loop.time_callbacks`."""
    time_working: float
    """Seconds of run_forever() and its sisters that were not spent waiting: counter; as time_polling."""
    longest_callback: float
    """Seconds that the longest callback or step took: maximum; of those that were timed (`loop.time_callbacks`, debug mode, a hook)."""
    lag: float
    """Seconds by which the last pass that had due timers was late for the earliest of them."""
    lag_max: float
    """The largest lag so far: maximum."""
    ready: int
    """Entries in the ready queue now."""
    ready_max: int
    """The most entries that a pass has found in the ready queue: maximum."""
    timers: int
    """Timers that are scheduled now, sleeping tasks and timeouts among them."""
    tasks: int
    """Tasks of asyncloop's that are not done."""
    tcp_connections: int
    """Open transports on TCP, without TLS."""
    tls_connections: int
    """Open transports with TLS."""
    unix_sockets: int
    """Open transports on Unix sockets, streams and datagrams, without TLS."""
    udp_sockets: int
    """Open datagram transports of the Internet."""
    pipes: int
    """Open transports on pipes, each end for itself; those of child processes are among them."""
    other_sockets: int
    """Open transports on sockets of other families."""
    accepted: int
    """Connections that servers of this loop have accepted: counter."""
    bytes_in: int
    """Bytes that transports have received, those of TLS as on the wire: counter."""
    bytes_out: int
    """Bytes that the kernel has taken from transports, and for sendfile() and sock_sendfile(): counter."""
    executor_queue: int
    """Calls that wait for a thread of the loop's default executor."""
    executor_threads: int
    """Threads of the loop's default executor."""


Metrics.__module__ = "asyncloop"


def snapshot(counters: dict[str, Any], executor: Any) -> Metrics:
    """What C counts, and what the executor shows of itself: a thread pool of the standard library's does, others count as empty."""
    try:
        # One that is shut down has something in its queue that tells its threads to end.
        n_waiting = max(executor._work_queue.qsize() - bool(executor._shutdown), 0)
        n_threads = sum(thread.is_alive() for thread in list(executor._threads))
    except (AttributeError, TypeError):
        n_waiting = n_threads = 0
    return Metrics(**counters, executor_queue=n_waiting, executor_threads=n_threads)


def _first_of(what: Any, *names: str) -> Any:
    return next((value for value in (getattr(what, name, None) for name in names) if value is not None), None)


def _await_chain(coro: Any) -> list[tuple[CodeType, int]]:
    """A coroutine that waits and what it waits for, outermost first.  Empty: it is over, or has no frame."""
    chain: list[tuple[CodeType, int]] = []
    while coro is not None and len(chain) < _DEPTH:  # an awaitable of somebody's may name itself
        frame = _first_of(coro, "cr_frame", "gi_frame", "ag_frame")
        if not isinstance(frame, FrameType):
            break
        chain.append((frame.f_code, frame.f_lineno))
        coro = _first_of(coro, "cr_await", "gi_yieldfrom", "ag_await")
    return chain


def _begin_of(function: Any) -> list[tuple[CodeType, int]]:
    """Where the function, or the coroutine's, begins."""
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else _first_of(function, "cr_code", "gi_code")
    return [(code, code.co_firstlineno)] if isinstance(code, CodeType) else []


def places_of(what: Any) -> list[tuple[CodeType, int]]:
    """Code and line: of a task, its coroutines where they wait now; when it is done, or for a handle, where its function begins."""
    coro = what.get_coro() if hasattr(what, "get_coro") else None
    return _await_chain(coro) or _begin_of(coro if coro is not None else getattr(what, "_callback", None))


def stack_of(what: Any) -> traceback.StackSummary:
    """The same as the stack that the hook is given."""
    return traceback.StackSummary.from_list(
        [traceback.FrameSummary(code.co_filename, line, code.co_qualname, lookup_line=False) for code, line in places_of(what)]
    )
