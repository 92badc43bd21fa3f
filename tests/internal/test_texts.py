"""The texts keep to what is there: links lead somewhere, commands name files that exist, tables and pictures are made from the results."""
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import asyncloop
from asyncloop import _install

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

pytestmark = pytest.mark.skipif(not README.exists(), reason="the texts are not beside these tests (installed package)")

TEXTS = sorted(path for path in (*ROOT.glob("*.md"), *(path for folder in ("docs", "src", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.md"))))
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def without_code(text):
    """Without indented commands, fenced blocks and code in backticks, where brackets are no links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    text = re.sub(r"^    .*$", "", text, flags=re.M)
    return re.sub(r"`[^`]*`", "", text)


def anchors(text):
    """The anchors of a text's headings, as hosts make them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)}


def broken_links(path, text):
    found = []
    for match in LINK.finditer(without_code(text)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        other = (path.parent / target).resolve() if target else path
        if not other.exists():
            found.append(f"{path.name}: {link}")
        elif anchor and other.suffix == ".md" and anchor not in anchors(text if other == path else other.read_text()):
            found.append(f"{path.name}: {link} has no such heading")
    return found


def commands(text):
    """The indented lines that begin with a program."""
    return [line.strip() for line in re.findall(r"^    (.+)$", text, re.M) if re.match(r"(pip|python|ASYNCLOOP_\w+=|LD_PRELOAD=)", line.strip())]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    assert broken_links(path, path.read_text()) == []


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 120


def test_the_readmes_two_commands():
    """One installs and runs the program of the example, the other installs what the tests need and runs them all (.ci/run does the same)."""
    found = commands(README.read_text())
    assert "pip install -e . && python -m asyncloop examples/crawl.py" in found
    assert "python examples/crawl.py" in found
    assert "pip install -e '.[test]' && python -m pytest" in found
    assert "\ntest = [" in (ROOT / "pyproject.toml").read_text()


def test_the_readmes_program_runs():
    """The second half of the first command, on a small site; its last line names the loop."""
    done = subprocess.run([sys.executable, "-m", "asyncloop", "examples/crawl.py", "--pages", "20", "--rounds", "2"], cwd=ROOT, text=True,
                          capture_output=True, timeout=80)
    assert done.returncode == 0, done.stderr
    assert "asyncloop" in done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_files_that_exist(path):
    missing = [(command, word) for command in commands(path.read_text())
               for word in shlex.split(command, comments=True)
               if re.fullmatch(r"(examples|benchmarks|tests|src|asyncloop|\.ci)/[\w./-]+", word) and not (ROOT / word).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))])
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text()
    named = set(re.findall(r"(?<![\w./-])((?:src|tests|asyncloop|benchmarks|examples|docs)/[\w./-]*\w)", text))
    invented = {"src/task/rest.h", "src/task/rest.c", "docs/_build"}  # of the example of a new file; what a command makes
    assert [path for path in sorted(named - invented) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))])
def test_names_of_the_package_exist(name):
    text = (ROOT / name).read_text()
    named = set(re.findall(r"(?<![\w./-])asyncloop\.([A-Za-z_]\w*)", text)) - {"pth", "pyi"}
    stub = (ROOT / "asyncloop/_asyncloop.pyi").read_text()  # has the names of every Python
    assert [each for each in sorted(named) if not hasattr(asyncloop, each) and not importlib.util.find_spec(f"asyncloop.{each}")
            and f"def {each}(" not in stub] == []


def test_install_md_names_all_that_install_replaces():
    text = (ROOT / "docs/install.md").read_text()
    table = re.search(r"\| kind \| replaced names \|\n(.*?)\n\n", text, re.S)[1]
    assert set(re.findall(r"`(\w+)`", table)) == {*_install._HELPERS, *_install._LOOPS}


def run_benchmark_tool(*args):
    return subprocess.run([sys.executable, *args], cwd=ROOT, text=True, capture_output=True, timeout=80)


@pytest.mark.parametrize("command", ["benchmarks/markdown.py --update --check", "benchmarks/plot.py --readme --check", "benchmarks/plot.py --docs --check"])
def test_tables_and_picture_are_what_the_results_say(command):
    done = run_benchmark_tool(*command.split())
    assert done.returncode == 0, done.stdout + done.stderr + f"\nrun: python {command.removesuffix(' --check')}"


def test_table_and_picture_of_threads(monkeypatch):
    """Results of threads.py: a line for each number of threads, a dash where a loop has no figure."""
    def figures(ops, spread):
        return {"ops_s": ops, "cpu_ns": 1.0, "spread_percent": spread, "rounds": []}

    result = {"python": "3.14.7t", "versions": {"uvloop": "1.2"}, "threads": [1, 2], "rounds": 3, "rows": {"echo": {"title": "Echo", "unit": "round trip", "loops": {
        "uvloop": {"1": figures(2e5, 1.0), "2": figures(3e5, 50.0)}, "asyncloop": {"1": figures(4e5, 1.0)}}}}}
    names = ("markdown", "plot", "loops", "report")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import markdown as tables
    import plot
    assert tables.threads_table(result, ["echo"], []) == [
        "| | threads | uvloop | asyncloop |", "|---|---|---|---|", "| Echo | 1 | 200 | 400 |", "| Echo | 2 | 300* | – |"]
    assert [(title, speeds) for title, speeds, _ in plot.thread_rows(result, ())] == [
        ("Echo, 1 thread", {"uvloop": 1.0, "asyncloop": 2.0}), ("Echo, 2 threads", {"uvloop": 1.5})]
    assert "Operations a second relative to uvloop 1.2 with one thread, CPython 3.14.7t" in plot.draw([result])["dark"]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_sdist_takes_the_texts():
    manifest = (ROOT / "MANIFEST.in").read_text()
    assert "graft docs" in manifest and "*.md" in manifest


def test_these_checks_can_fail(tmp_path, monkeypatch):
    path = tmp_path / "a.md"
    path.write_text("# One heading\n[x](b.md) [y](#one-heading) [z](#another) `[v](c.md)` <img src=\"d.svg\"> [w](https://example.org)\n    pip install x\n")
    assert broken_links(path, path.read_text()) == ["a.md: b.md", "a.md: #another has no such heading", "a.md: d.svg"]
    assert commands(path.read_text()) == ["pip install x"]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("markdown", "loops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import markdown as tables
    old = "<!-- figures: 3.13.json --only echo --peers uvloop -->\n| old |\n<!-- end of figures -->\n"
    assert tables.updated(old) != old and tables.updated(tables.updated(old)) == tables.updated(old)
    for name in ("markdown", "loops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
