"""The code blocks of the pages, and how each of them is run.

A block is fenced, or indented by four spaces.  Comments before it say what to do with it; a reader of the page sees none of them:

    <!-- run -->                    run it: python in a child process, anything else by bash.  A block of python is run without being told; one that
                                    defines tests by pytest
    <!-- file: app.py -->           write it into the folder in which the blocks of this section run, and those of later sections of the page
    <!-- output -->                 it is what the block before printed; ... stands for anything
    <!-- serve: URL TEXT -->        run it in the background to the end of the section, or until another one serves at the same URL.  An http: URL is asked
                                    until there is an answer, which must hold TEXT; at tcp: somebody must accept.  The port is replaced by a free one, here
                                    and in the other blocks of the section
    <!-- background -->             run it in the background to the end of the section
    <!-- ends with: STATUS -->      the status it is to end with, if not 0
    <!-- tested by: FILE (how) -->  another test or stage runs it; the file must exist
    <!-- not run: REASON -->        it cannot be run, and why

and about the whole section (from one heading to the next), before any of its blocks:

    <!-- needs: NAME, NAME -->      modules, or programs in PATH, without which the section is skipped
    <!-- from: 3.12 -->             the first Python it is for; <!-- until: 3.15 --> the last
    <!-- heavy -->                  it is run in the stage that builds the site only (ASYNCLOOP_DOCS=1), where nothing that is needed may be missing

/srv/app in a block is the folder in which it runs, and /srv/app/venv/bin holds the programs of the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"run", "file", "output", "serve", "background", "ends with", "tested by", "not run"}
OF_SECTIONS = {"needs", "from", "until", "heavy"}
COMMENT = re.compile(r"^<!-- ([a-z ]+?)(?:: (.*?))? -->$")
FENCE = re.compile(r"^(```+|~~~+)\s*(\S*)")


@dataclass
class Block:
    """One block: where it is, in what language, and what the comments before it say."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        return bool({"run", "serve", "background"} & self.marks.keys()) or (self.language == "python" and not self.marks.keys() & (KINDS - {"ends with"}))


@dataclass
class Section:
    """What stands under one heading."""

    page: Path
    title: str
    marks: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.title}"


def sections(page: Path, text: str | None = None) -> list[Section]:
    """The sections of a page that have blocks.  Directives of the site ({toctree} …) are no blocks."""
    lines = (page.read_text() if text is None else text).split("\n")
    found, marks, at = [Section(page, page.name)], {}, 0
    while at < len(lines):
        line = lines[at]
        if heading := re.match(r"#+ (.+)$", line):
            found.append(Section(page, heading[1]))
            marks = {}
        elif (comment := COMMENT.match(line)) and comment[1] in KINDS | OF_SECTIONS:
            (found[-1].marks if comment[1] in OF_SECTIONS else marks)[comment[1]] = comment[2] or ""
        elif fence := FENCE.match(line):
            end = next(n for n in range(at + 1, len(lines) + 1) if n == len(lines) or lines[n].startswith(fence[1]))
            if not fence[2].startswith("{"):
                found[-1].blocks.append(Block(page, at + 1, fence[2] or "text", "\n".join(lines[at + 1:end]) + "\n", marks))
            marks, at = {}, end
        elif line.startswith("    ") and line.strip() and (at == 0 or not lines[at - 1].strip() or COMMENT.match(lines[at - 1])):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            found[-1].blocks.append(Block(page, at + 1, "indented", "\n".join(each[4:] for each in lines[at:end]).rstrip() + "\n", marks))
            marks, at = {}, end - 1
        elif line.strip():
            marks = {}
        at += 1
    return [section for section in found if section.blocks]


def all_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
