"""EventLoopPolicy: for code that asks asyncio's policy for its loop.

Policies warn from Python 3.14 on and are gone in 3.16.  The base class is asyncio's own, taken by the name that does not warn; where it is gone
importing this module is an ImportError, which the package turns into the AttributeError of a name that is not there.
"""

from __future__ import annotations

import sys
from asyncio import events, unix_events
from typing import TYPE_CHECKING, Any

from .loop import Loop

# Up to 3.13 with the child watcher, which asyncio.create_subprocess_exec asks the policy for.
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
    """The policy in force; None while asyncio has not made its default one."""
    return getattr(events, "_event_loop_policy")


def set_policy(policy: Any) -> None:
    """asyncio.set_event_loop_policy without its warning."""
    function = getattr(events, "_set_event_loop_policy", None) or getattr(events, "set_event_loop_policy")
    function(policy)
