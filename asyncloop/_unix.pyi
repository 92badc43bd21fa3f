"""_unix.py as its users see it: the coroutines of asyncio's loop, with their parameters in each Python version."""

import asyncio
import sys
from _typeshed import StrPath
from collections.abc import Callable
from socket import socket
from ssl import SSLContext
from typing import TypeAlias, TypeVar

from ._connect import ConnectMixin, Server

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Context: TypeAlias = bool | SSLContext | None

class UnixMixin(ConnectMixin):
    _unix_server_sockets: dict[socket, int]
    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        path: str | None = None,
        *,
        ssl: _Context = None,
        sock: socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]: ...
    if sys.version_info >= (3, 13):
        async def create_unix_server(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            path: StrPath | None = None,
            *,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Context = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
            cleanup_socket: bool = True,
        ) -> Server: ...
    else:
        async def create_unix_server(
            self,
            protocol_factory: Callable[[], asyncio.BaseProtocol],
            path: StrPath | None = None,
            *,
            sock: socket | None = None,
            backlog: int = 100,
            ssl: _Context = None,
            ssl_handshake_timeout: float | None = None,
            ssl_shutdown_timeout: float | None = None,
            start_serving: bool = True,
        ) -> Server: ...
