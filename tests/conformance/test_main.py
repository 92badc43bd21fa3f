"""`python -m asyncloop PROGRAM` is `python PROGRAM`: arguments, `__main__`, exit status, and what it prints, tracebacks included."""
import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

import asyncloop
from sidebyside import PATIENCE, child_env


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with files in it, and a runner of python there."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    (tmp_path / "link.py").symlink_to(os.path.join("folder", "paths.py"))
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as z:
        z.writestr("__main__.py", "import sys\nprint('zip', __name__, sys.argv, sys.path[0])\n1/0\n")
    return tmp_path


def python(place, *args, options=(), stdin=None, **env):
    return subprocess.run([sys.executable, *options, *args], cwd=place, env=child_env(PYTHONDONTWRITEBYTECODE="1", **env), text=True,
                          input=stdin, capture_output=True, timeout=60 * PATIENCE)


def seen(run):
    return run.returncode, run.stdout, run.stderr


FILES = {
    "paths.py": """
        import sys
        print(__name__, __file__, __package__, __spec__, __doc__, sys.argv, sys.path[0])
        print(type(__loader__).__name__, __loader__.name, __loader__.path, __builtins__)
        print(sorted(k for k in globals()), sys.modules["__main__"].__dict__ is globals())
        """,
    "folder/paths.py": "from paths_helper import where\nprint(__file__, where)\nimport sys; print(sys.path[0], sys.argv)\n",
    "folder/paths_helper.py": "where = __file__\n",
    "boom.py": """
        import asyncio
        async def main():
            await asyncio.sleep(0)
            inner()
        def inner():
            raise ValueError("boom")
        try:
            {}["x"]
        except KeyError:
            inner()
        """,
    "boom_hook.py": """
        import sys, traceback
        def hook(kind, value, tb):
            print("hook", kind, value, [f.name for f in traceback.extract_tb(tb)], value.__traceback__ is tb, sys.last_traceback is tb)
        sys.excepthook = hook
        1/0
        """,
    "boom_atexit.py": """
        import atexit, sys, traceback
        def end():
            print("at exit", sys.excepthook is sys.__excepthook__)
            traceback.print_tb(sys.last_traceback, file=sys.stdout)
        atexit.register(end)
        raise LookupError("x")
        """,
    "syntax.py": "x = 1\nif x\n    pass\n",
    "cause.py": "def f():\n    raise KeyError(1)\ntry:\n    f()\nexcept KeyError as e:\n    raise OSError(2, 'two') from e\n",
    "group.py": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\n",
    "exit_0.py": "import sys; sys.exit()\n",
    "exit_3.py": "import sys; sys.exit(3)\n",
    "exit_text.py": "import sys; sys.exit('the end')\n",
    "exit_raise.py": "raise SystemExit\n",
    "interrupt.py": "raise KeyboardInterrupt\n",
    "killed.py": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)\n",
    "os_exit.py": "import os; os._exit(7)\n",
    "stdin.py": "import sys; print(sys.stdin.read().upper())\n",
    "thread.py": "import threading\ndef f():\n    print('in thread', threading.main_thread().name)\nthreading.Thread(target=f).start()\n",
    "pickled.py": """
        import pickle, sys
        class Point:
            def __init__(self, x): self.x = x
            def __reduce__(self): return Point, (self.x,)
        def function(): pass
        if __name__ == "__main__":
            p = pickle.loads(pickle.dumps(Point(3)))
            print(type(p) is Point, p.x, pickle.loads(pickle.dumps(function)) is function, Point.__module__)
        """,
    "future_flags.py": "def f(x: undefined_name): pass\n",
    "processes.py": """
        import concurrent.futures, multiprocessing
        def square(x): return x * x
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                print(list(pool.map(square, [1, 2, 3])))
        """,
    "warns.py": "import warnings\nwarnings.warn('careful')\ndef f(): warnings.warn('deep', UserWarning, stacklevel=2)\nf()\n",
    "import_error.py": "import no_such_module\n",
    "not_utf8.py": "# -*- coding: latin-1 -*-\nprint(ascii('\\xe9'))\n",
    "mod.py": "import sys\nprint(__name__, __file__, __spec__.name, repr(__package__), sys.argv, sys.path[0])\n",
    "mod_boom.py": "def f():\n    1/0\nf()\n",
    "package/__init__.py": "",
    "package/__main__.py": "import sys\nprint('package', __name__, repr(__package__), sys.argv)\nfrom . import other\n",
    "package/other.py": "print(__name__)\n",
    "package_bad/__init__.py": "import no_such_module\n",
    "package_plain/__init__.py": "",
    "program/__main__.py": "import sys\nprint('folder', __name__, sys.argv, sys.path[0], repr(__package__))\nimport beside\n1/0\n",
    "program/beside.py": "print(__file__)\n",
}

SCRIPTS = [name for name in FILES if name.endswith(".py") and "/" not in name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(place, name):
    args = [name, "-x", "--help", "a b"]
    expected = python(place, *args, stdin="text")
    assert "asyncloop" not in expected.stdout + expected.stderr.replace(str(place), "")
    assert seen(python(place, "-m", "asyncloop", *args, stdin="text")) == seen(expected)


@pytest.mark.parametrize("args", [
    ["./paths.py"], ["folder/../paths.py"], ["link.py", "x"], ["folder/paths.py"], ["program"], ["program/"], ["./program"], ["folder/../program"], ["./program.zip"], ["program.zip", "1"],
], ids=" ".join)
def test_script_by_path(place, args):
    expected = python(place, *args)
    assert seen(python(place, "-m", "asyncloop", *args)) == seen(expected)


def test_script_by_absolute_path(place):
    args = [str(place / "paths.py")]
    assert seen(python(place, "-m", "asyncloop", *args)) == seen(python(place, *args))


@pytest.mark.parametrize("args", [
    ["mod", "-m", "x"], ["mod_boom"], ["package", "1"], ["package.other"], ["no_such_module"], ["no_such.module"], ["package_bad"],
    ["package_plain"], ["package.no_such"], ["mod.py"], ["interrupt"], ["exit_3"], ["syntax"],
], ids=" ".join)
def test_module(place, args):
    expected = python(place, "-m", *args)
    assert seen(python(place, "-m", "asyncloop", "-m", *args)) == seen(expected)


@pytest.mark.parametrize("options", [["-P"], ["-W", "error"], ["-X", "dev"], ["-O"], ["-B", "-u"]], ids=" ".join)
@pytest.mark.parametrize("args", [["paths.py"], ["boom.py"]], ids=" ".join)
def test_options_of_python(place, options, args):
    if "-P" in options:
        # Without the folder of the program in the path; asyncloop itself comes from PYTHONPATH, in its place.
        args = ["boom.py"]
    assert seen(python(place, "-m", "asyncloop", *args, options=options)) == seen(python(place, *args, options=options))


@pytest.mark.parametrize("stdin", ["print(x, __name__)\n", "import sys; print(sys.last_value, len(__import__('traceback').extract_tb(sys.last_traceback)))\n"])
def test_interactive_afterwards(place, stdin):
    (place / "left.py").write_text("x = 5\nprint(x)\n" + ("1/0\n" if "last" in stdin else ""))
    expected = python(place, "left.py", options=["-i"], stdin=stdin)
    assert seen(python(place, "-m", "asyncloop", "left.py", options=["-i"], stdin=stdin)) == seen(expected)


def test_compiled_script(place):
    import py_compile

    py_compile.compile(str(place / "paths.py"), cfile=str(place / "compiled.pyc"))
    expected = python(place, "compiled.pyc")
    assert seen(python(place, "-m", "asyncloop", "compiled.pyc")) == seen(expected)


@pytest.mark.parametrize("name", ["missing.py", "folder/missing.py", "no folder/x.py", "paths.py/x"])
def test_missing_script(place, name):
    expected = python(place, name)
    got = python(place, "-m", "asyncloop", name)
    assert seen(got) == seen(expected)
    assert (got.returncode, got.stdout, got.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("name", ["timeit", "asyncloop"])
def test_missing_script_that_is_a_module(place, name):
    """python's message, and in the same line what was meant."""
    expected = python(place, name)
    got = python(place, "-m", "asyncloop", name, "--version")
    assert seen(got) == (2, "", expected.stderr.removesuffix("\n") + f"; for the module of that name: python -m asyncloop -m {name}\n")


@pytest.mark.parametrize("name", ["__main__", "helo", "json.tool", "folder/timeit"])
def test_missing_script_without_a_hint(place, name):
    assert seen(python(place, "-m", "asyncloop", name)) == seen(python(place, name))


def test_unreadable_script(place):
    if os.geteuid() == 0:
        # root may read everything but a directory's entry that is not a file's
        (place / "loop.py").symlink_to("loop.py")
        args = ["loop.py"]
    else:
        (place / "paths.py").chmod(0)
        args = ["paths.py"]
    assert seen(python(place, "-m", "asyncloop", *args)) == seen(python(place, *args))


def test_folder_without_main(place):
    expected = python(place, "folder")
    assert seen(python(place, "-m", "asyncloop", "folder")) == seen(expected)
    assert expected.returncode == 1


@pytest.mark.parametrize("args, text", [
    ([], "No program given"), (["--"], "No program given"), (["--keep-uvloop"], "No program given"), (["-x"], "Unknown option: -x"),
    (["--keep-uvlop", "paths.py"], "Unknown option: --keep-uvlop"), (["-W", "error", "paths.py"], "Unknown option: -W"),
    (["-m"], "Argument expected for the -m option"), (["-c"], "Argument expected for the -c option"),
])
def test_usage_error(place, args, text):
    got = python(place, "-m", "asyncloop", *args)
    assert (got.returncode, got.stdout) == (2, "")
    first, second, *_ = got.stderr.splitlines()
    assert first == text and second.startswith("usage: python -m asyncloop ")
    if args and args[-1] in ("-m", "-c"):
        assert python(place, *args).stderr.splitlines()[0] == first


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(place, option):
    got = python(place, "-m", "asyncloop", option)
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.startswith("usage: python -m asyncloop ") and "--keep-uvloop" in got.stdout and "ASYNCLOOP=1" in got.stdout


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(place, option):
    got = python(place, "-m", "asyncloop", option)
    assert (got.returncode, got.stdout, got.stderr) == (0, f"asyncloop {asyncloop.__version__}\n", "")


WHAT_A_TEXT_SEES = ("import sys; print(__name__, globals().get('__file__'), __package__, __spec__, __doc__, __loader__, sys.argv, repr(sys.path[0]), "
                    "sorted(globals()), sys.modules['__main__'].__dict__ is globals())")
TEXTS = [WHAT_A_TEXT_SEES, "print(1)\nprint(2)", "  print('indented')\n  print('too')", "1/0", "def f():\n    1/0\n\nf()", "if x\n", "import sys; sys.exit(3)", "import sys; sys.exit('end')",
         "raise KeyboardInterrupt", "import sys\nprint(sys.stdin.read())", "import warnings; warnings.warn('careful')", "", "'\u00e9\u4e16'; print(ascii('\u00e9'))",
         "import paths_helper", "def f(x: undefined_name): pass"]


@pytest.mark.parametrize("text", TEXTS)
def test_command(place, text):
    args = ["-c", text, "a", "-c", "--", "--help"]
    assert seen(python(place, "-m", "asyncloop", *args, stdin="")) == seen(python(place, *args, stdin=""))


@pytest.mark.parametrize("text", TEXTS)
def test_stdin(place, text):
    args = ["-", "x", "-m"]
    assert seen(python(place, "-m", "asyncloop", *args, stdin=text)) == seen(python(place, *args, stdin=text))


@pytest.mark.parametrize("args", [["--", "paths.py", "--", "-x"], ["--", "boom.py"], ["-mmod", "-x"], ["-mmod_boom"],
                                  ["-c" + WHAT_A_TEXT_SEES, "1"], ["--", "-"]], ids=" ".join)
def test_other_spellings(place, args):
    assert seen(python(place, "-m", "asyncloop", *args, stdin=WHAT_A_TEXT_SEES)) == seen(python(place, *args, stdin=WHAT_A_TEXT_SEES))


PROGRAM = """
import asyncio, sys
async def child(n):
    await asyncio.sleep(0.001 * n)
    return n
async def main():
    loop = asyncio.get_running_loop()
    print(type(loop).__module__, type(asyncio.current_task()).__module__, type(loop.create_future()).__module__)
    print(await asyncio.gather(*map(child, range(5))))
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("args", [["program.py"], ["-m", "program"]], ids=" ".join)
def test_program_runs_on_our_loop(place, args):
    (place / "program.py").write_text(PROGRAM)
    plain, ours = python(place, *args), python(place, "-m", "asyncloop", *args, options=["-W", "error"])
    assert plain.stdout.splitlines() == ["asyncio.unix_events _asyncio _asyncio", "[0, 1, 2, 3, 4]"]
    assert (ours.stdout.splitlines(), ours.stderr) == (["asyncloop asyncio asyncio", "[0, 1, 2, 3, 4]"], "")


def test_loops_that_are_left_open_end_with_the_interpreter(place):
    """Without a word, though the names of the modules are gone by then."""
    (place / "program.py").write_text("import asyncio, selectors\n"
                                      "makers = {'selector': lambda: asyncio.SelectorEventLoop(selectors.PollSelector()), 'new': asyncio.new_event_loop,\n"
                                      "          'runner': lambda: asyncio.Runner().get_loop()}\n"
                                      "for name, make in makers.items():\n    loop = make()\n    print(name)\n")
    run = python(place, "-m", "asyncloop", "program.py")
    assert (run.stdout.split(), run.stderr) == (["selector", "new", "runner"], "")


def test_program_with_policy_calls_of_its_own(place):
    (place / "old.py").write_text(
        "import asyncio\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"
        "print(type(loop).__module__, loop.run_until_complete(asyncio.sleep(0, 'slept')))\nloop.close()\n")
    assert python(place, "-m", "asyncloop", "old.py").stdout == "asyncloop slept\n"


@pytest.mark.parametrize("prefix", [[], ["-m", "asyncloop"]], ids=["python", "asyncloop"])
def test_ctrl_c(place, prefix):
    (place / "waits.py").write_text(
        "import asyncio\nasync def main():\n    try:\n        print('ready', flush=True)\n        await asyncio.sleep(30)\n"
        "    finally:\n        print('cleaned up', flush=True)\nasyncio.run(main())\n")
    process = subprocess.Popen([sys.executable, *prefix, "waits.py"], cwd=place, env=child_env(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30 * PATIENCE)
    assert (process.returncode, out) == (-signal.SIGINT, "cleaned up\n")
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "asyncloop/__main__" not in err and "runpy" not in err
