"""python -m asyncloop [OPTIONS] SCRIPT | -m MODULE | -c CODE | - [ARGS]: run an unmodified program on asyncloop.

Child processes that run Python use asyncloop too, and uvloop's functions give our loop (_asyncloop_boot.py).  The program finds what plain `python`
would give it: sys.argv, sys.path[0], a `__main__` module of its own, and its exit status.  The interpreter itself deals with an exception that leaves
the program; we only take the frames of this file and of the runner off its traceback.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import linecache
import os
import pkgutil
import runpy
import sys
import textwrap
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType
from typing import Any, NamedTuple, NoReturn

import _asyncloop_boot

from . import __version__, install

USAGE = """usage: python -m asyncloop [OPTIONS] [--] SCRIPT [ARGS]
       python -m asyncloop [OPTIONS] -m MODULE [ARGS]
       python -m asyncloop [OPTIONS] -c CODE [ARGS]
       python -m asyncloop [OPTIONS] - [ARGS]
       python -m asyncloop --help | --version
"""

HELP = """
Runs an asyncio program, unchanged, on asyncloop's event loop; - is a program on standard input.
Python's own options come before -m asyncloop.

--keep-uvloop   uvloop.new_event_loop, uvloop.run, uvloop.install and uvloop's policy give
                uvloop's loop; without this option they give asyncloop's
--metrics       at the end, say on standard error what each loop of the process has done
--watch         a table of the loops on standard error, new once a second (it needs rich)
--profile-tasks, --profile-tasks=FILE
                at the end, say on standard error which tasks held the loop longest; FILE is
                a flame graph (FILE.svg) or a profile for speedscope.app (FILE.json)

ASYNCLOOP=1 is set for the program's child processes: where asyncloop is installed, a Python
with that variable runs on it as well; only --keep-uvloop counts for them too.
"""

_run_module_as_main: Any = getattr(runpy, "_run_module_as_main")


def _python_name() -> str:
    """The name by which the interpreter was called: its own messages begin with it."""
    return sys.orig_argv[0] if sys.orig_argv else sys.executable


def _new_main_module() -> ModuleType:
    """Put a new `__main__` into sys.modules, as the interpreter does before it runs anything."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        module.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = module
    return module


def _replace_path0(path: str) -> None:
    """Put path where python puts the script's folder.  With -P or -I there is no such place: -m has put nothing there either."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _load_script(script: str, filename: str) -> CodeType:
    """The code of a source or compiled file.  If it cannot be opened, print python's own message, with a hint if there is one, and exit with status 2."""
    try:
        with io.open_code(filename) as f:
            code: CodeType | None = pkgutil.read_code(f)
        if code is None:
            with io.open_code(filename) as f:
                code = compile(f.read(), filename, "exec", dont_inherit=True)
        return code
    except OSError as exc:
        print(f"{_python_name()}: can't open file {filename!r}: [Errno {exc.errno}] {exc.strerror}{_hint(script)}", file=sys.stderr)
        sys.exit(2)


def _hint(script: str) -> str:
    """What to do where the script that is not there is a module, and -m was forgotten."""
    if script == "__main__" or not script.isidentifier() or os.path.exists(script) or importlib.util.find_spec(script) is None:
        return ""
    return f"; for the module of that name: python -m asyncloop -m {script}"


def _run_script(script: str) -> None:
    filename = script if os.path.isabs(script) else os.path.join(os.getcwd(), script)
    if pkgutil.get_importer(script) is not None:
        # A folder or a zip file with a __main__.py in it.
        _replace_path0(filename)
        _new_main_module()
        _run_module_as_main("__main__", False)
        return
    code = _load_script(script, filename)
    _replace_path0(os.path.dirname(os.path.realpath(script)))
    module = _new_main_module()
    kind = importlib.machinery.SourcelessFileLoader if script.endswith(".pyc") else importlib.machinery.SourceFileLoader
    module.__dict__.update(__file__=filename, __loader__=kind("__main__", filename))
    if sys.version_info < (3, 15):
        module.__dict__["__cached__"] = None
    exec(code, module.__dict__)


def _run_module(name: str) -> None:
    _new_main_module()
    _run_module_as_main(name)


def _run_text(source: str | bytes, filename: str, lines: list[str]) -> None:
    """Run a program that is in no file (-c and -).  lines: what a traceback shows of it."""
    _replace_path0("")
    module = _new_main_module()
    module.__dict__["__loader__"] = importlib.machinery.BuiltinImporter
    if filename == "<stdin>":
        module.__dict__["__file__"] = filename
        if sys.version_info < (3, 15):
            module.__dict__["__cached__"] = None
    if lines:
        linecache.cache[filename] = (1, None, lines, filename)
    code = compile(source, filename, "exec", dont_inherit=True)
    if lines and hasattr(linecache, "_getlines_from_code"):  # 3.14 and later: for tracebacks only, not for warnings
        del linecache.cache[filename]
        getattr(linecache, "_register_code")(code, "".join(lines), filename)
    exec(code, module.__dict__)


def _run_command(text: str) -> None:
    if sys.version_info >= (3, 14):
        text = textwrap.dedent(text)
    _run_text(text + "\n", "<string>", text.splitlines(True) if sys.version_info >= (3, 13) else [])


def _run_stdin(_: str) -> None:
    _run_text(sys.stdin.buffer.read(), "<stdin>", [])


def _without_our_frames(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_filename == _python_name.__code__.co_filename:
        tb = tb.tb_next
    return tb


def _hide_our_frames(exc: BaseException) -> None:
    """Let sys.excepthook, whichever the program has set, see exc without our frames.

    We could print the exception ourselves, but only the interpreter gives the right exit status (of a Ctrl-C, say) and sets sys.last_exc, and -i needs it
    too.  So we let the exception go on, and set a hook that puts the former one back, takes our frames off, and calls it.
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


def _usage_error(text: str) -> NoReturn:
    print(f"{text}\n{USAGE}Try `python -m asyncloop --help' for more information.", file=sys.stderr)
    sys.exit(2)


class _Options(NamedTuple):
    keep_uvloop: bool = False
    metrics: bool = False
    watch: bool = False
    profile: str | None = None
    """The file for the flame graph; "": only the table; None: no profile."""


def _parse_option(options: _Options, word: str) -> _Options | None:
    """With what the word asks for; None: it is none of the options."""
    if word == "--keep-uvloop":
        return options._replace(keep_uvloop=True)
    if word == "--metrics":
        return options._replace(metrics=True)
    if word == "--watch":
        return options._replace(watch=True)
    if word == "--profile-tasks":
        return options._replace(profile="")
    if word.startswith("--profile-tasks="):
        file = word.partition("=")[2]
        if not file.endswith((".svg", ".json")):
            _usage_error(f"--profile-tasks=FILE: the name of FILE is to end with .svg or .json, not {file!r}")
        return options._replace(profile=file)
    return None


def _parse(args: list[str]) -> tuple[Callable[[str], None], str, list[str], _Options]:
    """What runs the program, what it is to run, the program's sys.argv, and our options."""
    options = _Options()
    while args:
        word, *rest = args
        more = _parse_option(options, word)
        if more is not None:
            options, args = more, rest
            continue
        if word in ("-h", "--help"):
            print(USAGE + HELP, end="")
            sys.exit()
        if word in ("-V", "--version"):
            print(f"asyncloop {__version__}")
            sys.exit()
        if word[:2] in ("-m", "-c"):
            kind, value = word[:2], word[2:]
            if not value:
                if not rest:
                    _usage_error(f"Argument expected for the {kind} option")
                value, *rest = rest
            return _run_module if kind == "-m" else _run_command, value, [kind, *rest], options
        if word == "-":
            return _run_stdin, word, args, options
        if word == "--":
            if not rest:
                break
            return _run_stdin if rest[0] == "-" else _run_script, rest[0], rest, options
        if word.startswith("-"):
            _usage_error(f"Unknown option: {word}")
        return _run_script, word, args, options
    _usage_error("No program given")


def main() -> None:
    run, what, argv, options = _parse(sys.argv[1:])
    _asyncloop_boot.take_uvloop(keep=options.keep_uvloop)
    os.environ[_asyncloop_boot.VARIABLE] = _asyncloop_boot.KEEP_UVLOOP if options.keep_uvloop else "1"
    install()
    if options.metrics or options.watch or options.profile is not None:
        from . import _report

        _report.begin(options.metrics, options.watch, options.profile)
    sys.argv = argv
    # Keeps this module alive while the program runs: the program's `__main__` takes its place in sys.modules.
    ours = sys.modules["__main__"]
    try:
        run(what)
    except SystemExit:
        raise
    except BaseException as exc:
        _hide_our_frames(exc)
        raise
    finally:
        del ours


if __name__ == "__main__":
    main()
