"""Child processes: subprocess_exec and subprocess_shell.

ProcessMixin is a base of asyncloop.Loop.  subprocess.Popen makes the child, with real pipes; C transports read and write them (src/net/pipe.c).
What the transport and its protocol do is asyncio's BaseSubprocessTransport of the running Python; here is what it leaves open: making the
child, and hearing of its end.

The end of a child: the loop watches a pidfd, and reaps in its own thread, so that nobody signals a number that is free again.  Where the kernel
gives no pidfd a thread waits (without reaping) and tells the loop.  No child watcher of asyncio, no SIGCHLD handler, any thread.
"""

import asyncio
import errno
import os
import subprocess
import sys
import threading
from asyncio import base_subprocess
from asyncio.log import logger

EXIT_SKIPS_A_PASS = sys.version_info < (3, 12)  # process_exited comes a pass after the event: what the pipes brought with it goes first
FAILED_START_IS_SHIELDED = sys.version_info >= (3, 14)  # a second cancel() does not end the wait for a child that is being killed
UNKNOWN_RETURN_CODE = 255


def _pidfd_open(pid):
    if not hasattr(os, "pidfd_open"):
        raise OSError(errno.ENOSYS, "this Python was built without pidfd_open")
    return os.pidfd_open(pid)


class _Transport(base_subprocess.BaseSubprocessTransport):
    """The transport of a child process."""

    _pidfd = -1

    def _start(self, args, shell, stdin, stdout, stderr, bufsize, **kwargs):
        self._proc = subprocess.Popen(args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, universal_newlines=False,
                                      bufsize=bufsize, **kwargs)

    def _watch(self):
        """Be told of the child's end."""
        try:
            self._pidfd = _pidfd_open(self._pid)
            self._loop._children.add(self)
            self._loop.add_reader(self._pidfd, self._on_exit)
        except OSError:  # not in this kernel, not allowed, no descriptor left
            self._unwatch()
            threading.Thread(target=_wait_in_thread, args=(self._loop, self._proc, self), daemon=True,
                             name=f"asyncloop-wait-{self._pid}").start()

    def _unwatch(self):
        """The pidfd is closed, once, by the child's end or the loop's."""
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            self._loop._children.discard(self)
            self._loop.remove_reader(pidfd)
            os.close(pidfd)

    def _on_exit(self):
        self._unwatch()
        returncode = _reap(self._proc)
        if EXIT_SKIPS_A_PASS:
            self._loop.call_soon(self._process_exited, returncode)
        else:
            self._process_exited(returncode)

    def close(self):
        """Close the pipes and kill the child.

        On a closed loop too (in asyncio from 3.14 on): there pipes cannot be closed any more, their finalizers do that.
        """
        if self._loop is None or not self._loop.is_closed():
            super().close()
            return
        pipes, self._pipes = self._pipes, {}
        try:
            super().close()
        finally:
            self._pipes = pipes

    def _is_running(self):
        """Not reaped yet: else the number may be another process's by now.  Raises ProcessLookupError after connection_lost."""
        self._check_proc()
        return self._returncode is None and self._proc.returncode is None

    def send_signal(self, signal):
        if self._is_running():
            super().send_signal(signal)

    def terminate(self):
        if self._is_running():
            super().terminate()

    def kill(self):
        if self._is_running():
            super().kill()


_Transport.__name__ = _Transport.__qualname__ = "SubprocessTransport"


def _reap(proc):
    """The return code of a child that has ended; Popen.poll() may have been quicker."""
    with proc._waitpid_lock:
        if proc.returncode is None:
            try:
                proc.returncode = os.waitstatus_to_exitcode(os.waitpid(proc.pid, 0)[1])
            except ChildProcessError:
                proc.returncode = UNKNOWN_RETURN_CODE
                logger.warning("child process pid %d exit status already read:  will report returncode 255", proc.pid)
    return proc.returncode


def _wait_in_thread(loop, proc, transport):
    """Without pidfd: wait for the end, leave the child to be reaped by the loop's thread; or reap it when there is no loop any more."""
    try:
        os.waitid(os.P_PID, proc.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        pass
    try:
        loop.call_soon_threadsafe(transport._on_exit)
    except RuntimeError:
        _reap(proc)
        logger.warning("Loop %r that handles pid %r is closed", loop, proc.pid)


class ProcessMixin:
    """What asyncio's subprocess_exec and subprocess_shell need of a loop."""

    _children: set  # the transports whose pidfd is open; made by Loop.__init__

    subprocess_exec = asyncio.BaseEventLoop.subprocess_exec
    subprocess_shell = asyncio.BaseEventLoop.subprocess_shell
    _log_subprocess = asyncio.BaseEventLoop._log_subprocess

    async def _make_subprocess_transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra=None, **kwargs):
        waiter = self.create_future()
        transport = _Transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs)
        transport._watch()
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await (asyncio.shield(transport._wait()) if FAILED_START_IS_SHIELDED else transport._wait())
            raise
        return transport

    def _forget_children(self):
        """The loop is closed: nobody will hear of their end."""
        for transport in list(self._children):
            transport._unwatch()
