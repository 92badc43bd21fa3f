"""EventLoopPolicy: for code that asks asyncio's policy for its loop.

asyncio's names for policies warn from Python 3.14 on, and are gone in 3.16.  We take the base class by its private name, which does not warn.  Where
that is gone too, importing this module raises ImportError, and the package has no EventLoopPolicy.
"""

from __future__ import annotations

import sys
from asyncio import events, unix_events
from typing import TYPE_CHECKING, Any

from .loop import Loop

# Up to 3.13 it also has the child watcher, for which asyncio.create_subprocess_exec asks the policy.
_BASE = (unix_events, "_UnixDefaultEventLoopPolicy")

if not hasattr(*_BASE):
    raise ImportError(f"asyncio has no event loop policies in Python {sys.version_info[0]}.{sys.version_info[1]}")

if TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as _Base
else:
    _Base = getattr(*_BASE)


class EventLoopPolicy(_Base):
    """asyncio's default policy, making asyncloop's loops."""

    _loop_factory = Loop


EventLoopPolicy.__module__ = "asyncloop"
DEFAULT: Any = _Base


def get_policy() -> Any:
    """The present policy; None if nobody has set one and asyncio has not made its default yet."""
    return getattr(events, "_event_loop_policy")


def set_policy(policy: Any) -> None:
    """asyncio.set_event_loop_policy without its warning."""
    function = getattr(events, "_set_event_loop_policy", None) or getattr(events, "set_event_loop_policy")
    function(policy)
