"""Every row, by group, in the order of the tables."""

from dataclasses import dataclass

import loops
import served
from workloads import callbacks, helpers, processes, sleeps, tasks, trees

_CORE = {row.name: row for family in (callbacks, sleeps, tasks) for row in family.ROWS}
_CORE_ORDER = ("call_soon", "sleep0", "sleep0_own", "create_task", "gather", "gather_asyncio", "ping_pong", "call_later", "sleeps",
               "sleeps_asyncio", "cancel", "threadsafe")


@dataclass(frozen=True)
class Group:
    """What --group runs: its rows, and how by default."""

    rows: tuple
    loops: tuple
    rounds: int
    seconds: float


GROUPS = {
    "core": Group((*(_CORE[name] for name in _CORE_ORDER), *served.ECHO), loops.NAMES, 7, 1.0),
    "net": Group((*served.NET, *processes.ROWS), loops.WITH_AIOFASTNET, 5, 0.6),
    "helpers": Group((*helpers.ROWS, *served.STREAMS, *trees.ROWS), loops.WITH_AIOFASTNET, 5, 0.6),
    "apps": Group(served.APPS, loops.WITH_INSTALLED, 5, 1.0),
}
assert sorted(_CORE) == sorted(_CORE_ORDER), "rows without a place in the table"

# Those that run inside one process (measure.py, instructions.py).
ROWS = tuple(row for group in GROUPS.values() for row in group.rows if hasattr(row, "run"))


def row(name):
    """The row of that name that runs inside one process."""
    return next(row for row in ROWS if row.name == name)
