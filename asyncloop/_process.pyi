"""_process.py as its users see it."""

import asyncio
from collections.abc import Callable
from typing import IO, Any, Literal, TypeAlias, TypeVar

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
_Pipe: TypeAlias = int | IO[Any] | None

class ProcessMixin:
    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _Protocol],
        program: Any,
        *args: Any,
        stdin: _Pipe = -1,
        stdout: _Pipe = -1,
        stderr: _Pipe = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[False] = False,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _Protocol]: ...
    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _Protocol],
        cmd: bytes | str,
        *,
        stdin: _Pipe = -1,
        stdout: _Pipe = -1,
        stderr: _Pipe = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[True] = True,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _Protocol]: ...
