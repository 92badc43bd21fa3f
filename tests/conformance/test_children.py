"""Child processes of `python -m asyncloop`, and every Python with ASYNCLOOP in its environment; uvloop's names under the runner."""
import importlib.util
import subprocess
import textwrap

import pytest

from sidebyside import PATIENCE, child_env

needs_uvloop = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")


@pytest.fixture
def python(hooked_python, tmp_path):
    """Runs that Python in a folder of its own, and returns what it printed."""
    def python(*args, stderr="", **env):
        env = child_env(PYTHONDONTWRITEBYTECODE="1", **env)
        got = subprocess.run([hooked_python, *args], cwd=tmp_path, env=env, text=True, capture_output=True, timeout=60 * PATIENCE)
        assert (got.returncode, got.stderr) == (0, stderr), got.stdout + got.stderr
        return got.stdout.splitlines()
    return python


SEEN = "import sys; print([name in sys.modules for name in ('_asyncloop_boot', 'asyncio', 'asyncloop')])"


@pytest.mark.parametrize("value, started", [(None, False), ("", False), ("0", True), ("1", True), ("keep-uvloop", True)])
def test_nothing_is_imported_before_asyncio_is(python, value, started):
    env = {} if value is None else {"ASYNCLOOP": value}
    assert python("-c", SEEN, **env) == [str([started, False, False])]


LOOP = "import asyncio\nasync def main(): print(type(asyncio.get_running_loop()).__module__, type(asyncio.current_task()).__module__)\nasyncio.run(main())\n"


@pytest.mark.parametrize("value, module", [(None, "asyncio.unix_events _asyncio"), ("", "asyncio.unix_events _asyncio"), ("0", "asyncio.unix_events _asyncio"),
                                           ("1", "asyncloop asyncio"), ("keep-uvloop", "asyncloop asyncio")])
def test_the_variable(python, value, module):
    env = {} if value is None else {"ASYNCLOOP": value}
    assert python("-W", "error", "-c", LOOP, **env) == [module]


@pytest.mark.parametrize("first", ["import asyncloop", "import asyncloop.loop", "from asyncio import sleep", "import asyncio.events", "import asyncio; import asyncloop"])
def test_whatever_is_imported_first(python, first):
    code = f"{first}\nfrom asyncio import sleep, Queue, SelectorEventLoop\nimport asyncio, asyncloop\n" \
           "print(sleep is asyncloop.sleep, Queue is asyncloop.Queue, SelectorEventLoop is asyncloop.Loop)\n" \
           "print('exec_module' in vars(asyncio.__loader__), 'exec_module' in vars(asyncloop.__loader__))\n"
    assert python("-c", code, ASYNCLOOP="1") == ["True True True", "False False"]


def test_without_site(python):
    """-S and -I leave out what is in site-packages, or the environment: no hook then, and no error."""
    assert python("-I", "-c", LOOP, ASYNCLOOP="1") in (["asyncloop asyncio"], ["asyncio.unix_events _asyncio"])
    assert python("-S", "-c", LOOP, ASYNCLOOP="1") == ["asyncio.unix_events _asyncio"]


CHILDREN = """
    import asyncio, concurrent.futures as cf, multiprocessing as mp, os, subprocess, sys
    def where():
        async def inner():
            return type(asyncio.get_running_loop()).__module__, type(asyncio.current_task()).__module__
        return asyncio.run(inner())
    async def main():
        print("main", type(asyncio.get_running_loop()).__module__)
        for kind in "fork", "spawn", "forkserver":
            with cf.ProcessPoolExecutor(1, mp_context=mp.get_context(kind)) as pool:
                print(kind, *await asyncio.get_running_loop().run_in_executor(pool, where))
    if __name__ == "__main__":
        if sys.argv[1:] == ["child"]:
            print("child", *where())
        else:
            subprocess.run([sys.executable, __file__, "child"], check=True)
            asyncio.run(main())
"""


@pytest.mark.parametrize("prefix, name", [((), "asyncio.unix_events _asyncio"), (("-m", "asyncloop"), "asyncloop asyncio")], ids=["python", "asyncloop"])
def test_children(python, tmp_path, prefix, name):
    (tmp_path / "children.py").write_text(textwrap.dedent(CHILDREN))
    assert python("-W", "ignore", *prefix, "children.py") == [
        f"child {name}", f"main {name.split()[0]}", f"fork {name}", f"spawn {name}", f"forkserver {name}"]


@pytest.mark.parametrize("options, value", [((), "1"), (("--keep-uvloop",), "keep-uvloop")])
def test_what_the_runner_sets(python, options, value):
    assert python("-m", "asyncloop", *options, "-c", "import os; print(os.environ['ASYNCLOOP'])") == [value]
    assert python("-m", "asyncloop", *options, "-c", "import os; print(os.environ['ASYNCLOOP'])", ASYNCLOOP="0") == [value]


def test_uvloop_is_not_imported(python):
    assert python("-m", "asyncloop", "-c", "import sys; print('uvloop' in sys.modules)") == ["False"]


UVLOOP = """
    import asyncio, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from uvloop import new_event_loop, run, install, EventLoopPolicy
    import uvloop
    async def where():
        return type(asyncio.get_running_loop()).__module__
    loop = new_event_loop()
    said = [type(loop).__module__, isinstance(loop, uvloop.Loop)]
    loop.close()
    said += [run(where()), run(where(), debug=True), uvloop.run(where(), loop_factory=uvloop.new_event_loop)]
    loop = EventLoopPolicy().new_event_loop()
    said += [type(loop).__module__]
    loop.close()
    install()
    said += [asyncio.run(where())]
    print(*said)
"""


@needs_uvloop
@pytest.mark.parametrize("options, env, name", [
    ((), {}, "uvloop"), (("-m", "asyncloop"), {}, "asyncloop"), (("-m", "asyncloop", "--keep-uvloop"), {}, "uvloop"), ((), {"ASYNCLOOP": "1"}, "asyncloop"),
    ((), {"ASYNCLOOP": "keep-uvloop"}, "uvloop"), (("-m", "asyncloop", "--keep-uvloop"), {"ASYNCLOOP": "1"}, "uvloop"),
    (("-m", "asyncloop"), {"ASYNCLOOP": "keep-uvloop"}, "asyncloop"),
])
def test_ways_to_uvloop(python, tmp_path, options, env, name):
    (tmp_path / "ways.py").write_text(textwrap.dedent(UVLOOP))
    assert python(*options, "ways.py", **env) == [" ".join([name, "True", *[name] * 5])]


@needs_uvloop
def test_uvloop_that_was_imported_before(python):
    code = "import uvloop, sys, runpy; before = uvloop.new_event_loop\nsys.argv = ['asyncloop', '-c', 'import uvloop; print(type(uvloop.new_event_loop()).__module__)']\n" \
           "runpy.run_module('asyncloop', run_name='__main__', alter_sys=True)"
    assert python("-W", "ignore", "-c", code) == ["asyncloop"]


def test_a_missing_uvloop_is_missing_as_ever(python, tmp_path):
    (tmp_path / "program.py").write_text("import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p]\ntry:\n    import uvloop\n"
                                         "except ImportError as exc:\n    print(type(exc).__name__, exc, exc.name)\n")
    expected = python("program.py")
    assert python("-m", "asyncloop", "program.py") == expected == ["ModuleNotFoundError No module named 'uvloop' uvloop"]
