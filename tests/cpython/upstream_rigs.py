"""What is put where, so that the interpreter's own asyncio tests exercise the implementation under test.

CPython's test modules are parameterised by three things: the default event loop policy and the loop class they ask asyncio
for; `asyncio.tasks._CTask` and `asyncio.futures._CFuture`, which they read while they are imported; and the virtual-time
loop of `test.test_asyncio.utils`.  A rig is one setting of the three, made in a fresh process before the module is imported,
so every class in it that says 'the C Task' gets the Task under test with no subclass written here.

    rig      Task         Future       helpers        loop of test_futures, test_tasks
    loop     asyncio's    asyncio's    asyncio's      under test
    own      under test   under test   under test     under test
    virtual  under test   under test   under test     virtual time (tests with a time generator run only here)
    task     under test   asyncio's    asyncio's      under test
    future   asyncio's    under test   asyncio's      under test
    guest    under test   under test   under test     asyncio's

In every rig but 'guest' the loop class and the policy are those under test.  The helpers (asyncio.sleep, asyncio.gather, the locks, queues and streams, and the
names asyncio.Task and asyncio.Future) are put in place by the implementation's own install(), before the test module is imported.
"""

import asyncio
import asyncio.base_events
import asyncio.events
import asyncio.futures
import asyncio.log
import asyncio.selector_events
import asyncio.tasks
import asyncio.unix_events
import collections
import fnmatch
import importlib
import socket
import sys
import types
from unittest import mock

import inapplicable

PACKAGE = 'test.test_asyncio'

Rig = collections.namedtuple('Rig', 'task future helpers virtual loop', defaults=[True])

RIGS = {
    'loop': Rig(task=False, future=False, helpers=False, virtual=False),
    'own': Rig(task=True, future=True, helpers=True, virtual=False),
    'virtual': Rig(task=True, future=True, helpers=True, virtual=True),
    'task': Rig(task=True, future=False, helpers=False, virtual=False),
    'future': Rig(task=False, future=True, helpers=False, virtual=False),
    'guest': Rig(task=True, future=True, helpers=True, virtual=False, loop=False),
}

# Module -> rig -> the classes that run in it (globs).  A class whose tests a rig would only repeat is not run in that rig.
EVERY = ('*',)
MODULES = {
    'test_base_events': {'loop': EVERY},
    'test_buffered_proto': {'loop': EVERY},
    'test_context': {'loop': EVERY, 'own': EVERY},
    'test_eager_task_factory': {'loop': EVERY, 'own': ('C*', 'EagerC*', 'NonEagerC*', 'EagerTests', 'NonEagerTests', 'Default*')},
    'test_events': {'loop': EVERY, 'own': EVERY},
    'test_free_threading': {'loop': EVERY, 'own': ('*C*',)},
    'test_futures': {'loop': EVERY, 'own': ('C*',), 'virtual': ('C*',)},
    'test_futures2': {'loop': EVERY, 'own': ('C*', 'FutureRepr*')},
    'test_graph': {'loop': EVERY, 'own': ('*C',)},
    'test_locks': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_pep492': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_queues': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_runners': {'loop': EVERY, 'own': EVERY},
    'test_sendfile': {'loop': EVERY},
    'test_server': {'loop': EVERY, 'own': EVERY},
    'test_server_context': {'loop': EVERY},
    'test_sock_lowlevel': {'loop': EVERY},
    'test_ssl': {'loop': EVERY},
    'test_sslproto': {'loop': EVERY},
    'test_staggered': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_streams': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_subprocess': {'loop': EVERY, 'own': EVERY},
    'test_taskgroups': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_tasks': {
        'loop': ('CTask_CFuture_*', 'PyTask_PyFuture_Tests', 'CTask_Future_Tests', '*IntrospectionTests', '*CurrentLoopTests',
                 'GenericTaskTests', '*GatherTests', 'RunCoroutine*', 'SleepTests', 'CompatibilityTests'),
        'own': ('CTask*', 'PyTask_CFuture*', '*GatherTests', 'CCurrentLoopTests', 'RunCoroutine*', 'SleepTests'),
        'virtual': ('CTask*', 'PyTask_CFuture_Tests', '*GatherTests'),
        'task': ('CTask_CFuture_Tests', 'CTask_CFuture_SubclassTests'),
        'future': ('CTask_CFuture_Tests', 'CTask_CFuture_SubclassTests'),
        'guest': ('CTask_CFuture_Tests', '*GatherTests', 'CCurrentLoopTests', 'RunCoroutine*', 'SleepTests'),
    },
    'test_threads': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_timeouts': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
    'test_unix_events': {'loop': EVERY},
    'test_waitfor': {'loop': EVERY, 'own': EVERY, 'guest': EVERY},
}


class LoopName:
    """Stands where the name of a loop class stood: calling it makes a loop of the implementation, deriving from it derives
    from the implementation's class, and isinstance asks that class."""

    def __init__(self, make, cls):
        self._make = make
        self._class = cls

    def __call__(self, selector=None):
        if selector is not None:
            selector.close()        # which selector asyncio's loop should use is nothing to another loop
        return self._make()

    def __mro_entries__(self, bases):
        return (self._class,)

    def __instancecheck__(self, instance):
        return isinstance(instance, self._class)

    def __subclasscheck__(self, cls):
        return issubclass(cls, self._class)


def install_loop(impl):
    """Every way in which asyncio hands out a loop now gives one of the implementation's."""
    name = LoopName(impl.new_event_loop, impl.loop_class)
    asyncio.SelectorEventLoop = name
    if hasattr(asyncio, 'EventLoop'):
        asyncio.EventLoop = name
    bare = impl.bare_class()
    asyncio.BaseEventLoop = LoopName(bare, bare)
    if impl.policy is not None:
        for module in (asyncio, asyncio.unix_events):
            for attribute in ('DefaultEventLoopPolicy', '_DefaultEventLoopPolicy'):
                if attribute in vars(module):
                    setattr(module, attribute, impl.policy)
    loop = asyncio.new_event_loop()
    if not isinstance(loop, impl.loop_class):
        raise RuntimeError(f'asyncio.new_event_loop() still gives {loop!r}')
    loop.close()


def install_classes(impl, rig):
    if rig.task:
        asyncio.tasks._CTask = impl.task
    if rig.future:
        asyncio.futures._CFuture = impl.future
    if rig.helpers:
        impl.install()
    if not rig.loop:    # the policy and the loop's class, which install() has set as well
        asyncio.SelectorEventLoop = asyncio.EventLoop = native = asyncio.unix_events._UnixSelectorEventLoop
        asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = native
        set_policy = getattr(asyncio.events, '_set_event_loop_policy', None) or asyncio.events.set_event_loop_policy
        set_policy(None)


def bridge_logger():
    """A mock put at asyncio.base_events.logger also hears what others log through the logger it hides.

    The texts and arguments of log calls are part of what asyncio's tests check, and a loop that is not written in
    asyncio/base_events.py logs to the very same logger by its own name for it.
    """
    logger = asyncio.log.logger

    def bridged(level):
        plain = getattr(logger, level)

        def log(*args, **kwargs):
            hider = asyncio.base_events.logger
            if isinstance(hider, mock.Mock):
                getattr(hider, level)(*args, **kwargs)
            else:
                plain(*args, **kwargs)

        return log

    for level in ('debug', 'info', 'warning', 'error', 'critical'):
        setattr(logger, level, bridged(level))


def install_fixtures(impl, rig):
    """The base class of nearly all of asyncio's tests: where its loops come from and how they are closed."""
    utils = importlib.import_module(PACKAGE + '.utils')
    case = utils.TestCase

    def new_test_loop(self, gen=None):
        if gen is not None:
            self.skipTest(inapplicable.VIRTUAL_TIME)
        loop = asyncio.new_event_loop()
        self.set_event_loop(loop)
        return loop

    close_loop = case.close_loop

    def close_any_loop(loop):
        if not hasattr(loop, '_default_executor'):
            loop.close()
        else:
            close_loop(loop)

    if not rig.virtual:
        case.new_test_loop = new_test_loop
    case.close_loop = staticmethod(close_any_loop)


# Per module ------------------------------------------------------------------------------------------------------------

class Shadow(types.ModuleType):
    """Looks like another module, looked up anew each time, but for what is set on the shadow itself."""

    def __init__(self, name, module_now):
        super().__init__(name)
        self.__dict__['_module_now'] = module_now

    def __getattr__(self, name):
        return getattr(self._module_now(), name)


def adapt_base_events(impl, rig, module):
    """Its tests name the loop class by asyncio.base_events.BaseEventLoop, which must stay what it is for everybody else; and they
    put a mock in place of asyncio.base_events.socket, which the implementation's Python modules are made to see."""
    module.base_events = Shadow('base_events', lambda: asyncio.base_events)
    module.base_events.BaseEventLoop = asyncio.BaseEventLoop
    for name, theirs in list(sys.modules.items()):
        if name.startswith(impl.name + '.') and not impl.is_stdlib and getattr(theirs, 'socket', None) is socket:
            theirs.socket = Shadow('socket', lambda: asyncio.base_events.socket)
    asyncio.selector_events.BaseSelectorEventLoop = LoopName(impl.new_event_loop, impl.loop_class)


def adapt_events(impl, rig, module):
    """Up to 3.13 the set-up attaches a deprecated child watcher to the loop: nothing these tests are about."""
    mixin = getattr(module, 'UnixEventLoopTestsMixin', None)
    if mixin is not None:
        for name in ('setUp', 'tearDown'):
            if name in vars(mixin):
                delattr(mixin, name)


def adapt_tasks(impl, rig, module):
    """The gather tests run their loop 'while loop._ready': from outside, as many passes as their longest chain needs.  One test
    runs a single pass by a private method, then looks into the empty queue."""
    if rig.virtual:
        return

    def _run_loop(self, loop):
        for _ in range(10):
            module.test_utils.run_briefly(loop)

    log_destroyed = module.BaseTaskTests.test_log_destroyed_pending_task

    def test_log_destroyed_pending_task(self):
        if not hasattr(self.loop, '_ready'):
            self.loop._ready = ()
            self.loop._run_once = lambda: module.test_utils.run_once(self.loop)
        log_destroyed(self)

    module.GatherTestsBase._run_loop = _run_loop
    module.BaseTaskTests.test_log_destroyed_pending_task = test_log_destroyed_pending_task


ADAPT = {
    'test_base_events': adapt_base_events,
    'test_events': adapt_events,
    'test_tasks': adapt_tasks,
}


# For the child process -------------------------------------------------------------------------------------------------

def rigs_of(module_name, impl):
    """The rigs in which a module runs; only the plain one for an implementation without its own Task and Future."""
    rigs = MODULES[module_name]
    return {rig: globs for rig, globs in rigs.items() if impl.has_classes or rig == 'loop'}


def is_selected(module_name, rig_name, class_name):
    return any(fnmatch.fnmatchcase(class_name, glob) for glob in MODULES[module_name][rig_name])


def load(impl, module_name, rig_name):
    """Set the rig up and import the module in it.  Once in a process.

    A name that MODULES does not know is a module of the harness's own tests.
    """
    rig = RIGS[rig_name]
    if rig.loop:
        install_loop(impl)
    install_classes(impl, rig)
    if rig.loop:
        bridge_logger()
        install_fixtures(impl, rig)
    module = importlib.import_module(f'{PACKAGE}.{module_name}' if module_name in MODULES else module_name)
    if module_name in ADAPT and rig.loop:
        ADAPT[module_name](impl, rig, module)
    return module
