"""gunicorn's way in: `gunicorn -k asyncloop.gunicorn.UvicornWorker app:app` serves an ASGI application by uvicorn on asyncloop's loop.

The package uvicorn-worker is needed.  Nothing of asyncio is replaced; for the helpers too, run `python -m asyncloop -m gunicorn` with any worker class.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Base = object
else:
    _Base = importlib.import_module("uvicorn_worker").UvicornWorker


class UvicornWorker(_Base):
    """uvicorn's worker, on asyncloop's loop."""

    CONFIG_KWARGS: dict[str, Any] = {**getattr(_Base, "CONFIG_KWARGS", {}), "loop": "asyncloop:new_event_loop"}
