"""What asyncloop.Loop takes over from asyncio's loop as it is.

These methods need nothing of a loop but public methods and the attributes that Loop.__init__ sets; so they are those of the running Python,
logger and all.  A type checker is told that all of asyncio's loop is there, whose signatures it knows for each Python version.
"""

from __future__ import annotations

import asyncio
from asyncio import unix_events
from typing import TYPE_CHECKING, Any

from . import _asyncloop

if TYPE_CHECKING:

    class TakenMethods(_asyncloop.Loop, asyncio.BaseEventLoop):  # type: ignore[misc]
        _handle_signal: Any
        _getaddrinfo_debug: Any
        _check_signal: Any
        _check_default_executor: Any
        _create_server_getaddrinfo: Any
        _connect_sock: Any
        _ensure_resolved: Any
        _ensure_fd_no_transport: Any

else:
    _Base = asyncio.BaseEventLoop
    _UnixBase = unix_events._UnixSelectorEventLoop

    class TakenMethods(_asyncloop.Loop):
        """The base of everything in Python that makes up asyncloop.Loop."""

        __repr__ = _Base.__repr__
        __del__ = _Base.__del__
        _check_callback = _Base._check_callback

        # Exceptions that nobody took.
        set_exception_handler = _Base.set_exception_handler
        get_exception_handler = _Base.get_exception_handler
        call_exception_handler = _Base.call_exception_handler
        default_exception_handler = _Base.default_exception_handler

        # Asynchronous generators.  C's run_forever puts the two hooks in force while it runs.
        shutdown_asyncgens = _Base.shutdown_asyncgens
        _asyncgen_firstiter_hook = _Base._asyncgen_firstiter_hook
        _asyncgen_finalizer_hook = _Base._asyncgen_finalizer_hook

        # Executors; run_in_executor is in C (src/task/bridge/executor.c).
        set_default_executor = _Base.set_default_executor
        shutdown_default_executor = _Base.shutdown_default_executor
        _check_default_executor = _Base._check_default_executor
        _do_shutdown = _Base._do_shutdown

        # Names and addresses.
        _create_server_getaddrinfo = _Base._create_server_getaddrinfo
        _ensure_resolved = _Base._ensure_resolved
        _getaddrinfo_debug = _Base._getaddrinfo_debug

        # Connections, and files sent through them.
        connect_accepted_socket = _Base.connect_accepted_socket
        sendfile = _Base.sendfile
        sock_sendfile = _Base.sock_sendfile
        _check_sendfile_params = _Base._check_sendfile_params
        _connect_sock = _Base._connect_sock
        _sock_sendfile_fallback = _Base._sock_sendfile_fallback

        # Pipes; the transports are in C (src/net/pipe/pipe.c).
        connect_read_pipe = _Base.connect_read_pipe
        connect_write_pipe = _Base.connect_write_pipe

        # Child processes; _process.py makes their transports.
        subprocess_exec = _Base.subprocess_exec
        subprocess_shell = _Base.subprocess_shell
        _log_subprocess = _Base._log_subprocess

        # Signals.  The signal module writes each signal's number to the wake-up fd; C reads it and calls _handle_signal.
        _check_signal = _UnixBase._check_signal
        _handle_signal = _UnixBase._handle_signal
        remove_signal_handler = _UnixBase.remove_signal_handler
