"""The Python part of the loop: what happens once per run, per process or per program, not once per event.

Construction and closing, name resolution and the bookkeeping of signal handlers; the methods that are asyncio's own stand in _taken.py, what
makes connections and child processes in the other bases of Loop.  Everything that happens per event is in C (src/loop_type.c).

Thread: the loop's own, but for call_soon_threadsafe and the asynchronous generators' finalizer hook.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
import signal
import socket
import sys
import types
import warnings
import weakref
from asyncio import coroutines, events
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

from . import _asyncloop
from ._datagram import DatagramMixin
from ._loop_class import LoopClass, is_replaceable
from ._process import ProcessMixin
from ._unix import UnixMixin

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from ._metrics import Metrics

    _Ts = TypeVarTuple("_Ts")

# Objects whose loop_made and loop_closed are called with each loop (_report.py): none, but under `python -m asyncloop --metrics` and its like.
observers: list[Any] = []

# coroutines.iscoroutinefunction warns from 3.14 on, where the private name takes its place.
_iscoroutinefunction: Callable[[object], bool] = getattr(coroutines, "_iscoroutinefunction", None) or getattr(
    coroutines, "iscoroutinefunction"
)


def _stdlib_function(name: str) -> object:
    """socket.<name>, or None when it has been replaced already."""
    function = getattr(socket, name)
    return function if getattr(function, "__module__", None) in ("socket", "_socket") else None


_getaddrinfo = _stdlib_function("getaddrinfo")
_getnameinfo = _stdlib_function("getnameinfo")

_NUMERIC_NAMES = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def _is_numeric_host(host: object) -> bool:
    """Whether host is an address in full, or None: nothing that a resolver would have to be asked about.

    A scope (fe80::1%lo) is looked up among the interfaces.  Short forms as 127.1 are left to the resolver thread.
    """
    if host is None:
        return True
    try:
        text = host.decode("ascii") if isinstance(host, (bytes, bytearray)) else host
        if not isinstance(text, str):
            return False
        if ":" in text:
            socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
        else:
            socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _is_numeric_port(port: object) -> bool:
    """Whether port is a number, or absent: not the name of a service."""
    if port is None or isinstance(port, int):
        return True
    return isinstance(port, (str, bytes)) and (not port or (port.isascii() and port.isdigit()))


# typeshed's AbstractEventLoop still gives create_datagram_endpoint the reuse_address that Python 3.11 took away.
class Loop(  # type: ignore[misc]
    UnixMixin, DatagramMixin, ProcessMixin, asyncio.AbstractEventLoop, metaclass=LoopClass
):
    """asyncio's event loop in C.

    Made by asyncloop.new_event_loop(); a subclass may override what asyncio lets a subclass override.
    selector: one of the selectors module's own with nothing registered, which is closed with the loop; the loop waits by epoll all the same.
    Raises: TypeError (any other selector).
    """

    # What every loop has is in slots: while its __dict__ is empty, and so not made, the interpreter reads loop.call_soon and the like by its fast path.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_signal_handlers",
        "_unix_server_sockets",
    )

    # asyncio's class in whose place this one stands while install() is in force (_loop_class.py), and what __class__ says then.
    _stands_for: type | None = None
    _given_selector: selectors.BaseSelector | None = None

    # asyncio's default_exception_handler and its callers look at this one: the handle being run in debug mode.
    _current_handle: Any = None

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__()
        self._exception_handler: Any = None
        self._default_executor: ThreadPoolExecutor | None = None
        self._executor_shutdown_called = False
        self._asyncgens: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._signal_handlers: dict[int, asyncio.Handle] = {}
        self._unix_server_sockets = {}
        if selector is not None:
            if not is_replaceable(selector):
                self.close()
                raise TypeError(
                    f"asyncloop's loop waits by epoll and cannot use {selector!r}; only asyncio's own loop can: "
                    "a class for such a selector is to be derived before asyncloop.install()"
                )
            self._given_selector = selector
        for observer in observers:
            observer.loop_made(self)

    def close(self) -> None:
        """Close the loop: drop what is scheduled, remove signal handlers, shut the default executor down without waiting.

        Raises: RuntimeError (loop running).  Closing again does nothing.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self.get_debug():
            logger.debug("Close %r", self)
        for observer in observers or ():  # as all names here, None at the interpreter's very end
            observer.loop_closed(self)
        try:
            # While the wake-up fd is still open: no signal may be written to the fd that gets its number next.
            self._drop_signal_handlers()
        finally:
            super().close()
            self._executor_shutdown_called = True
            executor, self._default_executor = self._default_executor, None
            if executor is not None:
                executor.shutdown(wait=False)
            if self._given_selector is not None:
                self._given_selector.close()

    def metrics(self) -> Metrics:
        """A snapshot of what the loop counts of itself; also from another thread, and when it is closed.

        Raises: what an overridden time() raises, while callbacks are timed.
        """
        from ._metrics import snapshot

        return snapshot(self._counters(), self._default_executor)

    # What asyncio keeps in attributes comes from C, not from the methods that a subclass may override: those may well read the attributes.

    @property
    def _closed(self) -> bool:
        return _asyncloop.Loop.is_closed(self)

    @property
    def _task_factory(self) -> Any:
        return _asyncloop.Loop.get_task_factory(self)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a stdlib TimerHandle made for this loop; the heap of this loop holds none."""

    # Names and addresses.

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """socket.getaddrinfo, in a thread of the default executor unless host and port are numeric: then at once.

        It is socket.getaddrinfo that answers, or C that knows what it would; when that has been replaced it always runs in the thread.
        Raises: what socket.getaddrinfo raises; RuntimeError (loop closed, executor shut down).
        """
        if socket.getaddrinfo is _getaddrinfo and not self._executor_shutdown_called:
            found = self._numeric_addrinfo(host, port, family, type, proto, flags)
            if found is not None:
                return found
        function = self._getaddrinfo_debug if self.get_debug() else socket.getaddrinfo
        if socket.getaddrinfo is _getaddrinfo and _is_numeric_port(port) and _is_numeric_host(host):
            self._check_closed()
            self._check_default_executor()
            return function(host, port, family, type, proto, flags)
        return await self.run_in_executor(None, function, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo, in a thread of the default executor unless flags ask for numbers only: then at once."""
        if (
            socket.getnameinfo is _getnameinfo
            and isinstance(flags, int)
            and flags & _NUMERIC_NAMES == _NUMERIC_NAMES
            and isinstance(sockaddr, tuple)
            and sockaddr
            and _is_numeric_host(sockaddr[0])
        ):
            self._check_closed()
            self._check_default_executor()
            return socket.getnameinfo(sockaddr, flags)
        names: tuple[str, str] = await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)
        return names

    # Signals.

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts]) -> None:
        """Call callback(*args) in the loop whenever the process receives the signal sig.

        Raises: TypeError (coroutine, sig no int), ValueError (no such signal), RuntimeError (loop closed, not the main thread,
        sig cannot be caught).
        """
        if coroutines.iscoroutine(callback) or _iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        try:
            signal.set_wakeup_fd(self._signal_fd_open())
        except (ValueError, OSError) as exc:
            if not self._signal_handlers:
                self._signal_fd_close()
            raise RuntimeError(str(exc))
        self._signal_handlers[sig] = events.Handle(callback, args, self, None)
        try:
            signal.signal(sig, _on_signal)
            # Restart system calls: a signal then interrupts as few of them as can be.
            signal.siginterrupt(sig, False)
        except OSError as exc:
            del self._signal_handlers[sig]
            self._drop_wakeup_fd()
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught")
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal sig back to Python's default.  Returns: whether there was a handler."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers:
            self._signal_fd_close()
        return removed

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None:
        """What asyncio's _handle_signal calls; runs in the loop's thread."""
        self.call_soon(handle._run)

    def _drop_wakeup_fd(self) -> None:
        """Without handlers, stop the signal module from writing to us."""
        if self._signal_handlers:
            return
        try:
            signal.set_wakeup_fd(-1)
        except (ValueError, OSError) as exc:
            logger.info("set_wakeup_fd(-1) failed: %s", exc)
        self._signal_fd_close()

    def _drop_signal_handlers(self) -> None:
        if sys is not None and not sys.is_finalizing():
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
        elif self._signal_handlers and warnings is not None:
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                ResourceWarning,
                source=self,
            )
            self._signal_handlers.clear()


Loop.__module__ = "asyncloop"
# As asyncio's, a loop's methods show no annotations: those in these files are for type checkers.
for _base in Loop.__mro__[: Loop.__mro__.index(asyncio.AbstractEventLoop)]:
    for _method in vars(_base).values():
        if isinstance(_method, types.FunctionType):
            _method.__annotations__ = {}


def _on_signal(signum: int, frame: object) -> None:
    """What the signal module calls for a signal that a loop handles; the wake-up fd has told the loop already."""


# What new_event_loop() calls; asyncloop.testing puts another one here while a test has its own clock.
_make_loop: Callable[[], Loop] = Loop


def new_event_loop() -> Loop:
    """A new loop in C; the loop_factory for asyncio.run and asyncio.Runner."""
    return _make_loop()
