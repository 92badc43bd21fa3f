"""Draws the results of run.py as an SVG bar chart: operations per CPU second relative to uvloop, a longer bar being better.

    python benchmarks/plot.py benchmarks/results/3.13.json [OUT.svg]        default: beside the JSON, same name

One group of bars per row; uvloop is the vertical line at 1; a short black mark is asyncloop's target against uvloop.
Ratios are medians of the ratios within a round, as in the table.  Standard library only.
"""

import argparse
import json
import os
from xml.sax.saxutils import escape

import report

BASE = "uvloop"
COLOURS = {"asyncloop": "#0b6e4f", "rloop": "#c77d2b", "aiofastnet": "#b0413e", "zuvloop": "#6a5acd", "asyncio": "#9aa5b1", "c-epoll": "#444444"}
BAR, GAP, GROUP_GAP = 11, 2, 12            # heights in px
LEFT, WIDTH, RIGHT, TOP, BOTTOM = 260, 560, 60, 78, 40


def speeds(row):
    """{loop: times uvloop's speed} of one row of the JSON (of one about memory: times as little)."""
    measured = {name: loop["rounds"] for name, loop in row["loops"].items()}
    return {name: 1 / ratio for name, ratio in report.ratios(measured, BASE, metric(row)).items()}


def metric(row):
    """What the bars of a row show."""
    return "cpu_ns" if "cpu_ns" in row["loops"][BASE] else "bytes"


def chart_rows(results):
    """[(title, {loop: speed}, target or None)] for the rows that have uvloop's figure."""
    found = []
    for row in results["rows"].values():
        if BASE in row["loops"]:
            target = next((t["least"] for t in row["targets"] if t["peer"] == BASE and t["metric"] == metric(row)), None)
            found.append((row["title"], speeds(row), target))
    return found


def text(x, y, words, size=12, anchor="start", weight="normal", colour="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
            f' stroke="#fff" stroke-width="3" paint-order="stroke">{escape(words)}</text>')


def legend(names):
    parts, x = [], LEFT
    for name in names:
        parts.append(f'<rect x="{x}" y="50" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(text(x + 17, 60.5, name))
        x += 34 + 8 * len(name)
    return parts


def grid(scale, most, bottom):
    """Vertical lines at whole factors, the one at 1 (uvloop) stronger."""
    parts = []
    for factor in range(int(most) + 1):
        x = LEFT + factor * scale
        colour, width = ("#222", 1.5) if factor == 1 else ("#ddd", 1)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}" stroke-width="{width}"/>')
        parts.append(text(x, bottom + 16, f"{factor}x", 11, "middle", colour="#555"))
    return parts


def group(title, row, target, names, y, scale):
    """The bars of one row from y downwards, and the y below them."""
    shown = [name for name in names if name in row]
    height = len(shown) * (BAR + GAP)
    bars, top = [], y
    for name in shown:
        width = row[name] * scale
        bars.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[name]}"/>')
        bars.append(text(LEFT + width + 4, y + BAR - 1.5, f"{row[name]:.2f}", 10, colour="#444"))
        y += BAR + GAP
    if target is not None:
        x = LEFT + target * scale
        bars.append(f'<line x1="{x:.1f}" y1="{top - 3}" x2="{x:.1f}" y2="{top + BAR + 3}" stroke="#000" stroke-width="2.5"/>')
    bars.append(text(LEFT - 10, top + height / 2 + 3, title, anchor="end"))
    return bars, y + GROUP_GAP


def draw(results):
    """The whole SVG as text."""
    table = chart_rows(results)
    if not table:
        raise SystemExit("these results hold no figure of uvloop to compare with")
    names = [name for name in COLOURS if any(name in row for _, row, _ in table)]
    most = max(1.0, *(v for _, row, target in table for v in (*row.values(), target or 0)))
    scale = WIDTH / most
    parts, y = [], TOP
    for title, row, target in table:
        bars, y = group(title, row, target, names, y, scale)
        parts += bars
    width, height = LEFT + WIDTH + RIGHT, y + BOTTOM
    heading = f"Operations per CPU second relative to uvloop {results['versions'].get(BASE, '')}, CPython {results['python']}"
    note = "longer is better; the line at 1x is uvloop; a black mark is asyncloop's target"
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
            ' font-family="system-ui, sans-serif">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
            text(20, 24, heading, 15, weight="bold"), text(20, 42, note, 11, colour="#555")]
    return "\n".join([*head, *legend(names), *grid(scale, most, y - GROUP_GAP + 4), *parts, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="a JSON file written by run.py --json")
    parser.add_argument("out", nargs="?", help="the SVG to write")
    args = parser.parse_args()
    with open(args.results) as file:
        results = json.load(file)
    out = args.out or os.path.splitext(args.results)[0] + ".svg"
    with open(out, "w") as file:
        file.write(draw(results))
    print(out)


if __name__ == "__main__":
    main()
