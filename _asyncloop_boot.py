"""What `python -m asyncloop` gives its child processes: with ASYNCLOOP in the environment every Python in which asyncloop is installed runs on it.

The file asyncloop.pth, beside this one in site-packages, calls start() where the variable is set; a Python that has it not does not import this module.
Nothing is imported before the program does so: install() comes right after the program's first import of asyncio, so a child without asyncio costs nothing.

    ASYNCLOOP=1             asyncloop.install(), and uvloop's ways to a loop give ours
    ASYNCLOOP=keep-uvloop   asyncloop.install(); uvloop stays what it is
    ASYNCLOOP=0, or empty   nothing

This is no part of the package, whose import imports asyncio.
PYTEST_DONT_REWRITE: as in the package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

VARIABLE = "ASYNCLOOP"
KEEP_UVLOOP = "keep-uvloop"


def _asyncio_was_imported(module: ModuleType) -> None:
    import asyncloop  # noqa: F401  (or the program's own import of it, which is under way, goes on)


def _asyncloop_was_imported(module: ModuleType) -> None:
    module.install()


def _uvloop_was_imported(module: ModuleType) -> None:
    """uvloop.new_event_loop, run, install and EventLoopPolicy all end in a call of what this name means, and run() asks whether the loop is of this class."""
    from asyncloop.loop import Loop

    setattr(module, "Loop", Loop)


class _Watch:
    """A finder that finds nothing itself: it has a function called after a module of that name was executed."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[[ModuleType], None]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        function = self.functions.get(name)
        if function is None:
            return None
        for finder in sys.meta_path:
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec and find_spec(name, path, target)
            if spec is not None:
                _call_after_exec(spec.loader, function)
                return spec
        return None


def _call_after_exec(loader: Any, function: Callable[[ModuleType], None]) -> None:
    """Only for this one module: the attribute of the loader is gone again before the module is executed."""

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        loader.exec_module(module)
        function(module)

    loader.exec_module = exec_module


_watch = _Watch()


def after_import(name: str, function: Callable[[ModuleType], None]) -> None:
    """Call function(module) now, or as soon as the module of that name has been imported."""
    if name in sys.modules:
        function(sys.modules[name])
    if _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
    _watch.functions[name] = function


def take_uvloop(*, keep: bool = False) -> None:
    """Make uvloop's ways to a loop give ours, as soon as the program imports uvloop, or keep them; it is not imported here."""
    if keep:
        _watch.functions.pop("uvloop", None)
    else:
        after_import("uvloop", _uvloop_was_imported)


def start() -> None:
    """Do what the environment says.  Called once, by asyncloop.pth."""
    value = os.environ.get(VARIABLE, "")
    if value in ("", "0"):
        return
    take_uvloop(keep=value == KEEP_UVLOOP)
    after_import("asyncloop", _asyncloop_was_imported)
    after_import("asyncio", _asyncio_was_imported)
