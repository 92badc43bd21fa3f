"""The implementation under test, as the harness sees it.

An implementation is named: `asyncio` (the oracle: the harness must score 100 % with it), `asyncloop`, or any package with
asyncio's shape (`new_event_loop`, perhaps `EventLoopPolicy`, `Task`, `Future`, `install`).  Whatever the package lacks is None,
and the rigs that need it are left out.  Runs in the child process only.
"""

import asyncio
import asyncio.base_events
import asyncio.futures
import asyncio.tasks
import importlib


class Census:
    """Counts event loops as they are initialised: those of the implementation, and asyncio's own."""

    def __init__(self, loop_class):
        self.loop_class = loop_class
        self.ours = 0
        self.foreign = 0
        base = asyncio.base_events.BaseEventLoop
        self._note_in(base)
        if not issubclass(loop_class, base):
            self._note_in(loop_class)

    def _note_in(self, cls):
        init = cls.__init__

        def __init__(loop, *args, **kwargs):
            self._note(loop)
            init(loop, *args, **kwargs)

        cls.__init__ = __init__

    def _note(self, loop):
        if isinstance(loop, self.loop_class):
            self.ours += 1
        elif type(loop).__module__.startswith('asyncio.'):
            self.foreign += 1       # a loop class that a test module writes for itself is the test's business


class Implementation:
    """Names of one implementation.

    loop_class: a class that all its loops are instances of.  policy: its event loop policy class or None.
    task, future: its own classes, install: what puts its helpers (sleep, gather, …) into asyncio; or None.
    """

    def __init__(self, name):
        self.name = name
        self.is_stdlib = name == 'asyncio'
        if self.is_stdlib:
            self.version = 'of this interpreter'
            self.loop_class = asyncio.base_events.BaseEventLoop
            self.new_event_loop = asyncio.SelectorEventLoop
            self.policy = None
            self.task, self.future = asyncio.tasks._CTask, asyncio.futures._CFuture
            self.install = lambda: None
        else:
            package = importlib.import_module(name)
            self.version = getattr(package, '__version__', '?')
            self.new_event_loop = package.new_event_loop
            loop = package.new_event_loop()
            self.loop_class = type(loop)
            loop.close()
            self.policy = getattr(package, 'EventLoopPolicy', None)
            self.task, self.future = getattr(package, 'Task', None), getattr(package, 'Future', None)
            self.install = getattr(package, 'install', None)
            home = self.loop_class.__module__.partition('.')[0]
            if home != name:
                raise RuntimeError(f'{name}.new_event_loop() made a loop of {home}')
        self.has_classes = None not in (self.task, self.future, self.install)

    def bare_class(self):
        """The class that tests get which make a BaseEventLoop() and plug mocks into the seams of a selector loop.

        asyncio's own is what they were written for.  Any other loop has no such seams and runs by itself; what it may lack is
        `_run_once`: the pass that `call_soon(stop); run_forever()` makes is the same thing seen from outside.
        """
        if self.is_stdlib:
            return asyncio.base_events.BaseEventLoop
        if hasattr(self.loop_class, '_run_once'):
            return self.loop_class

        def _run_once(loop):
            loop.call_soon(loop.stop)
            loop.run_forever()

        return type('BareLoop', (self.loop_class,), {'__module__': self.loop_class.__module__, '_run_once': _run_once})
