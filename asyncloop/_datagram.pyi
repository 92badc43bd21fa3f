"""_datagram.py as its users see it."""

import asyncio
from collections.abc import Callable
from socket import socket
from typing import TypeVar

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)

class DatagramMixin:
    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], _Protocol],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _Protocol]: ...
