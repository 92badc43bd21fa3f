"""Stacks with seconds, as a flame graph in SVG or as a profile for https://www.speedscope.app: what `--profile-tasks=FILE` writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple
from zlib import crc32


class Place(NamedTuple):
    """One level of a stack: a task or a function."""

    name: str
    file: str = ""
    line: int = 0


Stacks = dict[tuple[Place, ...], float]  # outermost first, and the seconds for which the loop was there

_WIDTH, _ROW, _MARGIN, _CHAR = 1200.0, 18, 10, 6.6


def speedscope(stacks: Stacks, title: str) -> str:
    """The file format of https://www.speedscope.app/file-format-schema.json, one sampled profile."""
    places: dict[Place, int] = {}
    samples = [[places.setdefault(place, len(places)) for place in stack] for stack in stacks]
    frames = [{"name": place.name, **({"file": place.file, "line": place.line} if place.file else {})} for place in places]
    profile = {
        "type": "sampled",
        "name": title,
        "unit": "seconds",
        "startValue": 0,
        "endValue": sum(stacks.values()),
        "samples": samples,
        "weights": list(stacks.values()),
    }
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "name": title,
            "exporter": "asyncloop",
            "shared": {"frames": frames},
            "profiles": [profile],
        }
    )


@dataclass
class _Node:
    seconds: float = 0.0
    children: dict[Place, _Node] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((child.depth() for child in self.children.values()), default=0)


def _tree(stacks: Stacks) -> _Node:
    root = _Node()
    for stack, seconds in stacks.items():
        node = root
        node.seconds += seconds
        for place in stack:
            node = node.children.setdefault(place, _Node())
            node.seconds += seconds
    return root


def _box(place: Place, node: _Node, all_seconds: float, x: float, y: int) -> str:
    width = node.seconds / all_seconds * _WIDTH
    hue = 15 + crc32(place.name.encode()) % 40
    where = f", {place.file}:{place.line}" if place.file else ""
    text = f"{place.name}{where}: {node.seconds:.3f} s, {node.seconds / all_seconds:.1%}"
    fits = int((width - 6) / _CHAR)
    label = "" if fits < 3 else place.name if len(place.name) <= fits else place.name[: fits - 1] + "…"
    return (
        f'<g><title>{escape(text)}</title><rect x="{x:.2f}" y="{y}" width="{max(width, 0.4):.2f}" height="{_ROW - 1}" rx="2" fill="hsl({hue},85%,64%)"/>'
        + (f'<text x="{x + 3:.2f}" y="{y + 13}">{escape(label)}</text>' if label else "")
        + "</g>\n"
    )


def svg(stacks: Stacks, title: str) -> str:
    """Outermost at the top; as wide as the loop was there; hovering tells the place and the seconds."""
    root = _tree(stacks)
    all_seconds = root.seconds or 1.0
    top = 3 * _MARGIN + 14
    height = top + (root.depth() - 1) * _ROW + _MARGIN
    boxes: list[str] = []
    rows: list[tuple[_Node, float, int]] = [(root, float(_MARGIN), top)]
    while rows:
        node, x, y = rows.pop()
        for place, child in sorted(node.children.items(), key=lambda item: -item[1].seconds):
            boxes.append(_box(place, child, all_seconds, x, y))
            rows.append((child, x, y + _ROW))
            x += child.seconds / all_seconds * _WIDTH
    width = int(_WIDTH) + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#fffdf8"/>\n<text x="{_MARGIN}" y="{_MARGIN + 14}" font-size="15">{escape(title)}</text>\n'
        + "".join(boxes)
        + "</svg>\n"
    )
