"""_streams.py as its users see it: asyncio's functions for streams, with our classes."""

import asyncio
from _typeshed import StrPath
from collections.abc import Callable
from typing import Any, TypeAlias

from ._asyncloop import StreamReader, StreamWriter

_ClientConnectedCallback: TypeAlias = Callable[[StreamReader, StreamWriter], object]

async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]: ...
async def start_server(
    client_connected_cb: _ClientConnectedCallback,
    host: str | list[str] | tuple[str, ...] | None = None,
    port: int | str | None = None,
    *,
    limit: int = 65536,
    **kwds: Any,
) -> asyncio.Server: ...
async def open_unix_connection(path: StrPath | None = None, *, limit: int = 65536, **kwds: Any) -> tuple[StreamReader, StreamWriter]: ...
async def start_unix_server(
    client_connected_cb: _ClientConnectedCallback, path: StrPath | None = None, *, limit: int = 65536, **kwds: Any
) -> asyncio.Server: ...
