"""The event loops under test: how to make one, and what to call for sleep and gather on it.

A loop is known by the name of its module; `aiofastnet`, which is transports for any loop, stands for a uvloop with its transports, and
`asyncloop-install` for asyncloop after asyncloop.install().
`asyncio.sleep` and `asyncio.gather` are what a program uses on every loop; asyncloop brings its own of both, which are used only by the
rows that say so (Bench.own_sleep, Bench.own_gather).  Rows of the group `helpers` run after asyncloop.install() instead.
"""

import asyncio
import importlib
import importlib.util

INSTALLED = "asyncloop-install"
NEWER = ("zuvloop", "blazio", "zloop", "rsloop")
NAMES = ("asyncio", "uvloop", "rloop", *NEWER, "asyncloop")
WITH_AIOFASTNET = ("asyncio", "uvloop", "rloop", "aiofastnet", *NEWER, "asyncloop")
WITH_INSTALLED = (*NAMES, INSTALLED)
KNOWN = (*WITH_AIOFASTNET, INSTALLED)
NEEDS = {"aiofastnet": ("aiofastnet", "uvloop"), INSTALLED: ("asyncloop",)}


def importable(names=NAMES):
    """Those of the names whose packages are installed here."""
    return [name for name in names if all(importlib.util.find_spec(needed) is not None for needed in NEEDS.get(name, (name,)))]


def version(name):
    """The installed version of a loop's package; Python's own for asyncio."""
    import importlib.metadata
    import platform

    if name == "asyncio":
        return platform.python_version()
    name = "asyncloop" if name == INSTALLED else name
    try:
        return importlib.metadata.version("asyncloop-c" if name == "asyncloop" else name)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def new_loop(name):
    """A fresh loop."""
    module = importlib.import_module(name)
    if name == "aiofastnet":
        return module.loop_factory(importlib.import_module("uvloop").new_event_loop)()
    return module.new_event_loop()


class Bench:
    """What a workload is given: a fresh loop, and the functions to await on it.  install: asyncloop's helpers in asyncio's place."""

    def __init__(self, name, install=False):
        if name == INSTALLED:
            name, install = "asyncloop", True
        module = importlib.import_module(name)
        if install and name == "asyncloop":
            module.install()
        self.name = name
        self.loop = new_loop(name)
        try:
            asyncio.set_event_loop(self.loop)
        except TypeError:
            if isinstance(self.loop, asyncio.AbstractEventLoop):    # rsloop's is none: it is the running loop when it runs, and no more
                raise
        self.own_sleep = getattr(module, "sleep", asyncio.sleep)
        self.own_gather = getattr(module, "gather", asyncio.gather)

    def run(self, coro):
        """Runs a coroutine to its end on the loop, as a task of the loop."""
        return self.loop.run_until_complete(self.loop.create_task(coro))

    def close(self):
        asyncio.set_event_loop(None)
        self.loop.close()
