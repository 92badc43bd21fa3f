"""What a connection or a server needs once: resolving, connecting, binding, sendfile, start_tls.

ConnectMixin is a base of asyncloop.Loop.  Everything that runs per event (reading, writing, accepting) is in C (src/net); the
coroutines here end by handing a socket to it.  What asyncio's own coroutines can do on this loop they do; those written anew are here for
what their docstrings tell, with the argument checks, exceptions and texts that asyncio has in the running Python.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import io
import itertools
import os
import socket
import sys
from asyncio import base_events, constants, exceptions, staggered, trsock
from asyncio.log import logger
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from . import _asyncloop
from ._taken import TakenMethods

if TYPE_CHECKING:
    from asyncio import Server as _AbstractServer  # whom create_server is to return by its type
    from ssl import SSLContext

    _Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
    _MaybeContext: TypeAlias = bool | SSLContext | None
else:
    from asyncio import AbstractServer as _AbstractServer

    try:
        from ssl import SSLContext
    except ImportError:  # a Python built without OpenSSL
        SSLContext = None

_parts: Any = base_events  # with the names that are asyncio's own
_check_ssl_socket: Callable[[socket.socket], None] = _parts._check_ssl_socket
_staggered: Any = staggered  # its function is looked up when it is called: tests put another in its place

BIND_ERROR_HAS_ERRNO = sys.version_info >= (3, 13)  # str(exc) in the text, not only strerror
BIND_SKIPS_MISSING_ADDRESS = sys.version_info >= (3, 13)  # EADDRNOTAVAIL: the family is not enabled, try the others
FAILURE_CLOSES_GIVEN_SOCKET = sys.version_info >= (3, 14)  # when the transport cannot be made; sockets of our own are always closed
REUSE_PORT_ONLY_INET = sys.version_info >= (3, 14)
_fallback_names = _parts.BaseEventLoop._sendfile_fallback.__code__.co_names
SENDFILE_DRAINS_LAST = _fallback_names.index("write") < _fallback_names.index("drain")  # 3.14: it ends when there is room again
SENDFILE_SEEKS_ALWAYS = sys.version_info >= (3, 14)  # the fallback starts at offset even when that is 0
SERVE_FOREVER_CLOSES_CLIENTS = sys.version_info >= (3, 14)
SERVER_KEEPS_CONTEXT = sys.version_info >= (3, 15)
WAIT_CLOSED_WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)

SENDFILE_MAX = sys.maxsize // 2 + 1
FALLBACK_BLOCK = 16384


class Server(_asyncloop.ServerBase, _AbstractServer):
    """Listening sockets and the connections they accepted; what create_server returns.

    The base class keeps the connections and calls _wakeup() when, after close(), the last one has gone.
    """

    def __init__(
        self,
        loop: Any,
        sockets: list[socket.socket],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        ssl_context: SSLContext | None,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        self._loop = loop
        self._sockets: list[socket.socket] | None = sockets
        self._listeners: list[Any] = []
        self._waiters: list[asyncio.Future[None]] | None = []
        self._protocol_factory = protocol_factory
        self._backlog = backlog
        self._ssl_context = ssl_context
        self._ssl_handshake_timeout = ssl_handshake_timeout
        self._ssl_shutdown_timeout = ssl_shutdown_timeout
        self._serving = False
        self._serving_forever_fut: asyncio.Future[None] | None = None
        self._context = contextvars.copy_context() if SERVER_KEEPS_CONTEXT else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._loop
        return loop

    def is_serving(self) -> bool:
        return self._serving

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        shown: Callable[[socket.socket], Any] = trsock.TransportSocket
        return tuple(map(shown, self._sockets or ()))

    def _start_serving(self) -> None:
        if self._serving:
            return
        self._serving = True
        factory = self._protocol_factory
        if self._ssl_context is not None:
            factory = functools.partial(self._loop._make_tls_server_protocol, factory, self._ssl_context,
                                        self._ssl_handshake_timeout, self._ssl_shutdown_timeout)
        for sock in self._sockets:  # type: ignore[union-attr]  # asyncio's too is a TypeError once the server is closed
            sock.listen(self._backlog)
            self._listeners.append(self._loop._start_listening(sock, factory, self, self._backlog, self._context))

    async def start_serving(self) -> None:
        self._start_serving()
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        if self._serving_forever_fut is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        self._serving_forever_fut = self._loop.create_future()
        try:
            await self._serving_forever_fut
        except asyncio.CancelledError:
            try:
                self.close()
                if SERVE_FOREVER_CLOSES_CLIENTS:
                    self.close_clients()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever_fut = None

    def close(self) -> None:
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        for listener in self._listeners:
            self._loop._stop_listening(listener)
        self._listeners.clear()
        for sock in sockets:
            self._loop._stop_serving(sock)
        self._serving = False
        if self._serving_forever_fut is not None and not self._serving_forever_fut.done():
            self._serving_forever_fut.cancel()
            self._serving_forever_fut = None
        self._mark_closed()
        if self._active_count == 0:
            self._wakeup()

    def _wakeup(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    async def wait_closed(self) -> None:
        """Wait until the server is closed and, from Python 3.12 on, all its connections have ended."""
        if self._waiters is None or (self._sockets is None and not WAIT_CLOSED_WAITS_FOR_CLIENTS):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter


class _SendfileProtocol(_parts._SendfileFallbackProtocol):  # type: ignore[misc]
    """Stands in for a transport's protocol while a file is written to it piece by piece.

    It is asyncio's, with two faults cured: a wait for room that was cancelled is not ended once more when the connection is lost, and no frame of
    the traceback of a wait that failed leads to the future that holds the exception.
    """

    async def drain(self) -> None:
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._write_ready_fut is not None:
            await self._write_ready_fut

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_ended_wait()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._forget_ended_wait()
        super().resume_writing()

    async def restore(self) -> None:
        await super().restore()
        self._write_ready_fut = None

    def _forget_ended_wait(self) -> None:
        if self._write_ready_fut is not None and self._write_ready_fut.done():
            self._write_ready_fut = None


def _check_tls_options(has_tls: object, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None) -> None:
    if ssl_handshake_timeout is not None and not has_tls:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if ssl_shutdown_timeout is not None and not has_tls:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


def _check_stream_socket(sock: socket.socket) -> None:
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def _bind_error(address: Any, exc: OSError) -> OSError:
    reason = str(exc) if BIND_ERROR_HAS_ERRNO else exc.strerror or ""
    return OSError(exc.errno, f"error while attempting to bind on address {address!r}: {reason.lower()}")


def _raise_connect_errors(errors: list[OSError], all_errors: bool) -> NoReturn:
    """No address could be connected to: one exception that tells why."""
    try:
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        if not errors:
            raise TimeoutError("create_connection failed")
        texts = [str(exc) for exc in errors]
        if all(text == texts[0] for text in texts):
            raise errors[0]
        raise OSError(f"Multiple exceptions: {', '.join(texts)}")
    finally:
        del errors  # else the exception's traceback holds the exception


def _bind_listening_socket(
    info: Any, reuse_address: bool | None, reuse_port: bool | None, keep_alive: bool | None, debug: bool
) -> socket.socket | None:
    """A bound socket for one getaddrinfo() entry; None where the system does not have that family."""
    family, type_, proto, _, address = info
    try:
        sock = socket.socket(family, type_, proto)
    except OSError:
        if debug:
            logger.warning("create_server() failed to create socket.socket(%r, %r, %r)", family, type_, proto, exc_info=True)
        return None
    error = None
    try:
        if reuse_address:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        if reuse_port and (not REUSE_PORT_ONLY_INET or family in (socket.AF_INET, socket.AF_INET6)):
            _parts._set_reuseport(sock)
        if keep_alive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        if family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
            # One socket a family: an IPv6 one must not take the IPv4 port too.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
        try:
            sock.bind(address)
        except OSError as exc:
            error = _bind_error(address, exc)
            if exc.errno == errno.EADDRNOTAVAIL and BIND_SKIPS_MISSING_ADDRESS:
                sock.close()
                if debug:
                    logger.warning(error.args[1])
                return None
            raise error from None
    except BaseException:
        sock.close()
        raise
    finally:
        error = None  # its traceback holds this frame
    return sock


class ConnectMixin(TakenMethods):
    """The coroutines of asyncloop.Loop that make connections and servers.

    An exception's traceback holds the frames it came through: a frame that still names the exception, or a list with it, when it is left keeps
    both alive, and with them the caller's variables, until the collector runs.  So such names are cleared in a finally.
    """

    async def _resolve(self, address: Any, hints: dict[str, int]) -> Any:
        infos = await self._ensure_resolved(address, **hints, loop=self)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket; the host may be a name."""
        _check_ssl_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(address, family=sock.family, type=sock.type, proto=sock.proto, loop=self)
            address = resolved[0][4]
        return await self._sock_connect(sock, address)

    async def _connect_first(
        self, infos: Any, local_infos: Any, happy_eyeballs_delay: float | None, exceptions: list[list[OSError]]
    ) -> Any:
        """The first of these addresses that can be connected to, or None."""
        try:
            if happy_eyeballs_delay is None:
                for info in infos:
                    try:
                        return await self._connect_sock(exceptions, info, local_infos)
                    except OSError:
                        continue
                return None
            race = await _staggered.staggered_race(
                (lambda info=info: self._connect_sock(exceptions, info, local_infos) for info in infos), happy_eyeballs_delay, loop=self)
            race[-1].clear()  # what the losers raised: up to Python 3.13 their frames hold this very list
            return race[0]
        finally:
            del exceptions

    async def _connect_host(
        self,
        address: tuple[str | None, int | str | None],
        hints: dict[str, int],
        local_addr: tuple[str, int] | None,
        happy_eyeballs_delay: float | None,
        interleave: int | None,
        all_errors: bool,
    ) -> socket.socket:
        infos = await self._resolve(address, hints)
        local_infos = None
        if local_addr is not None:
            local_infos = await self._resolve(local_addr, hints)
        if interleave:
            infos = _parts._interleave_addrinfos(infos, interleave)
        exceptions: list[list[OSError]] = []
        errors = None
        try:
            sock: socket.socket | None = await self._connect_first(infos, local_infos, happy_eyeballs_delay, exceptions)
            if sock is None:
                errors = [exc for sub in exceptions for exc in sub]
                _raise_connect_errors(errors, all_errors)
            return sock
        finally:
            del exceptions, errors

    async def create_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: _MaybeContext = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connect to a TCP server.  Returns (transport, protocol).

        all_errors: an ExceptionGroup of every failure instead of one OSError.
        asyncio's coroutine keeps the failures of addresses in cycles when another address works, and up to Python 3.13 in every race of addresses.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        _check_tls_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            _check_ssl_socket(sock)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1
        is_given = sock is not None
        if host is not None or port is not None:
            if is_given:
                raise ValueError("host/port and sock can not be specified at the same time")
            hints = dict(family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags)
            sock = await self._connect_host((host, port), hints, local_addr, happy_eyeballs_delay, interleave, all_errors)
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            _check_stream_socket(sock)
        transport, protocol = await self._create_connection_transport(
            sock, protocol_factory, ssl, server_hostname, is_given=is_given,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)
        if self.get_debug():
            logger.debug("%r connected to %s:%r: (%r, %r)", transport.get_extra_info("socket"), host, port, transport, protocol)
        return transport, protocol

    async def _create_connection_transport(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _Protocol],
        ssl: _MaybeContext,
        server_hostname: str | None,
        server_side: bool = False,
        is_given: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: contextvars.Context | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """The transport and its protocol, connected.

        is_given: sock is the caller's, who closes it when no transport can be made; Python 3.14 and later close it all the same.
        Up to Python 3.13 asyncio's coroutine keeps a failed TLS handshake in a cycle, and leaves a socket open that nobody else knows.
        """
        try:
            sock.setblocking(False)
            protocol = protocol_factory()
            waiter = self.create_future()
            transport: asyncio.Transport
            if ssl:
                transport = self._make_ssl_transport(
                    sock, protocol, None if isinstance(ssl, bool) else ssl, waiter,
                    server_side=server_side, server_hostname=server_hostname,
                    ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout, context=context)
            else:
                transport = self._make_socket_transport(sock, protocol, waiter, context=context)
        except BaseException:
            if not is_given or FAILURE_CLOSES_GIVEN_SOCKET:
                sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            del waiter
        return transport, protocol

    # ---- server side

    async def _bind_hosts(
        self,
        host: Any,
        port: Any,
        family: int,
        flags: int,
        reuse_address: bool | None,
        reuse_port: bool | None,
        keep_alive: bool | None,
    ) -> list[socket.socket]:
        """Bound sockets for every address of every host, each address once."""
        hosts: Iterable[Any]
        if host == "":
            hosts = [None]
        elif isinstance(host, str) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = host
        found = await asyncio.gather(*[self._create_server_getaddrinfo(one, port, family=family, flags=flags) for one in hosts])
        infos = set(itertools.chain.from_iterable(found))
        sockets = []
        try:
            for info in infos:
                sock = _bind_listening_socket(info, reuse_address, reuse_port, keep_alive, self.get_debug())
                if sock is not None:
                    sockets.append(sock)
            if not sockets and BIND_SKIPS_MISSING_ADDRESS:
                raise OSError(f"could not bind on any address out of {[info[4] for info in infos]!r}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: _MaybeContext = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """A TCP server on host (a name, several, or None for every interface) and port.  Returns a Server."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        _check_tls_options(ssl is not None, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            _check_ssl_socket(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if reuse_address is None:
                reuse_address = True
            sockets = await self._bind_hosts(host, port, family, flags, reuse_address, reuse_port, keep_alive)
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            _check_stream_socket(sock)
            sockets = [sock]
        for sock in sockets:
            sock.setblocking(False)
        server = Server(self, sockets, protocol_factory, ssl, backlog, ssl_handshake_timeout, ssl_shutdown_timeout)
        if start_serving:
            server._start_serving()
            await asyncio.sleep(0)
        if self.get_debug():
            logger.info("%r is serving", server)
        return server

    def _stop_serving(self, sock: socket.socket) -> None:
        sock.close()

    # ---- TLS

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: contextvars.Context | None = None,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        tls = _asyncloop.TLSProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname,
                                   ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
        return tls._app_transport

    def _make_tls_server_protocol(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        sslcontext: SSLContext,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> _asyncloop.TLSProtocol:
        """The protocol of an accepted connection's TLS layer, around the user's."""
        protocol = factory()
        waiter = self.create_future()
        tls = _asyncloop.TLSProtocol(self, protocol, sslcontext, waiter, True, None,
                                   ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)
        waiter.add_done_callback(functools.partial(self._on_tls_handshake, protocol, tls._app_transport))
        return tls

    def _on_tls_handshake(self, protocol: asyncio.BaseProtocol, transport: asyncio.Transport, waiter: asyncio.Future[None]) -> None:
        exc = None if waiter.cancelled() else waiter.exception()
        if exc is None:
            return
        transport.close()
        if self.get_debug():
            self.call_exception_handler({
                "message": "Error on transport creation for incoming connection",
                "exception": exc,
                "protocol": protocol,
                "transport": transport,
            })

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Go on with TLS on a plain connection.  Returns the transport that protocol is to use from now on."""
        if SSLContext is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        tls = _asyncloop.TLSProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname,
                                   ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
                                   call_connection_made=False)
        # Nothing may reach the TLS layer before its connection_made.
        below: Any = transport
        below.pause_reading()
        transport.set_protocol(tls)
        if getattr(transport, "_protocol_paused", False):
            tls._take_over_pause()
        if server_side and isinstance(protocol, asyncio.StreamReaderProtocol):
            # The client's first TLS bytes may have come together with the request to start: they are in the reader.
            reader = getattr(protocol, "_stream_reader", None)
            if reader is not None and reader._buffer:
                tls._feed(reader._buffer)
                reader._buffer.clear()
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(below.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            raise
        finally:
            del waiter
        app_transport: asyncio.Transport = tls._app_transport
        return app_transport

    # ---- files

    async def _sock_sendfile_native(self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None) -> int:
        """asyncio's, but that the end of a transport that uses the socket ends it too: abort() need not wait for the peer to read."""
        try:
            in_fd = file.fileno()
            size = os.fstat(in_fd).st_size
        except (AttributeError, io.UnsupportedOperation, OSError):
            raise exceptions.SendfileNotAvailableError("not a regular file")
        if not (count or size):
            return 0
        total, waited = 0, False
        try:
            while count is None or total < count:
                try:
                    sent = os.sendfile(sock.fileno(), in_fd, offset, min(size if count is None else count - total, SENDFILE_MAX))
                except (BlockingIOError, InterruptedError):
                    sent = None
                except OSError as exc:
                    if waited and exc.errno == errno.ENOTCONN and type(exc) is not ConnectionError:
                        exc = ConnectionError("socket is not connected", errno.ENOTCONN)
                    if total == 0:
                        raise exceptions.SendfileNotAvailableError("os.sendfile call failed") from exc
                    raise exc
                if sent == 0:
                    break
                total += sent or 0
                offset += sent or 0
                waited = True
                await self._sock_wait_writable(sock)
            return total
        finally:
            self._count_sent(total)
            if total > 0 or SENDFILE_SEEKS_ALWAYS:
                os.lseek(in_fd, offset, os.SEEK_SET)

    async def _sendfile_native(self, transp: Any, file: IO[bytes], offset: int, count: int | None) -> int:
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    async def _sendfile_fallback(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        """asyncio's, but that the transport gets a copy of each block: the buffer is used again, and a TLS layer keeps what it is given."""
        if hasattr(file, "seek") if SENDFILE_SEEKS_ALWAYS else offset:
            file.seek(offset)
        buffer = memoryview(bytearray(min(count, FALLBACK_BLOCK) if count else FALLBACK_BLOCK))
        total = 0
        protocol = _SendfileProtocol(transp)
        try:
            while not count or total < count:
                view = buffer[:count - total] if count else buffer
                n = await self.run_in_executor(None, file.readinto, view)
                if not n:
                    break
                if not SENDFILE_DRAINS_LAST:
                    await protocol.drain()
                transp.write(bytes(view[:n]))
                if SENDFILE_DRAINS_LAST:
                    await protocol.drain()
                total += n
            return total
        finally:
            if total > 0 and hasattr(file, "seek"):
                file.seek(offset + total)
            await protocol.restore()
