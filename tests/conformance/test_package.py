"""What `import asyncloop` offers: names, the ways in, install and uninstall, and that importing warns of nothing."""
import abc
import asyncio
import importlib
import importlib.metadata
import os
import pkgutil
import selectors
import socket
import subprocess
import sys
import threading
import types
import typing
import warnings

import pytest

import asyncloop
from sidebyside import child_env

HAS_POLICIES = sys.version_info < (3, 16)


def run_python(code, *options, **env):
    return subprocess.run([sys.executable, *options, "-c", code], env=child_env(**env), text=True, capture_output=True, timeout=60)


def test_all_names_are_there():
    assert sorted(asyncloop.__all__) == sorted(set(asyncloop.__all__))
    for name in asyncloop.__all__:
        assert getattr(asyncloop, name).__module__.split(".")[0] == "asyncloop"
    assert {"run", "new_event_loop", "Loop", "Future", "Task", "sleep", "gather", "install", "uninstall"} <= set(asyncloop.__all__)


def test_import_star():
    names = {}
    exec("from asyncloop import *", names)
    assert set(asyncloop.__all__) == set(names) - {"__builtins__"}


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'asyncloop' has no attribute 'no_such'"):
        asyncloop.no_such


def test_version_is_the_distributions():
    try:
        installed = importlib.metadata.version("asyncloop-c")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("asyncloop is imported from a folder where it is not installed")
    assert asyncloop.__version__ == installed


@pytest.mark.parametrize("code", [
    "import asyncloop",
    "from asyncloop import *",
    "import asyncloop; asyncloop.install(); asyncloop.uninstall()",
    "import asyncio, asyncloop\nasync def f(): await asyncloop.sleep(0)\nasyncloop.run(f())",
    "import asyncio, asyncloop\nasync def f(): await asyncloop.sleep(0)\nasyncloop.install(); asyncio.run(f())",
    pytest.param("import asyncloop; asyncloop.EventLoopPolicy()",
                 marks=pytest.mark.skipif(not HAS_POLICIES, reason="this Python's asyncio has no policies")),
])
def test_no_warning(code):
    got = run_python(code, "-W", "error", "-X", "dev")
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


def test_policy_is_made_when_first_asked_for():
    got = run_python("import sys, asyncloop; print('asyncloop._policy' in sys.modules); asyncloop.EventLoopPolicy; "
                     "print('asyncloop._policy' in sys.modules)")
    assert got.stdout.split() == ["False", str(HAS_POLICIES)]


def test_no_policy_where_asyncio_has_none():
    """As in Python 3.16: the private base class is gone."""
    code = ("import asyncio.events, asyncio.unix_events\n"
            "for module in asyncio.events, asyncio.unix_events:\n"
            "    for name in '_BaseDefaultEventLoopPolicy', '_UnixDefaultEventLoopPolicy':\n"
            "        if hasattr(module, name): delattr(module, name)\n"
            "import asyncloop\n"
            "try: asyncloop.EventLoopPolicy\n"
            "except AttributeError as exc: print(exc)\n"
            "before = asyncio.sleep\n"
            "asyncloop.install(); print(asyncio.sleep is asyncloop.sleep); asyncloop.uninstall(); print(asyncio.sleep is before)\n")
    got = run_python(code, "-W", "error")
    first, *rest = got.stdout.splitlines()
    assert first.startswith("module 'asyncloop' has no attribute 'EventLoopPolicy': asyncio has no event loop policies")
    assert rest == ["True", "True"]


def test_stubs_and_marker_are_shipped():
    folder = os.path.dirname(asyncloop.__file__)
    assert os.path.exists(os.path.join(folder, "py.typed"))
    assert os.path.exists(os.path.join(folder, "_asyncloop.pyi"))


def test_stub_has_every_name_of_the_module():
    import ast

    from asyncloop import _asyncloop

    with open(os.path.join(os.path.dirname(asyncloop.__file__), "_asyncloop.pyi"), encoding="utf-8") as f:
        tree = ast.parse(f.read())

    def names_in(body):
        found = set()
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign):
                found.add(node.target.id)
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.name for alias in node.names if alias.asname == alias.name}
            elif isinstance(node, ast.If):
                found |= names_in(node.body) | names_in(node.orelse)
        return found

    real = {name for name in vars(_asyncloop) if not name.startswith("_")}
    assert real <= names_in(tree.body)
    for node in tree.body:
        real_type = getattr(_asyncloop, getattr(node, "name", ""), None)
        if not isinstance(node, ast.ClassDef) or real_type is None:
            continue
        # A class declared as a subclass of asyncio's has the names of that one, too.
        base_names = [node.name] + [base.attr for base in node.bases if isinstance(base, ast.Attribute)]
        twin = next((getattr(asyncio, name) for name in base_names if hasattr(asyncio, name)), object) if node.bases else object
        stubbed = names_in(node.body)
        for_the_interpreter = {"send"} if node.name == "Future" else set()  # found by its SEND instruction alone
        missing = {name for name in vars(real_type) if not name.startswith("_")} - stubbed - set(dir(twin)) - for_the_interpreter
        assert not missing, f"{node.name}: not in the stub"
        version_bound = {name for sub in node.body if isinstance(sub, ast.If) for name in names_in([sub])}
        made_by_init = {name for sub in node.body if isinstance(sub, ast.AnnAssign) for name in [sub.target.id]}
        invented = {name for name in stubbed if not hasattr(real_type, name)} - version_bound - made_by_init
        assert not invented, f"{node.name}: only in the stub"


# --- run, new_event_loop


async def _loop_and_task():
    return asyncio.get_running_loop(), asyncio.current_task()


def test_run():
    loop, task = asyncloop.run(_loop_and_task())
    assert type(loop) is asyncloop.Loop and type(task) is asyncloop.Task
    assert loop.is_closed() and task.done()
    assert isinstance(loop, asyncio.AbstractEventLoop)


@pytest.mark.parametrize("debug", [None, True, False])
def test_run_debug(debug):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert asyncloop.run(main(), debug=debug) is bool(debug)


def test_run_takes_nothing_of_asyncio():
    before = asyncio.sleep, asyncio.tasks.gather, asyncio.events._event_loop_policy
    asyncloop.run(_loop_and_task())
    assert before == (asyncio.sleep, asyncio.tasks.gather, asyncio.events._event_loop_policy)


def both(call, *args, **kw):
    """The type and text of the exception that asyncio.run and asyncloop.run raise."""
    def outcome(run):
        try:
            return "returned", run(call(), *args, **kw)
        except BaseException as exc:
            return type(exc), str(exc)

    return outcome(asyncio.run), outcome(asyncloop.run)


def test_run_of_no_coroutine():
    a, b = both(lambda: 5)
    assert a == b and a[0] in (ValueError, TypeError)


def test_run_passes_exceptions_on():
    async def main():
        raise LookupError("here")

    a, b = both(main)
    assert a == b == (LookupError, "here")


def test_run_inside_a_running_loop():
    async def main():
        inner = asyncio.sleep(0)
        try:
            asyncloop.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match=r"^asyncio.run\(\) cannot be called from a running event loop$"):
        asyncio.run(main())


@pytest.mark.parametrize("run", [asyncio.run, asyncloop.run])
def test_run_cancels_what_is_left(run):
    said = []

    async def left():
        try:
            await asyncio.sleep(30)
        finally:
            said.append("cancelled")

    async def main():
        said.append(asyncio.create_task(left()))
        await asyncio.sleep(0)

    run(main())
    assert said[1:] == ["cancelled"] and said[0].cancelled()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes loop_factory from Python 3.12 on")
def test_loop_factory_of_asyncio_run():
    loop, task = asyncio.run(_loop_and_task(), loop_factory=asyncloop.new_event_loop)
    assert type(loop) is asyncloop.Loop and type(task) is asyncloop.Task


def test_loop_factory_of_runner():
    with asyncio.Runner(loop_factory=asyncloop.new_event_loop) as runner:
        loop, task = runner.run(_loop_and_task())
        assert type(loop) is asyncloop.Loop and type(task) is asyncloop.Task
        assert runner.get_loop() is loop
    assert loop.is_closed()


# --- the policy


@pytest.fixture
def policy(policy_kept):
    if not HAS_POLICIES:
        pytest.skip("this Python's asyncio has no policies")
    policy = asyncloop.EventLoopPolicy()
    asyncio.events._event_loop_policy = policy
    return policy


def test_policy_makes_our_loops(policy):
    loop, task = asyncio.run(_loop_and_task())
    assert type(loop) is asyncloop.Loop and type(task) is asyncloop.Task
    loop = asyncio.new_event_loop()
    assert type(loop) is asyncloop.Loop
    loop.close()


def test_policy_is_asyncios_kind(policy):
    base = getattr(asyncio.events, "_AbstractEventLoopPolicy", None) or asyncio.events.AbstractEventLoopPolicy
    assert isinstance(policy, base)
    assert repr(type(policy)) == "<class 'asyncloop.EventLoopPolicy'>"


def test_policy_keeps_the_current_loop(policy):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert asyncio.get_event_loop() is loop
        assert loop.run_until_complete(_loop_and_task())[0] is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    with pytest.raises(RuntimeError, match="There is no current event loop in thread 'MainThread'"):
        asyncio.get_event_loop()


@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
def test_get_event_loop_without_one(policy):
    """Made in the main thread up to 3.13, an error from 3.14 on and in other threads, as asyncio's own."""
    if sys.version_info < (3, 14):
        loop = asyncio.get_event_loop()
        assert type(loop) is asyncloop.Loop and asyncio.get_event_loop() is loop
        asyncio.set_event_loop(None)
        loop.close()
    else:
        with pytest.raises(RuntimeError, match="There is no current event loop in thread 'MainThread'"):
            asyncio.get_event_loop()
    caught = []

    def in_thread():
        try:
            asyncio.get_event_loop()
        except RuntimeError as exc:
            caught.append(str(exc))

    thread = threading.Thread(target=in_thread, name="other")
    thread.start()
    thread.join()
    assert caught == ["There is no current event loop in thread 'other'."]


def test_set_event_loop_of_something_else(policy):
    with pytest.raises(TypeError, match="loop must be an instance of AbstractEventLoop or None, not 'int'"):
        asyncio.set_event_loop(5)


def test_current_loop_is_per_thread(policy):
    mine = asyncio.new_event_loop()
    asyncio.set_event_loop(mine)
    found = []

    def in_thread():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        found.append(asyncio.get_event_loop() is loop and loop is not mine)
        loop.close()

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert found == [True] and asyncio.get_event_loop() is mine
    asyncio.set_event_loop(None)
    mine.close()


@pytest.mark.filterwarnings("ignore:.*child_watcher:DeprecationWarning")
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers are gone in Python 3.14")
def test_policy_has_a_child_watcher(policy):
    assert type(asyncio.get_child_watcher()) is type(asyncio.DefaultEventLoopPolicy().get_child_watcher())


def test_policy_after_fork():
    got = run_python(
        "import os, asyncio, asyncloop\nasyncloop.install()\nloop = asyncio.new_event_loop(); asyncio.set_event_loop(loop)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    async def f(): await asyncio.sleep(0.001); return type(asyncio.get_running_loop()).__module__\n"
        "    print(asyncio.run(f()), flush=True); os._exit(0)\n"
        "print(os.waitpid(pid, 0)[1], asyncio.get_event_loop() is loop)\nloop.close()\n")
    assert (got.stdout.splitlines(), got.stderr) == (["asyncloop", "0 True"], "")


# --- install, uninstall


def asyncio_modules():
    for found in pkgutil.iter_modules(asyncio.__path__):
        if found.name != "__main__" and not found.name.startswith(("windows_", "proactor_")):
            yield importlib.import_module(f"asyncio.{found.name}")
    yield asyncio


def bindings():
    """Every name of asyncio and its modules, and the policy."""
    return {(m.__name__, k): v for m in asyncio_modules() for k, v in vars(m).items()}


def changed(before, after):
    missing = object()
    return {key for key in before.keys() | after.keys() if before.get(key, missing) is not after.get(key, missing)}


@pytest.fixture
def uninstalled(policy_kept):
    yield
    asyncloop.uninstall()


# What install() is to replace, as far as we have it on this Python.
HELPERS = """
    sleep gather wait wait_for shield as_completed timeout timeout_at Timeout TaskGroup Lock Event Condition Semaphore BoundedSemaphore Barrier Queue
    PriorityQueue LifoQueue StreamReader StreamWriter StreamReaderProtocol open_connection start_server open_unix_connection start_unix_server to_thread
    run_coroutine_threadsafe wrap_future create_task ensure_future current_task all_tasks Future Task""".split()


def rebound(before):
    """The public names in asyncio's modules that mean one of the helpers that we have a twin of: (module, name) -> twin."""
    twins = {name: getattr(asyncloop, name) for name in HELPERS if hasattr(asyncloop, name) and name in vars(asyncio)}
    originals = {name: before["asyncio", name] for name in twins}
    for name in {"SelectorEventLoop", "EventLoop"} & vars(asyncio).keys():
        twins[name], originals[name] = asyncloop.Loop, before["asyncio", name]
    return {(module, name): twins[helper] for (module, name), value in before.items() if not name.startswith("_")
            for helper, original in originals.items() if value is original and twins[helper] is not original}


def test_install_and_uninstall(uninstalled):
    asyncio.events._event_loop_policy = None
    before = bindings()
    expected = rebound(before)
    assert {("asyncio", "sleep"), ("asyncio.streams", "sleep"), ("asyncio", "SelectorEventLoop"), ("asyncio.unix_events", "SelectorEventLoop"), ("asyncio.futures", "Future"), ("asyncio", "Task")} <= set(expected)
    asyncloop.install()
    after = bindings()
    policy = set()
    if HAS_POLICIES:
        policy.add(("asyncio.events", "_event_loop_policy"))
        assert type(after["asyncio.events", "_event_loop_policy"]) is asyncloop.EventLoopPolicy
    assert changed(before, after) == set(expected) | policy
    assert {key: after[key] for key in expected} == expected
    asyncloop.uninstall()
    assert changed(before, bindings()) == set()


def test_install_without_the_helpers(uninstalled):
    asyncio.events._event_loop_policy = None
    before = bindings()
    asyncloop.install(helpers=False)
    assert changed(before, bindings()) == ({("asyncio.events", "_event_loop_policy")} if HAS_POLICIES else set())
    asyncloop.install()
    assert asyncio.sleep is asyncloop.sleep
    asyncloop.install(helpers=False)
    assert asyncio.sleep is asyncloop.sleep
    asyncloop.uninstall()
    assert changed(before, bindings()) == set()
    with pytest.raises(TypeError):
        asyncloop.install(False)


def test_what_is_made_after_install(uninstalled):
    """The names that libraries use to make futures and tasks make ours, and take asyncio's own for what they are."""
    native_future, native_task = asyncio.Future, asyncio.Task
    asyncloop.install()

    async def nothing():
        pass

    async def main():
        loop = asyncio.get_running_loop()
        made = asyncio.Future(), asyncio.Task(nothing()), asyncio.create_task(nothing()), native_future(), native_task(nothing(), loop=loop)
        for future in made[3], made[0]:
            future.set_result(None)
        for future in made:
            assert isinstance(future, asyncio.Future) and asyncio.isfuture(future)
            await future
        assert [isinstance(future, asyncio.Task) for future in made] == [False, True, True, False, True]
        assert type(made[0]) is asyncio.Future is asyncloop.Future and type(made[1]) is type(made[2]) is asyncio.Task is asyncloop.Task
        assert issubclass(native_task, asyncio.Future) and issubclass(asyncio.Task, asyncio.Future)
        assert isinstance(made[0], native_future) and isinstance(made[1], native_task)

    asyncio.run(main())


def test_install_twice(uninstalled):
    before = bindings()
    asyncloop.install()
    once = bindings()
    asyncloop.install()
    assert changed(once, bindings()) == set()
    asyncloop.uninstall()
    assert changed(before, bindings()) == set()
    asyncloop.uninstall()
    assert changed(before, bindings()) == set()
    asyncloop.install()
    assert changed(before, bindings()) == changed(before, once)


def test_install_from_several_threads(uninstalled):
    """Whatever the order of the calls, none sees another's half: all is replaced or nothing, and uninstall() gives all back."""
    before = bindings()
    asyncloop.install()
    whole = changed(before, bindings())
    asyncloop.uninstall()
    calls = [asyncloop.install, asyncloop.uninstall], [asyncloop.install], [asyncloop.install, asyncloop.uninstall, asyncloop.install]
    errors = []

    def work(together, functions):
        together.wait()
        try:
            for function in functions:
                function()
        except BaseException as exc:
            errors.append(exc)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(200):
            together = threading.Barrier(len(calls))
            threads = [threading.Thread(target=work, args=(together, functions)) for functions in calls]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            assert changed(before, bindings()) in (whole, set())
            asyncloop.uninstall()
            assert changed(before, bindings()) == set()
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif(not HAS_POLICIES, reason="this Python's asyncio has no policies")
def test_uninstall_gives_back_an_earlier_policy(uninstalled):
    class Policy(asyncloop.EventLoopPolicy):
        pass

    earlier = asyncio.events._event_loop_policy = Policy()
    asyncloop.install()
    assert asyncio.events._event_loop_policy is not earlier
    asyncloop.uninstall()
    assert asyncio.events._event_loop_policy is earlier


def test_uninstall_leaves_what_others_put_there(uninstalled, monkeypatch):
    before = bindings()
    asyncloop.install()

    def patched(*args):
        pass

    monkeypatch.setattr(asyncio, "sleep", patched)
    other = asyncio.events._event_loop_policy = object()
    asyncloop.uninstall()
    assert asyncio.sleep is patched and asyncio.tasks.sleep is not patched
    assert asyncio.events._event_loop_policy is other
    asyncio.events._event_loop_policy = before["asyncio.events", "_event_loop_policy"]
    monkeypatch.setattr(asyncio, "sleep", before["asyncio", "sleep"])
    assert changed(before, bindings()) == set()


def test_program_after_install(uninstalled):
    async def child(n):
        await asyncio.sleep(0.001)
        return n

    async def main():
        return type(asyncio.get_running_loop()), await asyncio.gather(child(1), child(2))

    asyncloop.install()
    assert asyncio.run(main()) == (asyncloop.Loop, [1, 2])
    asyncloop.uninstall()
    assert asyncio.run(main())[0] is not asyncloop.Loop


# --- the loop's class


def default_policy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies are deprecated from 3.14 on
        return asyncio.DefaultEventLoopPolicy


def closed(loop):
    loop.close()
    return loop


NATIVE = asyncio.SelectorEventLoop
NAMES = [name for name in ("SelectorEventLoop", "EventLoop") if hasattr(asyncio, name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_loops_class_is_ours_when_installed(uninstalled, name):
    asyncloop.install()
    cls = getattr(asyncio, name)
    assert cls is asyncloop.Loop is getattr(asyncio.unix_events, name)
    assert type(closed(cls())) is type(closed(asyncio.new_event_loop())) is asyncloop.Loop
    asyncloop.uninstall()
    assert getattr(asyncio, name) is getattr(asyncio.unix_events, name) is NATIVE


def test_isinstance_of_loops_both_ways(uninstalled):
    ours, native = closed(asyncloop.new_event_loop()), closed(NATIVE())
    child, native_child = type("Child", (asyncloop.Loop,), {}), type("NativeChild", (NATIVE,), {})

    def answers():
        return (isinstance(ours, asyncloop.Loop), isinstance(native, asyncloop.Loop), isinstance(ours, NATIVE), issubclass(NATIVE, asyncloop.Loop),
                issubclass(native_child, asyncloop.Loop), isinstance(native, child), issubclass(native_child, child), isinstance(5, asyncloop.Loop))

    before = answers()
    assert before == (True, False, False, False, False, False, False, False)
    asyncloop.install()
    assert answers() == (True, True, True, True, True, False, False, False)
    assert issubclass(child, asyncio.SelectorEventLoop) and isinstance(closed(child()), asyncio.SelectorEventLoop)
    assert isinstance(ours, asyncio.BaseEventLoop) and repr(ours) == repr(native)
    with pytest.raises(TypeError):
        issubclass(5, asyncio.SelectorEventLoop)
    asyncloop.uninstall()
    assert answers() == before and type(ours) is ours.__class__ is asyncloop.Loop


@pytest.mark.parametrize("installed", [False, True])
def test_a_loop_can_be_given_another_class(uninstalled, installed):
    """The class it says is no property that hides what Python does with __class__."""
    if installed:
        asyncloop.install()

    def seen(loop, kind):
        kind = type("Mine", (kind,), {})
        loop.__class__ = kind
        assert type(loop) is loop.__class__ is kind
        texts = []
        for call in (lambda: setattr(loop, "__class__", 5), lambda: setattr(loop, "__class__", int), lambda: delattr(loop, "__class__")):
            with pytest.raises(TypeError) as raised:
                call()
            texts.append(str(raised.value))
        assert type(loop) is loop.__class__ is kind
        return texts[0], texts[2]

    ours, native = closed(asyncloop.Loop()), closed(NATIVE())
    assert (ours.__class__ is NATIVE) == installed
    assert seen(ours, asyncloop.Loop) == seen(native, NATIVE)


def test_class_derived_from_the_loops_class(uninstalled):
    asyncloop.install()

    class Mine(asyncio.SelectorEventLoop):
        def __init__(self, word):
            super().__init__()
            self.word = word

        def time(self):
            return super().time() + 1000

    loop = Mine("word")
    assert isinstance(loop, asyncloop.Loop) and loop.__class__ is Mine and loop.word == "word"
    assert loop.run_until_complete(_loop_and_task())[0] is loop
    loop.close()


def test_class_derived_from_the_loops_class_and_others():
    class Shape(abc.ABC):
        pass

    class HasTime(typing.Protocol):
        def time(self): ...

    T = typing.TypeVar("T")
    for others in (Shape,), (HasTime,), (typing.Generic[T],), (Shape, typing.Generic[T]):
        for base in asyncloop.Loop, NATIVE:
            loop = types.new_class("Mine", (base, *others))()
            assert isinstance(loop, base)
            loop.close()


@pytest.mark.parametrize("innard", ["_run_once", "_add_reader", "_process_events"])
def test_class_that_overrides_innards_is_asyncios(uninstalled, innard):
    """As those of trio-asyncio and of loops with a clock of their own: ours has nothing that would call these."""
    asyncloop.install()

    calls = []

    def override(self, *args):
        calls.append(args)
        return getattr(NATIVE, innard)(self, *args)

    cls = type("Mine", (asyncio.SelectorEventLoop,), {innard: override})
    assert issubclass(cls, NATIVE) and issubclass(cls, asyncio.SelectorEventLoop)
    loop = cls()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert calls


class OwnSelector(selectors.SelectSelector):
    pass


@pytest.mark.parametrize("make", [selectors.DefaultSelector, selectors.SelectSelector, selectors.PollSelector])
def test_a_selector_of_the_standard_library(uninstalled, make):
    asyncloop.install()
    for call in asyncio.SelectorEventLoop, lambda s: asyncio.SelectorEventLoop(selector=s), type("Child", (asyncio.SelectorEventLoop,), {}):
        selector = make()
        loop = call(selector)
        assert isinstance(loop, asyncloop.Loop) and type(loop) is not NATIVE
        assert loop.run_until_complete(_loop_and_task())[0] is loop
        assert selector.get_map() is not None
        loop.close()
        assert selector.get_map() is None  # as asyncio's loop closes it


def test_a_selector_of_the_program_is_really_used(uninstalled):
    asyncloop.install()
    selector, ends = selectors.DefaultSelector(), socket.socketpair()
    selector.register(ends[0], selectors.EVENT_READ)
    for each in OwnSelector(), selector:
        loop = asyncio.SelectorEventLoop(each)
        assert type(loop) is NATIVE and loop._selector is each
        assert loop.run_until_complete(_loop_and_task())[0] is loop
        loop.close()
    for end in ends:
        end.close()


def test_a_selector_that_cannot_be_used_is_an_error(uninstalled):
    asyncloop.install()
    with OwnSelector() as selector, pytest.raises(TypeError, match="asyncloop's loop waits by epoll and cannot use <.*OwnSelector object"):
        type("Child", (asyncio.SelectorEventLoop,), {})(selector)
    asyncloop.uninstall()
    with OwnSelector() as selector, pytest.raises(TypeError, match="cannot use <.*OwnSelector object"):
        asyncloop.Loop(selector)


@pytest.mark.skipif(not HAS_POLICIES, reason="this Python's asyncio has no policies")
def test_default_policies_make_our_loops(uninstalled):
    """Those made earlier and those of classes derived from asyncio's too."""
    cls = default_policy()
    earlier = cls()

    class Derived(cls):
        pass

    class Own(cls):
        _loop_factory = NATIVE

    asyncloop.install()
    assert isinstance(asyncio.events._event_loop_policy, default_policy())
    for policy in earlier, cls(), default_policy()(), Derived():
        assert type(closed(policy.new_event_loop())) is asyncloop.Loop
    assert type(closed(Own().new_event_loop())) is NATIVE
    asyncloop.uninstall()
    for policy in earlier, cls(), Derived():
        assert type(closed(policy.new_event_loop())) is NATIVE


# --- where it cannot be built


SETUP = os.path.realpath(os.path.join(os.path.dirname(asyncloop.__file__), "..", "setup.py"))


@pytest.mark.skipif(not os.path.exists(SETUP), reason="no setup.py beside the package: not a checkout")
@pytest.mark.parametrize("change, text", [
    ("sys.platform = 'darwin'", "asyncloop: only Linux is supported (the loop is built on epoll), this is darwin; use asyncio's own loop there"),
    ("sys.version_info = (3, 10)", "asyncloop: CPython 3.11 or newer is needed, this is 3.10"),
    ("sys.implementation.name = 'pypy'", "asyncloop: this is pypy; asyncloop is a C extension for CPython's own object layout and does not "
     "run on it. Use asyncio's loop there."),
    ("import os; os.environ['ASYNCLOOP_FLAVOR'] = 'quick'", "asyncloop: ASYNCLOOP_FLAVOR=quick is unknown, it must be one of release, debug, asan, tsan, cov"),
])
def test_build_refusals(change, text):
    code = f"import sys, runpy, sysconfig\nsys.argv = ['setup.py', 'build_ext']\n{change}\nrunpy.run_path({SETUP!r}, run_name='__main__')"
    got = run_python(code)
    assert (got.returncode, got.stdout, got.stderr) == (1, "", text + "\n")
