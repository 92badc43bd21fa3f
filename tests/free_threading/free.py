"""The free-threaded Python of these tests: the interpreter that ASYNCLOOP_FREE_THREADED names, in an environment of its own with the checkout built for it.

    ASYNCLOOP_FREE_THREADED           path of a python3.14t or later; without it these tests are skipped
    ASYNCLOOP_FREE_THREADED_SECONDS   how long each workload runs, and each type is misused (default: 3)

The environment stays in build/free_threading/ and is used again; the extension is built anew where a source is newer.  ASYNCLOOP_FLAVOR is honoured.
With tsan TSAN_OPTIONS names CPython's own list of suppressions; a race that is not in it ends a child with status 66.
"""
import fcntl
import functools
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

from kits import PATIENCE

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMED = os.environ.get("ASYNCLOOP_FREE_THREADED")
SECONDS = float(os.environ.get("ASYNCLOOP_FREE_THREADED_SECONDS", "3"))

needed = pytest.mark.skipif(not NAMED, reason="ASYNCLOOP_FREE_THREADED names no free-threaded Python (3.14 or later)")


def environ(**more):
    """The environment of a child on that Python.  PYTHON_GIL=0: another extension that wants the GIL does not get it."""
    left_out = ("ASYNCLOOP", "ASYNCLOOP_FREE_THREADED", "VIRTUAL_ENV", "PYTHONHOME", "PYTEST_ADDOPTS")
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE.parent}", "PYTHON_GIL": "0", "PYTHONFAULTHANDLER": "1", **more}


def _run(*command, **more):
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env=environ(**more), text=True, capture_output=True)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}", pytrace=False)
    return done.stdout


def _install(python):
    """What the tests need.  A package that has no wheel for this Python is left out; the tests that need it say so."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    _run(python, "-m", "pip", "install", "-q", "setuptools>=77", *[each for each in wanted if each.startswith("pytest")])
    for each in wanted:
        subprocess.run([python, "-m", "pip", "install", "-q", "--only-binary=:all:", each], env=environ(), capture_output=True)


@functools.cache
def python():
    """The path of that Python in its environment; the checkout is built for it."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("the sources are not beside these tests (installed package)")
    tag = _run(NAMED, "-c", "import sys, sysconfig, zlib; assert sysconfig.get_config_var('Py_GIL_DISABLED'), f'{sys.executable} is not free-threaded'; "
               "print(sysconfig.get_config_var('SOABI'), hex(zlib.crc32(repr((sys.executable, sys.version)).encode())), sep='-')").strip()
    folder = ROOT / "build" / "free_threading" / tag
    folder.mkdir(parents=True, exist_ok=True)
    ours = folder / "bin" / "python"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _run(NAMED, "-m", "venv", folder)
            _install(ours)
            (folder / "complete").touch()
        _run(ours, "setup.py", "-q", "build_ext", "--inplace")
    return str(ours)


def _sanitizer():
    """What the asan flavour needs of its process.  Objects are in an allocator of Python's own there, which cannot be replaced, and escape it."""
    if os.environ.get("ASYNCLOOP_FLAVOR") != "asan":
        return {}
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], text=True, capture_output=True, check=True).stdout.strip()
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def child(*words, timeout, **env):
    """Runs that Python; fails, with the end of what it said, when its status is not 0 or it takes too long."""
    try:
        done = subprocess.run([python(), *map(str, words)], cwd=ROOT, env=environ(**_sanitizer(), **env), text=True, capture_output=True,
                              timeout=timeout * PATIENCE)
    except subprocess.TimeoutExpired as exc:
        told = "\n".join((part or b"").decode(errors="replace")[-3000:] for part in (exc.stdout, exc.stderr))
        pytest.fail(f"no end after {exc.timeout:g} s: {' '.join(map(str, words))}\n{told}", pytrace=False)
    if done.returncode:
        pytest.fail(f"status {done.returncode}: {' '.join(map(str, words))}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}", pytrace=False)
    return done


def own_interpreter(program, *words):
    """The same program on the Python that runs pytest: it is right, whatever the GIL does."""
    done = subprocess.run([sys.executable, program, *map(str, words)], text=True, capture_output=True, timeout=300 * PATIENCE)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done
