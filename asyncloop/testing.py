"""A clock for tests: time that jumps to the next timer as soon as nothing else can happen.

    clock = asyncloop.testing.VirtualClock()
    clock.run(main())           # an `await asyncio.sleep(3600)` in it takes no time
    assert clock.time() == 3600

The loops that a VirtualClock makes are asyncloop's, with the clock's time in the place of the kernel's and a wait of their own (src/core/virtual.h).
Sockets, pipes, child processes and threads are real.  docs/testing.md says when the clock jumps, and when it waits.

Nothing here is imported by `import asyncloop`.  The plug-in for pytest is _asyncloop_pytest.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from . import loop as _loop_module
from ._asyncloop import Future
from .loop import Loop

__all__ = ["Stuck", "VirtualClock", "VirtualLoop"]

if TYPE_CHECKING:
    from concurrent.futures import Executor

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# What a loopback connection has sent is at its other end at once, or after a moment if the kernel is busy: real seconds.
_LOOPBACK_PAUSE = 0.001


class Stuck(RuntimeError):
    """Nothing can happen any more: no timer is left, and nothing from outside is there to be waited for."""


class VirtualClock:
    """The time of the loops that it makes: it stands still while code runs, and jumps when nothing else can happen.

    start: the first time, in seconds.  grace: real seconds of silence before a jump while a descriptor or a thread might bring something.
    seed: None for asyncio's order; an int for another order of what may run in any order, always the same for the same seed.
    stuck: real seconds after which a loop that nothing can wake raises Stuck; None waits for ever.
    wait_for_children: whether the clock runs at the real pace while the loop has child processes.
    One loop at a time is to run; while several do, the clock does not jump.  Raises: ValueError (start, grace or stuck out of range).
    """

    def __init__(
        self,
        start: float = 0.0,
        *,
        grace: float = 0.05,
        seed: int | None = None,
        stuck: float | None = 1.0,
        wait_for_children: bool = True,
    ) -> None:
        if not -inf < start < inf:
            raise ValueError(f"start must be a finite time, not {start!r}")
        if not 0 <= grace < inf:
            raise ValueError(f"grace must be a number of seconds, not {grace!r}")
        if stuck is not None and not 0 <= stuck < inf:
            raise ValueError(f"stuck must be a number of seconds or None, not {stuck!r}")
        self.grace = grace
        self.stuck = stuck
        self.wait_for_children = wait_for_children
        self.seed = seed
        self.loops_made = 0
        self._now = float(start)
        self._holds = 0
        self._loops: weakref.WeakSet[VirtualLoop] = weakref.WeakSet()
        self._bystanders = weakref.WeakSet(threading.enumerate())  # threads that have nothing to do with the loops

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now!r}{'' if self.seed is None else f' seed={self.seed}'}>"

    def time(self) -> float:
        """The time of its loops, in seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Move the clock on by so much, as if the code that runs now had taken so long.  Timers that are due by then run in the next pass.

        Raises: ValueError (seconds negative or not finite).
        """
        if not 0 <= seconds < inf:
            raise ValueError(f"a clock only goes on: {seconds!r}")
        self._now += seconds

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """While in it, the clock runs at the real pace and does not jump: what is awaited comes from where the loop cannot see it."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def new_event_loop(self) -> VirtualLoop:
        """A new loop with this clock; a loop_factory."""
        return VirtualLoop(self)

    def run(self, main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
        """asyncloop.run on a loop with this clock."""
        with asyncio.Runner(debug=debug, loop_factory=self.new_event_loop) as runner:
            return runner.run(main)

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[VirtualClock]:
        """While in it, asyncio.new_event_loop, asyncloop.new_event_loop and what calls them (asyncio.run, Runner, test plug-ins) make loops with this clock."""
        places: list[tuple[Any, str]] = [(asyncio, "new_event_loop"), (asyncio.events, "new_event_loop"), (_loop_module, "_make_loop")]
        before = [getattr(module, name) for module, name in places]
        for module, name in places:
            setattr(module, name, self.new_event_loop)
        try:
            yield self
        finally:
            for (module, name), value in zip(places, before):
                setattr(module, name, value)

    def waits_for(self) -> list[str]:
        """Why the clock would run at the real pace now instead of jumping: a line for each reason, none if it would jump."""
        return [reason for loop in self._loops if loop.is_running() for reason in loop._expected(loop._look())]


class VirtualLoop(Loop):
    """asyncloop's loop with a VirtualClock (its own, if none is given).

    Raises: Stuck, out of run_forever.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        super().__init__()
        self._clock = clock = VirtualClock() if clock is None else clock
        clock.loops_made += 1
        clock._loops.add(self)
        self._calls: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()
        self._executors: weakref.WeakSet[Any] = weakref.WeakSet()
        if clock.seed is not None:
            self._shuffle(clock.seed)

    @property
    def clock(self) -> VirtualClock:
        return self._clock

    def time(self) -> float:
        return self._clock._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: Unpack[_Ts]) -> Future[_T]:
        future = super().run_in_executor(executor, func, *args)
        self._calls.add(future)
        used = self._default_executor if executor is None else executor
        with contextlib.suppress(TypeError):  # one that cannot be referred to weakly: its threads count as anybody's
            self._executors.add(used)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        with self._clock.hold():
            await super().shutdown_default_executor(*args, **kwargs)

    # The wait, which the loop in C leaves to a class that has this method.

    def _wait_until(self, when: float | None) -> None:
        """Return when something is ready, or when the clock shows `when` (the first timer's time; None: there is no timer)."""
        clock = self._clock
        if self._poll(0):
            return
        if when == inf:
            when = None
        if when is not None and not when > clock._now:
            return  # due, or no number
        watched = self._look()
        if self._expected(watched):
            began = time.monotonic()
            self._poll(None if when is None else when - clock._now)
            now = clock._now + (time.monotonic() - began)
            clock._now = now if when is None else min(now, when)
        elif when is None:
            self._wait_for_anything(watched)
        elif not self._has_come(self._pause(watched, when)):
            clock._now = max(clock._now, when)

    def _wait_for_anything(self, watched: _Watched) -> None:
        if watched.is_anything or self._signal_handlers or self._clock.stuck is None or self._has_other_threads():
            self._poll(None)
        elif not self._has_come(self._clock.stuck):
            raise Stuck(self._describe_stuck())

    def _has_come(self, seconds: float) -> bool:
        """Wait for so many real seconds at most: whether something is ready, or the wait was cut short by a signal."""
        if seconds == 0:
            return False  # the glance at the beginning has found nothing
        end = time.monotonic() + seconds
        return self._poll(seconds) or time.monotonic() < end

    def _pause(self, watched: _Watched, when: float) -> float:
        """Real seconds to wait before the jump: no longer than a real clock would give."""
        if watched.outside or self._has_other_threads():
            longest = self._clock.grace
        else:
            longest = _LOOPBACK_PAUSE if watched.is_anything else 0
        return min(longest, when - self._clock._now)

    def _expected(self, watched: _Watched) -> list[str]:
        """What is sure to come, as far as the loop can know."""
        clock, found = self._clock, []
        if clock._holds:
            found.append("hold() is in force")
        calls = sum(not call.done() for call in list(self._calls))
        if calls:
            found.append(f"calls in an executor: {calls}")
        if watched.children and clock.wait_for_children:
            found.append(f"child processes: {watched.children}")
        if watched.connecting:
            found.append(f"connections being made: {watched.connecting}")
        if any(other is not self and other.is_running() for other in list(clock._loops)):
            found.append("another loop with this clock is running")
        return found

    def _has_other_threads(self) -> bool:
        """Whether a thread could call call_soon_threadsafe: not those that were there before the clock, nor the idle ones of an executor."""
        idle = {thread for executor in [*self._executors, self._default_executor] for thread in getattr(executor, "_threads", ())}
        here = threading.current_thread()
        bystanders = self._clock._bystanders if here is threading.main_thread() else ()
        return any(thread is not here and thread not in bystanders and thread not in idle for thread in threading.enumerate())

    def _look(self) -> _Watched:
        return _Watched(self._watched_fds())

    def _describe_stuck(self) -> str:
        lines = ["no timer is left and nothing can come from outside, so these would wait for ever:"]
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            stack = task.get_stack(limit=1)
            where = f'at "{stack[-1].f_code.co_filename}", line {stack[-1].f_lineno}, in {stack[-1].f_code.co_name}' if stack else "nowhere"
            lines.append(f"  {task.get_name()} {where}")
        return "\n".join(lines if len(lines) > 1 else ["no timer is left and nothing can come from outside: the loop would wait for ever"])


class _Watched:
    """The descriptors that a loop watches, by what may come from them.

    outside: from elsewhere, at any time.  connecting: connections that are being made.  children: child processes.
    What has both ends here, and a socket that listens, brings nothing while nothing here does.
    """

    def __init__(self, fds: list[int]) -> None:
        self.is_anything = bool(fds)
        self.outside = self.connecting = self.children = 0
        pairs: Counter[tuple[Any, Any]] = Counter()
        pipes: Counter[str] = Counter()
        for fd in fds:
            try:
                kind = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue  # closed, which the kernel told nobody
            if kind.startswith("anon_inode:[pidfd]"):
                self.children += 1
            elif kind.startswith("pipe:"):
                pipes[kind] += 1
            elif kind.startswith("socket:"):
                self._add_socket(fd, pairs)
            else:
                self.outside += 1
        self.outside += sum(count % 2 for count in pipes.values())
        for (here, there), count in pairs.items():
            # Each end has the other's names exchanged.  A socketpair has none, so it may be anybody's.
            self.outside += count if here == there else max(0, count - pairs[there, here])

    def _add_socket(self, fd: int, pairs: Counter[tuple[Any, Any]]) -> None:
        sock = socket.socket(fileno=fd)
        try:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return
            if sock.type == socket.SOCK_STREAM:
                pairs[sock.getsockname(), sock.getpeername()] += 1
            else:
                self.outside += 1
        except OSError:  # no peer yet
            self.connecting += 1
        finally:
            sock.detach()
