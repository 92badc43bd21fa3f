"""Child processes, and names that need no resolver."""

import asyncio
import socket
import sys

from . import Row

BATCH = 20


async def _spawn(n):
    if sys.version_info < (3, 12):      # asyncio's own loop asks it; the other loops do not
        asyncio.get_child_watcher().attach_loop(asyncio.get_running_loop())
    for _ in range(n):
        process = await asyncio.create_subprocess_exec("true")
        if await process.wait() != 0:
            raise AssertionError("true failed")


def spawn(bench, n):
    """create_subprocess_exec of /bin/true and wait, one after the other; the children's own time is not counted."""
    bench.run(_spawn(n))


async def _resolve(loop, n):
    for _ in range(n):
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        if found[0][4] != ("127.0.0.1", 80):
            raise AssertionError(found)


def getaddrinfo(bench, n):
    """A numeric host, which needs no thread."""
    bench.run(_resolve(bench.loop, n))


ROWS = (
    Row("spawn", "spawn `true` and wait, 500 times", "process", spawn, step=BATCH, max_n=500, slices=1, targets=(("asyncio", 1.2),)),
    Row("getaddrinfo", "getaddrinfo of a numeric host", "call", getaddrinfo, targets=(("uvloop", 1.0),)),
)
