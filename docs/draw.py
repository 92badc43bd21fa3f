"""Draws the pictures of how-it-works.md: one pass of the loop, and journeys through it, as SVG in images/.

    python docs/draw.py            writes them
    python docs/draw.py --check    status 1 when a file is otherwise; writes nothing

Colours are CSS variables: the site sets them for its theme (_static/site.css), and a picture shown by itself asks the reader's system.
The names of functions are those of src/, which tests/docs compares.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).resolve().parent / "images"
LIGHT = {"ink": "#1f2328", "quiet": "#57606a", "box": "#e8f3ee", "edge": "#0b6e4f", "you": "#fff1dc", "youedge": "#b5651d"}
DARK = {"ink": "#e6edf3", "quiet": "#9da7b3", "box": "#12372a", "edge": "#3fb98a", "you": "#3d2b12", "youedge": "#e0a45a"}
RULES = {"d-t": "fill:{ink}", "d-q": "fill:{quiet}", "d-box": "fill:{box};stroke:{edge}", "d-you": "fill:{you};stroke:{youedge}",
         "d-line": "fill:none;stroke:{quiet};stroke-width:1.5", "d-head": "fill:{quiet}"}


def rules(colours: dict[str, str]) -> str:
    values = {name: f"var(--d-{name},{colour})" for name, colour in colours.items()}
    return "".join(f".{name}{{{rule.format(**values)}}}" for name, rule in RULES.items())


class Picture:
    """Boxes, arrows and words on a page without a colour of its own."""

    def __init__(self, name: str, title: str, width: int, height: int) -> None:
        self.name, self.title, self.width, self.height = name, title, width, height
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "d-t", size: int = 13, anchor: str = "middle", mono: bool = False) -> None:
        family = ' font-family="ui-monospace, monospace"' if mono else ""
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"{family}>{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, height: float, words: str, note: str = "", kind: str = "d-box") -> None:
        """A box with a line in it, which is the name of a function where it is one, and a quieter line beneath."""
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        middle = y + height / 2
        mono = "_" in words and " " not in words
        self.text(x + width / 2, middle + (-3 if note else 4.5), words, size=12 if mono else 13, mono=mono)
        if note:
            self.text(x + width / 2, middle + 13, note, "d-q", 11)

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points, with a head at the last."""
        self.parts.append('<polyline class="d-line" points="' + " ".join(f"{x:g},{y:g}" for x, y in points) + '"/>')
        (x0, y0), (x, y) = points[-2:]
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        ends = [(x, y), (x - 8 * dx - 4 * dy, y - 8 * dy - 4 * dx), (x - 8 * dx + 4 * dy, y - 8 * dy + 4 * dx)]
        self.parts.append('<polygon class="d-head" points="' + " ".join(f"{a:g},{b:g}" for a, b in ends) + '"/>')

    def svg(self) -> str:
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
            f' font-family="system-ui, sans-serif" role="img" aria-label="{escape(self.title)}">',
            f"<style>{rules(LIGHT)}@media (prefers-color-scheme:dark){{{rules(DARK)}}}</style>",
            *self.parts, "</svg>", ""])


def one_pass() -> Picture:
    """The four things that a pass does, and the ring between them."""
    made = Picture("one-pass", "One pass: the kernel's events and the due timers go into the ring, the ring is run, what was written is sent", WIDTH, 424)
    rows = [(70, "loop_hear", "what does the kernel say?"), (160, "loop_push_due_timers", "whose time has come?"),
            (250, "loop_run_ready", "run what is in the ring now"), (360, "transport_flush_all", "send what was written")]
    for y, name, note in rows:
        made.box(20, y, 190, 54, name, note)
    for (y, *_), (below, *_) in zip(rows, rows[1:]):
        made.arrow((115, y + 54), (115, below))
    made.arrow((20, 387), (8, 387), (8, 97), (20, 97))
    made.box(252, 4, 100, 42, "other threads", kind="d-you")
    made.box(252, 70, 100, 144, "the ring", "in order")
    made.box(252, 296, 100, 54, "your callbacks", "and tasks' steps", "d-you")
    made.arrow((302, 46), (302, 70))
    made.arrow((210, 97), (252, 97))
    made.text(230, 91, "events", "d-q", 11)
    made.arrow((210, 187), (252, 187))
    made.text(230, 181, "timers", "d-q", 11)
    made.arrow((266, 214), (266, 265), (210, 265))
    made.arrow((210, 290), (230, 290), (230, 310), (252, 310))
    made.arrow((338, 296), (338, 214))
    made.text(333, 259, "call_soon", "d-q", 11, "end")
    made.arrow((302, 350), (302, 387), (210, 387))
    made.text(258, 381, "write()", "d-q", 11)
    return made


WIDTH = 356  # what a phone has room for
LANES = ("kernel", "loop", "task", "transport", "your code")
SHIFT, STEP, HIGH = 36, 62, 42


def journey(name: str, title: str, steps: list[tuple[str, str, str]]) -> Picture:
    """(lane, words, note) for each step, from top to bottom: the further to the right, the nearer to the user's code."""
    made = Picture(name, title, WIDTH, STEP * len(steps) - STEP + HIGH + 4)
    before = ""
    for row, (lane, words, note) in enumerate(steps):
        shift, y = LANES.index(lane) * SHIFT, 2 + row * STEP
        made.box(2 + shift, y, 208, HIGH, words, note, "d-you" if lane == LANES[-1] else "d-box")
        if lane != before:
            is_left = shift > 2 * SHIFT
            made.text(shift - 6 if is_left else shift + 218, y + HIGH / 2 + 4, lane, "d-q", 12, "end" if is_left else "start")
        before = lane
        if row + 1 < len(steps):
            made.arrow((WIDTH / 2, y + HIGH), (WIDTH / 2, y + STEP))
    return made


def pictures() -> list[Picture]:
    return [
        one_pass(),
        journey("packet", "A packet: from the kernel to data_received, and the answer back to the kernel", [
            ("kernel", "epoll_wait", "bytes have come"),
            ("loop", "watch_push_event", "the event becomes an entry"),
            ("loop", "loop_run_ready", "its turn in the ring"),
            ("transport", "sock_on_readable", "one read"),
            ("your code", "data_received(data)", "your protocol answers"),
            ("transport", "transport_write", "the bytes are kept"),
            ("loop", "loop_flush_in_pass", "the end of the pass"),
            ("transport", "transport_flush", "one send for all of them"),
            ("kernel", "send", "the answer is on its way"),
        ]),
        journey("stream", "The same to a stream: the bytes reach the reader with no Python call, and the task that waits is woken", [
            ("kernel", "epoll_wait", "bytes have come"),
            ("loop", "watch_push_event", "the event becomes an entry"),
            ("transport", "sock_on_readable", "the read"),
            ("transport", "stream_reader_try_feed", "into the reader's buffer"),
            ("loop", "loop_ready_push", "the reader's task is ready"),
            ("task", "task_step", "in the next pass"),
            ("your code", "await reader.read()", "goes on with the bytes"),
        ]),
        journey("wake-up", "A wake-up: one task sets a future's result, and the task that awaits it goes on", [
            ("your code", "fut.set_result(x)", "in one task"),
            ("task", "future_finish", "the result is kept"),
            ("loop", "loop_ready_push", "no Handle, nothing allocated"),
            ("loop", "loop_run_ready", "its turn in the ring"),
            ("task", "task_wakeup", ""),
            ("task", "task_step", "the coroutine's send()"),
            ("your code", "await fut", "the other task goes on"),
        ]),
        journey("timer", "A timer: asyncio.sleep puts a future into the heap of timers, and the pass in which it is due ends it", [
            ("your code", "await sleep(1)", ""),
            ("task", "loop_timer_push", "into the heap of timers"),
            ("kernel", "epoll_wait", "until the first is due"),
            ("loop", "loop_push_due_timers", "the timer becomes an entry"),
            ("task", "future_finish", "the sleep is over"),
            ("task", "task_step", ""),
            ("your code", "after the sleep", "the task goes on"),
        ]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a file is otherwise")
    is_check = parser.parse_args().check
    for picture in pictures():
        path = IMAGES / f"{picture.name}.svg"
        if not is_check:
            path.write_text(picture.svg())
        elif not path.exists() or path.read_text() != picture.svg():
            sys.exit(f"{path.name} is not as drawn; run: python docs/draw.py")


if __name__ == "__main__":
    main()
