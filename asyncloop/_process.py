"""Child processes: subprocess_exec and subprocess_shell.

ProcessMixin is a base of asyncloop.Loop.  subprocess.Popen makes the child, with real pipes; C transports read and write them (src/net/pipe/pipe.c).
What the transport and its protocol do is asyncio's BaseSubprocessTransport of the running Python; here is what it leaves open: making the
child, and hearing of its end.

The end of a child: the loop watches a pidfd, and reaps in its own thread (src/net/pipe/process.c), so that nobody signals a number that is free again.
Where the kernel gives no pidfd a thread waits (without reaping) and tells the loop.  No child watcher of asyncio, no SIGCHLD handler, any thread.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from asyncio import base_subprocess
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from ._taken import TakenMethods

if TYPE_CHECKING:
    _Popen = subprocess.Popen[bytes]
    _Base: Any = asyncio.SubprocessTransport
else:
    _Base = base_subprocess.BaseSubprocessTransport

EXIT_SKIPS_A_PASS = sys.version_info < (3, 12)  # process_exited comes a pass after the event: what the pipes brought with it goes first
CLOSES_AFTER_THE_LOOP = sys.version_info >= (3, 14)  # the transport's close() knows of closed loops
FAILED_START_IS_SHIELDED = sys.version_info >= (3, 14)  # a second cancel() does not end the wait for a child that is being killed
UNKNOWN_RETURN_CODE = 255


class _Transport(_Base):  # type: ignore[misc]
    """The transport of a child process."""

    _abandoned: asyncio.Future[None] | None = None  # a future, set when the start was cancelled or failed: the child has ended
    _is_connecting = False
    _loop: Any
    _proc: Any
    _pipes: Any
    _returncode: int | None

    def _start(self, args: Any, shell: bool, stdin: Any, stdout: Any, stderr: Any, bufsize: int, **kwargs: Any) -> None:
        self._proc = proc = subprocess.Popen(args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, universal_newlines=False,
                                             bufsize=bufsize, **kwargs)
        try:
            self._loop._watch_exit(os.pidfd_open(proc.pid), proc, self._on_exit, _reap)
        except (OSError, AttributeError):  # not in this kernel, not allowed, no descriptor left; not in this Python
            threading.Thread(target=_wait_in_thread, args=(self._loop, proc, self), daemon=True, name=f"asyncloop-wait-{proc.pid}").start()

    async def _connect_pipes(self, waiter: asyncio.Future[None]) -> None:
        self._is_connecting = True
        try:
            await super()._connect_pipes(waiter)
        finally:
            self._is_connecting = False
            if self._abandoned is not None:
                self._close_pipes()

    def _close_pipes(self) -> None:
        """Close what a start that came to nothing leaves: transports, and files of pipes that have none."""
        for fd, file in enumerate((self._proc.stdin, self._proc.stdout, self._proc.stderr)):
            proto = self._pipes.get(fd)
            if proto is not None:
                proto.pipe.close()
            elif file is not None:
                file.close()

    def _abandon(self) -> asyncio.Future[None]:
        """The start was cancelled or has failed: kill the child, leave nothing open.  Returns a future: the child has been reaped."""
        self._abandoned = self._loop.create_future()
        if self._returncode is not None:
            self._abandoned.set_result(None)
        self.close()
        if not self._is_connecting:
            self._close_pipes()
        return self._abandoned

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        if self._abandoned is not None and not self._abandoned.done():
            self._abandoned.set_result(None)

    if EXIT_SKIPS_A_PASS:
        def _on_exit(self, returncode: int) -> None:
            self._loop.call_soon(self._process_exited, returncode)
    else:
        _on_exit = _process_exited

    if not CLOSES_AFTER_THE_LOOP:
        def close(self) -> None:
            """Close the pipes, which cannot be done any more on a closed loop (their finalizers do it then), and kill the child."""
            if self._loop is None or not self._loop.is_closed():
                super().close()
                return
            pipes, self._pipes = self._pipes, {}
            try:
                super().close()
            finally:
                self._pipes = pipes

    def _is_running(self) -> bool:
        """Not reaped yet: else the number may be another process's by now.  Raises ProcessLookupError after connection_lost."""
        self._check_proc()
        return self._returncode is None and self._proc.returncode is None

    def send_signal(self, signal: int) -> None:
        if self._is_running():
            super().send_signal(signal)

    def terminate(self) -> None:
        if self._is_running():
            super().terminate()

    def kill(self) -> None:
        if self._is_running():
            super().kill()


_Transport.__name__ = _Transport.__qualname__ = "_UnixSubprocessTransport"  # asyncio's name, which its repr() shows


def _reap(proc: Any) -> int:
    """The return code of a child that has ended; Popen.poll() may have been quicker."""
    with proc._waitpid_lock:
        if proc.returncode is None:
            try:
                proc.returncode = os.waitstatus_to_exitcode(os.waitpid(proc.pid, 0)[1])
            except ChildProcessError:
                proc.returncode = UNKNOWN_RETURN_CODE
                logger.warning("child process pid %d exit status already read:  will report returncode 255", proc.pid)
    code: int = proc.returncode
    return code


def _wait_in_thread(loop: asyncio.AbstractEventLoop, proc: _Popen, transport: _Transport) -> None:
    """Without pidfd: wait for the end, leave the child to be reaped by the loop's thread; or reap it when there is no loop any more."""
    try:
        os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        pass
    try:
        loop.call_soon_threadsafe(lambda: transport._on_exit(_reap(proc)))
    except RuntimeError:
        _reap(proc)
        logger.warning("Loop %r that handles pid %r is closed", loop, proc.pid)


class ProcessMixin(TakenMethods):
    """What asyncio's subprocess_exec and subprocess_shell need of a loop."""

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.BaseProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> _Transport:
        waiter = self.create_future()
        transport = _Transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            abandoned = transport._abandon()
            await (asyncio.shield(abandoned) if FAILED_START_IS_SHIELDED else abandoned)
            raise
        return transport
