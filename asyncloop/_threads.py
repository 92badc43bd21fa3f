"""run(main, threads=N): a loop in each of N threads, begun together and ended together.

The calling thread is one of them, number 0, so that signal handlers and Ctrl-C are where asyncio.run has them.  Who does what to whom:

- `_Member` is one thread: its loop and its main task belong to that thread.  Others reach them by call_soon_threadsafe only (`_Member.tell`).
- `_Crew` is all of them.  The lock guards `_is_ending` and `_errors`.  It is an RLock, as the handler of SIGINT takes it in the midst of anything.
- A member is cancelled once, however many ask for it: a second cancellation would break into its cleaning up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import operator
import queue
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Generic, SupportsIndex, TypeVar, cast

_T = TypeVar("_T")

# Ctrl-C number 1 cancels, 2 leaves what the loops run, 3 leaves their closing.  What has not ended at this one is in code that blocks.
_GIVE_UP_AT = 4


def _interrupt() -> None:
    """A callback that leaves the loop that runs it."""
    raise KeyboardInterrupt


class _Member(Generic[_T]):
    """One thread, its loop and its main task."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.context = contextvars.copy_context()
        self.thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[_T] | None = None
        self.result: _T | None = None
        self.has_ended = False
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel the main task, once; in the member's own thread."""
        if not self._is_cancelled and self.task is not None:
            self._is_cancelled = True
            self.task.cancel()

    def tell(self, callback: Callable[[], object]) -> None:
        """Have the loop call this, from any thread; nothing where there is no loop yet, or none any more."""
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(callback)


class _Crew(Generic[_T]):
    """The threads of one call of run()."""

    def __init__(
        self, main: Callable[[int], Coroutine[Any, Any, _T]], count: int, debug: bool | None, loop_factory: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        self._main = main
        self._debug = debug
        self._loop_factory = loop_factory
        self._members: list[_Member[_T]] = [_Member(index) for index in range(count)]
        self._lock = threading.RLock()
        self._is_ending = False
        self._errors: list[BaseException] = []
        self._cancelled: list[asyncio.CancelledError] = []
        self._ends: queue.SimpleQueue[None] = queue.SimpleQueue()  # a word whenever something may have ended
        self._n_interrupts = 0
        self._may_raise = False

    def run(self) -> list[_T]:
        """All of it: the results in order, or the exception that says what became of them."""
        with self._sigint():
            try:
                self._start()
                self._may_raise = True
                self._work(self._members[0])
                self._may_raise = False
            except BaseException as exc:
                self._may_raise = False
                self._fail(exc)
            finally:
                self._may_raise = False
                self._wait()
        return self._outcome()

    # --- in each thread

    def _work(self, member: _Member[_T]) -> None:
        try:
            member.result = member.context.run(self._run_loop, member)
        except asyncio.CancelledError as exc:
            self._cancelled.append(exc)
        except BaseException as exc:
            self._fail(exc)
        finally:
            member.has_ended = True
            self._ends.put(None)

    def _run_loop(self, member: _Member[_T]) -> _T:
        main = self._main(member.index)
        if not asyncio.iscoroutine(main):
            raise TypeError(f"main({member.index}) must return a coroutine, not {main!r}")
        with asyncio.Runner(debug=self._debug, loop_factory=self._loop_factory) as runner:
            loop = runner.get_loop()
            member.task = task = loop.create_task(main)
            with self._lock:  # from here on the others can reach it; who asked earlier is heard now
                member.loop = loop
                if self._is_ending:
                    member.cancel()
            return loop.run_until_complete(task)

    # --- from any thread

    def _end(self) -> None:
        """Have every main task cancelled, those that are not made yet too."""
        with self._lock:
            self._is_ending = True
            for member in self._members:
                member.tell(member.cancel)

    def _fail(self, exc: BaseException) -> None:
        with self._lock:
            self._errors.append(exc)
        self._end()

    # --- in the calling thread

    def _start(self) -> None:
        for member in self._members[1:]:
            member.thread = threading.Thread(target=self._work, args=(member,), name=f"asyncloop.run-{member.index}")
            try:
                member.thread.start()
            except Exception:
                member.thread = None
                raise

    def _wait(self) -> None:
        """Until every thread has ended, whatever the program's own signal handlers raise here."""
        threads = [(member, member.thread) for member in self._members if member.thread is not None]
        while not all(member.has_ended for member, _ in threads):
            if self._n_interrupts >= _GIVE_UP_AT:
                return
            try:
                self._ends.get()
            except BaseException as exc:
                self._fail(exc)
        for _, thread in threads:
            thread.join()

    def _on_sigint(self, signum: int, frame: FrameType | None) -> None:
        """Ctrl-C does to every loop what it does to that of asyncio.run: the first cancels, each further one leaves what runs."""
        self._n_interrupts += 1
        if self._n_interrupts == 1:
            self._end()
            return
        for member in self._members[1:]:
            member.tell(_interrupt)
        self._ends.put(None)
        if self._may_raise:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _sigint(self) -> Iterator[None]:
        """asyncio.Runner's conditions for taking SIGINT; it finds it taken and leaves it alone."""
        handler = self._on_sigint
        is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_ours:
            try:
                signal.signal(signal.SIGINT, handler)
            except ValueError:  # an embedded interpreter without signals
                is_ours = False
        try:
            yield
        finally:
            if is_ours and signal.getsignal(signal.SIGINT) == handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _outcome(self) -> list[_T]:
        errors, cancelled = self._errors, self._cancelled
        leaving = [exc for exc in errors if isinstance(exc, (KeyboardInterrupt, SystemExit))]
        try:
            if leaving:
                raise leaving[0]
            if errors:
                raise BaseExceptionGroup("unhandled errors in the threads of asyncloop.run()", errors) from None
            if self._n_interrupts and (cancelled or self._n_interrupts >= _GIVE_UP_AT):
                raise KeyboardInterrupt
            if cancelled:
                raise cancelled[0]
            return [cast(_T, member.result) for member in self._members]
        finally:
            # Their tracebacks lead here: with these names they would be cycles.
            self._errors, self._cancelled = [], []
            del errors, cancelled, leaving


def run(
    main: Callable[[int], Coroutine[Any, Any, _T]], threads: SupportsIndex, debug: bool | None, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> list[_T]:
    """What asyncloop.run() does when it is given threads."""
    count = operator.index(threads)
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    if not callable(main):
        raise TypeError(f"with threads, main must be a function that takes the thread's number, not {main!r}")
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    return _Crew(main, count, debug, loop_factory).run()
