"""Workloads, one file per family.

A row is one line of the result table: a name, what one operation is, and a function `run(bench, n)` that performs n operations on
`bench.loop` and returns when all are done.  Every loop runs the very same function; tasks and futures are made by the loop's own
create_task and create_future.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    unit: what one operation is.  step: n is a multiple of it.  max_n: the most operations one timing may take (memory).
    slices: how many timings one measurement takes; fewer where one operation is long.
    targets: (peer, least ratio of the peer's CPU time to asyncloop's).  loops: those it is for; empty: all.
    install: asyncloop is measured after asyncloop.install().  needs: packages without which the row is left out.
    instr_n: the two operation counts whose difference instructions.py takes.
    """

    name: str
    title: str
    unit: str
    run: Callable
    step: int = 1
    max_n: int = 100_000_000
    slices: int = 5
    targets: tuple = ()
    metrics: tuple = ("cpu_ns",)
    loops: tuple = ()
    install: bool = False
    needs: tuple = ()
    instr_n: tuple = (1_000, 4_000)


def targets(uvloop):
    """A row's targets: this factor over uvloop, and never slower than rloop or zuvloop."""
    return (("uvloop", uvloop), ("rloop", 1.0), ("zuvloop", 1.0))
