"""`python -m asyncloop --profile-tasks[=FILE]`: which tasks held the loop longest, and what they were doing.

The loop tells of each entry that it has run, and how long it took (`_entry_hook`): the seconds of the table and of the flame graph are exact.
Where they were spent is sampled: a thread looks every few milliseconds at what the threads with a loop are executing, and an entry's seconds are
shared out among the stacks that were seen meanwhile.  An entry too short for that is drawn as the coroutines in which its task waits afterwards.
"""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ._flame import Place, Stacks, speedscope, svg
from ._metrics import places_of

_ROWS = 20
_INTERVAL = 0.002
_DEPTH = 200


@dataclass(slots=True)
class Held:
    """What the tasks of one label have taken of the loop's time."""

    steps: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    longest_of: str = ""


def label_of(task: Any) -> str:
    """The task's name, if it was given one; else the name of its coroutine, so that tasks of one kind stand together."""
    name = str(task.get_name()) if hasattr(task, "get_name") else ""
    if name and not re.fullmatch(r"Task-\d+", name):
        return name
    coro = task.get_coro()
    return str(getattr(coro, "__qualname__", None) or name or type(coro).__name__)


def _label(what: Any) -> tuple[str, str]:
    """(group, the single one) of what a loop has run."""
    if hasattr(what, "get_coro"):
        return label_of(what), str(what.get_name()) if hasattr(what, "get_name") else ""
    callback = getattr(what, "_callback", None)
    if callback is not None:
        return f"callback {getattr(callback, '__qualname__', None) or type(callback).__name__}", ""
    if hasattr(what, "get_protocol"):
        try:
            return f"transport of {type(what.get_protocol()).__qualname__}", ""
        except Exception:
            pass
    return f"<{type(what).__name__}>", ""


def _run_forever(loop: Any, profile: Profile) -> None:
    """In the place of loop.run_forever(): where the stack of the loop begins, for the sampler."""
    with profile.lock:
        profile.running[threading.get_ident()] = loop
    try:
        type(loop).run_forever(loop)
    finally:
        with profile.lock:
            profile.running.pop(threading.get_ident(), None)


def stack_below(frame: FrameType | None) -> tuple[Place, ...]:
    """The functions that the loop runs in this thread now, outermost first; none: it waits, or is at work itself."""
    stack: list[Place] = []
    while frame is not None and frame.f_code is not _run_forever.__code__:
        code = frame.f_code
        stack.append(Place(code.co_qualname, code.co_filename, code.co_firstlineno))
        frame = frame.f_back
    return tuple(reversed(stack)) if frame is not None else ()


class Profile:
    """An observer for loop.py, and what has been found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[int, Any] = {}
        self.held: dict[str, Held] = {}
        self.stacks: Stacks = {}
        # What each thread was seen executing since its loop's last entry ended, and how often.
        self.seen: dict[int, dict[tuple[Place, ...], int]] = {}
        self.n_samples = 0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="asyncloop-profile", daemon=True)

    def loop_made(self, loop: Any) -> None:
        loop._entry_hook = self.note
        loop.run_forever = lambda: _run_forever(loop, self)

    def loop_closed(self, loop: Any) -> None:
        loop._entry_hook = None
        vars(loop).pop("run_forever", None)

    def note(self, what: Any, seconds: float) -> None:
        label, single = _label(what)
        with self.lock:
            held = self.held.setdefault(label, Held())
            held.steps += 1
            held.seconds += seconds
            if seconds >= held.longest:
                held.longest, held.longest_of = seconds, single
            seen = self.seen.pop(threading.get_ident(), None)
            if seen is None:
                seen = {tuple(Place(code.co_qualname, code.co_filename, code.co_firstlineno) for code, _ in places_of(what)): 1}
            n = sum(seen.values())
            for below, times in seen.items():
                stack = (Place(label), *below[:_DEPTH])
                self.stacks[stack] = self.stacks.get(stack, 0.0) + seconds * times / n

    # The sampler.

    def start(self) -> None:
        self._sampler.start()

    def end(self) -> None:
        self._ended.set()
        self._sampler.join(5)

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self.look()

    def look(self) -> None:
        with self.lock:
            frames = sys._current_frames() if self.running else {}
            for thread_id in self.running:
                stack = stack_below(frames.get(thread_id))
                # A loop that was just telling of an entry is done with it.
                if stack and not any(place.file == __file__ for place in stack):
                    self.note_seen(thread_id, stack)

    def note_seen(self, thread_id: int, stack: tuple[Place, ...]) -> None:
        seen = self.seen.setdefault(thread_id, {})
        seen[stack] = seen.get(stack, 0) + 1
        self.n_samples += 1

    # What is shown.

    def table(self) -> str:
        with self.lock:
            held = sorted(self.held.items(), key=lambda item: -item[1].seconds)
        all_seconds = sum(each.seconds for _, each in held)
        text = f"asyncloop: what held the loop longest, of {all_seconds:.3f} s in all\n{'seconds':>11} {'share':>6} {'runs':>9} {'longest':>9}  task\n"
        for label, each in held[:_ROWS]:
            share = each.seconds / all_seconds if all_seconds else 0
            of = f" ({each.longest_of})" if each.longest_of and each.longest_of != label else ""
            text += f"{each.seconds:11.3f} {share:6.1%} {each.steps:9,} {each.longest:9.3f}  {label}{of}\n"
        if len(held) > _ROWS:
            text += f"{sum(each.seconds for _, each in held[_ROWS:]):11.3f} in {len(held) - _ROWS:,} others\n"
        return text

    def write(self, path: str) -> None:
        """A flame graph (.svg) or speedscope's format (.json).  OSError: it cannot be written."""
        title = "asyncloop: what held the loop"
        with open(path, "w", encoding="utf-8") as f:
            f.write((svg if path.endswith(".svg") else speedscope)(self.stacks, title))
