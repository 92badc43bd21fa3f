"""What a build says where something is missing: one line, with what to do.  Platforms and Pythons that it refuses: test_package.py."""
import pathlib
import subprocess
import sys
import sysconfig

import pytest

from kits import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="setup.py is not beside these tests (installed package)"),
]


def build(tmp_path, before="", **env):
    """Runs setup.py up to the compiler, in a Python that `before` has changed; what it wrote last, and its status."""
    pytest.importorskip("setuptools", minversion="77", reason="there is no setuptools 77 or later, which pyproject.toml asks for")
    code = f"""
import os, runpy, sys
{before}
sys.argv[:] = ["setup.py", "-q", "build_ext", "--build-temp", {str(tmp_path / "temp")!r}, "--build-lib", {str(tmp_path / "lib")!r}]
sys.path.insert(0, "")
runpy.run_path("setup.py", run_name="__main__")
"""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PATH": "/usr/bin:/bin", **env}, text=True, capture_output=True, timeout=60 * PATIENCE)


def last_line(done):
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert sum(line.startswith("asyncloop:") for line in lines) == 1
    return lines[-1]


def test_no_compiler(tmp_path):
    line = last_line(build(tmp_path, CC="no-such-compiler -pthread"))
    assert line.startswith("asyncloop: a C compiler is needed to build it, and there is no no-such-compiler; install one (Debian: apt-get install gcc")


def test_no_headers(tmp_path):
    before = f"import sysconfig\nreal = sysconfig.get_path\nsysconfig.get_path = lambda name, *a, **kw: {str(tmp_path)!r} if name == 'include' else real(name, *a, **kw)"
    line = last_line(build(tmp_path, before, CC="true"))
    assert line.startswith(f"asyncloop: the headers of this Python are needed to build it, and there is no Python.h in {tmp_path}; install them (Debian: ")
    assert "python%d.%d-dev" % sys.version_info[:2] in line


def test_with_all_that_is_needed_the_compiler_is_run(tmp_path):
    """The checks let a good environment pass: the compiler is called, here one that only says so."""
    pytest.importorskip("setuptools", minversion="77", reason="there is no setuptools 77 or later, which pyproject.toml asks for")
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho called >&2\nexit 1\n")
    compiler.chmod(0o755)
    if not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists():
        pytest.skip("this Python has no headers")
    done = build(tmp_path, CC=str(compiler))
    assert done.returncode == 1 and "called" in done.stderr and "asyncloop: a C compiler" not in done.stderr


def test_a_checkout_that_was_not_built(tmp_path):
    """Run from its root: `import asyncloop` and `python -m asyncloop` say in one line that it is to be built."""
    (tmp_path / "asyncloop").mkdir()
    for path in (ROOT / "asyncloop").glob("*.py"):
        (tmp_path / "asyncloop" / path.name).write_text(path.read_text())
    for path in ROOT.glob("_asyncloop_*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    what = "asyncloop's C extension is not built for Python %d.%d in %s; in a checkout, build it with: pip install -e ." % (
        *sys.version_info[:2], tmp_path / "asyncloop")

    def python(*args):  # -S: an installation of this checkout would find the extension
        return subprocess.run([sys.executable, "-S", *args], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}, text=True, capture_output=True,
                              timeout=60 * PATIENCE)

    done = python("-c", "import asyncloop")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == f"ImportError: {what}"
    assert "During handling" not in done.stderr
    done = python("-m", "asyncloop", "program.py")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", what + "\n")
    # Another program that is run by -m may try it, and do without.
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__init__.py").write_text("try:\n    import asyncloop\nexcept ImportError as exc:\n    print(exc)\n")
    (tmp_path / "program" / "__main__.py").write_text("print('goes on')\n")
    done = python("-m", "program")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{what}\ngoes on\n", "")
