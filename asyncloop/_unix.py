"""Unix stream sockets: connecting to a path, serving on one.

UnixMixin is a base of asyncloop.Loop.  The connections themselves are the C socket transport's (src/net/conn/sock_transport.c).  Argument checks,
exceptions and their texts are asyncio's of the running Python.
PYTEST_DONT_REWRITE: an assertion that fails says as little as asyncio's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ._connect import ConnectMixin, Server

if TYPE_CHECKING:
    from ssl import SSLContext

    from _typeshed import StrPath

    _Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
    _MaybeContext: TypeAlias = bool | SSLContext | None


def _is_abstract(path: Any) -> bool:
    """Whether a name, str or bytes, is not a path of the file system."""
    return path[0] in (0, "\0")


def _check_unix_socket(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def remove_stale_socket(path: str | bytes) -> None:
    """A socket that a dead server left at path would make bind() fail."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        # A folder may allow to make sockets and nothing else: bind() decides.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, exc)


def _bind_unix_socket(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not _is_abstract(path):
            remove_stale_socket(path)
        sock.bind(path)
    except OSError as exc:
        sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


class UnixMixin(ConnectMixin):
    """The coroutines of asyncloop.Loop for Unix stream sockets."""

    # The inode of each listening socket's path that is to be removed when the server closes; made by Loop.__init__.
    _unix_server_sockets: dict[socket.socket, int]

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        path: StrPath | None = None,
        *,
        ssl: _MaybeContext = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connect to the Unix socket at path.  Returns (transport, protocol)."""
        assert server_hostname is None or isinstance(server_hostname, str)
        if ssl:
            if server_hostname is None:
                raise ValueError("you have to pass server_hostname when using ssl")
        elif server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        elif ssl_handshake_timeout is not None:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        elif ssl_shutdown_timeout is not None:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        is_given = sock is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, path)
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            _check_unix_socket(sock)
            sock.setblocking(False)
        return await self._create_connection_transport(
            sock, protocol_factory, ssl, server_hostname, is_given=is_given,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)

    async def _create_unix_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: StrPath | None,
        sock: socket.socket | None,
        backlog: int,
        ssl: _MaybeContext,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        start_serving: bool,
        cleanup_socket: bool,
    ) -> Server:
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if ssl_handshake_timeout is not None and not ssl:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if ssl_shutdown_timeout is not None and not ssl:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        is_given = sock is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix_socket(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            _check_unix_socket(sock)
        try:
            if cleanup_socket:
                self._remember_unix_path(sock)
            sock.setblocking(False)
            server = Server(self, [sock], protocol_factory, ssl, backlog, ssl_handshake_timeout, ssl_shutdown_timeout)
            if start_serving:
                server._start_serving()
        except BaseException:
            if not is_given:
                self._stop_serving(sock)
            raise
        if start_serving:
            await asyncio.sleep(0)
        return server

    if sys.version_info >= (3, 13):

        async def create_unix_server(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            path: StrPath | None = None,
            *,
            sock: socket.socket | None = None,
            backlog: int = 100,
            ssl: _MaybeContext = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
            cleanup_socket: bool = True,
        ) -> Server:
            """A server on the Unix socket at path, or with an abstract name (beginning with a zero byte).  Returns a Server.

            cleanup_socket: close() removes the path, if it is still this server's.
            """
            return await self._create_unix_server(protocol_factory, path, sock, backlog, ssl, ssl_handshake_timeout, ssl_shutdown_timeout,
                                                  start_serving, cleanup_socket)
    else:

        async def create_unix_server(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            path: StrPath | None = None,
            *,
            sock: socket.socket | None = None,
            backlog: int = 100,
            ssl: _MaybeContext = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
        ) -> Server:
            """A server on the Unix socket at path, or with an abstract name (beginning with a zero byte).  Returns a Server."""
            return await self._create_unix_server(protocol_factory, path, sock, backlog, ssl, ssl_handshake_timeout, ssl_shutdown_timeout,
                                                  start_serving, False)

    def _remember_unix_path(self, sock: socket.socket) -> None:
        path = sock.getsockname()
        if not _is_abstract(path):
            try:
                self._unix_server_sockets[sock] = os.stat(path).st_ino
            except FileNotFoundError:
                pass

    def _stop_serving(self, sock: socket.socket) -> None:
        """Close a listening socket, and remove its path when it is one that create_unix_server() bound, and nobody else's by now."""
        inode = self._unix_server_sockets.pop(sock, None)
        path: Any = sock.getsockname() if inode is not None else None
        super()._stop_serving(sock)
        if inode is None:
            return
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)
