"""open_connection, start_server, their sisters for Unix sockets, and StreamWriter.start_tls: what a connection or a server needs once.

The classes are in C (src/net/stream*).  As asyncio's functions, ours show no annotations: those in this file are for type checkers, and are not made
lazy by a __future__ import, which a function's code would show as well.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _asyncloop
from ._asyncloop import StreamReader, StreamWriter

if TYPE_CHECKING:
    from ssl import SSLContext

    from _typeshed import StrPath

__all__ = ["open_connection", "start_server", "open_unix_connection", "start_unix_server"]

_DEFAULT_LIMIT = 2**16
REPLACES_TRANSPORT = hasattr(asyncio.StreamReaderProtocol, "_replace_transport")  # in earlier patch releases _replace_writer

_OnConnection: TypeAlias = Callable[[StreamReader, StreamWriter], object]


async def _connect(limit: int, create_connection: str, *address: Any, **options: Any) -> tuple[StreamReader, StreamWriter]:
    loop = asyncio.events.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    protocol = _asyncloop.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await getattr(loop, create_connection)(lambda: protocol, *address, **options)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect, and return (StreamReader, StreamWriter).

    limit: of the reader, in bytes.  The other arguments are those of loop.create_connection.
    """
    return await _connect(limit, "create_connection", host, port, **kwds)


async def start_server(
    client_connected_cb: _OnConnection,
    host: str | list[str] | tuple[str, ...] | None = None,
    port: int | str | None = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve: client_connected_cb(reader, writer) is called for each connection; a coroutine that it returns becomes a task.

    limit: of the readers, in bytes.  The other arguments and the result are those of loop.create_server.
    """
    loop: Any = asyncio.events.get_running_loop()
    server: asyncio.Server = await loop.create_server(_asyncloop._stream_factory(client_connected_cb, limit, loop), host, port, **kwds)
    return server


async def open_unix_connection(
    path: "StrPath | None" = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """open_connection for a Unix socket."""
    return await _connect(limit, "create_unix_connection", path, **kwds)


async def start_unix_server(
    client_connected_cb: _OnConnection, path: "StrPath | None" = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> asyncio.Server:
    """start_server for a Unix socket."""
    loop = asyncio.events.get_running_loop()
    return await loop.create_unix_server(_asyncloop._stream_factory(client_connected_cb, limit, loop), path, **kwds)


async def _start_tls(writer: StreamWriter, sslcontext: "SSLContext", **options: Any) -> None:
    protocol = writer._protocol
    server_side = protocol._client_connected_cb is not None
    await writer.drain()
    transport = await writer._loop.start_tls(writer._transport, protocol, sslcontext, server_side=server_side, **options)
    writer._transport = transport
    if REPLACES_TRANSPORT:
        protocol._replace_transport(transport)
    else:
        protocol._replace_writer(writer)


if sys.version_info >= (3, 12):

    async def start_tls(
        writer: StreamWriter,
        sslcontext: "SSLContext",
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        await _start_tls(writer, sslcontext, server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout,
                         ssl_shutdown_timeout=ssl_shutdown_timeout)

else:

    async def start_tls(
        writer: StreamWriter, sslcontext: "SSLContext", *, server_hostname: str | None = None, ssl_handshake_timeout: float | None = None
    ) -> None:
        await _start_tls(writer, sslcontext, server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout)


start_tls.__qualname__ = "StreamWriter.start_tls"
for _function in (start_tls, open_connection, start_server, open_unix_connection, start_unix_server):
    _function.__annotations__ = {}
    if _function is not start_tls:
        _function.__module__ = "asyncloop"
