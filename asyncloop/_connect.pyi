"""_connect.py as its users see it: the coroutines of asyncio's loop, with their parameters in each Python version."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from socket import AddressFamily, AddressInfo, SocketKind, socket
from ssl import SSLContext
from typing import IO, Any, TypeAlias, TypeVar

from . import _asyncloop

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Context: TypeAlias = bool | SSLContext | None

class Server(_asyncloop.ServerBase, asyncio.Server):
    def close_clients(self) -> None: ...
    def abort_clients(self) -> None: ...

class ConnectMixin:
    async def sock_connect(self, sock: socket, address: Any) -> None: ...
    async def sock_sendfile(
        self, sock: socket, file: IO[bytes], offset: int = 0, count: int | None = None, *, fallback: bool | None = True
    ) -> int: ...
    async def sendfile(
        self, transport: asyncio.WriteTransport, file: IO[bytes], offset: int = 0, count: int | None = None, *, fallback: bool = True
    ) -> int: ...
    async def start_tls(
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None: ...
    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _Protocol],
        sock: socket,
        *,
        ssl: _Context = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]: ...
    async def create_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: _Context = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _Protocol]: ...
    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = ...,
        flags: int = ...,
        sock: socket | None = None,
        backlog: int = 100,
        ssl: _Context = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server: ...
