"""`python -m asyncloop --metrics` and `--watch`: every loop of the process, in a summary at its end or in a table that lives.

The loops are known by loop.py's observers; of a closed one the figures of its last moment are kept.  Everything goes to standard error.
Threads: loops may live in several; what they share is guarded by the lock.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from . import loop as loop_module
from ._metrics import Metrics

# Loops that are shown one by one; of more only the sum.
_SHOWN = 5
_MAXIMA = {"longest_callback", "lag", "lag_max", "ready_max"}


def total(all_metrics: list[Metrics]) -> Metrics:
    """The sums of several loops, and the largest where a sum would mean nothing."""

    def of(name: str) -> Any:
        values = [getattr(each, name) for each in all_metrics]
        return max(values) if name in _MAXIMA else sum(values)

    return Metrics(**{field.name: of(field.name) for field in dataclasses.fields(Metrics)})


def bytes_text(n: float) -> str:
    """1.5 MiB and its like."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def seconds_text(seconds: float) -> str:
    """1.25 s, 3.1 ms, 40 us."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms" if seconds >= 0.001 or not seconds else f"{seconds * 1e6:.0f} us"


def lines(m: Metrics) -> list[tuple[str, str]]:
    """What is said of one loop: rows of a name and a text."""
    ran = m.time_polling + m.time_working
    connections = [("TCP", m.tcp_connections), ("TLS", m.tls_connections), ("Unix", m.unix_sockets), ("UDP", m.udp_sockets), ("pipes", m.pipes)]
    connections += [("other", m.other_sockets)] if m.other_sockets else []
    return [
        ("ran", f"{seconds_text(ran)}: {seconds_text(m.time_working)} working, {seconds_text(m.time_polling)} waiting"),
        ("passes", f"{m.passes:,} with {m.polls:,} polls and {m.glances:,} glances"),
        ("callbacks", f"{m.callbacks:,}, of these {m.task_steps:,} steps of tasks; longest {seconds_text(m.longest_callback)}"),
        ("ready", f"{m.ready:,} now, at most {m.ready_max:,}"),
        ("lag", f"{seconds_text(m.lag)} last, at most {seconds_text(m.lag_max)}"),
        ("pending", f"{m.tasks:,} tasks, {m.timers:,} timers"),
        ("transports", ", ".join(f"{n:,} {name}" for name, n in connections) + f"; {m.accepted:,} accepted"),
        ("bytes", f"{bytes_text(m.bytes_in)} in, {bytes_text(m.bytes_out)} out"),
        ("executor", f"{m.executor_threads:,} threads, {m.executor_queue:,} calls waiting"),
    ]


class LoopBook:
    """The loops of this process: an observer for loop.py.

    Loops are known by their id: one that nobody has closed is closed by its finalizer, and the collector has cleared the weak references to it by then.
    The collector may run while the lock is held, so the lock may be taken again, and what is gone through is a copy.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[int, tuple[int, Any]] = {}
        self._closed: dict[int, Metrics] = {}
        self._n_made = 0

    def loop_made(self, loop: Any) -> None:
        loop.time_callbacks = True
        with self._lock:
            self._n_made += 1
            self._open[id(loop)] = self._n_made, weakref.ref(loop)

    def loop_closed(self, loop: Any) -> None:
        metrics = loop.metrics()
        with self._lock:
            found = self._open.pop(id(loop), None)
            if found is not None:
                self._closed[found[0]] = metrics

    def open_loops(self) -> list[tuple[int, Metrics]]:
        with self._lock:
            loops = [(number, ref()) for number, ref in self._open.copy().values()]
        return [(number, loop.metrics()) for number, loop in loops if loop is not None]

    def summary(self) -> str:
        """Each loop with what it is and was; of many, the sum alone."""
        loops = [(number, "", m) for number, m in self.open_loops()]
        with self._lock:
            loops += [(number, ", closed", m) for number, m in self._closed.copy().items()]
        loops.sort()
        parts = [(f"loop {number}{state}", m) for number, state, m in loops] if len(loops) <= _SHOWN else []
        if len(loops) > 1:
            parts.append((f"all {len(loops)} loops", total([m for _, _, m in loops])))
        text = "".join(f"asyncloop: {name}\n" + "".join(f"  {key:<11}{value}\n" for key, value in lines(m)) for name, m in parts)
        return text or "asyncloop: no loop was made\n"


def at_exit(function: Callable[[], object]) -> None:
    """Call function when this process ends, but not when a fork of it does."""
    pid = os.getpid()
    atexit.register(lambda: function() if os.getpid() == pid and sys.stderr is not None else None)


class Watch(threading.Thread):
    """The table of --watch, new once a second.  ModuleNotFoundError without rich."""

    def __init__(self, book: LoopBook, interval: float = 1.0) -> None:
        super().__init__(name="asyncloop-watch", daemon=True)
        import rich.console
        import rich.live

        self._book = book
        self._interval = interval
        self._before: dict[int, tuple[float, Metrics]] = {}
        self._began = time.monotonic()
        self._ended = threading.Event()
        # What the program prints on the same terminal goes above the table; what goes elsewhere is left alone.
        prints_here = sys.stdout is not None and sys.stdout.isatty()
        console = rich.console.Console(stderr=True)
        self._live = rich.live.Live(console=console, auto_refresh=False, redirect_stdout=prints_here and console.is_terminal)

    def run(self) -> None:
        self._live.start()
        while not self._ended.wait(self._interval):
            self._live.update(self.table(), refresh=True)
        self._live.stop()

    def end(self) -> None:
        """The table as it was last stays on the terminal."""
        self._ended.set()
        self.join(5)

    def table(self) -> Any:
        """A row for each open loop; rates are since the table before."""
        import rich.table

        table = rich.table.Table(title="asyncloop")
        for title in _COLUMNS:
            table.add_column(title, justify="right", no_wrap=True)
        now, loops = time.monotonic(), self._book.open_loops()
        for number, m in loops:
            then, before = self._before.get(number, (self._began, _NOTHING))
            table.add_row(str(number), *_cells(m, before, now - then))
        self._before = {number: (now, m) for number, m in loops}
        return table


_NOTHING = Metrics(**{field.name: 0 for field in dataclasses.fields(Metrics)})
_COLUMNS = ("loop", "busy", "passes/s", "callbacks/s", "steps/s", "ready", "lag", "longest", "tasks", "timers", "transports", "in/s", "out/s", "threads")


def _cells(m: Metrics, before: Metrics, seconds: float) -> list[str]:
    def rate(field: str) -> float:
        return float(getattr(m, field) - getattr(before, field)) / seconds if seconds > 0 else 0.0

    counts = [m.tcp_connections + m.tls_connections + m.unix_sockets + m.udp_sockets + m.pipes + m.other_sockets]
    return [
        f"{min(rate('time_working'), 1):.0%}",
        *(f"{rate(field):,.0f}" for field in ("passes", "callbacks", "task_steps")),
        f"{m.ready:,}",
        seconds_text(m.lag),
        seconds_text(m.longest_callback),
        *(f"{n:,}" for n in (m.tasks, m.timers, *counts)),
        bytes_text(rate("bytes_in")),
        bytes_text(rate("bytes_out")),
        f"{m.executor_threads:,}",
    ]


def _end_profile(profile: Any, file: str) -> None:
    profile.end()
    print(profile.table(), file=sys.stderr, end="", flush=True)
    if file:
        try:
            profile.write(file)
        except OSError as exc:
            print(f"asyncloop: --profile-tasks: can't write {file!r}: {exc.strerror}", file=sys.stderr)


def begin(metrics: bool, watch: bool, profile: str | None) -> None:
    """What the options of the same names ask for; profile: a file, "" for the table alone, or None."""
    book = LoopBook()
    if metrics or watch:
        loop_module.observers.append(book)
    if metrics:
        at_exit(lambda: print(book.summary(), file=sys.stderr, end="", flush=True))
    if profile is not None:
        from ._profile import Profile

        found = Profile()
        loop_module.observers.append(found)
        at_exit(lambda: _end_profile(found, profile))
        found.start()
    if watch:
        try:
            table = Watch(book)
        except ModuleNotFoundError:
            sys.exit("asyncloop: --watch needs rich, which is not installed: pip install rich")
        at_exit(table.end)
        table.start()
