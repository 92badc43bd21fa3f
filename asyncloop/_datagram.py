"""What a datagram endpoint needs once: resolving, binding, connecting.

DatagramMixin is a base of asyncloop.Loop.  Sending and receiving are in C (src/net/udp/udp.c).  Argument checks, exceptions and their texts are
asyncio's of the running Python.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio import base_events
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ._taken import TakenMethods
from ._unix import remove_stale_socket

if TYPE_CHECKING:
    _Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)
    _Address: TypeAlias = tuple[str, int] | str | None
    # What to try: ((family, proto), [local address, remote address]).
    _Try: TypeAlias = tuple[tuple[int, int], list[Any]]

_set_reuseport: Callable[[socket.socket], None] = getattr(base_events, "_set_reuseport")

ANY_SOCKET_BUT_STREAM = sys.version_info >= (3, 13)  # before, nothing but SOCK_DGRAM, and another text


def _check_given_socket(sock: socket.socket, options: dict[str, object]) -> None:
    is_wrong = sock.type == socket.SOCK_STREAM if ANY_SOCKET_BUT_STREAM else sock.type != socket.SOCK_DGRAM
    if is_wrong:
        kind = "datagram socket" if ANY_SOCKET_BUT_STREAM else "UDP Socket"
        raise ValueError(f"A {kind} was expected, got {sock!r}")
    problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if problems:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({problems})")


class DatagramMixin(TakenMethods):
    """The coroutine of asyncloop.Loop that makes datagram endpoints."""

    async def _resolve_pairs(self, local_addr: _Address, remote_addr: _Address, family: int, proto: int, flags: int) -> list[_Try]:
        """What to try, of all that have an address wherever one was asked for."""
        pairs: dict[tuple[int, int], list[Any]] = {}
        for side, addr in enumerate((local_addr, remote_addr)):
            if addr is None:
                continue
            if not (isinstance(addr, tuple) and len(addr) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(addr, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags, loop=self)
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for found_family, _, found_proto, _, address in infos:
                pairs.setdefault((found_family, found_proto), [None, None])[side] = address
        complete = [(key, pair) for key, pair in pairs.items()
                    if not (local_addr and pair[0] is None) and not (remote_addr and pair[1] is None)]
        if not complete:
            raise ValueError("can not get address information")
        return complete

    async def _datagram_pairs(self, local_addr: _Address, remote_addr: _Address, family: int, proto: int, flags: int) -> list[_Try]:
        """What to try, in this order."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [((family, proto), [None, None])]
        if family != getattr(socket, "AF_UNIX", None):
            return await self._resolve_pairs(local_addr, remote_addr, family, proto, flags)
        for addr in (local_addr, remote_addr):
            if addr is not None and not isinstance(addr, str):
                raise TypeError("string is expected")
        if isinstance(local_addr, str) and local_addr and local_addr[0] != "\0":
            remove_stale_socket(local_addr)
        return [((family, proto), [local_addr, remote_addr])]

    async def _open_datagram_socket(
        self, family: int, proto: int, local_address: Any, remote_address: Any, reuse_port: bool | None, allow_broadcast: bool | None
    ) -> socket.socket:
        sock = socket.socket(family=family, type=socket.SOCK_DGRAM, proto=proto)
        try:
            if reuse_port:
                _set_reuseport(sock)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            if local_address:
                sock.bind(local_address)
            if remote_address and not allow_broadcast:
                # One that may broadcast stays unconnected: the answers come from others than whom it sends to.
                await self.sock_connect(sock, remote_address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def create_datagram_endpoint(  # type: ignore[override]  # typeshed still has the reuse_address that Python 3.11 took away
        self,
        protocol_factory: Callable[[], _Protocol],
        local_addr: _Address = None,
        remote_addr: _Address = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _Protocol]:
        """Open a datagram socket, UDP or AF_UNIX.

        Returns (transport, protocol).  remote_addr: the only one that may be sent to.  sock: use this one, all else left out.
        """
        is_given = sock is not None
        remote_address = None
        if sock is not None:
            _check_given_socket(sock, dict(local_addr=local_addr, remote_addr=remote_addr, family=family, proto=proto, flags=flags,
                                           reuse_port=reuse_port, allow_broadcast=allow_broadcast))
            sock.setblocking(False)
        else:
            errors = []
            try:
                for key, (local_address, remote_address) in await self._datagram_pairs(local_addr, remote_addr, family, proto, flags):
                    try:
                        sock = await self._open_datagram_socket(*key, local_address, remote_address, reuse_port, allow_broadcast)
                        break
                    except OSError as exc:
                        errors.append(exc)
                else:
                    raise errors[0]
            finally:
                del errors  # the traceback of each holds this frame
        transport, protocol = await self._start_datagram_transport(protocol_factory, sock, remote_address, is_given, local_addr, remote_addr)
        return transport, protocol

    async def _start_datagram_transport(
        self,
        protocol_factory: Callable[[], _Protocol],
        sock: socket.socket,
        remote_address: Any,
        is_given: bool,
        local_addr: _Address,
        remote_addr: _Address,
    ) -> tuple[asyncio.DatagramTransport, _Protocol]:
        waiter = self.create_future()
        try:
            protocol = protocol_factory()
            transport = self._make_datagram_transport(sock, protocol, remote_address, waiter)
        except BaseException:
            if not is_given:
                sock.close()
            raise
        if self.get_debug():
            if local_addr:
                logger.info("Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)", local_addr, remote_addr, transport, protocol)
            else:
                logger.debug("Datagram endpoint remote_addr=%r created: (%r, %r)", remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            del waiter
        return transport, protocol
