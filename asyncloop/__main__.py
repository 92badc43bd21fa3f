"""python -m asyncloop SCRIPT [ARGS] | -m MODULE [ARGS]: run an unmodified program on asyncloop.

The program finds what plain `python` would have given it: sys.argv, sys.path[0], a `__main__` module of its own, and its exit status.  An exception that
leaves it goes to Python's own machinery; only the frames of this file and of the runner beneath are taken off its traceback.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
from types import CodeType, ModuleType, TracebackType
from typing import Any

from . import install

USAGE = """usage: python -m asyncloop SCRIPT [ARGS]
       python -m asyncloop -m MODULE [ARGS]

Runs an asyncio program, unchanged, on asyncloop's event loop."""

_run_module_as_main: Any = getattr(runpy, "_run_module_as_main")


def _python_name() -> str:
    """The interpreter as it was called, which begins its own messages."""
    return sys.orig_argv[0] if sys.orig_argv else sys.executable


def _new_main_module() -> ModuleType:
    """A fresh `__main__` in sys.modules, as the interpreter makes it before it runs anything."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        module.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = module
    return module


def _replace_path0(path: str) -> None:
    """Put path where python puts the script's folder; -P and -I leave it out, as they left out what -m puts there."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _load_script(filename: str) -> CodeType:
    """The code of a source or compiled file; a file that cannot be opened is python's own message and status 2."""
    try:
        with io.open_code(filename) as f:
            code: CodeType | None = pkgutil.read_code(f)
        if code is None:
            with io.open_code(filename) as f:
                code = compile(f.read(), filename, "exec", dont_inherit=True)
        return code
    except OSError as exc:
        print(f"{_python_name()}: can't open file {filename!r}: [Errno {exc.errno}] {exc.strerror}", file=sys.stderr)
        sys.exit(2)


def _run_script(script: str) -> None:
    filename = script if os.path.isabs(script) else os.path.join(os.getcwd(), script)
    if pkgutil.get_importer(script) is not None:
        # A folder or a zip file with a __main__.py in it.
        _replace_path0(filename)
        _new_main_module()
        _run_module_as_main("__main__", False)
        return
    code = _load_script(filename)
    _replace_path0(os.path.dirname(os.path.realpath(script)))
    module = _new_main_module()
    kind = importlib.machinery.SourcelessFileLoader if script.endswith(".pyc") else importlib.machinery.SourceFileLoader
    module.__dict__.update(__file__=filename, __loader__=kind("__main__", filename))
    if sys.version_info < (3, 15):
        module.__dict__["__cached__"] = None
    exec(code, module.__dict__)


def _without_our_frames(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_filename == _python_name.__code__.co_filename:
        tb = tb.tb_next
    return tb


def _hide_our_frames(exc: BaseException) -> None:
    """Have the next call of sys.excepthook, whatever it is by now, see exc without our frames and those beneath them.

    Printing by ourselves would be simpler, but the exit status (of a Ctrl-C, say), sys.last_exc and -i are the interpreter's business: so the exception
    goes on upwards, and the hook is put back before it is called.
    """
    if not hasattr(sys, "excepthook"):
        return
    hook, shown = sys.excepthook, _without_our_frames(exc.__traceback__)

    def hook_once(kind: type[BaseException], value: BaseException, tb: TracebackType | None) -> None:
        sys.excepthook = hook
        if value is exc:
            value.__traceback__ = sys.last_traceback = tb = shown
        hook(kind, value, tb)

    sys.excepthook = hook_once


def main() -> None:
    args = sys.argv[1:]
    if args[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return
    if not args or (args[0].startswith("-") and (args[0] != "-m" or len(args) < 2)):
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    install()
    # Keep this module's own namespace alive while the program runs: it is no longer in sys.modules under any name.
    ours = sys.modules["__main__"]
    try:
        if args[0] == "-m":
            sys.argv = ["-m", *args[2:]]
            _new_main_module()
            _run_module_as_main(args[1])
        else:
            sys.argv = args
            _run_script(args[0])
    except SystemExit:
        raise
    except BaseException as exc:
        _hide_our_frames(exc)
        raise
    finally:
        del ours


if __name__ == "__main__":
    main()
