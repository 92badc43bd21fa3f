"""What a loop must know of concurrent.futures' thread pool, to hand it calls without a concurrent.futures.Future (src/task/bridge/executor.c).

A ThreadPoolExecutor takes items from its queue.  It calls run() of an item, and item.future.cancel() or item.future.set_exception() if it will never
run it.  We put items of our own into that queue, so known_pool() first checks that this Python's pool does no more than that: that its functions use
only the names listed here.  Any other pool gets its calls through submit().
"""

from __future__ import annotations

import concurrent.futures
import sys
from concurrent.futures import thread
from typing import Any

# The names that each function of the pool uses, in all versions that we know.  Of an item they use run, future, cancel and set_exception.
_NAMES = {
    "submit": {"BROKEN", "BrokenThreadPool", "Future", "RuntimeError", "_WorkItem", "_adjust_thread_count", "_base", "_broken", "_global_shutdown_lock"}
    | {"_resolve_work_item_task", "_shutdown", "_shutdown_lock", "_work_queue", "put"},
    "_initializer_failed": {"BROKEN", "BrokenThreadPool", "Empty", "_broken", "_shutdown_lock", "_work_queue", "future", "get_nowait"}
    | {"queue", "set_exception"},
    "shutdown": {"Empty", "_shutdown", "_shutdown_lock", "_threads", "_work_queue", "cancel", "future", "get_nowait", "join", "put", "queue"},
    "_adjust_thread_count": {"Thread", "_create_worker_context", "_idle_semaphore", "_initargs", "_initializer", "_max_workers", "_thread_name_prefix"}
    | {"_threads", "_threads_queues", "_work_queue", "_worker", "acquire", "add", "len", "ref", "start", "threading", "weakref"},
}
_WORKER_NAMES = {"BaseException", "Empty", "LOGGER", "_base", "_idle_semaphore", "_initializer_failed", "_shutdown", "critical", "finalize", "get"} | {
    "get_nowait", "initialize", "put", "queue", "release", "run"
}  # fmt: skip


def known_pool() -> tuple[type[Any], Any, Any, Any] | None:
    """The class, its submit function, the lock that guards the module's `_shutdown`, the module; None for a pool that we do not know."""
    pool, module = concurrent.futures.ThreadPoolExecutor, sys.modules[thread.__name__]
    if pool.__module__ != thread.__name__:
        return None
    try:
        functions = [(vars(pool)[name], names) for name, names in _NAMES.items()] + [(getattr(module, "_worker"), _WORKER_NAMES)]
        if all(names.issuperset(function.__code__.co_names) for function, names in functions):
            return pool, vars(pool)["submit"], getattr(module, "_global_shutdown_lock"), module
    except (AttributeError, KeyError):
        pass
    return None


def default_executor() -> Any:
    """The pool that asyncio makes for run_in_executor(None, …)."""
    return concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
