"""Makes our tasks known to asyncio: to all_tasks(), and from 3.14 on to the call graphs.

all_tasks: asyncio keeps tasks that are not its own in a WeakSet.  Our tasks are not in it, as that would cost each of them time; C has the unfinished
tasks of each loop in a list of pointers.  So the set gets the class _Tasks, which adds our tasks when somebody iterates.  Anybody may have imported the
set, so the object stays and only its class changes.  To find it on every version, we register an object for a moment and see who refers to it.
Thread: any; C makes strong references of the whole list at once, under the GIL.

Call graphs: two C functions of asyncio note who waits for whom through gather, TaskGroup, wait …, and pass over futures of other types.  Ours take their
names in asyncio: they note what concerns our futures, and hand the rest on to asyncio's.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import futures, tasks
from collections.abc import Iterator
from typing import Any, cast

from . import _asyncloop


class _Tasks(weakref.WeakSet[Any]):
    """The tasks that asyncio keeps in its WeakSet, and our own unfinished ones."""

    elsewhere: Any = ()  # further tasks

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield from self.elsewhere
        yield from _asyncloop._own_tasks()

    def __len__(self) -> int:
        return super().__len__() + len(_asyncloop._own_tasks())


class _Probe:
    """Something that can be registered as a task."""


def _find_registry() -> weakref.WeakSet[Any]:
    """asyncio's set.  It holds a weak reference to each registered object, and the callback of that reference knows the set."""
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
        # A subinterpreter of 3.11: _asyncio's set belongs to the main interpreter, and must not get a class of this one.  all_tasks() looks the
        # set up by its name, so the name gets a set of our own.
        here = _Tasks()
        here.elsewhere = registry
        setattr(tasks, "_all_tasks", here)
    for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        twin = getattr(_asyncloop, name, None)  # 3.14 and later
        if twin is not None:
            for module, bound in ((asyncio, name), (futures, name), (futures, f"_c_{name}")):
                setattr(module, bound, twin)
