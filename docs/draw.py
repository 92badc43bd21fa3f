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
LIGHT = {"ink": "#1f2328", "quiet": "#57606a", "box": "#e8f3ee", "edge": "#0b6e4f", "you": "#fff1dc", "youedge": "#b5651d", "lane": "#f4f6f8"}
DARK = {"ink": "#e6edf3", "quiet": "#9da7b3", "box": "#12372a", "edge": "#3fb98a", "you": "#3d2b12", "youedge": "#e0a45a", "lane": "#1b2027"}
RULES = {"d-t": "fill:{ink}", "d-q": "fill:{quiet}", "d-box": "fill:{box};stroke:{edge}", "d-you": "fill:{you};stroke:{youedge}", "d-lane": "fill:{lane}",
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
    made = Picture("one-pass", "One pass: the kernel's events and the due timers go into the ring, the ring is run, what was written is sent", 760, 400)
    left, width = 40, 250
    rows = [(20, "loop_hear", "what does the kernel say? waits if nothing is ready"), (120, "loop_push_due_timers", "whose time has come?"),
            (220, "loop_run_ready", "run what is in the ring now"), (320, "transport_flush_all", "send what was written in this pass")]
    for y, name, note in rows:
        made.box(left, y, width + 40, 56, name, note)
    for (y, *_), (below, *_) in zip(rows, rows[1:]):
        made.arrow((left + 145, y + 56), (left + 145, below))
    made.arrow((left, 348), (18, 348), (18, 48), (left, 48))
    made.box(440, 96, 130, 104, "the ring", "ready entries, in order")
    made.arrow((330, 48), (505, 48), (505, 96))
    made.text(416, 40, "events", "d-q", 11)
    made.arrow((330, 148), (440, 148))
    made.text(384, 140, "due timers", "d-q", 11)
    made.arrow((505, 200), (505, 248), (330, 248))
    made.text(416, 240, "each entry once", "d-q", 11)
    made.box(610, 20, 140, 56, "other threads", "call_soon_threadsafe", "d-you")
    made.arrow((680, 76), (680, 122), (570, 122))
    made.box(610, 220, 140, 56, "your callbacks", "and the steps of tasks", "d-you")
    made.arrow((330, 264), (610, 264))
    made.text(500, 281, "calls", "d-q", 11)
    made.arrow((680, 220), (680, 174), (570, 174))
    made.text(676, 206, "call_soon, set_result", "d-q", 11, "end")
    made.arrow((680, 276), (680, 348), (330, 348))
    made.text(500, 340, "transport.write", "d-q", 11)
    return made


LANES = ("kernel", "loop", "transport or task", "your code")
LANE, STEP, HEAD, HIGH = 190, 66, 34, 44


def journey(name: str, title: str, steps: list[tuple[int, str, str]]) -> Picture:
    """(lane, words, note) for each step, from top to bottom."""
    made = Picture(name, title, LANE * len(LANES), HEAD + STEP * len(steps) + 4)
    for lane, words in enumerate(LANES):
        made.parts.append(f'<rect class="d-lane" x="{lane * LANE + 3}" y="0" width="{LANE - 6}" height="{made.height}" rx="8"/>')
        made.text(lane * LANE + LANE / 2, 22, words, "d-q", 12)
    for row, (lane, words, note) in enumerate(steps):
        y = HEAD + row * STEP
        made.box(lane * LANE + 11, y, LANE - 22, HIGH, words, note, "d-you" if lane == 3 else "d-box")
        if row + 1 == len(steps):
            break
        other = steps[row + 1][0]
        if other == lane:
            made.arrow((lane * LANE + LANE / 2, y + HIGH), (lane * LANE + LANE / 2, y + STEP))
        else:  # down in the own lane, across, and down onto the next
            made.arrow((lane * LANE + LANE / 2, y + HIGH), (lane * LANE + LANE / 2, y + HIGH + 9), (other * LANE + LANE / 2, y + HIGH + 9),
                       (other * LANE + LANE / 2, y + STEP))
    return made


def pictures() -> list[Picture]:
    return [
        one_pass(),
        journey("packet", "A packet: from the kernel to data_received, and the answer back to the kernel", [
            (0, "epoll", "bytes have come"),
            (1, "watch_push_event", "the event becomes an entry"),
            (1, "loop_run_ready", "its turn in the ring"),
            (2, "sock_on_readable", "one read"),
            (3, "data_received(data)", "your protocol answers"),
            (2, "transport_write", "the bytes are kept"),
            (1, "loop_flush_in_pass", "the end of the pass"),
            (2, "transport_flush", "one send for all of them"),
            (0, "send", "the answer is on its way"),
        ]),
        journey("stream", "The same to a stream: the bytes reach the reader with no Python call, and the task that waits is woken", [
            (0, "epoll", "bytes have come"),
            (1, "watch_push_event", "the event becomes an entry"),
            (2, "sock_on_readable", "the read"),
            (2, "stream_reader_try_feed", "into the reader's buffer"),
            (1, "loop_ready_push", "the reader's task is ready"),
            (2, "task_step", "in the next pass"),
            (3, "await reader.read()", "goes on with the bytes"),
        ]),
        journey("wake-up", "A wake-up: one task sets a future's result, and the task that awaits it goes on", [
            (3, "fut.set_result(x)", "in one task"),
            (2, "future_finish", "the result is kept"),
            (1, "loop_ready_push", "no Handle, nothing allocated"),
            (1, "loop_run_ready", "its turn in the ring"),
            (2, "task_wakeup", ""),
            (2, "task_step", "the coroutine's send()"),
            (3, "await fut", "the other task goes on"),
        ]),
        journey("timer", "A timer: asyncio.sleep puts a future into the heap of timers, and the pass in which it is due ends it", [
            (3, "await sleep(1)", ""),
            (2, "loop_timer_push", "into the heap of timers"),
            (0, "epoll", "waits until the first is due"),
            (1, "loop_push_due_timers", "the timer becomes an entry"),
            (2, "future_finish", "the sleep is over"),
            (2, "task_step", ""),
            (3, "after the sleep", "the task goes on"),
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
