"""The source keeps its shape: layers, one place for version differences, a complete map, no writable statics, short functions."""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import sidebyside

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
LAYERS = ["base", "plain", "core", "task", "sync", "net", "loop_debug", "loop_fds", "loop_virtual", "loop_metrics", "loop_type", "module"]
# The rooms of the large layers, lowest first; those that stand together in a tuple know nothing of each other.  What lies in the layer's folder itself
# comes after them all, but for its part of the module's state.
ROOMS = {"task": ["future", "coro", "wait", "bridge"], "net": ["fd", "conn", ("ops", "pipe", "udp", "tls", "stream")]}
SOURCES = sorted(path for path in SRC.rglob("*.[ch]") if path.name != "_asyncloop.c")

pytestmark = pytest.mark.skipif(not SOURCES, reason="the C sources are not beside these tests (installed package)")


def layer_of(path):
    """The layer a path relative to src/ is in: its folder, or its stem when it lies in src/ itself."""
    parts = pathlib.PurePath(path).parts
    return parts[0] if len(parts) > 1 else pathlib.PurePath(parts[0]).stem


def test_includes_go_down_only():
    wrong = []
    for path in SOURCES:
        own = path.relative_to(SRC)
        for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M):
            if (path.parent / included).exists() and "/" not in included:
                included = str(own.parent / included)
            if str(own) == "core/state.h" and included.endswith("/state_list.h"):
                continue
            if LAYERS.index(layer_of(included)) > LAYERS.index(layer_of(own)):
                wrong.append(f"{own} includes {included}")
    assert wrong == []


def test_what_the_state_joins_includes_nothing():
    """So core/state.h may include the lists of higher layers, and nobody else may."""
    lists = sorted(SRC.glob("*/state_list.h"))
    assert [path.parent.name for path in lists] == ["net", "sync", "task"]
    assert [str(path) for path in lists if re.search(r"^\s*#\s*include", path.read_text(), re.M)] == []
    assert [str(path.relative_to(SRC)) for path in SOURCES if "state_list.h\"" in path.read_text()] == ["core/state.h"]


def room_rank(path):
    """(place in the layer's order, room) of a file in a room; None outside of rooms."""
    parts = pathlib.PurePath(path).parts
    if len(parts) < 3:
        return None
    for place, rooms in enumerate(ROOMS[parts[0]]):
        if parts[1] in (rooms if isinstance(rooms, tuple) else (rooms,)):
            return place, parts[1]
    raise AssertionError(f"{path} is in a room that is not in the list")


def is_upwards(own, included):
    """Does a file include from a room above its own, or beside it, or from the folder of its layer?"""
    if layer_of(own) != layer_of(included) or room_rank(own) is None:
        return False
    if room_rank(included) is None:
        return True
    (place, room), (other_place, other_room) = room_rank(own), room_rank(included)
    return other_place > place or (other_place == place and other_room != room)


def test_rooms_include_down_only():
    found = {(str(own), included) for path in SOURCES for own in [path.relative_to(SRC)]
             for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M) if is_upwards(own, included)}
    assert found == set()


def places(listed):
    """The place of each file in the build: that of its line, and a header without a line stands with its .c."""
    found = {name: place for place, name in enumerate(listed)}
    return {name.removesuffix(".c") + ".h": place for name, place in found.items() if name.endswith(".c")} | found


def against_the_order(place, own, included):
    return included != str(pathlib.PurePath(own).with_suffix(".h")) and place[included] > place[own]


def test_files_include_what_stands_before_them():
    place = places(re.findall(r'^#include "([^"]+)"', (SRC / "_asyncloop.c").read_text(), re.M))
    wrong = []
    for path in SOURCES:
        own = str(path.relative_to(SRC))
        if path.name != "state_list.h":
            wrong += [f"{own} includes {included}" for included in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)
                      if not included.endswith("/state_list.h") and against_the_order(place, own, included)]
    assert wrong == []


def test_the_build_lists_the_layers_in_order():
    listed = re.findall(r'^\s*#\s*include\s+"([^"]+\.c)"', (SRC / "_asyncloop.c").read_text(), re.M)
    assert sorted(listed) == sorted(str(path.relative_to(SRC)) for path in SOURCES if path.suffix == ".c")
    order = [LAYERS.index(layer_of(name)) for name in listed]
    assert order == sorted(order)


def test_the_map_names_every_file():
    text = (SRC / "README.md").read_text()
    missing = [str(path.relative_to(SRC)) for path in SOURCES if path.suffix == ".c" and path.stem not in text]
    assert missing == []


def test_version_differences_have_one_place():
    allowed = {"base/compat.h", "core/aiobridge.c", "core/aiobridge.h"}
    wrong = [str(path.relative_to(SRC)) for path in SOURCES
             if re.search(r"\b(PY_VERSION_HEX|Py_GIL_DISABLED|PY_(MAJOR|MINOR|MICRO)_VERSION)\b", path.read_text())]
    assert set(wrong) <= allowed
    python_h = [str(path.relative_to(SRC)) for path in SOURCES if re.search(r"#\s*include\s*<Python\.h>", path.read_text())]
    assert python_h == ["base/compat.h"]


def test_the_plain_layer_knows_no_python():
    wrong = {str(path.relative_to(SRC)): found for path in SOURCES if layer_of(path.relative_to(SRC)) == "plain"
             if (found := re.findall(r"\bPy[A-Z_]\w*", re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)))}
    assert wrong == {}


# What may be writable: tables CPython's API wants without const, and what the compiler's start-up code and gcov's library bring.
TABLES = re.compile(r".*(_methods|_functions|_members|_getset|_getsets|_slots|_spec|_def|_module|_as_async)(\.\d+)?$|^Py\w+_spec$")
# Without a GIL: what stands in the tables of types, made of addresses of code alone (core/guard.c), and what a thread is doing (core/section.c).
TABLES_OF_GUARDS = re.compile(r"^(guard_[a-z_]+_table|guard_slots|section_here)$")
RUNTIME = {"completed.0", "__dso_handle", "__TMC_END__", "_edata", "__bss_start", "_end", "__data_start", "data_start",
           "fn_buffer", "list_sizes.1", "list_size_length.0"}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
def test_no_writable_statics():
    """State belongs to a module, a loop or an object: two interpreters share nothing."""
    native = sidebyside.subject._asyncloop
    sections = {}
    for line in subprocess.run(["readelf", "-SW", native.__file__], text=True, capture_output=True, check=True).stdout.splitlines():
        if match := re.match(r"\s*\[\s*(\d+)\]\s+(\S+)", line):
            sections[match[1]] = match[2]
    found = []
    for line in subprocess.run(["readelf", "-sW", native.__file__], text=True, capture_output=True, check=True).stdout.splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[3] in ("OBJECT", "TLS") and fields[6] in sections:
            name, section = fields[7], sections[fields[6]]
            if section.startswith((".data", ".bss", ".tbss", ".tdata")) and not section.startswith(".data.rel.ro"):
                if not getattr(sys, "_is_gil_enabled", lambda: True)() and TABLES_OF_GUARDS.match(name):
                    continue
                if name not in RUNTIME and not TABLES.match(name) and not name.startswith(("__gcov", "__asan", "__odr_asan", "__ubsan",
                                                                                        ".L")):
                    found.append(f"{name} in {section}")
    assert sorted(set(found)) == []


def functions(text):
    """(name, lines) of each function: from the line with its name to the closing brace in the first column."""
    lines = text.splitlines()
    start = None
    for number, line in enumerate(lines):
        if re.match(r"^[A-Za-z_].*\(", line) and not line.rstrip().endswith(";"):
            start = number
        elif line == "}" and start is not None:
            name = re.search(r"(\w+)\s*\(", lines[start])
            yield name[1], number - start + 1
            start = None


def test_functions_and_files_are_short():
    long_functions = [f"{path.relative_to(SRC)}: {name} has {n} lines" for path in SOURCES if path.suffix == ".c"
                      for name, n in functions(path.read_text()) if n > 75]
    long_files = [f"{path}: {n} lines" for path in [*SOURCES, *sorted((ROOT / "asyncloop").glob("*.py"))]
                  if (n := len(path.read_text().splitlines())) > 900]
    assert long_functions + long_files == []


def test_nothing_left_for_later():
    marks = [f"{path.relative_to(ROOT)}: {word}" for path in [*SOURCES, *sorted((ROOT / "asyncloop").glob("*.py*"))]
             if path.is_file() and path.suffix in (".c", ".h", ".py", ".pyi")
             for word in re.findall(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b", path.read_text())]
    assert marks == []


def test_these_checks_can_fail(tmp_path):
    assert layer_of("plain/ring.h") == "plain" and layer_of("module.c") == "module"
    assert is_upwards("net/tls/tls.c", "net/stream/stream.h") and is_upwards("net/fd/address.c", "net/net.h")
    assert not is_upwards("net/tls/tls.c", "net/conn/transport.h") and not is_upwards("net/net.c", "net/tls/tls.h")
    place = places(["a.h", "b.c", "a.c"])
    assert against_the_order(place, "b.h", "a.c") and not against_the_order(place, "b.c", "a.h") and not against_the_order(place, "a.h", "a.h")
    body = "static int\nlong_one(int a)\n{\n" + "    a++;\n" * 80 + "}\n"
    assert list(functions(body)) == [("long_one", 83)]
    assert TABLES.match("Loop_methods") and TABLES.match("kept_slots.3") and not TABLES.match("cache")
