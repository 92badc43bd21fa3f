"""src/README.md is true: its tables of files are the tree, and what it names is in the source."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
MAP = SRC / "README.md"
SOURCES = sorted(path for path in SRC.rglob("*.[ch]") if path.name != "_asyncloop.c")

pytestmark = pytest.mark.skipif(not SOURCES, reason="the C sources are not beside these tests (installed package)")


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def rows(text, header):
    """The cells of the table that begins with this line."""
    lines = text[text.index(header):].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def listed_files(text):
    """{(folder, stem)} of the table of C files: every stem once, in a row of the folder it lies in, or of 'top'."""
    found = [(cells[0], stem.strip()) for cells in rows(text, "| layer | files | what |") for stem in cells[1].split(",")]
    assert len(found) == len(set(found)), "a file is listed twice"
    return set(found)


def files_of(paths, src):
    return {(path.parent.relative_to(src).as_posix() if path.parent != src else "top", path.stem) for path in paths}


def code_names(text):
    """What looks like a name of the source in the drawings, and in backticks: words with an underscore inside."""
    words = re.findall(r"^    .*$", text, re.M) + re.findall(r"`([^`]+)`", text)
    return {name for word in words for name in re.findall(r"(?<![\w/.*])[A-Za-z]\w*_\w+(?![\w/.*])", word) if not name.endswith("_")}


def defined_functions():
    return {name for path in SOURCES if path.suffix == ".c" for name in re.findall(r"^([A-Za-z]\w*)\(", path.read_text(), re.M)}


def test_the_table_of_c_files_is_the_tree():
    listed, there = listed_files(MAP.read_text()), files_of(SOURCES, SRC)
    assert sorted(there - listed) == [], "not in src/README.md"
    assert sorted(listed - there) == [], "in src/README.md, but not in src/"


def test_the_table_of_python_files_is_the_package():
    listed = [name.strip().replace("\\", "") for cells in rows(MAP.read_text(), "| file | what |") for name in cells[0].split(",")]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "asyncloop").glob("*.py"))


@pytest.mark.parametrize("title", ["One pass", "Three journeys"])
def test_drawings_name_functions_that_exist(title):
    drawn = re.findall(r"^    .*$", section(MAP.read_text(), title), re.M)
    # run_forever and its like are the user's side of the drawing: methods of the loop and of protocols.
    of_users = {"call_soon", "call_later", "data_received"}
    named = {name for line in drawn for name in re.findall(r"(?<![\w.])[A-Za-z]\w*_\w+", line)} - of_users
    assert len(named) >= 5
    assert sorted(named - defined_functions()) == []


def test_everything_that_is_named_is_in_the_source():
    source = "\n".join(path.read_text() for path in [*SOURCES, *(ROOT / "asyncloop").glob("*.py")])
    words = set(re.findall(r"\w+", source)) | {path.stem for path in SOURCES}
    of_asyncio = {"_run_once", "_ready"}
    assert sorted(code_names(MAP.read_text()) - words - of_asyncio) == []


def test_contributing_names_what_is_in_the_source():
    texts = [path for folder in ("src", "asyncloop", "tests", "benchmarks", ".ci") for path in (ROOT / folder).rglob("*")
             if path.suffix in (".c", ".h", ".py", ".pyi", ".sh")] + [ROOT / "setup.py"]
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in texts)))
    of_the_example = {"rest_register"}
    assert sorted(code_names((ROOT / "CONTRIBUTING.md").read_text()) - words - of_the_example) == []


def test_files_that_are_named_exist():
    """core/loop.c and its like, wherever they are named in the text."""
    named = set(re.findall(r"(?<![\w./-])((?:base|plain|core|task|sync|net)/[\w/]+\.[ch])\b", MAP.read_text()))
    assert named and [name for name in sorted(named) if not (SRC / name).exists()] == []


def test_every_file_begins_with_what_it_is_for():
    wrong = {str(path.relative_to(SRC)): line for path in [*SOURCES, SRC / "_asyncloop.c"]
             if not re.match(rf"/\* {re.escape(str(path.relative_to(SRC)))} -- \S", line := path.read_text().partition("\n")[0])}
    assert wrong == {}


def test_these_checks_can_fail(tmp_path):
    (tmp_path / "net" / "tls").mkdir(parents=True)
    for name in ("net/tls/engine.c", "net/tls/engine.h", "module.c"):
        (tmp_path / name).touch()
    assert files_of(tmp_path.rglob("*.[ch]"), tmp_path) == {("net/tls", "engine"), ("top", "module")}
    table = "| layer | files | what |\n|---|---|---|\n| net | engine, gone | x |\n| net/tls | other | y |\n\n| z |\n"
    assert listed_files(table) == {("net", "engine"), ("net", "gone"), ("net/tls", "other")}
    assert code_names("`outq_push` and `x.c`\n\n    no_such_function ► b\nnot_this") == {"outq_push", "no_such_function"}
    assert "loop_pass" in defined_functions() and "loop_is_nowhere" not in defined_functions()
    assert section("## A\nb\n## C\nd\n", "A") == "b\n"
