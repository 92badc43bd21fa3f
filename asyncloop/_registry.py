"""asyncio's registries know our tasks: all_tasks(), and from 3.14 on the call graphs.

all_tasks: asyncio's WeakSet of foreign tasks gets a class that adds them when somebody iterates.

A task of ours registers nowhere: C keeps the unfinished ones of each loop in a list of pointers.  The set is found through a task registered for a moment,
the same way on all versions; a reference to it may have been imported anywhere, so the object stays and only its class changes.
Thread: any; the list is taken as strong references in one go under the GIL.

Call graphs: who waits for whom through gather, TaskGroup, wait … is noted by two C functions of asyncio that pass over futures of other types.  Ours take
their names in asyncio: they note what concerns our futures and hand the rest on.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import futures, tasks
from collections.abc import Iterator
from typing import Any, cast

from . import _asyncloop


class _Tasks(weakref.WeakSet[Any]):
    """The WeakSet of foreign tasks, and our own unfinished ones."""

    elsewhere: Any = ()

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield from self.elsewhere
        yield from _asyncloop._own_tasks()

    def __len__(self) -> int:
        return super().__len__() + len(_asyncloop._own_tasks())


class _Probe:
    """Something that can be registered as a task."""


def _find_registry() -> weakref.WeakSet[Any]:
    """asyncio's set: the weak reference that it holds to a registered object has a callback that knows it."""
    from asyncio import _register_task, _unregister_task

    probe: Any = _Probe()
    _register_task(probe)
    try:
        for ref in weakref.getweakrefs(probe):
            defaults = getattr(ref.__callback__, "__defaults__", None) or (None,)
            registry = defaults[0]() if callable(defaults[0]) else None
            if isinstance(registry, weakref.WeakSet) or registry is not None and registry is getattr(tasks, "_all_tasks", None):
                return cast("weakref.WeakSet[Any]", registry)
    finally:
        _unregister_task(probe)
    raise ImportError("asyncio's registry of tasks was not found: this CPython is not one asyncloop knows")


def join() -> None:
    """Make asyncio.all_tasks and the call graphs see our tasks, from the import of asyncloop on."""
    registry = _find_registry()
    if type(registry) is weakref.WeakSet:
        registry.__class__ = _Tasks
    elif not isinstance(registry, weakref.WeakSet):
        # A subinterpreter of 3.11: _asyncio's set is the main interpreter's and must not get a class of this one.  all_tasks looks its name up.
        here = _Tasks()
        here.elsewhere = registry
        setattr(tasks, "_all_tasks", here)
    for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        twin = getattr(_asyncloop, name, None)  # 3.14 and later
        if twin is not None:
            for module, bound in ((asyncio, name), (futures, name), (futures, f"_c_{name}")):
                setattr(module, bound, twin)
