"""The site made of these pages: sphinx-build -W docs docs/_build (pip install '.[docs]').

Texts that belong elsewhere are pages too: a page that holds `<!-- text: ../CONTRIBUTING.md -->` gets that file in the place of the comment, and links
between the texts lead to their pages.  Links to other files of the repository are downloads.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
from pathlib import Path
from typing import Any

import asyncloop

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

project = "asyncloop"
author = "asyncloop contributors"
copyright = f"2026, {author}"
release = version = asyncloop.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
root_doc = "index"
language = "en"
nitpicky = False
highlight_language = "none"

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"asyncloop {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#3fb98a", "color-brand-content": "#3fb98a"},
}
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "alphabetical"
autodoc_typehints = "none"
default_role = "code"


# ---- texts that are elsewhere

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md", "SECURITY.md": "security.md",
         "benchmarks/README.md": "figures.md", "src/README.md": "map.md"}
TEXT = re.compile(r"<!-- text: (\S+) -->")
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def linked(text: str, folder: Path) -> str:
    """The text of a file in that folder, with links that lead from docs/ to where they should."""

    def replace(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / match[2]))
        page = PAGES.get(os.path.relpath(target, ROOT))
        if page is None and target.is_dir():
            return match[1]
        if page is None and target.exists():
            page = os.path.relpath(target, HERE)
        return f"[{match[1]}]({page or match[2]}{match[3] or ''})"

    return LINK.sub(replace, text)


PICTURE = re.compile(r"<picture>\s*<source [^>]*srcset=\"([^\"]+)\">\s*<img src=\"([^\"]+)\" alt=\"([^\"]+)\">\s*</picture>")
TOCTREE = re.compile(r"^```\{toctree\}.*?^```$", re.M | re.S)
ENTRY = re.compile(r"^(?:[^:`\n]+<)?([\w-]+)>?\n", re.M)
DRAWING = re.compile(r"^!\[([^\]]*)\]\((images/[\w-]+\.svg)\)$", re.M)


def both(match: re.Match[str]) -> str:
    """A picture that a browser chooses by its system's theme, as two of which the page's theme shows one."""
    images = (f"```{{image}} {path}\n:class: {kind}\n:alt: {match[3]}\n```\n" for path, kind in ((match[2], "only-light"), (match[1], "only-dark")))
    return "````{container} chart\n" + "\n".join(images) + "````"


def inline(match: re.Match[str]) -> str:
    """A drawing as a part of the page, whose colours it takes (_static/site.css)."""
    return f'```{{raw}} html\n<div class="drawing">{(HERE / match[2]).read_text()}</div>\n```'


def whole_page(app: Any, _page: str, source: list[str]) -> None:
    """A page as Sphinx is to see it."""

    def replace(match: re.Match[str]) -> str:
        path = (HERE / match[1]).resolve()
        app.env.note_dependency(str(path))  # so that the page is made anew when that file changes
        return linked(path.read_text(), path.parent)

    def present(match: re.Match[str]) -> str:
        """A list of pages without those that are not written yet."""
        for entry in ENTRY.finditer(match[0]):
            app.env.note_dependency(str(HERE / f"{entry[1]}.md"))
        return ENTRY.sub(lambda entry: entry[0] if (HERE / f"{entry[1]}.md").exists() else "", match[0])

    text = TEXT.sub(replace, linked(source[0], HERE))
    source[0] = TOCTREE.sub(present, DRAWING.sub(inline, PICTURE.sub(both, text)))


# ---- the reference, from the docstrings

def stub_signatures() -> dict[str, str]:
    """{"Class.method" or "function": "(arguments)"} as the stub of the C extension declares them; of overloads the first."""
    found: dict[str, str] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.If):
                visit(node.body, prefix)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg):
                    if argument is not None:
                        argument.annotation = None
                words = ast.unparse(node.args)
                found.setdefault(prefix + node.name, f"({re.sub(r'^self(, /)?(, )?', '', words)})")

    visit(ast.parse((ROOT / "asyncloop/_asyncloop.pyi").read_text()).body, "")
    return found


def signature(_app: Any, what: str, name: str, obj: Any, _options: Any, arguments: str | None, _returns: str | None) -> tuple[str, None] | None:
    """The arguments of a callable: what inspect finds, without annotations; where C gives none, what the stub declares."""
    if what == "class" and type(obj).__call__ is not type.__call__ and inspect.isfunction(obj.__init__):
        arguments = str(inspect.signature(obj.__init__)).replace("(self, ", "(").partition(" -> ")[0]
        arguments = re.sub(r": '[^']*'", "", arguments)
    elif arguments is None and what in ("function", "method"):
        arguments = stub_signatures().get(name.removeprefix("asyncloop."))
    return None if arguments is None else (arguments, None)


def docstring(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Our docstrings are plain text with code in backticks: a line that begins with `word:` stands on its own."""
    text = re.sub(r"^((?:[\w.]+(?:, [\w.]+)*|Raises(?:, when awaited)?|Raises at the end): )", r"\n\1", "\n".join(lines), flags=re.M)
    parts = re.split(r"(`[^`\n]+`)", text)
    lines[:] = "".join(f"`{part}`" if part.startswith("`") and part.endswith("`") and len(part) > 2 else re.sub(r"([*_|\\`])", r"\\\1", part)
                       for part in parts).splitlines()


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", whole_page)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-process-docstring", docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
