"""Draws the results of run.py as SVG bar charts: operations per CPU second relative to uvloop, a longer bar being better.

    python benchmarks/plot.py RESULT.json [RESULT.json ...] [--only echo,churn] [--loops asyncio,asyncloop] [--out NAME]
    python benchmarks/plot.py THREADS.json      of threads.py: operations a second, relative to uvloop with one thread
    python benchmarks/plot.py --readme          the picture of README.md: benchmarks/results/overview-light.svg and -dark.svg
    python benchmarks/plot.py --docs            the pictures of docs/performance.md: docs/images/figures-core-light.svg and so on
    python benchmarks/plot.py --readme --check  status 1 when one is not what the results say, --docs --check likewise; writes nothing

Two files are written, for light and for dark pages: NAME-light.svg and NAME-dark.svg.  NAME is by default the first result's, beside it.
One group of bars per row; uvloop is the vertical line at 1; with --targets a short mark is asyncloop's target against uvloop.
Ratios are medians of the ratios within a round, as in the tables.  A row that several results have is taken from the first.
"""

import argparse
import json
import os
from xml.sax.saxutils import escape

import report

BASE = "uvloop"
RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")
README_RESULTS = ("3.13.json", "3.13-net.json", "3.13-helpers.json", "3.13-apps.json")
README_ROWS = "call_soon,create_task,taskgroup,queue,echo,stream_read,tls_echo,udp_echo"
README_LOOPS = "asyncloop,rloop,asyncio"
DOCS = os.path.join(os.path.dirname(os.path.dirname(RESULTS)), "docs", "images")
DOCS_RESULTS = {"core": "3.13.json", "net": "3.13-net.json", "helpers": "3.13-helpers.json", "apps": "3.13-apps.json"}
DOCS_LOOPS = "asyncloop,asyncloop-install,rloop,asyncio"


class Light:
    """Colours on a white page."""

    PAGE, TEXT, QUIET, LINE = "#ffffff", "#222222", "#555555", "#dddddd"
    BARS = {"asyncloop": "#0b6e4f", "asyncloop-install": "#2e9e78", "rloop": "#c77d2b", "aiofastnet": "#b0413e", "zuvloop": "#6a5acd",
            "blazio": "#2f7fb8", "zloop": "#8a6d3b", "rsloop": "#c2528b", "asyncio": "#9aa5b1", "c-epoll": "#444444"}


class Dark:
    """Colours on GitHub's dark page."""

    PAGE, TEXT, QUIET, LINE = "#0d1117", "#e6edf3", "#9da7b3", "#30363d"
    BARS = {"asyncloop": "#3fb98a", "asyncloop-install": "#7fd6b5", "rloop": "#e0a45a", "aiofastnet": "#e07a76", "zuvloop": "#a093f0",
            "blazio": "#6cb6e8", "zloop": "#c9a66b", "rsloop": "#e58bb8", "asyncio": "#7d8894", "c-epoll": "#c9d1d9"}


BAR, GAP, GROUP_GAP = 11, 2, 12            # heights in px
TOP, BOTTOM = 78, 40


def speeds(row):
    """{loop: times uvloop's speed} of one row of the JSON (of one about memory: times as little)."""
    measured = {name: loop["rounds"] for name, loop in row["loops"].items()}
    return {name: 1 / ratio for name, ratio in report.ratios(measured, BASE, metric(row)).items()}


def metric(row):
    """What the bars of a row show."""
    return "cpu_ns" if "cpu_ns" in row["loops"][BASE] else "bytes"


def chart_rows(runs, only, with_targets):
    """[(title, {loop: speed}, target or None)] for the rows that have uvloop's figure."""
    rows = {}
    for run in runs:
        for name, row in run["rows"].items():
            rows.setdefault(name, row)
    found = []
    for name in only or rows:
        row = rows.get(name)
        if row is not None and BASE in row["loops"]:
            target = next((t["least"] for t in row["targets"] if t["peer"] == BASE and t["metric"] == metric(row)), None)
            found.append((row["title"], speeds(row), target if with_targets else None))
    return found


def thread_rows(run, only):
    """The same for a run of threads.py: a row for each number of threads."""
    found = []
    for name in only or run["rows"]:
        row = run["rows"][name]
        if one := row["loops"].get(BASE, {}).get("1"):
            for n in map(str, run["threads"]):
                speeds = {loop: figures[n]["ops_s"] / one["ops_s"] for loop, figures in row["loops"].items() if n in figures}
                found.append((f"{row['title']}, {n} thread{'s' if n != '1' else ''}", speeds, None))
    return found


class Chart:
    """One picture in the colours of one theme, with the title of each row beside its bars."""

    LEFT, WIDTH, RIGHT, LETTER, ABOVE = 260, 560, 60, 8, 0

    def __init__(self, theme, table, names):
        self.theme, self.table, self.names = theme, table, names
        self.most = max(1.0, *(v for _, row, target in table for v in (*(row[n] for n in names if n in row), target or 0)))
        self.scale = self.WIDTH / self.most

    def text(self, x, y, words, size=12, anchor="start", weight="normal", colour=None):
        return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour or self.theme.TEXT}"'
                f' stroke="{self.theme.PAGE}" stroke-width="3" paint-order="stroke">{escape(words)}</text>')

    def legend(self):
        parts, x = [], self.LEFT
        for name in self.names:
            parts.append(f'<rect x="{x}" y="50" width="12" height="12" fill="{self.theme.BARS[name]}"/>')
            parts.append(self.text(x + 17, 60.5, name))
            x += 18 + 2 * self.LETTER + self.LETTER * len(name)
        return parts

    def grid(self, bottom):
        """Vertical lines at whole factors, the one at 1 (uvloop) stronger."""
        parts = []
        for factor in range(int(self.most) + 1):
            x = self.LEFT + factor * self.scale
            colour, width = (self.theme.TEXT, 1.5) if factor == 1 else (self.theme.LINE, 1)
            parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}" stroke-width="{width}"/>')
            parts.append(self.text(x, bottom + 16, f"{factor}x", 11, "middle", colour=self.theme.QUIET))
        return parts

    def group(self, title, row, target, y):
        """The bars of one row from y downwards, and the y below them."""
        shown = [name for name in self.names if name in row]
        height = len(shown) * (BAR + GAP)
        y += self.ABOVE
        bars, top = [], y
        for name in shown:
            width = row[name] * self.scale
            bars.append(f'<rect x="{self.LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{self.theme.BARS[name]}"/>')
            bars.append(self.text(self.LEFT + width + 4, y + BAR - 1.5, f"{row[name]:.2f}", 10, colour=self.theme.QUIET))
            y += BAR + GAP
        if target is not None:
            x = self.LEFT + target * self.scale
            bars.append(f'<line x1="{x:.1f}" y1="{top - 3}" x2="{x:.1f}" y2="{top + BAR + 3}" stroke="{self.theme.TEXT}" stroke-width="2.5"/>')
        bars.append(self.title(title, top, height))
        return bars, y + GROUP_GAP

    def title(self, title, top, height):
        return self.text(self.LEFT - 10, top + height / 2 + 3, title, anchor="end")

    def head(self, what, base, versions):
        """The two lines at the top."""
        return f"{what} relative to {versions}", f"longer is better; the line at 1x is {base}"

    def draw(self, what, base, versions):
        """The whole SVG as text; what it shows, what the line at 1 is, and the same with its version and Python's."""
        parts, y = [], TOP
        for title, row, target in self.table:
            bars, y = self.group(title, row, target, y)
            parts += bars
        width, height = self.LEFT + self.WIDTH + self.RIGHT, y + BOTTOM
        heading, note = self.head(what, base, versions)
        if any(target is not None for _, _, target in self.table):
            note += "; a short mark is asyncloop's target"
        head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
                ' font-family="system-ui, sans-serif" role="img">', f"<title>{escape(heading)}</title>",
                f'<rect width="{width}" height="{height}" fill="{self.theme.PAGE}"/>',
                self.text(20, 24, heading, 15, weight="bold"), self.text(20, 42, note, 11, colour=self.theme.QUIET)]
        return "\n".join([*head, *self.legend(), *self.grid(y - GROUP_GAP + 4), *parts, "</svg>", ""])


class NarrowChart(Chart):
    """One that a phone has room for: the titles stand above the bars."""

    LEFT, WIDTH, RIGHT, LETTER, ABOVE = 20, 288, 40, 6, 16

    def title(self, title, top, height):
        return self.text(self.LEFT, top - 5, title)

    def head(self, what, base, versions):
        return what, f"relative to {versions}; longer is better"


def draw(runs, only=(), names=(), with_targets=False, chart=Chart):
    """{"light": SVG, "dark": SVG}."""
    of_threads = "threads" in runs[0]
    table = thread_rows(runs[0], only) if of_threads else chart_rows(runs, only, with_targets)
    if not table:
        raise SystemExit("these results hold no figure of uvloop to compare with")
    shown = [name for name in names or Light.BARS if name in Light.BARS and any(name in row for _, row, _ in table)]
    what, base = ("Operations a second", "uvloop with one thread") if of_threads else ("Operations per CPU second", "uvloop")
    versions = f"{base.replace(BASE, ' '.join([BASE, runs[0]['versions'].get(BASE, '')]))}, CPython {runs[0]['python']}"
    return {theme.__name__.lower(): chart(theme, table, shown).draw(what, base, versions) for theme in (Light, Dark)}


def load(paths):
    runs = []
    for path in paths:
        with open(path) as file:
            runs.append(json.load(file))
    return runs


def is_same(path, text):
    if not os.path.exists(path):
        return False
    with open(path) as file:
        return file.read() == text


def write(pictures, out, is_check):
    """{theme: SVG} into files; or only look whether these are so."""
    for theme, svg in pictures.items():
        path = f"{out}-{theme}.svg"
        if is_check:
            if not is_same(path, svg):
                raise SystemExit(f"{path} is not what the results say")
            continue
        with open(path, "w") as file:
            file.write(svg)
        print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", metavar="RESULT.json", help="what run.py --json wrote")
    parser.add_argument("--only", default="", help="these rows alone, comma-separated, in this order")
    parser.add_argument("--loops", default="", help="bars for these loops alone, comma-separated, in this order")
    parser.add_argument("--targets", action="store_true", help="mark asyncloop's targets")
    parser.add_argument("--out", metavar="NAME", help="write NAME-light.svg and NAME-dark.svg")
    parser.add_argument("--readme", action="store_true", help="the picture of README.md")
    parser.add_argument("--docs", action="store_true", help="the pictures of docs/performance.md")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when the files are otherwise")
    args = parser.parse_args()
    if args.readme:
        args.results = [path for name in README_RESULTS if os.path.exists(path := os.path.join(RESULTS, name))]
        args.only, args.loops, args.out = README_ROWS, README_LOOPS, os.path.join(RESULTS, "overview")
    jobs = [(args.out, args.results)]
    if args.docs:
        args.loops = DOCS_LOOPS
        jobs = [(os.path.join(DOCS, f"figures-{group}"), [os.path.join(RESULTS, name)]) for group, name in DOCS_RESULTS.items()]
    if not jobs[0][1]:
        parser.error("no results given")
    for out, results in jobs:
        pictures = draw(load(results), [n for n in args.only.split(",") if n], [n for n in args.loops.split(",") if n], args.targets,
                        NarrowChart if args.docs else Chart)
        write(pictures, out or os.path.splitext(results[0])[0], args.check)


if __name__ == "__main__":
    main()
