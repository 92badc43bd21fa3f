"""Loop's metaclass: while install() is in force, Loop is what asyncio.SelectorEventLoop and asyncio.EventLoop mean.

As with the helpers' classes (src/core/twin.h), isinstance and issubclass of the rebound class accept asyncio's own loops and loop classes as well,
and a loop of exactly this class passes for one of asyncio's.  Two kinds of programs need asyncio's own loop, and get it: one that hands in a selector
of its own, and one whose class overrides innards of asyncio's loop (`_run_once`, `_add_reader` …) that ours has not.

A class stands for asyncio's while `_stands_for` in its own dict, which install() sets, is not None.
"""

from __future__ import annotations

import asyncio
import selectors
import types
from abc import ABCMeta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    _Meta = ABCMeta
else:
    # With it a class may be derived from Loop and protocols or ABCs, as from asyncio's loop, whose metaclass is `type`.
    _Meta = type(Protocol)
_STOCK = tuple(
    getattr(selectors, name) for name in ("DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector") if hasattr(selectors, name)
)


def is_replaceable(selector: object) -> bool:
    """Whether nobody can tell that selector is not asked: it is one of the standard library's, as it was made."""
    if type(selector) not in _STOCK or "select" in vars(selector):
        return False
    files = selector.get_map()  # type: ignore[attr-defined]  # None: closed
    return files is not None and not files


def _stands_for(cls: type) -> type | None:
    native: type | None = cls.__dict__.get("_stands_for")
    return native


def _innards(native: type, ours: type) -> set[str]:
    """The private names of asyncio's loop which ours does not have."""
    names = {name for cls in native.__mro__ if cls not in (object, asyncio.AbstractEventLoop) for name in vars(cls)}
    return {name for name in names if name.startswith("_") and not name.startswith("__") and not hasattr(ours, name)}


class LoopClass(_Meta):
    """The metaclass of asyncloop.Loop, which can take the place of asyncio's own class."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        for base in bases:
            native = _stands_for(base)
            if native is not None and not _innards(native, base).isdisjoint(namespace):
                others = tuple(native if each is base else each for each in bases)
                return types.prepare_class(name, others)[0](name, others, namespace, **kwargs)
        return ABCMeta.__new__(mcls, name, bases, namespace, **kwargs)  # Protocol's refuses Generic

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        native = _stands_for(cls)
        if native is not None and (args or kwargs):
            selector = args[0] if args else kwargs.get("selector")
            if selector is not None and not is_replaceable(selector):
                return native(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        native = _stands_for(cls)
        return ABCMeta.__instancecheck__(cls, instance) or (native is not None and isinstance(instance, native))

    def __subclasscheck__(cls, subclass: type) -> bool:
        native = _stands_for(cls)
        return ABCMeta.__subclasscheck__(cls, subclass) or (native is not None and issubclass(subclass, native))
