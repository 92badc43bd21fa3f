"""The code blocks of README.md and docs/ do what the pages say; pages.py says how a block is run.

    ASYNCLOOP_DOCS=1 python -m pytest tests/docs        all of them: what a section needs must be installed (pip install '.[docs,apps]')

Without the variable the heavy sections are left out, and those whose packages are not there.
"""
import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

import asyncloop
import pages
from sidebyside import PATIENCE, child_env

pytestmark = [pytest.mark.skipif(not (pages.ROOT / "README.md").exists(), reason="the pages are not beside these tests (installed package)"),
              pytest.mark.limit(180)]
PLUGIN = "_asyncloop_pytest"  # where asyncloop is not installed pytest does not find it by itself
LONG = 60 * PATIENCE
IS_ALL = os.environ.get("ASYNCLOOP_DOCS", "") not in ("", "0")
SECTIONS = [section for page in pages.all_pages() if page.exists() for section in pages.sections(page)]
RUN = [section for section in SECTIONS if any(block.is_run for block in section.blocks)]


def version(text):
    return tuple(map(int, text.split(".")))


def is_there(name):
    """Whether a module or a program of that name is installed."""
    with contextlib.suppress(ModuleNotFoundError):  # of a package in which the module would be
        if importlib.util.find_spec(name) is not None:
            return True
    return shutil.which(name) is not None


def skip_unless_possible(section):
    first, last = section.marks.get("from", "3.11"), section.marks.get("until", "3.99")
    if not version(first) <= sys.version_info[:2] <= version(last):
        pytest.skip(f"the section is for Python {first} to {last}")
    if "heavy" in section.marks and not IS_ALL:
        pytest.skip("takes long: the stage that builds the site runs it (ASYNCLOOP_DOCS=1)")
    missing = [name for name in section.marks.get("needs", "").split(", ") if name and not is_there(name)]
    if missing and IS_ALL:
        pytest.fail(f"not installed: {', '.join(missing)}; with ASYNCLOOP_DOCS nothing may be missing", pytrace=False)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install '.[docs,apps]')")


@pytest.fixture(scope="session")
def programs(tmp_path_factory, hooked_python):
    """A folder for PATH: a Python in which ASYNCLOOP is honoured, and the programs of the packages that are installed, run by it."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{hooked_python}" "$@"\n')
    for script in pathlib.Path(sys.executable).parent.iterdir():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            head, _, rest = script.read_text().partition("\n")
            if head.startswith("#!") and "python" in head and not (folder / script.name).exists():
                (folder / script.name).write_text(f"#!{hooked_python}\n{rest}")
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder


def port_of(url):
    return int(re.search(r":(\d+)", url)[1])


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Place:
    """Where the blocks of one section run, one after the other."""

    def __init__(self, folder, programs, section):
        self.folder, self.printed, self.running = folder, None, {}
        self.ports = {port_of(block.marks["serve"]): free_port() for block in section.blocks if "serve" in block.marks}
        self.env = child_env(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", PYTHONDONTWRITEBYTECODE="1", HOME=str(folder))
        is_in_place = os.path.dirname(os.path.dirname(os.path.abspath(asyncloop.__file__))) == str(pages.ROOT)
        self.env["PYTHONPATH"] = str(pages.ROOT) if is_in_place else ""
        (folder / "venv").mkdir()
        (folder / "venv/bin").symlink_to(programs)

    def text(self, block):
        """The block's text with this folder, and the ports of servers, in the place of those that the page shows."""
        text = block.text.replace("/srv/app", str(self.folder))
        for shown, free in self.ports.items():
            text = re.sub(rf"\b{shown}\b", str(free), text)
        return text

    def words(self, block):
        """The command that runs the block."""
        if block.language == "python" and re.search(r"^(async )?def test_", block.text, re.M):
            program = self.folder / f"test_at_line_{block.line}.py"
            program.write_text(self.text(block))
            is_known = any(point.value == PLUGIN for point in importlib.metadata.entry_points(group="pytest11"))
            return ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *([] if is_known else ["-p", PLUGIN]), str(program)]
        if block.language == "python":
            program = self.folder / f"block_at_line_{block.line}.py"
            program.write_text(self.text(block))
            return ["python", str(program)]
        return ["bash", "-euc", self.text(block)]

    def write(self, block):
        path = self.folder / block.marks["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(block))

    def run(self, block):
        done = subprocess.run(self.words(block), cwd=self.folder, env=self.env, text=True, capture_output=True, timeout=LONG, stdin=subprocess.DEVNULL)
        wanted = int(block.marks.get("ends with", "0"))
        assert done.returncode == wanted, f"{block.place} ended with {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}"
        self.printed = done.stdout if done.stdout else done.stderr

    def logs(self):
        return "".join(f"\n{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("log-*")))

    def start(self, block, key):
        with open(self.folder / f"log-{key}", "wb") as log:
            self.running[key] = subprocess.Popen(self.words(block), cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                 start_new_session=True)

    def serve(self, block):
        url, _, wanted = block.marks["serve"].partition(" ")
        shown = port_of(url)
        self.end(shown)
        self.start(block, shown)
        self.printed = self.answer(block, url.replace(str(shown), str(self.ports[shown])), self.running[shown])
        assert wanted in self.printed, f"{block.place}: the answer is {self.printed!r}{self.logs()}"

    def answer(self, block, url, server):
        """What is at that URL, once something is."""
        end = time.monotonic() + LONG
        while True:
            with contextlib.suppress(OSError):
                if url.startswith("tcp:"):
                    socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10).close()
                    return ""
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.read().decode()
            if server.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{block.place}: no answer (status {server.poll()}){self.logs()}", pytrace=False)
            time.sleep(0.05)

    def end(self, key):
        server = self.running.pop(key, None)
        if server is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(LONG / 4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()

    def end_all(self):
        for key in [*self.running][::-1]:
            self.end(key)


def is_as_shown(printed, shown):
    """The same words; ... in what the page shows stands for anything."""
    pattern = r"[\s\S]*?".join(re.escape(part.strip()) if part.strip() else "" for part in shown.strip().split("..."))
    return re.fullmatch(pattern.replace(r"[\s\S]*?", r"\s*[\s\S]*?\s*"), printed.strip()) is not None


@pytest.mark.parametrize("section", RUN, ids=lambda section: section.name)
def test_blocks_do_what_the_page_says(section, tmp_path, programs):
    skip_unless_possible(section)
    place = Place(tmp_path, programs, section)
    of_page = [each for each in SECTIONS if each.page == section.page]
    for block in (block for each in of_page[:of_page.index(section)] for block in each.blocks if "file" in block.marks):
        place.write(block)
    try:
        for block in section.blocks:
            if "file" in block.marks:
                place.write(block)
            elif "output" in block.marks:
                assert place.printed is not None, f"{block.place}: nothing was run before"
                assert is_as_shown(place.printed, block.text), f"{block.place} shows\n{block.text}\nand this was printed:\n{place.printed}"
            elif "serve" in block.marks:
                place.serve(block)
            elif "background" in block.marks:
                place.start(block, f"line-{block.line}")
            elif block.is_run:
                place.run(block)
    finally:
        place.end_all()


@pytest.mark.parametrize("page", pages.all_pages(), ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page):
    wrong = []
    for block in (block for section in pages.sections(page) for block in section.blocks):
        if not block.is_run and not block.marks:
            wrong.append(f"{block.place}: neither run nor said why not (tests/docs/pages.py has the comments for it)")
        if "not run" in block.marks and len(block.marks["not run"]) < 5:
            wrong.append(f"{block.place}: no reason")
        if "tested by" in block.marks and not (pages.ROOT / block.marks["tested by"].split()[0]).exists():
            wrong.append(f"{block.place}: {block.marks['tested by']} is not there")
    assert wrong == []


def test_the_check_can_fail():
    text = ("# One\n<!-- needs: json -->\n\n```python\n1/0\n```\n\n<!-- output -->\n\n    5\n\n# Two\n\n    python x.py\n\n"
            "<!-- not run: because -->\n\n```sh\nls\n```\n\n```{toctree}\n```\n")
    one, two = pages.sections(pages.ROOT / "README.md", text)
    assert one.marks == {"needs": "json"}
    assert [(block.language, block.line, block.is_run) for block in one.blocks] == [("python", 4, True), ("indented", 10, False)]
    assert [(block.marks, block.is_run) for block in two.blocks] == [({}, False), ({"not run": "because"}, False)]
    assert is_as_shown("a\nb c\nd\n", "a\n...\nd") and is_as_shown("took 5 s", "took ... s") and not is_as_shown("a b", "a c") and not is_as_shown("a\nb", "a")


def test_a_block_that_fails_fails(tmp_path, programs):
    (section,) = pages.sections(pages.ROOT / "README.md", "```python\n1/0\n```\n")
    place = Place(tmp_path, programs, section)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        place.run(section.blocks[0])
    (section,) = pages.sections(pages.ROOT / "README.md", "```python\ndef test_x():\n    assert 1 == 2\n```\n")
    with pytest.raises(AssertionError, match="1 failed"):
        place.run(section.blocks[0])


def test_drawings_are_as_drawn_and_name_what_is_there():
    done = subprocess.run([sys.executable, "docs/draw.py", "--check"], cwd=pages.ROOT, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    source = "".join(path.read_text() for path in (pages.ROOT / "src").rglob("*.c"))
    named = {name for path in (pages.ROOT / "docs/images").glob("*.svg") for name in re.findall(r">([a-z]+(?:_[a-z]+)+)<", path.read_text())}
    python = {"call_soon_threadsafe"}
    assert "loop_run_ready" in named and [name for name in sorted(named - python) if not re.search(rf"^{name}\(|\b{name}\(", source, re.M)] == []


def test_the_reference_has_every_public_name():
    text = (pages.ROOT / "docs/api.md").read_text()
    assert [name for name in asyncloop.__all__ if not re.search(rf"^(\.\. \w+:: | +)asyncloop\.{name}\b", text, re.M)] == []


