"""open_connection, start_server, their sisters for Unix sockets, and StreamWriter.start_tls: what a connection or a server needs once.

The classes are in C (src/net/stream*).
"""

import asyncio
import sys

from . import _asyncloop

__all__ = ["open_connection", "start_server", "open_unix_connection", "start_unix_server"]

_DEFAULT_LIMIT = 2**16
HAS_SHUTDOWN_TIMEOUT = sys.version_info >= (3, 12)
REPLACES_TRANSPORT = hasattr(asyncio.StreamReaderProtocol, "_replace_transport")  # in earlier patch releases _replace_writer


async def _connect(limit, create_connection, *address, **options):
    loop = asyncio.events.get_running_loop()
    reader = _asyncloop.StreamReader(limit=limit, loop=loop)
    protocol = _asyncloop.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await getattr(loop, create_connection)(lambda: protocol, *address, **options)
    return reader, _asyncloop.StreamWriter(transport, protocol, reader, loop)


async def open_connection(host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """Connect, and return (StreamReader, StreamWriter).

    limit: of the reader, in bytes.  The other arguments are those of loop.create_connection.
    """
    return await _connect(limit, "create_connection", host, port, **kwds)


async def start_server(client_connected_cb, host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """Serve: client_connected_cb(reader, writer) is called for each connection; a coroutine that it returns becomes a task.

    limit: of the readers, in bytes.  The other arguments and the result are those of loop.create_server.
    """
    loop = asyncio.events.get_running_loop()
    return await loop.create_server(_asyncloop._stream_factory(client_connected_cb, limit, loop), host, port, **kwds)


async def open_unix_connection(path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """open_connection for a Unix socket."""
    return await _connect(limit, "create_unix_connection", path, **kwds)


async def start_unix_server(client_connected_cb, path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """start_server for a Unix socket."""
    loop = asyncio.events.get_running_loop()
    return await loop.create_unix_server(_asyncloop._stream_factory(client_connected_cb, limit, loop), path, **kwds)


async def _start_tls(writer, sslcontext, **options):
    protocol = writer._protocol
    server_side = protocol._client_connected_cb is not None
    await writer.drain()
    transport = await writer._loop.start_tls(writer._transport, protocol, sslcontext, server_side=server_side, **options)
    writer._transport = transport
    if REPLACES_TRANSPORT:
        protocol._replace_transport(transport)
    else:
        protocol._replace_writer(writer)


if HAS_SHUTDOWN_TIMEOUT:

    async def start_tls(writer, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None):
        await _start_tls(writer, sslcontext, server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout,
                         ssl_shutdown_timeout=ssl_shutdown_timeout)

else:

    async def start_tls(writer, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None):
        await _start_tls(writer, sslcontext, server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout)


start_tls.__qualname__ = "StreamWriter.start_tls"
for _name in __all__:
    globals()[_name].__module__ = "asyncloop"
